"""Pinhole cameras with lens distortion, in corner-based pixel coordinates.

The top-left pixel covers [0, 1] x [0, 1] and its centre is (0.5, 0.5), as in COLMAP, gsplat and nerfstudio, so that
resizing an image scales the intrinsics exactly. OpenCV, ROS and TUM calibrations put that centre at (0, 0): they enter
through :meth:`Camera.from_opencv`, which adds the half pixel.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

_DISTORTION_LENGTHS = (0, 4, 5, 8)
_COLMAP_PARAMETERS = {
    "SIMPLE_PINHOLE": 3,
    "PINHOLE": 4,
    "SIMPLE_RADIAL": 4,
    "RADIAL": 5,
    "OPENCV": 8,
    "FULL_OPENCV": 12,
}


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: focal lengths and principal point in pixels, image size, OpenCV distortion terms.

    Source: Hartley and Zisserman, Multiple View Geometry, section 6.1; distortion as OpenCV's ``calib3d``.
    """

    fx: float
    """Horizontal focal length in pixels."""
    fy: float
    """Vertical focal length in pixels."""
    cx: float
    """Principal point, pixels from the left edge of the image."""
    cy: float
    """Principal point, pixels from the top edge of the image."""
    width: int
    """Image width in pixels."""
    height: int
    """Image height in pixels."""
    distortion: tuple[float, ...] = ()
    """OpenCV terms (k1, k2, p1, p2[, k3[, k4, k5, k6]]); empty for a pinhole."""

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f"Camera parameters must be finite numbers; got {self}. Check the calibration file.")
        if self.fx <= 0 or self.fy <= 0:
            raise ValueError(
                f"Camera focal lengths must be positive pixels; got fx={self.fx}, fy={self.fy}. "
                "Normalised intrinsics must be multiplied by the image size first."
            )
        if int(self.width) != self.width or int(self.height) != self.height or min(self.width, self.height) < 1:
            raise ValueError(
                f"Camera size must be whole positive pixels; got {self.width} x {self.height}. Pass width and height."
            )
        if len(self.distortion) not in _DISTORTION_LENGTHS:
            raise ValueError(
                f"Camera distortion must have 0, 4, 5 or 8 terms (k1, k2, p1, p2[, k3[, k4, k5, k6]]); "
                f"got {len(self.distortion)}. Leave missing terms as 0."
            )
        for name, kind in (("fx", float), ("fy", float), ("cx", float), ("cy", float), ("width", int), ("height", int)):
            object.__setattr__(self, name, kind(getattr(self, name)))
        object.__setattr__(self, "distortion", tuple(float(term) for term in self.distortion))

    @staticmethod
    def from_opencv(
        fx: float, fy: float, cx: float, cy: float, width: int, height: int, distortion: tuple[float, ...] = ()
    ) -> Camera:
        """A camera from a calibration whose pixel centres are whole numbers (OpenCV, ROS, TUM)."""
        return Camera(fx, fy, cx + 0.5, cy + 0.5, width, height, tuple(distortion))

    @staticmethod
    def from_fov(horizontal_fov_deg: float, width: int, height: int) -> Camera:
        """A square-pixel camera that sees ``horizontal_fov_deg`` degrees, its axis through the image centre."""
        if not 0 < horizontal_fov_deg < 180:
            raise ValueError(f"Horizontal field of view must lie in (0, 180) degrees; got {horizontal_fov_deg}.")
        focal = 0.5 * width / math.tan(math.radians(0.5 * horizontal_fov_deg))
        return Camera(focal, focal, 0.5 * width, 0.5 * height, width, height)

    @staticmethod
    def from_colmap(model: str, params: list[float] | tuple[float, ...], width: int, height: int) -> Camera:
        """A camera from a COLMAP model name and its parameters (same pixel convention as ours).

        Raises:
            ValueError: for a model without an OpenCV pinhole equivalent (fisheye models).
        """
        p = [float(value) for value in params]
        if model in _COLMAP_PARAMETERS and len(p) != _COLMAP_PARAMETERS[model]:
            raise ValueError(
                f"COLMAP camera model {model} must have {_COLMAP_PARAMETERS[model]} parameters; got {len(p)}. "
                "Check the cameras file."
            )
        if model == "SIMPLE_PINHOLE":
            return Camera(p[0], p[0], p[1], p[2], width, height)
        if model == "PINHOLE":
            return Camera(p[0], p[1], p[2], p[3], width, height)
        if model == "SIMPLE_RADIAL":
            return Camera(p[0], p[0], p[1], p[2], width, height, (p[3], 0.0, 0.0, 0.0))
        if model == "RADIAL":
            return Camera(p[0], p[0], p[1], p[2], width, height, (p[3], p[4], 0.0, 0.0))
        if model == "OPENCV":
            return Camera(p[0], p[1], p[2], p[3], width, height, tuple(p[4:8]))
        if model == "FULL_OPENCV":
            return Camera(p[0], p[1], p[2], p[3], width, height, tuple(p[4:12]))
        raise ValueError(
            f"COLMAP camera model must be a pinhole with OpenCV distortion; got {model}. "
            "Undistort the images first (colmap image_undistorter)."
        )

    @staticmethod
    def from_exif(image_path: str | PathLike[str]) -> Camera:
        """A camera from a photo's EXIF focal length: the 35 mm equivalent, the diagonal of 43.27 mm film.

        Raises:
            ValueError: when the photo carries no 35 mm equivalent focal length.
        """
        from posesplat.geometry.exif import read_focal_35mm

        focal_35mm, width, height = read_focal_35mm(Path(image_path))
        focal = focal_35mm * math.hypot(width, height) / math.hypot(36.0, 24.0)
        return Camera(focal, focal, 0.5 * width, 0.5 * height, width, height)

    @staticmethod
    def from_json(path: str | PathLike[str]) -> Camera:
        """Read ``camera.json``: fx, fy, cx, cy, width, height, optional distortion and pixel_centre.

        Raises:
            ValueError: when the file is no such object, or its numbers are no camera.
        """
        path = Path(path)
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            pixel_centre = record.get("pixel_centre", "corner")
            fx, fy, cx, cy = (float(record[name]) for name in ("fx", "fy", "cx", "cy"))
            distortion = tuple(float(term) for term in record.get("distortion") or ())
            width, height = record["width"], record["height"]
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            got = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
            raise ValueError(
                f"{path} must be a JSON object with numbers fx, fy, cx, cy, width, height; got {got}. Correct the file."
            ) from error
        if pixel_centre not in ("corner", "integer"):
            raise ValueError(f"{path}: pixel_centre must be 'corner' or 'integer'; got {pixel_centre!r}.")
        if not all(isinstance(side, (int, float)) and float(side).is_integer() for side in (width, height)):
            raise ValueError(f"{path}: width and height must be whole pixels; got {width!r} and {height!r}.")
        make = Camera.from_opencv if pixel_centre == "integer" else Camera
        try:
            return make(fx, fy, cx, cy, int(width), int(height), distortion)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """The record that :meth:`from_json` reads."""
        return {
            "fx": self.fx,
            "fy": self.fy,
            "cx": self.cx,
            "cy": self.cy,
            "width": self.width,
            "height": self.height,
            "distortion": list(self.distortion),
            "pixel_centre": "corner",
        }

    @property
    def matrix(self) -> Float[np.ndarray, "3 3"]:
        """The 3x3 calibration matrix in corner-based pixels."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def opencv_matrix(self) -> Float[np.ndarray, "3 3"]:
        """The 3x3 calibration matrix for OpenCV functions, whose pixel centres are whole numbers."""
        return np.array([[self.fx, 0.0, self.cx - 0.5], [0.0, self.fy, self.cy - 0.5], [0.0, 0.0, 1.0]])

    @property
    def pinhole(self) -> Camera:
        """The same camera without its lens distortion."""
        return replace(self, distortion=())

    def resized(self, width: int, height: int) -> Camera:
        """The camera of the same image resampled to ``width`` x ``height`` pixels."""
        x, y = width / self.width, height / self.height
        return Camera(self.fx * x, self.fy * y, self.cx * x, self.cy * y, width, height, self.distortion)

    def pyramid(self, levels: int) -> tuple[Camera, ...]:
        """The camera and ``levels - 1`` successive halvings; odd sizes lose their last row or column."""
        cameras = [self]
        for _ in range(levels - 1):
            last = cameras[-1]
            half = (0.5 * last.fx, 0.5 * last.fy, 0.5 * last.cx, 0.5 * last.cy)
            cameras.append(Camera(*half, max(last.width // 2, 1), max(last.height // 2, 1), last.distortion))
        return tuple(cameras)

    def rays(self, step: int = 1) -> Float[np.ndarray, "rows columns 3"]:
        """Viewing rays with z = 1 of every ``step``-th pixel from ``step // 2`` on, in the camera frame, float32.

        The lens is not applied.
        """
        x = (np.arange(step // 2, self.width, step) + 0.5 - self.cx) / self.fx
        y = (np.arange(step // 2, self.height, step) + 0.5 - self.cy) / self.fy
        rays = np.ones((len(y), len(x), 3), dtype=np.float32)
        rays[..., 0], rays[..., 1] = x, y[:, None]
        return rays

    def rays_at(self, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
        """Viewing rays with z = 1 of places in the image, corner-based pixels, in the camera frame; no lens applied."""
        places = (pixels - np.array([self.cx, self.cy])) / np.array([self.fx, self.fy])
        return np.column_stack([places, np.ones(len(places))])

    def project(self, points_in_cam: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """Pinhole projection to pixels; points with z <= 0 become NaN. The lens is not applied."""
        points = np.asarray(points_in_cam, dtype=np.float64)
        z = np.where(points[..., 2] > 0, points[..., 2], np.nan)
        return np.stack([self.fx * points[..., 0] / z + self.cx, self.fy * points[..., 1] / z + self.cy], axis=-1)

    def undistortion_maps(self) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
        """Maps for ``cv2.remap`` that turn this camera's images into those of :attr:`pinhole`."""
        import cv2

        size = (self.width, self.height)
        terms = np.asarray(self.distortion or (0.0,) * 4)
        maps = cv2.initUndistortRectifyMap(self.opencv_matrix, terms, np.eye(3), self.opencv_matrix, size, cv2.CV_32FC1)
        return maps[0], maps[1]
