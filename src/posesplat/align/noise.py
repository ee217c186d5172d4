"""Noise levels read off the residuals themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.spatial.transform import RigidTransform

from posesplat.align.pyramid import QueryLevel
from posesplat.geometry.cameras import Camera
from posesplat.kernels.splatting import View

_MAD_TO_SIGMA = 1.4826
_SECOND_DIFFERENCE = 6.0
"""Variance of a - 2 b + c in that of each."""
_QUARTILE_OF_TWO_SQUARES = 0.575
"""Lower quartile of the sum of two squared standard normal variables, 2 ln 4/3."""
_LEAST_RANGE = 1.1
"""Ratio of the largest to the smallest squared depth below which growth with depth cannot be told from chance."""


@dataclass(frozen=True)
class DepthNoise:
    """Standard deviation of the depth residuals, sigma (1 + growth z^2), in metres."""

    sigma: float
    growth: float


def sample_step(camera: Camera, samples: int) -> int:
    """Pixel stride in x and y that leaves about so many pixels of an image."""
    return max(1, round((camera.width * camera.height / samples) ** 0.5))


def depth_residuals(
    view: View, query: QueryLevel, query_pose: RigidTransform, step: int, gate: float
) -> tuple[Float32[np.ndarray, " n"], Float32[np.ndarray, " n"]]:
    """Signed distances of strided query points to the rendered planes, and the planes' depths there, both in metres.

    The plane of the nearest view pixel stands for the interpolated one: exact where neighbours share a plane.
    """
    assert query.depth is not None and view.planes is not None and view.variance is not None
    z = query.depth[step // 2 :: step, step // 2 :: step]
    measured = z > 0
    z = z[measured]
    points = _moved(query.camera.rays(step)[measured] * z[:, None], view.cam_from_world, query_pose)
    rows, columns, inside = _pixels(points, view.camera)
    clean = (view.alpha[rows, columns] >= 0.5) & (view.variance[rows, columns] <= gate)
    planes = view.planes[rows[clean], columns[clean]]
    relative = np.einsum("nk,nk->n", planes, points[inside][clean])
    residuals = (1.0 - relative) / np.sqrt(np.einsum("nk,nk->n", planes, planes))
    return residuals, z[inside][clean] / np.maximum(relative, 1e-3)


def _moved(
    points: Float32[np.ndarray, "n 3"], target: RigidTransform, source: RigidTransform
) -> Float32[np.ndarray, "n 3"]:
    """Points of one camera in another, both given as cam_from_world."""
    change = (target.as_matrix() @ source.inv().as_matrix()).astype(np.float32)
    return points @ change[:3, :3].T + change[:3, 3]


def _pixels(
    points: Float32[np.ndarray, "n 3"], camera: Camera
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"], Bool[np.ndarray, " n"]]:
    """Rows and columns of the pixels that points fall on, and which of the points fall on one."""
    z = np.where(points[:, 2] > 1e-6, points[:, 2], np.float32(np.inf))
    u = camera.fx * points[:, 0] / z + camera.cx
    v = camera.fy * points[:, 1] / z + camera.cy
    inside = np.isfinite(z) & (u >= 0) & (v >= 0) & (u < camera.width) & (v < camera.height)
    return v[inside].astype(np.int64), u[inside].astype(np.int64), inside


def depth_noise(residuals: Float[np.ndarray, " n"], depths: Float[np.ndarray, " n"], floor: float) -> DepthNoise:
    """Fit sigma (1 + growth z^2) to the spread of the residuals in four ranges of depth."""
    if len(residuals) < 200:
        return DepthNoise(max(_spread(residuals), floor), 0.0)
    edges = np.quantile(depths, [0, 0.25, 0.5, 0.75, 1])
    bins = np.clip(np.searchsorted(edges, depths, side="right") - 1, 0, 3)
    filled = [index for index in range(4) if (bins == index).any()]
    spreads = np.array([_spread(residuals[bins == index]) for index in filled])
    squares = np.array([np.mean(depths[bins == index] ** 2) for index in filled])
    if squares.max() < _LEAST_RANGE * squares.min():
        return DepthNoise(max(_spread(residuals), floor), 0.0)
    design = np.stack([np.ones(len(filled)), squares], axis=1)
    offset, slope = np.linalg.lstsq(design, spreads, rcond=None)[0]
    if slope <= 0:
        return DepthNoise(max(float(np.median(spreads)), floor), 0.0)
    offset = max(float(offset), 0.1 * float(spreads.mean()), floor)
    return DepthNoise(offset, float(slope) / offset)


def normal_noise(view: View, scale: DepthNoise, spacing_px: int = 12) -> Float[np.ndarray, "6 6"]:
    """What noise in the map's normals adds to the information of one depth residual, on average over the view.

    A bare wall in a map made from noisy depth is bumpy. Moved along itself it seems to meet resistance, but the bumps
    are not in the observation: that part of a Gauss-Newton matrix holds no information. (In regression: errors in
    variables.) The noise is read off second differences of normals far enough apart to be independent, which vanish
    on planes and nearly so on evenly curved surfaces; their lower quartile, since others span edges.

    Args:
        view: rendered planes.
        scale: by how much residuals are divided, scale.sigma (1 + scale.growth z^2).
        spacing_px: distance of independent normals.

    Returns:
        Mean over the view of E[j j^T], j being the noise of a residual's derivative; zeros for a view too small.
    """
    assert view.planes is not None
    pick = (slice(spacing_px // 2, None, spacing_px), slice(spacing_px // 2, None, spacing_px))
    planes, rays = view.planes[pick].astype(np.float64), view.camera.rays(spacing_px)
    inverse = np.einsum("hwk,hwk->hw", planes, rays)
    clean = (view.alpha[pick] >= 0.5) & (inverse > 1e-6)
    normals = planes / np.maximum(np.linalg.norm(planes, axis=2, keepdims=True), 1e-12)
    squares = []
    for values, valid in ((normals, clean), (normals.swapaxes(0, 1), clean.T)):
        bend = values[:-2] - 2.0 * values[1:-1] + values[2:]
        squares.append((bend**2).sum(axis=2)[valid[:-2] & valid[1:-1] & valid[2:]])
    found = np.concatenate(squares)
    if len(found) < 20:
        return np.zeros((6, 6))
    variance = float(np.quantile(found, 0.25)) / (_SECOND_DIFFERENCE * _QUARTILE_OF_TWO_SQUARES)
    depths = 1.0 / inverse[clean]
    points, tangential = rays[clean] * depths[:, None], np.eye(3) - normals[clean][:, :, None] * normals[clean][:, None]
    motion = np.concatenate([_cross_matrices(points), np.broadcast_to(np.eye(3), tangential.shape)], axis=1)
    units = variance / (scale.sigma * (1.0 + scale.growth * depths**2)) ** 2
    return np.asarray(np.einsum("n,nai,nij,nbj->ab", units, motion, tangential, motion) / len(depths))


def _cross_matrices(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 3"]:
    """Matrices [v]_x with [v]_x w = v x w."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)


