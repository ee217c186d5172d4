"""Covariance of an estimated pose from how the sums over regions of the image disagree."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import chdtri, fdtri

from posesplat.kernels.splatting import NormalEquations

_REGIONS = 8
"""Regions along the longer side of the image. Errors within a region may be correlated: those of neighbouring pixels,
and those of calibration, of timing and of the map, which are alike over parts of the image."""

SINGULAR = 1e-7
"""Eigenvalue of a matrix with unit diagonal below which a direction holds no information but rounding errors."""

_MOST_LEVERAGE = 0.98
"""Share of the information about a direction that one region may hold; beyond it the others say nothing about it."""


@dataclass(frozen=True)
class Regions:
    """Normal equations of one term, split over the regions of its image that hold any of it."""

    gradients: Float[np.ndarray, "g d"]
    hessians: Float[np.ndarray, "g d d"]

    @staticmethod
    def of(term: NormalEquations) -> Regions:
        """Merge the kernel's blocks into at most 8 x 8 regions; empty ones are left out."""
        size = len(term.gradient)
        if term.block_gradients is None or term.block_hessians is None:
            return Regions(np.zeros((0, size)), np.zeros((0, size, size)))
        gradients, triangles = _summed(term.block_gradients), _summed(term.block_hessians)
        hessians = np.zeros((len(triangles), size, size))
        upper = np.triu_indices(size)
        hessians[:, upper[0], upper[1]] = hessians[:, upper[1], upper[0]] = triangles
        return Regions(gradients, hessians)

    def used(self) -> Regions:
        """Without the regions that hold nothing."""
        filled = np.abs(self.gradients).max(axis=1, initial=0.0) > 0
        return Regions(self.gradients[filled], self.hessians[filled])

    def without(self, spurious: Float[np.ndarray, "d d"]) -> Regions:
        """The matrices less a part that holds no information, taken from each in proportion to what it holds."""
        held = np.trace(self.hessians[:, 3:6, 3:6], axis1=1, axis2=2)
        share = held / max(float(held.sum()), 1e-300)
        return Regions(self.gradients, self.hessians - share[:, None, None] * spurious)

    def weighted(self, weight: float, newton_ratio: float, size: int) -> Regions:
        """Gradients times ``weight``, matrices times ``weight * newton_ratio``, zeros up to ``size`` unknowns."""
        missing = size - self.gradients.shape[1]
        return Regions(
            weight * np.pad(self.gradients, ((0, 0), (0, missing))),
            weight * newton_ratio * np.pad(self.hessians, ((0, 0), (0, missing), (0, missing))),
        )


def sum_of(terms: Sequence[Regions]) -> Regions:
    """Several terms as one, region by region."""
    gradients = np.sum([term.gradients for term in terms], axis=0)
    return Regions(gradients, np.sum([term.hessians for term in terms], axis=0))


def least_share(part: Regions, whole: Regions) -> float:
    """The least share of a pose direction's information that a part of it holds; 0 where there is none at all."""
    inner, outer = (regions.hessians.sum(axis=0)[:6, :6] for regions in (part, whole))
    if np.diag(outer).min() <= 0:
        return 0.0
    whiten = _whitening(outer)
    if whiten is None:
        return 0.0
    return float(np.linalg.eigvalsh(whiten.T @ inner @ whiten)[0])


