"""Gaussians and cameras of two photos that nobody posed, and a third photo located in that scene."""

import sys
from pathlib import Path

import numpy as np

import posesplat
from posesplat.datasets.samples import sample_sequence
from posesplat.geometry.poses import pose_errors

path = Path(sys.argv[1] if len(sys.argv) > 1 else "scene.ply")
frames = sample_sequence("icl_livingroom1")
photos = [frames[index] for index in (4, 12)]  # any files: posesplat.reconstruct(["left.jpg", "right.jpg"])
found = posesplat.reconstruct([photo.image for photo in photos], frames.camera)
if not found.success:
    raise SystemExit(f"refused. {found.reason}")
found.scene.save(path)
print(f"{path}: {len(found.scene.gaussians):,} Gaussians, {path.stat().st_size / 1e6:.1f} MB")
third = found.locate(frames[8].image, frames.camera)
for label, estimate, index in (("second photo", found.trajectory[1], 12), ("third photo", third, 8)):
    true = frames.cam_from_world[index] * frames.cam_from_world[4].inv()
    sigma = np.degrees(np.sqrt(np.diag(estimate.covariance)[:3])).round(3)
    print(f"{label}: off by {pose_errors(estimate.cam_from_world, true)[1]:.3f} deg, sigma {sigma} deg")
