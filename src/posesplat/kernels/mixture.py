"""Overlap of two sets of Gaussians: its value, gradient and normal equations over the pose between them.

A fixed set in frame b and a moving set in frame a; ``b_from_a`` carries one onto the other. For a fixed Gaussian i and
a moving one j, with d = mu_i - x_j, x_j = b_from_a(nu_j) and S = Sigma_i + R Sigma_j R^T,

    K_ij = affinity_ij exp(-d^T S^-1 d / 2),   0 where d^T S^-1 d > farthest,

and the cost is minus the sum over i of log(1 + sum_j K_ij / floor), or of sum_j K_ij itself. All sums refer to a left
perturbation (rotation rad, translation) of b_from_a, followed by the log-depth fields: the mean of a Gaussian is
exp(basis . field) times what is stored, seen from its own camera. Results are bit-identical for any number of threads.
Formulas: docs/mixture.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32
from scipy.spatial.transform import RigidTransform

from posesplat import _kernels
from posesplat.geometry.cameras import Camera
from posesplat.kernels.threads import thread_count

MOST_NEIGHBOURS: int = _kernels.MIXTURE_WIDTH
"""Longest row of neighbours."""

_LANES: int = _kernels.PADDING
_RECORD: int = _kernels.MIXTURE_RECORD
_UPPER = ([0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2])


@dataclass(frozen=True)
class MixtureRecords:
    """Gaussians as the kernel reads them, float32."""

    packed: Float32[np.ndarray, "n record"]
    """Mean (3), covariance xx xy xz yy yz zz, basis of the log-depth field (6), and one spare number."""
    terms: int
    """Terms of the log-depth field: 0, 1 or 6."""

    @staticmethod
    def of(
        means: Float[np.ndarray, "n 3"],
        covariances: Float[np.ndarray, "n 3 3"],
        basis: Float[np.ndarray, "n terms"] | None = None,
    ) -> MixtureRecords:
        """Pack means and covariances, both in the camera's own frame, and the basis of the field at each Gaussian.

        Raises:
            ValueError: for shapes that do not belong together, values that are not finite, or a covariance with a
                trace of 0.
        """
        count, terms = len(means), 0 if basis is None else basis.shape[1]
        if means.shape != (count, 3) or covariances.shape != (count, 3, 3) or terms not in (0, 1, 6):
            raise ValueError(
                "A mixture needs means (n, 3), covariances (n, 3, 3) and a basis of 0, 1 or 6 terms; got "
                f"{means.shape}, {covariances.shape} and {terms} terms."
            )
        packed = np.zeros((count, _RECORD), dtype=np.float32)
        packed[:, :3] = means
        packed[:, 3:9] = covariances[:, _UPPER[0], _UPPER[1]]
        if basis is not None:
            packed[:, 9 : 9 + terms] = basis
        if not np.isfinite(packed).all() or (packed[:, 3] + packed[:, 6] + packed[:, 8] <= 0).any():
            raise ValueError(
                "A mixture needs finite means and covariances of positive size; got others. Drop such Gaussians, and "
                "give scales below 1e-18 another unit."
            )
        return MixtureRecords(packed, terms)

    def __len__(self) -> int:
        return len(self.packed)


@dataclass(frozen=True)
class MixtureAppearance:
    """What decides how alike two Gaussians look."""

    opacities: Float32[np.ndarray, " n"]
    """Weights of the Gaussians."""
    colours: Float32[np.ndarray, "n 3"] | None = None
    """In units of the deviation: two colours one unit apart have an affinity of exp(-1/2)."""
    features: Float32[np.ndarray, "n d"] | None = None
    """Unit vectors."""
    trust: Float32[np.ndarray, " n"] | None = None
    """How much the feature counts: the affinity is exp(trust_i trust_j (cosine - 1)); None = 1."""


@dataclass(frozen=True)
class MixtureSums:
    """A cost and what a Gauss-Newton step needs; d = 6 + 2 terms unknowns."""

    cost: float
    """Minus the overlap."""
    gradient: Float64[np.ndarray, " d"]
    """Derivative of the cost: rotation, translation, field of the fixed set, field of the moving set."""
    hessian: Float64[np.ndarray, "d d"]
    """Sum of weight J^T S^-1 J."""
    weight: float
    """Sum of the weights K_ij / (floor + sum_j K_ij), at most 1 a fixed Gaussian; with ``robust=False`` of K_ij."""
    rows: int
    """Fixed Gaussians that overlap at all."""
    totals: Float32[np.ndarray, " n"]
    """Sum over j of K_ij."""


def padded_neighbours(neighbours: Int32[np.ndarray, "n k"]) -> Int32[np.ndarray, "n width"]:
    """Rows filled up with -1 (no neighbour) to whole vectors, as the kernels want them."""
    rows, count = neighbours.shape
    width = max(-(-count // _LANES), 1) * _LANES
    if width == count:
        return np.ascontiguousarray(neighbours)
    padded = np.full((rows, width), -1, dtype=np.int32)
    padded[:, :count] = neighbours
    return padded


def cell_neighbours(
    points_in_cam: Float[np.ndarray, "n 3"],
    cells: Int32[np.ndarray, "rows columns"],
    cell_px: float,
    means_in_cam: Float[np.ndarray, "m 3"],
    camera: Camera,
    *,
    count: int = 8,
    reach: int = 3,
    spacing: int = 1,
    threads: int | None = None,
) -> tuple[Int32[np.ndarray, "n width"], Bool[np.ndarray, " n"]]:
    """The nearest of Gaussians that were lifted from the cells of an image, looked for around where a point is seen.

    Exact where the nearest ones lie within ``reach`` cells of the point's projection, and several times faster than a
    k-d tree.

    Args:
        points_in_cam: n points in the frame of the image's camera.
        cells: Gaussian of each cell, -1 = none.
        cell_px: side of a cell, pixels.
        means_in_cam: centres of the Gaussians.
        camera: pinhole of the image.
        count: neighbours of each point, at most :data:`MOST_NEIGHBOURS`.
        reach: steps to every side of the point's own cell that are searched.
        spacing: cells a step; more than 1 takes a sample of a wider neighbourhood.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Returns:
        indices, nearest first, filled up with -1 to whole vectors; and which points lie in the image. The others have
        no neighbours.
    """
    rows = len(points_in_cam)
    neighbours = np.full((rows, -(-count // _LANES) * _LANES), -1, dtype=np.int32)
    in_view = np.zeros(rows, dtype=np.bool_)
    _kernels.cell_neighbours(
        np.ascontiguousarray(points_in_cam, dtype=np.float32),
        np.ascontiguousarray(cells),
        np.ascontiguousarray(means_in_cam, dtype=np.float32),
        (camera.fx, camera.fy, camera.cx, camera.cy),
        (camera.width, camera.height),
        cell_px,
        reach,
        spacing,
        count,
        neighbours,
        in_view,
        thread_count(threads),
    )
    return neighbours, in_view


def mixture_affinities(
    fixed: MixtureAppearance,
    moving: MixtureAppearance,
    neighbours: Int32[np.ndarray, "n width"],
    threads: int | None = None,
) -> Float32[np.ndarray, "n width"]:
    """Products of opacities, colour kernel and feature kernel for every pair; 0 where there is no neighbour.

    Args:
        fixed: n Gaussians.
        moving: m Gaussians.
        neighbours: for each fixed Gaussian some of the moving ones; -1 = none. From :func:`padded_neighbours`.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Raises:
        ValueError: when only one side has colours or features, or shapes do not belong together.
    """
    out = np.zeros(neighbours.shape, dtype=np.float32)
    sides = (fixed, moving)
    ones = [np.ones(len(side.opacities), dtype=np.float32) if side.trust is None else side.trust for side in sides]
    _kernels.mixture_affinities(
        np.ascontiguousarray(neighbours),
        *(np.ascontiguousarray(side.opacities) for side in sides),
        *(None if side.colours is None else np.ascontiguousarray(side.colours) for side in sides),
        *(None if side.features is None else _whole_vectors(side.features) for side in sides),
        *(np.ascontiguousarray(trust) for trust in ones),
        out,
        thread_count(threads),
    )
    return out


def mixture_sums(
    fixed: MixtureRecords,
    moving: MixtureRecords,
    b_from_a: RigidTransform,
    neighbours: Int32[np.ndarray, "n width"],
    affinities: Float32[np.ndarray, "n width"],
    *,
    floor: float = 0.3,
    farthest: float = 12.0,
    robust: bool = True,
    normalised: bool = False,
    turning: bool = False,
    threads: int | None = None,
) -> MixtureSums:
    """The cost of a pose, its gradient, and the normal equations of iteratively reweighted least squares.

    Args:
        fixed: n Gaussians in frame b.
        moving: m Gaussians in frame a.
        b_from_a: the pose.
        neighbours: for each fixed Gaussian the moving ones that count; -1 = none.
        affinities: weight of each pair, usually from :func:`mixture_affinities`.
        floor: eps of the logarithm, in units of K: what a fixed Gaussian without a counterpart weighs.
        farthest: largest squared Mahalanobis distance of a pair that counts; at most 44.
        robust: the logarithm; otherwise plain correlation, sum K.
        normalised: K holds |S|^-1/2 too, as the correlation integral of two mixtures does, but for (2 pi)^-3/2.
        turning: the gradient takes into account that S turns with the pose. Without, it is the derivative for S held
            fixed, which goes with the normal equations.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Raises:
        ValueError: for shapes or indices that do not belong together.

    Source: Jian and Vemuri, Robust point set registration using Gaussian mixture models, PAMI 2011 (correlation of two
    mixtures); the logarithm and the truncation as in docs/mixture.md.
    """
    if fixed.terms != moving.terms or not (floor > 0 and 0 < farthest <= 44):
        raise ValueError(
            "mixture_sums needs fields of as many terms on both sides, floor > 0 and 0 < farthest <= 44; got "
            f"{fixed.terms} and {moving.terms} terms, floor {floor} and farthest {farthest}."
        )
    unknowns = 6 + 2 * fixed.terms
    totals = np.zeros(len(fixed), dtype=np.float32)
    hessian, gradient = np.zeros((unknowns, unknowns)), np.zeros(unknowns)
    cost, weight, rows = _kernels.mixture_sums(
        fixed.packed,
        moving.packed,
        b_from_a.rotation.as_matrix().ravel().tolist(),
        b_from_a.translation.tolist(),
        neighbours,
        affinities,
        fixed.terms,
        floor,
        farthest,
        robust,
        normalised,
        turning,
        totals,
        hessian,
        gradient,
        thread_count(threads),
    )
    return MixtureSums(cost, gradient, hessian, weight, rows, totals)


def _whole_vectors(features: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n width"]:
    missing = -features.shape[1] % _LANES
    return np.ascontiguousarray(np.pad(features, ((0, 0), (0, missing))) if missing else features)