def _whitening(hessian: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"] | None:
    """W with W^T H W = 1, whatever the units of the unknowns; None where a direction holds no information."""
    scale = 1.0 / np.sqrt(np.diag(hessian))
    values, vectors = np.linalg.eigh(hessian * scale[:, None] * scale[None, :])
    return None if values[0] < SINGULAR else scale[:, None] * vectors / np.sqrt(values)


def _summed(blocks: Float[np.ndarray, "rows columns k"]) -> Float[np.ndarray, "g k"]:
    """Sums over the blocks of each region."""
    rows, columns, size = blocks.shape
    return np.asarray(_membership(rows, columns) @ blocks.reshape(rows * columns, size))


@functools.cache
def _membership(rows: int, columns: int) -> Float[np.ndarray, "g blocks"]:
    """1 where a block belongs to a region; regions are about square."""
    side = max(rows, columns, 1)
    row, column = (np.arange(n) * min(_REGIONS, side) // side for n in (rows, columns))
    region = (row[:, None] * _REGIONS + column).ravel()
    return np.asarray(np.arange(_REGIONS**2)[:, None] == region, dtype=np.float64)


def gradient_scatter(term: NormalEquations) -> Float[np.ndarray, "d d"]:
    """Covariance of a term's gradient: regions are independent, pixels within a region need not be.

    Source: Cameron and Miller, A practitioner's guide to cluster-robust inference, 2015, equation 11.
    """
    if term.block_gradients is None:
        return np.zeros_like(term.hessian)
    sums = _summed(term.block_gradients)
    used = sums[np.abs(sums).max(axis=1) > 0]
    count, unknowns = used.shape
    if count <= unknowns + 1:
        return np.zeros_like(term.hessian)
    centred = used - used.mean(axis=0)
    return centred.T @ centred * (count / (count - unknowns))


def information_weight(term: NormalEquations, least_newton_ratio: float) -> float:
    """The weight at which a term's normal equations count as information, so that different kinds add up.

    A term's gradient scatters more than its Hessian says, by its noise and by the correlation of its pixels; the
    weight is the inverse of that ratio, averaged over the unknowns.
    """
    if term.covered == 0:
        return 0.0
    scatter, diagonal = gradient_scatter(term), np.sqrt(np.maximum(np.diag(term.hessian), 1e-300))
    hessian = term.hessian / diagonal[:, None] / diagonal[None, :]
    scatter = scatter / diagonal[:, None] / diagonal[None, :]
    values, vectors = np.linalg.eigh(hessian)
    informed = values > 1e-6 * max(float(values.max()), 1e-300)
    along = np.einsum("ki,kl,li->i", vectors, scatter, vectors)[informed] / values[informed]
    ratio = float(np.mean(along)) if informed.any() else 0.0
    return term.newton_ratio(least_newton_ratio) / ratio if ratio > 0 else 1.0


def effective_regions(regions: Regions, prior: Float[np.ndarray, "d d"] | None = None) -> float:
    """How many regions of equal information would hold as much as these do: (sum h)^2 / sum h^2 of their leverages."""
    used = regions.used()
    hessian = used.hessians.sum(axis=0) if prior is None else used.hessians.sum(axis=0) + prior
    active = np.diag(hessian) > 0
    whiten = _whitening(hessian[np.ix_(active, active)]) if active.any() else None
    if whiten is None:
        return 0.0
    leverages = np.einsum("ik,gij,jk->g", whiten, used.hessians[:, active][:, :, active], whiten)
    leverages = np.maximum(leverages, 0.0)
    return float(leverages.sum() ** 2 / max(float(np.sum(leverages**2)), 1e-300))


def small_sample_inflation(count: float, size: int = 6) -> float:
    """Factor on a covariance estimated from so many samples, by which its 95 % ellipsoid holds 95 % of the errors.

    The squared length of an error in a covariance that was itself estimated follows Hotelling's distribution, not
    chi-squared. Fewer than ``size + 2`` samples count as so many.

    Source: Hotelling, The generalization of Student's ratio, Annals of Mathematical Statistics 1931.
    """
    degrees = max(count - 1.0, size + 1.0)
    quantile = degrees * size / (degrees - size + 1.0) * fdtri(size, degrees - size + 1.0, 0.95)
    return float(quantile / chdtri(size, 0.05))


def jackknife(regions: Regions, prior: Float[np.ndarray, "d d"] | None = None) -> Float[np.ndarray, "6 6"] | None:
    """Covariance of the pose from the shifts that leaving out one region at a time would make.

    Where a few regions alone determine a direction, the residuals there are small because the pose follows them; the
    shift without such a region is large, and so is the variance. None when the pose is not determined at all.

    Args:
        regions: of all terms.
        prior: information about the unknowns from elsewhere, which enters with the variance that it states.

    Source: MacKinnon, Nielsen and Webb, Fast and reliable jackknife and bootstrap methods for cluster-robust
    inference, 2023, equation 14 (CV3); shifts are those of one Newton step.
    """
    used = regions.used()
    hessian = used.hessians.sum(axis=0) if prior is None else used.hessians.sum(axis=0) + prior
    diagonal = np.diag(hessian)
    active = diagonal > 1e-12 * max(float(diagonal.max(initial=0.0)), 1e-300)
    if not active[:6].all() or len(used.gradients) < 2:
        return None
    whiten = _whitening(hessian[np.ix_(active, active)])
    if whiten is None:
        return None
    gradients = used.gradients[:, active] @ whiten
    leverage, directions = np.linalg.eigh(whiten.T @ used.hessians[:, active][:, :, active] @ whiten)
    along = np.einsum("gik,gi->gk", directions, gradients) / (1.0 - np.minimum(leverage, _MOST_LEVERAGE))
    shifts = np.einsum("gik,gk->gi", directions, along) @ whiten.T
    count = len(shifts)
    covariance = (count - 1) / count * shifts[:, :6].T @ shifts[:, :6]
    if prior is not None:
        spread = (whiten @ whiten.T)[:6]
        covariance = covariance + spread @ prior[np.ix_(active, active)] @ spread.T
    return np.asarray(covariance)
