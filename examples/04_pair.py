"""The relative pose of two images: in metres with depth, its direction without, and a reason when there is none."""

from dataclasses import replace

import numpy as np

import posesplat
from posesplat.datasets.samples import sample_sequence
from posesplat.geometry.poses import pose_errors

frames = sample_sequence("icl_livingroom1")
a, b = frames[0], frames[8]  # any two: posesplat.open_frames(["a.jpg", "b.jpg"], camera="camera.json")
true = frames.cam_from_world[8] * frames.cam_from_world[0].inv()
bare_a, bare_b, dark = replace(a, depth=None), replace(b, depth=None), replace(b, image=np.zeros_like(b.image))
for label, first, second in (("with depth", a, b), ("images alone", bare_a, bare_b), ("a dark image", a, dark)):
    found = posesplat.pair(first, second)
    if not found.success:
        print(f"{label}: {found.reason}")
        continue
    unit = "m" if found.scale.metric else "of unit length"
    print(f"{label}: translation {found.cam_from_world.translation.round(4)} {unit}")
    if found.scale.metric:
        print("  off by {:.2f} mm, {:.3f} deg".format(*np.multiply(pose_errors(found.cam_from_world, true), (1000, 1))))
