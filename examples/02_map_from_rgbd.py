"""Build a map from posed RGB-D frames, write it as a PLY that any splat viewer opens, and see it from a new place."""

import sys
from pathlib import Path

import numpy as np

import posesplat
from posesplat.datasets.samples import sample_sequence
from posesplat.render.cpu import CpuRenderer, plane_depth

path = Path(sys.argv[1] if len(sys.argv) > 1 else "map.ply")
frames = sample_sequence("tum_fr1_desk")
known, unseen = frames[:9:8], 4
scene = posesplat.build_map(known, known.cam_from_world, posesplat.MapOptions(stride=3))
scene.save(path)
print(f"{path}: {len(scene.gaussians):,} Gaussians from {len(scene.views)} frames, {path.stat().st_size / 1e6:.1f} MB")

gaussians = posesplat.SplatMap.load(path).gaussians
view = CpuRenderer(gaussians, "rgb").planes(frames.camera, frames.cam_from_world[unseen])
rendered, measured = plane_depth(view), frames[unseen].depth
both = (view.alpha > 0.5) & (rendered > 0) & (measured > 0)
gap_mm = 1000 * np.median(np.abs(rendered[both] - measured[both]))
print(f"frame {unseen}: {100 * both.mean():.0f} % of the pixels rendered and measured, median gap {gap_mm:.1f} mm")
