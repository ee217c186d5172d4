"""Follow a camera that hardly moves, from its images alone and then with depth, and say what the answer is worth."""

import numpy as np

import posesplat
from posesplat.datasets.samples import sample_sequence
from posesplat.geometry.poses import pose_errors
from posesplat.methods.track_answer import TrackAids
from posesplat.providers.depth.open import open_depth

frames = sample_sequence("icl_livingroom1")[:6]  # any video: posesplat.open_frames("clip.mp4", camera="camera.json")
true = frames.cam_from_world[5] * frames.cam_from_world[0].inv()
for label, aids in (("images alone", TrackAids()), ("with depth", TrackAids(open_depth("sensor")))):
    trajectory = posesplat.track(frames, aids=aids)
    last = trajectory[-1]
    if not last.success:
        print(f"{label}: refused. {last.reason}")
        continue
    sigma = np.sqrt(np.diag(last.covariance)[3:])
    unit = "m" if last.scale.metric else "median depths"
    centre = last.cam_from_world.inv().translation
    print(f"{label}: last camera at {centre.round(4)} {unit}, sigma {sigma.round(5)}")
    if last.scale.metric:
        print("  off by {:.2f} mm, {:.3f} deg".format(*np.multiply(pose_errors(last.cam_from_world, true), (1000, 1))))
