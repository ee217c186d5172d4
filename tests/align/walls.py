"""Views and queries of one flat wall, written down from formulas instead of rendered."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.pyramid import QueryLevel, image_gradients
from posesplat.geometry.cameras import Camera
from posesplat.kernels.splatting import View

CAMERA = Camera(100.0, 100.0, 80.0, 60.0, 160, 120)
WALL_Z = 2.5


def wall_view(channels: np.ndarray | None = None) -> View:
    """The wall z = 2.5 m as rendered from the origin: exact planes without variance."""
    size = (CAMERA.height, CAMERA.width)
    planes = np.zeros((*size, 3), np.float32)
    planes[..., 2] = 1 / WALL_Z
    return View(
        CAMERA,
        RigidTransform.identity(),
        alpha=np.ones(size, np.float32),
        planes=planes,
        variance=np.zeros(size, np.float32),
        channels=channels,
    )


def wall_depth(cam_from_world: RigidTransform) -> np.ndarray:
    """The exact depth of the wall, float64: R e_z . (X - t) = 2.5 along the rays of the camera."""
    u, v = np.meshgrid(np.arange(CAMERA.width) + 0.5, np.arange(CAMERA.height) + 0.5)
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones_like(u)], axis=-1)
    normal = cam_from_world.rotation.apply([0.0, 0.0, 1.0])
    return (WALL_Z + normal @ cam_from_world.translation) / (rays @ normal)


def query(depth: np.ndarray | None = None, channels: np.ndarray | None = None) -> QueryLevel:
    depth = None if depth is None else depth.astype(np.float32)
    return QueryLevel(CAMERA, depth, channels, None if channels is None else image_gradients(channels))


def texture(shift_px: int = 0, seed: int = 0) -> np.ndarray:
    """A random grey image in [0, 1] whose content moves right by whole pixels, float32 (h, w, 1)."""
    noise = np.random.default_rng(seed).random((CAMERA.height, CAMERA.width, 1), dtype=np.float32)
    return np.roll(noise, shift_px, axis=1)
