"""Noise levels read off the residuals themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import RigidTransform

from posesplat.align.pyramid import QueryLevel
from posesplat.kernels.splatting import View

_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class DepthNoise:
    """Standard deviation of the depth residuals, sigma (1 + growth z^2), in metres."""

    sigma: float
    growth: float


def depth_residuals(
    view: View, query: QueryLevel, query_pose: RigidTransform, step: int, gate: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Signed distances of strided query points to the rendered planes, and the planes' depths there, both in metres.

    The plane of the nearest view pixel stands for the interpolated one: exact where neighbours share a plane.
    """
    assert query.depth is not None and view.planes is not None and view.variance is not None
    rows, columns = np.nonzero(query.depth[step // 2 :: step, step // 2 :: step] > 0)
    rows, columns = rows * step + step // 2, columns * step + step // 2
    z = query.depth[rows, columns].astype(np.float64)
    camera = query.camera
    rays = np.stack(
        [(columns + 0.5 - camera.cx) / camera.fx, (rows + 0.5 - camera.cy) / camera.fy, np.ones(len(z))], axis=1
    )
    points = (view.cam_from_world * query_pose.inv()).apply(rays * z[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = view.camera.project(points)
    height, width = view.alpha.shape
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    points, z = points[inside], z[inside]
    columns, rows = pixels[inside].astype(np.int64).T
    clean = (view.alpha[rows, columns] >= 0.5) & (view.variance[rows, columns] <= gate)
    planes = view.planes[rows[clean], columns[clean]].astype(np.float64)
    relative = np.sum(planes * points[clean], axis=1)
    residuals = (1.0 - relative) / np.linalg.norm(planes, axis=1)
    return residuals, z[clean] / relative


def depth_noise(residuals: Float[np.ndarray, " n"], depths: Float[np.ndarray, " n"], floor: float) -> DepthNoise:
    """Fit sigma (1 + growth z^2) to the spread of the residuals in four ranges of depth."""
    if len(residuals) < 200:
        return DepthNoise(max(_spread(residuals), floor), 0.0)
    edges = np.quantile(depths, [0, 0.25, 0.5, 0.75, 1])
    bins = np.clip(np.searchsorted(edges, depths, side="right") - 1, 0, 3)
    spreads = np.array([_spread(residuals[bins == index]) for index in range(4)])
    squares = np.array([np.mean(depths[bins == index] ** 2) for index in range(4)])
    design = np.stack([np.ones(4), squares], axis=1)
    offset, slope = np.linalg.lstsq(design, spreads, rcond=None)[0]
    if slope <= 0:
        return DepthNoise(max(float(np.median(spreads)), floor), 0.0)
    offset = max(float(offset), 0.1 * float(spreads.mean()), floor)
    return DepthNoise(offset, float(slope) / offset)


def _spread(values: Float[np.ndarray, " n"]) -> float:
    return _MAD_TO_SIGMA * float(np.median(np.abs(values))) if len(values) else np.inf


def channel_residuals(
    view: View, query: QueryLevel, query_pose: RigidTransform, step: int, gate: float
) -> tuple[Float32[np.ndarray, "n c"], Float32[np.ndarray, "n c"]]:
    """Channels of strided view pixels, and what the query shows where their points fall (nearest pixel)."""
    assert query.channels is not None and view.planes is not None and view.variance is not None
    assert view.channels is not None
    pick = (slice(step // 2, None, step), slice(step // 2, None, step))
    rays = view.camera.rays()[pick]
    inverse = np.sum(view.planes[pick] * rays, axis=-1)
    clean = (view.alpha[pick] >= 0.5) & (view.variance[pick] <= gate) & (inverse > 1e-6)
    points = (query_pose * view.cam_from_world.inv()).apply((rays[clean] / inverse[clean][:, None]).astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = query.camera.project(points)
    height, width = query.channels.shape[:2]
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    columns, rows = pixels[inside].astype(np.int64).T
    return view.channels[pick][clean][inside], query.channels[rows, columns]


def channel_noise(rendered: Float32[np.ndarray, "n c"], seen: Float32[np.ndarray, "n c"], floor: float = 2e-3) -> float:
    """Robust standard deviation of the difference of two sets of channel values."""
    return max(_spread((rendered - seen).ravel()), floor)
