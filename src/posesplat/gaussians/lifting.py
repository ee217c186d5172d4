"""Depth images to Gaussians: local planes, then one flattened Gaussian per (strided) pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.kernels.plane_fit import fit_planes

_RADII = (1, 2, 3, 5)
"""Half windows tried for the plane fit."""

_LARGEST_DEPTH_RADIUS = 2
"""Depth is smoothed in small windows only: larger ones round off creases, and rendering averages neighbours anyway.
Slopes need the larger ones: noisy normals pretend to information about directions that the scene does not hold."""

_ROUNDING = 3e-7
"""Relative noise of exact depth after float32 arithmetic."""


@dataclass(frozen=True)
class LiftOptions:
    """How a depth image becomes Gaussians."""

    stride: int = 2
    """One Gaussian every ``stride`` pixels in x and y."""
    spread: float = 0.7
    """Standard deviation of a Gaussian on the screen it came from, in units of the stride."""
    flatness: float = 0.1
    """Thickness along the normal, in units of the smaller standard deviation in the plane."""
    max_tilt_deg: float = 80.0
    """Surfaces seen at a larger angle from their normal are left out."""


@dataclass(frozen=True)
class Surface:
    """Smoothed depth with local planes; 0 where nothing reliable was measured."""

    depth: Float32[np.ndarray, "h w"]
    """Depth of the local plane at the pixel, metres."""
    planes: Float32[np.ndarray, "h w 3"]
    """Plane vectors m (inverse depth m . r along the ray r)."""
    relative_error: Float32[np.ndarray, "h w"]
    """Standard error of the smoothed depth, relative to the depth."""


@dataclass(frozen=True)
class LiftedGaussians:
    """Gaussians in the camera frame, with the pixels they came from and how well they are known."""

    gaussians: Gaussians
    """In the camera's own frame (OpenCV axes), with normals towards the camera."""
    pixels: Int[np.ndarray, "n 2"]
    """Row and column of the source pixel."""
    errors: Float32[np.ndarray, " n"]
    """Standard error along the viewing ray in metres."""


def fit_surface(depth: Float32[np.ndarray, "h w"], camera: Camera, threads: int | None = None) -> Surface:
    """Smooth a depth image by local planes, in the largest window that one plane explains.

    The noise level is read off the image itself. A window is too large where its residual exceeds that level, as at
    creases and on curved surfaces; where even the smallest is, the measured depth stays as it is.
    """
    noise = _noise_level(depth)
    smoothed = depth.copy()
    planes = fit_planes(depth, camera, radius=1, threads=threads).planes
    smoothed[(planes == 0).all(axis=2)] = 0
    relative_error = np.where(smoothed > 0, noise, 0).astype(np.float32)
    for radius in _RADII:
        fit = fit_planes(depth, camera, radius=radius, threads=threads)
        count = fit.support * (2 * radius + 1) ** 2
        # The residual's own standard error is 1 / sqrt(2 count): two of them are allowed.
        better = (fit.depth > 0) & (fit.residual <= noise * (1 + np.sqrt(2.0 / np.maximum(count, 1))))
        planes[better] = fit.planes[better]
        if radius <= _LARGEST_DEPTH_RADIUS:
            smoothed[better] = fit.depth[better]
            relative_error[better] = noise[better] / np.sqrt(count[better])
    rays = camera.rays()
    planes[..., 2] = -planes[..., 0] * rays[..., 0] - planes[..., 1] * rays[..., 1]
    planes[..., 2] += np.divide(1.0, smoothed, where=smoothed > 0, out=np.zeros_like(smoothed))
    return Surface(smoothed, planes, relative_error)


