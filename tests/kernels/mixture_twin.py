"""The overlap of two sets of Gaussians in plain NumPy, float64, pair by pair; derivatives by finite differences."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.poses import perturbed
from posesplat.kernels.mixture import MixtureRecords, padded_neighbours


@dataclass(frozen=True)
class Side:
    """Gaussians in their own frame."""

    means: np.ndarray
    covariances: np.ndarray
    basis: np.ndarray
    """(n, terms)."""

    def records(self) -> MixtureRecords:
        return MixtureRecords.of(self.means, self.covariances, self.basis if self.basis.shape[1] else None)


@dataclass(frozen=True)
class Overlap:
    """A problem: two sides, a pose, pairs."""

    fixed: Side
    moving: Side
    b_from_a: RigidTransform
    neighbours: np.ndarray
    affinities: np.ndarray
    floor: float = 0.3
    farthest: float = 12.0
    robust: bool = True
    normalised: bool = False

    @property
    def terms(self) -> int:
        return self.fixed.basis.shape[1]

    def moved(self, unknowns: np.ndarray) -> Overlap:
        """At other unknowns: left tangent, field of the fixed set, field of the moving set."""
        terms = self.terms
        fields = (unknowns[6 : 6 + terms], unknowns[6 + terms :])
        sides = [
            replace(side, means=side.means * np.exp(side.basis @ values)[:, None])
            for side, values in zip((self.fixed, self.moving), fields, strict=True)
        ]
        return replace(self, fixed=sides[0], moving=sides[1], b_from_a=perturbed(self.b_from_a, unknowns[:6]))

    def gaps(self) -> np.ndarray:
        """(n, k, 3)."""
        return self.fixed.means[:, None] - self.b_from_a.apply(self.moving.means)[self.neighbours]

    def summed(self) -> np.ndarray:
        """Summed covariances S, (n, k, 3, 3)."""
        rotation = self.b_from_a.rotation.as_matrix()
        turned = rotation @ self.moving.covariances @ rotation.T
        return self.fixed.covariances[:, None] + turned[self.neighbours]

    def overlaps(self, summed: np.ndarray | None = None) -> np.ndarray:
        """K, (n, k); S may be held fixed."""
        summed = self.summed() if summed is None else summed
        gaps = self.gaps()
        squared = np.einsum("nka,nkab,nkb->nk", gaps, np.linalg.inv(summed), gaps)
        overlaps = self.affinities * np.exp(-0.5 * squared)
        if self.normalised:
            overlaps = overlaps / np.sqrt(np.linalg.det(summed))
        return np.where((squared <= self.farthest) & (self.neighbours >= 0), overlaps, 0.0)

    def cost(self, summed: np.ndarray | None = None) -> float:
        totals = self.overlaps(summed).sum(axis=1)
        return -float(np.sum(np.log1p(totals / self.floor) if self.robust else totals))

    def gradient(self, *, frozen: bool) -> np.ndarray:
        """Central differences; with S held where it is, or turning."""
        summed = self.summed() if frozen else None
        step = 1e-6
        return np.array(
            [
                (self.moved(step * axis).cost(summed) - self.moved(-step * axis).cost(summed)) / (2 * step)
                for axis in np.eye(6 + 2 * self.terms)
            ]
        )

    def hessian(self) -> np.ndarray:
        """Sum of weight J^T S^-1 J, with J by central differences of the gaps."""
        step = 1e-6
        columns = [
            (self.moved(step * axis).gaps() - self.moved(-step * axis).gaps()) / (2 * step)
            for axis in np.eye(6 + 2 * self.terms)
        ]
        jacobian = np.stack(columns, axis=-1)
        return np.einsum(
            "nk,nkai,nkab,nkbj->ij", self.weights(), jacobian, np.linalg.inv(self.summed()), jacobian, optimize=True
        )

    def weights(self) -> np.ndarray:
        overlaps = self.overlaps()
        return overlaps / (self.floor + overlaps.sum(axis=1, keepdims=True)) if self.robust else overlaps


def random_overlap(seed: int, terms: int = 0, rows: int = 70, count: int = 90, width: int = 11) -> Overlap:
    """Flattened Gaussians about 2 m away, some rows without neighbours, no pair near the truncation."""
    rng = np.random.default_rng(seed)
    b_from_a = RigidTransform.from_exp_coords([0.2, -0.3, 0.1, 0.4, -0.2, 0.3])
    neighbours = rng.integers(0, count, size=(rows, width)).astype(np.int32)
    neighbours[rng.uniform(size=neighbours.shape) < 0.2] = -1
    neighbours[:3] = -1
    moving = Side(rng.uniform([-1, -1, 1.5], [1, 1, 2.5], (count, 3)), _discs(rng, count), _basis(rng, count, terms))
    near = b_from_a.apply(moving.means)[rng.integers(0, count, rows)] + 0.05 * rng.normal(size=(rows, 3))
    fixed = Side(near, _discs(rng, rows), _basis(rng, rows, terms))
    problem = Overlap(fixed, moving, b_from_a, padded_neighbours(neighbours), np.zeros((rows, 16)), farthest=12.0)
    affinities = rng.uniform(0.2, 1.0, problem.neighbours.shape).astype(np.float32)
    gaps = problem.gaps()
    squared = np.einsum("nka,nkab,nkb->nk", gaps, np.linalg.inv(problem.summed()), gaps)
    affinities[np.abs(squared - problem.farthest) < 0.2] = 0
    return replace(problem, affinities=affinities)


def _discs(rng: np.random.Generator, count: int) -> np.ndarray:
    axes = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    scales = rng.uniform(0.2, 0.5, (count, 3)) * [1, 1, 0.2]
    return axes @ (scales[:, :, None] ** 2 * np.swapaxes(axes, 1, 2))


def _basis(rng: np.random.Generator, count: int, terms: int) -> np.ndarray:
    return np.concatenate([np.ones((count, 1)), rng.uniform(-1, 1, (count, 5))], axis=1)[:, :terms]
