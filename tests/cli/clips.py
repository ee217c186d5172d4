"""Small RGB-D clips of synthetic rooms, written in the TUM layout."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms import Room, render_sequence
from posesplat.geometry.cameras import Camera
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.tum import write_tum

CAMERA = Camera(130.0, 130.0, 80.0, 60.0, 160, 120)
DEPTH_SCALE = 5000.0


def write_clip(folder: Path, room: Room, cam_from_world: RigidTransform, truth: bool = True) -> Path:
    """Render a clip and write rgb/, depth/, their lists, camera.json and groundtruth.txt."""
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    lists: dict[str, list[str]] = {"rgb": [], "depth": []}
    times = []
    for frame in render_sequence(room, CAMERA, cam_from_world, supersample=1):
        assert frame.image is not None
        assert frame.depth is not None
        time = 100.0 + frame.timestamp
        times.append(time)
        stored = np.rint(frame.depth * DEPTH_SCALE).astype(np.uint16)
        for name, image in (("rgb", frame.image[..., ::-1]), ("depth", stored)):
            path = f"{name}/{time:.6f}.png"
            cv2.imwrite(str(folder / path), image)
            lists[name].append(f"{time:.6f} {path}")
    for name, rows in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(rows) + "\n")
    (folder / "camera.json").write_text(json.dumps({**CAMERA.to_json(), "depth_scale": DEPTH_SCALE}))
    if truth:
        write_tum(folder / "groundtruth.txt", Trajectory.from_poses(cam_from_world, times))
    return folder