def _noise_level(depth: Float32[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Relative noise of the inverse depth, proportional to depth, as a structured-light or stereo sensor has it.

    Fifth differences along the rows vanish on planes and, but for rounding, on curved surfaces. Their 70th percentile
    rather than the median: quantised depth has many differences that are exactly 0.
    """
    weights = np.array([1.0, -5.0, 10.0, -10.0, 5.0, -1.0])
    runs = np.stack([depth[:, k : depth.shape[1] - 5 + k] for k in range(6)])
    valid = (runs.min(axis=0) > 0) & (runs.max(axis=0) < 1.03 * runs.min(axis=0))
    if valid.sum() < 100:
        return np.full(depth.shape, 1e-2)
    differences = np.abs(weights @ (1.0 / runs[:, valid].astype(np.float64)))
    # |x| of a normal distribution has its 70th percentile at 1.0364 standard deviations.
    sigma = np.quantile(differences, 0.7) / (1.0364 * np.linalg.norm(weights))
    return np.maximum(sigma * depth, _ROUNDING)


class NoSurface(ValueError):
    """Depth was measured, but nowhere so densely that it tells a surface."""


def lift(
    frame: Frame, surface: Surface | None = None, options: LiftOptions = LiftOptions(), threads: int | None = None
) -> LiftedGaussians:
    """One flattened Gaussian per strided pixel of a depth image, in the camera's frame.

    The Gaussian lies in the local plane and covers the same area of the image whatever the tilt of the surface.

    Raises:
        NoSurface: when no pixel gives a plane.
        ValueError: when the frame has no depth.
    """
    if frame.depth is None:
        raise ValueError(f"Frame {frame.name!r} must have depth to become Gaussians; got an image only.")
    surface = fit_surface(frame.depth, frame.camera, threads) if surface is None else surface
    camera, stride = frame.camera, options.stride
    grid = np.meshgrid(
        np.arange(stride // 2, camera.height, stride), np.arange(stride // 2, camera.width, stride), indexing="ij"
    )
    rows, columns = grid[0].ravel(), grid[1].ravel()
    depth = surface.depth[rows, columns].astype(np.float64)
    planes = surface.planes[rows, columns].astype(np.float64)
    rays = camera.rays()[rows, columns].astype(np.float64)
    length = np.linalg.norm(planes, axis=1)
    cosine = np.divide(
        np.sum(planes * rays, axis=1),
        length * np.linalg.norm(rays, axis=1),
        where=length > 0,
        out=np.zeros_like(length),
    )
    keep = (depth > 0) & (cosine > np.cos(np.radians(options.max_tilt_deg)))
    if not keep.any():
        raise NoSurface(
            f"Frame {frame.name!r}: no pixel gives a surface; got {int((frame.depth > 0).sum())} measured pixels. "
            "Check the depth image, its scale (metres) and the camera."
        )
    rows, columns, depth, rays = rows[keep], columns[keep], depth[keep], rays[keep]
    normals = -planes[keep] / length[keep, None]
    orientation, spreads = _discs(normals, rays, depth, camera, options.spread * stride)
    gaussians = Gaussians(
        means_in_world=(rays * depth[:, None]).astype(np.float32),
        quats_wxyz=orientation.as_quat(scalar_first=True).astype(np.float32),
        scales=np.column_stack([spreads, options.flatness * spreads[:, 1]]).astype(np.float32),
        opacities=np.ones(len(depth), dtype=np.float32),
        colors=None if frame.image is None else smoothed_colors(frame.image, stride)[rows, columns],
        normals_in_world=normals.astype(np.float32),
    )
    errors = (surface.relative_error[rows, columns] * depth).astype(np.float32)
    return LiftedGaussians(gaussians, np.stack([rows, columns], axis=1), errors)


def _discs(
    normals: Float[np.ndarray, "n 3"],
    rays: Float[np.ndarray, "n 3"],
    depth: Float[np.ndarray, " n"],
    camera: Camera,
    sigma_px: float,
) -> tuple[Rotation, Float[np.ndarray, "n 2"]]:
    """Discs in the local planes that the camera sees as circles of one size: axes (longer, shorter, normal), lengths.

    Were some larger on the screen than their neighbours, these would count for more, and the picture that the map
    renders would be shifted towards them. With the derivative A of the projection along two tangents, the covariance
    in the plane is sigma^2 (A^T A)^-1.
    """
    helper = np.where(np.abs(normals[:, :1]) < 0.7, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(helper, normals)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normals, first)
    focal = np.array([camera.fx, camera.fy])
    along = [(axis[:, :2] - rays[:, :2] * axis[:, 2:]) * focal / depth[:, None] for axis in (first, second)]
    a, b, c = (np.sum(along[i] * along[j], axis=1) for i, j in ((0, 0), (0, 1), (1, 1)))
    middle, spread = 0.5 * (a + c), np.hypot(0.5 * (a - c), b)
    angle = 0.5 * np.arctan2(2.0 * b, a - c) + 0.5 * np.pi  # of the direction that shrinks most on the screen
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    longer = cosine * first + sine * second
    orientation = Rotation.from_matrix(np.stack([longer, np.cross(normals, longer), normals], axis=2))
    least = np.maximum(middle - spread, 1e-9 * middle)
    return orientation, sigma_px / np.sqrt(np.column_stack([least, middle + spread]))


def smoothed_colors(image: np.ndarray, stride: int) -> Float32[np.ndarray, "h w 3"]:
    """Colour in [0, 1], smoothed as much as sampling every ``stride`` pixels needs, without any shift."""
    return smoothed_channels(image.astype(np.float32) / np.float32(255), stride)


def smoothed_channels(channels: Float32[np.ndarray, "h w c"], stride: int) -> Float32[np.ndarray, "h w c"]:
    """Any channels, smoothed likewise."""
    if stride == 1:
        return channels
    sigma = 0.35 * stride
    return np.asarray(gaussian_filter(channels, (sigma, sigma, 0), mode="nearest"), dtype=np.float32)


def placed(lifted: LiftedGaussians, cam_from_world: RigidTransform) -> Gaussians:
    """The lifted Gaussians in the world frame."""
    return lifted.gaussians.transformed(cam_from_world.inv())
