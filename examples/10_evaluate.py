"""Judge a trajectory by the true one: absolute and relative errors, as published for TUM and KITTI."""

import sys
from pathlib import Path

import posesplat
from posesplat.datasets.samples import sample_sequence
from posesplat.evaluate.evaluation import evaluate
from posesplat.io.formats import read_trajectory, write_trajectory

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "evaluated")
folder.mkdir(exist_ok=True)
frames = sample_sequence("icl_livingroom1")[:6]
found = posesplat.track(list(frames))  # by images alone: its unit of length is free
true = posesplat.Trajectory.from_poses(frames.cam_from_world, frames.timestamps, frames.names)
for name, trajectory in (("found.txt", found), ("true.txt", true)):
    write_trajectory(folder / name, trajectory, format="tum")

estimated, reference = (read_trajectory(folder / name) for name in ("found.txt", "true.txt"))
for align in ("se3", "sim3"):  # sim3 also fits the unit of length, for answers without one
    errors = evaluate(estimated, reference, align=align)
    ate, rpe = errors.ate_translation.rmse, errors.rpe_rotation_deg.rmse
    told = f"off by {1000 * ate:.2f} mm" if align == "sim3" else f"ATE {1000 * ate:.1f} mm without its scale"
    print(f"{align}: {errors.compared} frames, {told}, RPE {rpe:.3f} deg")
