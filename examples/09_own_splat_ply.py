"""Find a photo in a splat PLY that was trained elsewhere: standard columns, no views, a unit that nobody knows."""

import sys
from dataclasses import replace
from pathlib import Path

import posesplat
from posesplat.datasets.samples import sample_sequence
from posesplat.gaussians.ply import write_ply
from posesplat.geometry.poses import pose_errors

path = Path(sys.argv[1] if len(sys.argv) > 1 else "point_cloud.ply")
frames = sample_sequence("icl_livingroom1")
if len(sys.argv) < 2:  # a stand-in for your trained map: Gaussians alone
    write_ply(path, posesplat.build_map(frames[:9:8], frames[:9:8].cam_from_world).gaussians)

scene = posesplat.SplatMap.load(path, metric=False)  # of SfM poses; leave metric=False out where 1 is a metre
photo = replace(frames[4], depth=None)
near = frames.cam_from_world[2]  # a rough pose; without one: posesplat.localize(scene, photo)
found = posesplat.localize(scene, photo, start=near)
if not found.success:
    raise SystemExit(f"refused. {found.reason}")
distance, angle_deg = pose_errors(found.cam_from_world, frames.cam_from_world[4])
print(f"{len(scene.gaussians):,} Gaussians; off by {1000 * distance:.2f} mm, {angle_deg:.3f} deg")
