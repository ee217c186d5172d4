"""Two images posed through frames between them: clips in a folder, whatever tool made them."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import posesplat
from posesplat.datasets.samples import sample_sequence
from posesplat.geometry.poses import pose_errors
from posesplat.images import write_colour

clips = Path(sys.argv[1] if len(sys.argv) > 1 else "clips")  # a clip is a video or a folder of images
frames = sample_sequence("icl_livingroom1")
for number in range(1, 10):
    write_colour(clips / "walk" / f"{number}.png", frames[number].image)
a, b = (replace(frames[number], depth=None) for number in (0, 10))
result = posesplat.BridgeEstimator(posesplat.BridgeOptions(inbetween=str(clips), subsets=3)).estimate(a, b)
true = frames.cam_from_world[10] * frames.cam_from_world[0].inv()
if not result.estimate.success:
    raise SystemExit(f"refused. {result.estimate.reason}")
found = result.estimate.cam_from_world
print(f"turned by {np.degrees(found.rotation.magnitude()):.2f} deg, towards {found.translation.round(3)}")
print(f"off by {pose_errors(found, true)[1]:.3f} deg. {result.estimate.warnings[0]}")
