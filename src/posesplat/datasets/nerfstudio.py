"""Reading nerfstudio's ``transforms.json``: intrinsics and world_from_cam matrices with OpenGL camera axes.

``transform_matrix`` maps camera to world coordinates for a camera that looks along -z with y up, so it is our
world_from_cam times diag(1, -1, -1, 1). Pixels are corner-based, as ours. The world frame is kept as it is.
Source: https://docs.nerf.studio/quickstart/data_conventions.html.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.files import load_json_object
from posesplat.geometry.cameras import Camera
from posesplat.geometry.trajectory import Trajectory

OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
DISTORTION_NAMES = ("k1", "k2", "p1", "p2", "k3")
_PERSPECTIVE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
_BEYOND_OPENCV = ("k4", "k5", "k6")


@dataclass(frozen=True)
class NerfstudioScene:
    """What a ``transforms.json`` holds."""

    trajectory: Trajectory
    """Poses in our axes; names are the ``file_path`` values."""
    cameras: tuple[Camera, ...]
    """One camera a frame."""
    ply_file_path: str | None = None
    """The scene's point or splat file, relative to the JSON file."""


def read_nerfstudio(path: str | PathLike[str]) -> NerfstudioScene:
    """Read ``transforms.json`` (nerfstudio or instant-ngp), given as the file or its folder.

    Frames keep the order of the file; timestamps are frame numbers.

    Raises:
        ValueError: when the file is malformed or a lens has no OpenCV pinhole equivalent; names the frame.
    """
    path = Path(path)
    path = path / "transforms.json" if path.is_dir() else path
    record = load_json_object(path)
    frames = record.get("frames")
    if not isinstance(frames, list) or not frames:
        raise ValueError(f"{path} must hold a list 'frames'; got {type(frames).__name__}. Export the file again.")
    names, matrices, cameras = [], [], []
    for index, frame in enumerate(frames):
        where = f"{path}, frame {index}"
        if not isinstance(frame, dict) or "file_path" not in frame or "transform_matrix" not in frame:
            raise ValueError(f"{where}: expected file_path and transform_matrix; got {str(frame)[:80]}. Correct it.")
        names.append(str(frame["file_path"]))
        matrices.append(_world_from_cam(where, frame["transform_matrix"]))
        cameras.append(_camera(where, record | frame))
    cam_from_world = RigidTransform.from_matrix(np.stack(matrices)).inv()
    return NerfstudioScene(
        Trajectory.from_poses(cam_from_world, names=names), tuple(cameras), record.get("ply_file_path")
    )


def _world_from_cam(where: str, value: Any) -> Float[np.ndarray, "4 4"]:
    try:
        matrix = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape not in ((4, 4), (3, 4)) or not np.isfinite(matrix).all():
        raise ValueError(f"{where}: expected a finite 4x4 transform_matrix; got {str(value)[:80]}. Correct it.")
    full = np.eye(4)
    full[:3] = matrix[:3]
    gap = float(np.abs(full[:3, :3] @ full[:3, :3].T - np.eye(3)).max())
    if gap > 0.01 or np.linalg.det(full[:3, :3]) < 0:
        raise ValueError(
            f"{where}: expected a rotation in transform_matrix; got R R^T off the identity by {gap:.3g}. "
            "Scaled or mirrored matrices must be made rigid first."
        )
    return full @ OPENGL_FROM_OPENCV


def _camera(where: str, record: dict[str, Any]) -> Camera:
    model = record.get("camera_model", "OPENCV")
    if model not in _PERSPECTIVE_MODELS or any(float(record.get(name, 0)) for name in _BEYOND_OPENCV):
        raise ValueError(
            f"{where}: expected a perspective camera with k1, k2, p1, p2, k3; got {model} with k4 "
            f"{record.get('k4', 0)}. Undistort the images first."
        )
    try:
        width, height = int(record["w"]), int(record["h"])
        if "fl_x" in record:
            fx = float(record["fl_x"])
        else:
            fx = 0.5 * width / math.tan(0.5 * float(record["camera_angle_x"]))
        fy = float(record.get("fl_y", fx))
        cx, cy = float(record.get("cx", 0.5 * width)), float(record.get("cy", 0.5 * height))
        terms = tuple(float(record.get(name, 0)) for name in DISTORTION_NAMES)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"{where}: expected numbers w, h and fl_x (or camera_angle_x); got {error!r}. Add them to the file."
        ) from error
    terms = () if not any(terms) else terms if terms[4] else terms[:4]
    try:
        return Camera(fx, fy, cx, cy, width, height, terms)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
