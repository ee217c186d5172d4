"""Writing nerfstudio's ``transforms.json``: intrinsics and world_from_cam matrices with OpenGL camera axes.

``transform_matrix`` maps camera to world coordinates for a camera that looks along -z with y up, so it is our
world_from_cam times diag(1, -1, -1, 1). Pixels are corner-based, as ours. The world frame is kept as it is.
Source: https://docs.nerf.studio/quickstart/data_conventions.html.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from typing import Any

from posesplat.datasets.nerfstudio import DISTORTION_NAMES, OPENGL_FROM_OPENCV
from posesplat.files import write_text
from posesplat.geometry.cameras import Camera
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.camera_lists import camera_of_each_frame

_AXES = "transform_matrix is world_from_cam, OpenGL camera axes (x right, y up, z backward), world frame as estimated"


def write_nerfstudio(
    path: str | PathLike[str],
    trajectory: Trajectory,
    camera: Camera | Sequence[Camera],
    ply_file_path: str | None = None,
) -> None:
    """Write the posed frames; frames without a pose are left out. ``file_path`` is the frame's name.

    Args:
        path: the JSON file to write.
        trajectory: poses and names.
        camera: the camera of all frames, or one for each frame of the trajectory.
        ply_file_path: a splat or point file beside the JSON file, to name in it.

    Raises:
        ValueError: for a lens model beyond k1, k2, p1, p2, k3, which the format does not have.
    """
    cameras = camera_of_each_frame(trajectory, camera)
    shared = len(set(cameras)) == 1
    frames = []
    for name, estimate, own in zip(trajectory.names, trajectory, cameras, strict=True):
        if estimate.cam_from_world is not None:
            matrix = estimate.cam_from_world.inv().as_matrix() @ OPENGL_FROM_OPENCV
            frame = {"file_path": name, "transform_matrix": (matrix + 0.0).tolist()}
            frames.append(frame if shared else frame | _intrinsics(own))
    record: dict[str, Any] = {"axes": _AXES, "camera_model": "OPENCV"}
    record |= _intrinsics(cameras[0]) if shared else {}
    record |= {} if ply_file_path is None else {"ply_file_path": ply_file_path}
    write_text(path, json.dumps(record | {"frames": frames}, indent=1, allow_nan=False) + "\n")


def _intrinsics(camera: Camera) -> dict[str, Any]:
    if any(camera.distortion[5:]):
        raise ValueError(
            f"nerfstudio files hold k1, k2, p1, p2, k3; got the rational lens {camera.distortion}. "
            "Undistort the images and pass camera.pinhole."
        )
    terms = dict(zip(DISTORTION_NAMES, camera.distortion, strict=False))
    record = {"fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy}
    return record | {"w": camera.width, "h": camera.height} | terms
