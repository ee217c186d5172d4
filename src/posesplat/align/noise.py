"""Noise levels read off the residuals themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.spatial.transform import RigidTransform

from posesplat.align.pyramid import QueryLevel
from posesplat.geometry.cameras import Camera
from posesplat.kernels.plane_fit import fit_planes
from posesplat.kernels.splatting import View

_MAD_TO_SIGMA = 1.4826
_NORMAL_RADIUS = 3
"""Half window of the observation's own normals, in pixels of its level."""
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
    """Signed distances of strided query points to the rendered planes, and the planes' depths there, both in metres."""
    matched = _matched(view, query, query_pose, step, gate)
    relative = np.einsum("nk,nk->n", matched.planes, matched.points)
    residuals = (1.0 - relative) / np.sqrt(np.einsum("nk,nk->n", matched.planes, matched.planes))
    return residuals, matched.depths / np.maximum(relative, 1e-3)


@dataclass(frozen=True)
class _Matched:
    """Strided points of a query that fall on one clean surface of a view, in the view's camera."""

    points: Float32[np.ndarray, "n 3"]
    depths: Float32[np.ndarray, " n"]
    """Depths of the points in the query's own camera."""
    planes: Float32[np.ndarray, "n 3"]
    """Plane of the nearest pixel, which stands for the interpolated one: exact where neighbours share a plane."""
    rows: Int[np.ndarray, " n"]
    columns: Int[np.ndarray, " n"]
    """Where the points are in the query."""


def _matched(view: View, query: QueryLevel, query_pose: RigidTransform, step: int, gate: float) -> _Matched:
    assert query.depth is not None and view.planes is not None and view.variance is not None
    z = query.depth[step // 2 :: step, step // 2 :: step]
    measured = z > 0
    points = _moved(query.camera.rays(step)[measured] * z[measured][:, None], view.cam_from_world, query_pose)
    rows, columns, inside = _pixels(points, view.camera)
    clean = (view.alpha[rows, columns] >= 0.5) & (view.variance[rows, columns] <= gate)
    own_rows, own_columns = (step // 2 + step * index[inside][clean] for index in np.nonzero(measured))
    planes = view.planes[rows[clean], columns[clean]]
    return _Matched(points[inside][clean], z[measured][inside][clean], planes, own_rows, own_columns)


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


def spurious_information(
    view: View, query: QueryLevel, query_pose: RigidTransform, scale: DepthNoise, gate: float, samples: int = 4800
) -> Float[np.ndarray, "6 6"]:
    """What noise in the map's normals adds to the information of one depth residual, on average.

    A bare wall in a map made from noisy depth is bumpy. Moved along itself it seems to meet resistance, but the
    observation has other bumps: that part of a Gauss-Newton matrix holds no information. (In regression: errors in
    variables.) The observation's own normals tell the two apart, since their noise is independent of the map's: with n
    the map's normals and q the observation's, E[n q^T] is what both share, and the rest of n n^T is noise.

    Args:
        view: rendered planes.
        query: the observed depth.
        query_pose: its cam_from_world.
        scale: by how much residuals are divided, scale.sigma (1 + scale.growth z^2).
        gate: see :class:`posesplat.kernels.splatting.RobustTerm`.
        samples: about so many points are looked at.

    Returns:
        Mean of j j^T - (j k^T + k j^T) / 2, with the derivatives j of residuals to the map's planes and k to the
        observation's, for a left perturbation of the view; zeros where there are too few points.
    """
    assert query.depth is not None
    matched = _matched(view, query, query_pose, sample_step(query.camera, samples), gate)
    own = fit_planes(query.depth, query.camera, radius=_NORMAL_RADIUS).planes[matched.rows, matched.columns]
    fitted = np.abs(own).max(axis=1, initial=0.0) > 0
    if fitted.sum() < 100:
        return np.zeros((6, 6))
    points, depths = matched.points[fitted].astype(np.float64), matched.depths[fitted].astype(np.float64)
    turn = (view.cam_from_world * query_pose.inv()).rotation
    normals = [_unit(matched.planes[fitted]), turn.apply(_unit(own[fitted]))]
    units = 1.0 / (scale.sigma * (1.0 + scale.growth * depths**2))
    in_map, observed = (np.concatenate([np.cross(points, n), n], axis=1) * units[:, None] for n in normals)
    shared = in_map.T @ observed / len(points)
    return np.asarray(in_map.T @ in_map / len(points) - 0.5 * (shared + shared.T))


def _unit(vectors: Float32[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float64)


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
