"""Scenes for the kernel tests: random Gaussians, and a wall whose depth is known in closed form."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from kernels.twin import Cloud, pixel_rays
from posesplat.geometry.cameras import Camera

CAMERA = Camera(60.0, 62.0, 31.0, 25.0, 64, 48)
POSE = RigidTransform.from_exp_coords([0.1, -0.2, 0.05, 0.1, 0.05, 0.3])


def random_cloud(count: int = 400, *, seed: int = 0, growth: float = 1.0, channels: int = 2) -> Cloud:
    """Anisotropic Gaussians before, beside, behind and across the near plane of a camera at the origin."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(count, 3))
    return Cloud(
        means=rng.uniform([-2, -2, -0.5], [2, 2, 6], (count, 3)),
        quats_wxyz=Rotation.random(count, rng=rng).as_quat(scalar_first=True),
        scales=growth * np.exp(rng.uniform(-4, -1, (count, 3))),
        opacities=rng.uniform(0.05, 1, count),
        normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        channels=rng.uniform(size=(count, channels)),
    )


def wall(
    camera: Camera, *, stride: float = 4.0, margin: float = 12.0, normal: tuple[float, ...] = (0.3, -0.2, 1.0)
) -> Cloud:
    """Opaque splats on the plane n . X = 2 n_z, one every ``stride`` pixels, to ``margin`` pixels beyond the image."""
    u, v = np.meshgrid(
        np.arange(-margin, camera.width + margin, stride), np.arange(-margin, camera.height + margin, stride)
    )
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], axis=-1).reshape(-1, 3)
    unit = np.asarray(normal) / np.linalg.norm(normal)
    depth = 2 * unit[2] / (rays @ unit)
    means = rays * depth[:, None]
    count = len(means)
    waves = np.stack([np.sin(4 * means[:, 0] + means[:, 1]), np.cos(3 * means[:, 1] - 2 * means[:, 0])], axis=1)
    return Cloud(
        means=means,
        quats_wxyz=np.tile([1.0, 0, 0, 0], (count, 1)),
        scales=np.repeat(0.7 * stride * depth[:, None] / camera.fx, 3, axis=1),
        opacities=np.full(count, 0.9),
        normals=np.tile(unit, (count, 1)),
        channels=0.5 + 0.4 * waves,
    )


def wall_depth(
    camera: Camera, cam_from_world: RigidTransform, normal: tuple[float, ...] = (0.3, -0.2, 1.0)
) -> np.ndarray:
    """The true depth image of :func:`wall`: n . X_world = 2 n_z along the rays of a camera."""
    unit = np.asarray(normal) / np.linalg.norm(normal)
    # n . R^T (z r - t) = offset
    n_in_cam = cam_from_world.rotation.apply(unit)
    return (2 * unit[2] + n_in_cam @ cam_from_world.translation) / (pixel_rays(camera) @ n_in_cam)


def with_holes(image: np.ndarray, seed: int = 0) -> np.ndarray:
    """A third of the depths missing, in each of the ways a sensor or a file may say so."""
    kind = np.random.default_rng(seed).integers(0, 12, image.shape)
    return np.select([kind == 0, kind == 1, kind == 2, kind == 3], [0.0, -1.0, np.nan, np.inf], image)