def _spread(values: Float[np.ndarray, " n"]) -> float:
    return _MAD_TO_SIGMA * float(np.median(np.abs(values))) if len(values) else np.inf


def channel_residuals(
    view: View, query: QueryLevel, query_pose: RigidTransform, step: int, gate: float
) -> tuple[Float32[np.ndarray, "n c"], Float32[np.ndarray, "n c"]]:
    """Channels of strided view pixels, and what the query shows where their points fall (nearest pixel)."""
    assert query.channels is not None and view.planes is not None and view.variance is not None
    assert view.channels is not None
    pick = (slice(step // 2, None, step), slice(step // 2, None, step))
    rays, planes = view.camera.rays(step), view.planes[pick]
    inverse = np.einsum("hwk,hwk->hw", planes, rays)
    clean = (view.alpha[pick] >= 0.5) & (view.variance[pick] <= gate) & (inverse > 1e-6)
    points = _moved(rays[clean] / inverse[clean][:, None], query_pose, view.cam_from_world)
    rows, columns, inside = _pixels(points, query.camera)
    return view.channels[pick][clean][inside], query.channels[rows, columns]


def channel_noise(rendered: Float32[np.ndarray, "n c"], seen: Float32[np.ndarray, "n c"], floor: float = 2e-3) -> float:
    """Robust standard deviation of the difference of two sets of channel values."""
    return max(_spread((rendered - seen).ravel()), floor)
