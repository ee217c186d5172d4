"""The records of a COLMAP sparse model, whatever their encoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.cameras import Camera

MODELS = {
    "SIMPLE_PINHOLE": (0, 3),
    "PINHOLE": (1, 4),
    "SIMPLE_RADIAL": (2, 4),
    "RADIAL": (3, 5),
    "OPENCV": (4, 8),
    "OPENCV_FISHEYE": (5, 8),
    "FULL_OPENCV": (6, 12),
    "FOV": (7, 5),
    "SIMPLE_RADIAL_FISHEYE": (8, 4),
    "RADIAL_FISHEYE": (9, 5),
    "THIN_PRISM_FISHEYE": (10, 12),
    "RAD_TAN_THIN_PRISM_FISHEYE": (11, 16),
    "SIMPLE_DIVISION": (12, 4),
    "DIVISION": (13, 5),
    "SIMPLE_FISHEYE": (14, 3),
    "FISHEYE": (15, 4),
    "EUCM": (16, 6),
    "EQUIRECTANGULAR": (17, 2),
}
"""Number and count of parameters of every camera model, by name (colmap/sensor/models.h)."""


@dataclass(frozen=True)
class CameraRecord:
    """One line of cameras.txt."""

    camera_id: int
    """Identifier, starts at 1."""
    model: str
    """Name of the camera model."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    params: tuple[float, ...]
    """Parameters in the order of the model."""

    @staticmethod
    def of(camera_id: int, camera: Camera) -> CameraRecord:
        """The record of a camera: PINHOLE, OPENCV (k1, k2, p1, p2) or FULL_OPENCV."""
        pinhole = (camera.fx, camera.fy, camera.cx, camera.cy)
        terms = camera.distortion
        model = {0: "PINHOLE", 4: "OPENCV"}.get(len(terms), "FULL_OPENCV")
        missing = MODELS[model][1] - 4 - len(terms)
        return CameraRecord(camera_id, model, camera.width, camera.height, (*pinhole, *terms, *(0.0,) * missing))

    def camera(self) -> Camera:
        """The camera; raises ValueError for a model without an OpenCV pinhole equivalent."""
        return Camera.from_colmap(self.model, self.params, self.width, self.height)


@dataclass(frozen=True)
class ImageRecord:
    """One image of images.txt without its keypoints."""

    image_id: int
    """Identifier, starts at 1."""
    cam_from_world: RigidTransform
    """Pose, OpenCV axes."""
    camera_id: int
    """Which camera took it."""
    name: str
    """File name relative to the image folder."""


@dataclass(frozen=True)
class PointTable:
    """Points without tracks."""

    xyz: Float[np.ndarray, "n 3"]
    """World coordinates."""
    rgb: UInt8[np.ndarray, "n 3"]
    """Colours."""
