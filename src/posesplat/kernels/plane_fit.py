"""Local planes of a depth image, fitted in inverse depth, where a plane is affine in the pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from posesplat import _kernels
from posesplat.geometry.cameras import Camera
from posesplat.kernels.threads import thread_count


@dataclass(frozen=True)
class PlaneFit:
    """A plane per pixel; everything is 0 where the depth is missing or the fit has too little support."""

    depth: Float32[np.ndarray, "h w"]
    """Depth of the fitted plane at the pixel, metres."""
    planes: Float32[np.ndarray, "h w 3"]
    """Plane vector m, with inverse depth m . r along the ray r = ((u-cx)/fx, (v-cy)/fy, 1)."""
    residual: Float32[np.ndarray, "h w"]
    """Root mean square of the fit's residual, relative to the inverse depth."""
    support: Float32[np.ndarray, "h w"]
    """Share of the window that belongs to the same surface."""


def fit_planes(
    depth: Float32[np.ndarray, "h w"],
    camera: Camera,
    *,
    radius: int = 5,
    tolerance: float = 0.03,
    min_support: float = 0.4,
    threads: int | None = None,
) -> PlaneFit:
    """Least-squares affine inverse depth in a (2 radius + 1)^2 window around every measured pixel.

    Args:
        depth: metres, 0 = missing.
        camera: its pinhole.
        radius: half window in pixels.
        tolerance: a neighbour takes part when its inverse depth is within this fraction of the centre's.
        min_support: least share of the window that must take part.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Raises:
        ValueError: when the depth does not have the camera's size, or the radius is not 1 to 1000.
    """
    height, width = depth.shape
    if (height, width) != (camera.height, camera.width):
        raise ValueError(
            f"depth must have shape {(camera.height, camera.width)}; got {depth.shape}. "
            "Pass the camera of the depth image, or resize with Camera.resized()."
        )
    if not 1 <= radius <= 1000:
        raise ValueError(f"radius must be 1 to 1000 pixels; got {radius}. Use 5 for a window of 11 x 11.")
    padded = np.zeros((height + 2 * radius, width + 2 * radius + _kernels.PADDING), dtype=np.float32)
    measured = depth > 0
    inside = padded[radius : radius + height, radius : radius + width]
    np.divide(1.0, depth, out=inside, where=measured)
    images = _kernels.fit_planes(padded, width, height, radius, tolerance, min_support, thread_count(threads))
    value, slope_x, slope_y = np.moveaxis(images["fit"], -1, 0)
    # Inverse depth m . r with r affine in the pixel: its slopes are m_x / fx and m_y / fy.
    planes = np.empty((height, width, 3), dtype=np.float32)
    planes[..., 0], planes[..., 1] = slope_x * camera.fx, slope_y * camera.fy
    rays = camera.rays()
    planes[..., 2] = value - planes[..., 0] * rays[..., 0] - planes[..., 1] * rays[..., 1]
    fitted = np.zeros_like(depth)
    np.divide(1.0, value, out=fitted, where=value > 0)
    return PlaneFit(fitted, planes, images["residual"], images["support"])
