"""Find a frame in a map, first without any hint and then from a rough pose; say how sure the answer is."""

import numpy as np

import posesplat
from posesplat.datasets.samples import sample_sequence
from posesplat.geometry.poses import pose_errors

frames = sample_sequence("icl_livingroom1")  # any RGB-D folder: posesplat.open_frames("path/to/folder")
known, query, true = frames[:9:8], frames[4], frames.cam_from_world[4]
localizer = posesplat.Localizer(posesplat.build_map(known, known.cam_from_world))

for label, start in (("no start", None), ("rough start", known.cam_from_world[0])):
    found = localizer.localize(query, start)
    if not found.success:
        print(f"{label}: refused. {found.reason}")
        continue
    distance, angle_deg = pose_errors(found.cam_from_world, true)
    sigma_m = np.sqrt(np.diag(found.covariance)[3:])  # order: rotation (rad), translation (m)
    print(f"{label}: camera at {np.round(found.cam_from_world.inv().translation, 4)} m in the world")
    print(f"  off by {1000 * distance:.2f} mm, {angle_deg:.3f} deg; sigma {np.round(1000 * sigma_m, 3)} mm")
    print(f"  {100 * found.overlap:.0f} % of the frame is in the map, {100 * found.inlier_fraction:.0f} % of it agrees")
