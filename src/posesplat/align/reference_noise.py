"""Small-motion adjustment in which the reference's own measurements are uncertain, too, and its covariance.

A window is found in later frames relative to the reference, whose noise shifts the point by the same (r_x, r_y) in all
of them. Taken for exact places, such points pretend to depth contrast, which pulls the split between rotation and
translation to one side the more, the smaller the motion. Here r_j is unknown for each point, as uncertain beforehand as
a place in any other frame: the total least squares of Triggs et al., Bundle adjustment - a modern synthesis, 2000,
section 2, in the units of :mod:`posesplat.align.small_motion`. Inverse depth and r_j are eliminated point by point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.spatial.transform import Rotation

from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import (
    SmallMotion,
    jacobian,
    left_perturbations,
    robust_cost,
    robust_scale,
    robust_weights,
    stepped_depths,
    with_fixed_scale,
)
from posesplat.align.small_motion_trust import regions

_DAMPING, _MOST_DAMPING = 1e-6, 1e3


@dataclass(frozen=True)
class NoisyReference:
    """A motion, and where the reference really saw its points."""

    motion: SmallMotion
    """Poses and inverse depths."""
    shifts: Float[np.ndarray, "2 points"]
    """What the reference's noise adds to a point's place in all later frames, in pixels: seen less predicted."""

    def corrected(self, sightings: Sightings) -> Sightings:
        """The sightings less the shifts."""
        return replace(sightings, offsets=sightings.offsets - self.shifts[None])

    def lengths(self, sightings: Sightings) -> Float[np.ndarray, "frames points"]:
        """Residuals once the shifts are taken away, in pixels."""
        return self.motion.lengths(self.corrected(sightings))

    def cost(self, sightings: Sightings, scale: float) -> float:
        """Geman-McClure cost at a robust scale, and what the shifts cost."""
        return _cost(self, self.lengths(sightings), sightings, scale)


@dataclass(frozen=True)
class _System:
    """Normal equations with (inverse depth, shift) of each point still in them."""

    poses: Float[np.ndarray, "frames 6 6"]
    poses_gradient: Float[np.ndarray, "frames 6"]
    mixed: Float[np.ndarray, "frames 6 3 points"]
    points: Float[np.ndarray, "points 3 3"]
    points_gradient: Float[np.ndarray, "points 3"]
    pulls: Float[np.ndarray, "frames 6 points"]
    """Each point's share of the poses' gradient."""

    def reduced(
        self, damping: float = 0.0
    ) -> tuple[Float[np.ndarray, "unknowns unknowns"], Float[np.ndarray, " unknowns"], Float[np.ndarray, "points 3 3"]]:
        """Hessian and gradient over poses alone, and the points' damped blocks."""
        frames = len(self.poses)
        index = np.arange(3)
        blocks = self.points.copy()
        blocks[:, index, index] *= 1.0 + damping
        blocks[:, 0, 0] += 1e-9
        half = np.linalg.inv(np.linalg.cholesky(blocks))
        across = np.stack([sum(self.mixed[:, :, k] * half[:, row, k] for k in range(row + 1)) for row in range(3)], 2)
        across = across.reshape(6 * frames, -1)
        hessian = -across @ across.T
        place = np.arange(frames)
        hessian.reshape(frames, 6, frames, 6)[place, :, place, :] += self.poses * (1.0 + damping * np.eye(6))
        hessian[np.diag_indices(6 * frames)] += 1e-9
        gradient = self.poses_gradient.ravel() - across @ np.einsum("pbk,pk->bp", half, self.points_gradient).ravel()
        return hessian, gradient, blocks


def with_noisy_reference(
    motion: SmallMotion, sightings: Sightings, max_iterations: int = 16, tolerance: float = 1e-6
) -> NoisyReference:
    """The motion of least Geman-McClure cost, counting what the reference's own places would have to be shifted by.

    Args:
        motion: nearly right.
        sightings: what was seen, with each point's deviation.
        max_iterations: most steps tried.
        tolerance: stop when the cost falls by less than this share.
    """
    found, damping = NoisyReference(motion, np.zeros((2, len(sightings.rays)))), _DAMPING
    system: _System | None = None
    lengths = motion.lengths(sightings)
    for _ in range(max_iterations):
        if system is None:
            scale = robust_scale(lengths, sightings.seen)
            cost = _cost(found, lengths, sightings, scale)
            system = _system(found, lengths, sightings, scale)
        proposal = _stepped(found, system, damping)
        change = -1.0
        if proposal is not None:
            proposed = proposal.lengths(sightings)
            change = cost - _cost(proposal, proposed, sightings, scale)
        if proposal is None or change <= 0:
            damping *= 10.0
            if damping > _MOST_DAMPING:
                break
            continue
        found, lengths, system, damping = proposal, proposed, None, max(0.1 * damping, _DAMPING)
        if change < tolerance * cost:
            break
    return found


def covariances(
    found: NoisyReference, sightings: Sightings, inflation: float = 1.0
) -> Float[np.ndarray, "frames 6 6"] | None:
    """Covariance of each frame's left perturbation (rotation, translation), cam_from_reference, in units of the scene.

    A sandwich in which all that the points of one square of the image pull counts as one observation, since
    neighbouring windows share pixels. The common scale is held fixed.

    Args:
        found: at the minimum.
        sightings: what it was adjusted to.
        inflation: factor on the variances, measured on clips with known truth.

    Returns:
        None when the motion is not determined.

    Source: Cameron and Miller, A practitioner's guide to cluster-robust inference, 2015, equation 11.
    """
    motion = found.motion
    frames = len(sightings.seen)
    lengths = found.lengths(sightings)
    system = _system(found, lengths, sightings, robust_scale(lengths, sightings.seen))
    hessian, _, blocks = system.reduced()
    try:
        factor = cho_factor(with_fixed_scale(hessian, motion.translations), lower=True)
    except LinAlgError:
        return None
    own = np.linalg.solve(blocks, system.points_gradient[:, :, None])[:, :, 0]
    pulls = (system.pulls - np.einsum("fakp,pk->fap", system.mixed, own)).reshape(6 * frames, -1) @ regions(sightings)
    count = pulls.shape[1]
    scatter = pulls @ pulls.T * (count / max(count - 1, 1))
    spread = cho_solve(factor, cho_solve(factor, scatter).T).reshape(frames, 6, frames, 6)
    place = np.arange(frames)
    change = left_perturbations(motion)
    return inflation * change @ spread[place, :, place, :] @ change.transpose(0, 2, 1)


def _cost(
    found: NoisyReference, lengths: Float[np.ndarray, "frames points"], sightings: Sightings, scale: float
) -> float:
    return robust_cost(lengths, "geman-mcclure", scale) + float(np.sum((found.shifts / sightings.deviations) ** 2))


def _system(
    found: NoisyReference, lengths: Float[np.ndarray, "frames points"], sightings: Sightings, scale: float
) -> _System:
    frames, points = sightings.seen.shape
    weights = robust_weights(lengths, sightings, "geman-mcclure", scale)
    residual = found.motion.residuals(found.corrected(sightings))
    # Predicted less seen: a shift adds to the prediction with derivative 1.
    derivative = jacobian(found.motion, sightings)
    weighted = derivative * weights[:, None, None]
    flat, flat_weighted = (rows[:, :6].reshape(frames, 6, 2 * points) for rows in (derivative, weighted))
    by_depth = weighted[:, :6, 0] * derivative[:, 6:, 0] + weighted[:, :6, 1] * derivative[:, 6:, 1]
    mixed = np.concatenate([by_depth[:, :, None], weighted[:, :6]], axis=2)
    known = 1.0 / sightings.deviations**2
    blocks = np.zeros((points, 3, 3))
    blocks[:, 0, 0] = np.einsum("fcp,fcp->p", weighted[:, 6], derivative[:, 6])
    blocks[:, 0, 1:] = blocks[:, 1:, 0] = weighted[:, 6].sum(axis=0).T
    blocks[:, 1, 1] = blocks[:, 2, 2] = weights.sum(axis=0) + known
    gradient = np.empty((points, 3))
    gradient[:, 0] = np.einsum("fcp,fcp->p", weighted[:, 6], residual)
    gradient[:, 1:] = ((weights[:, None] * residual).sum(axis=0) + known * found.shifts).T
    pulls = weighted[:, :6, 0] * residual[:, None, 0] + weighted[:, :6, 1] * residual[:, None, 1]
    return _System(np.matmul(flat_weighted, flat.transpose(0, 2, 1)), pulls.sum(axis=2), mixed, blocks, gradient, pulls)


def _stepped(found: NoisyReference, system: _System, damping: float) -> NoisyReference | None:
    """After one damped step; None when the system is not positive definite."""
    try:
        hessian, gradient, blocks = system.reduced(damping)
        step = -cho_solve(cho_factor(hessian, lower=True), gradient)
    except LinAlgError:
        return None
    poses = step.reshape(-1, 6)
    pull = system.points_gradient + np.einsum("fakp,fa->pk", system.mixed, poses)
    own = -np.linalg.solve(blocks, pull[:, :, None])[:, :, 0]
    motion = SmallMotion(
        Rotation.from_rotvec(poses[:, :3]).as_matrix() @ found.motion.rotations,
        found.motion.translations + poses[:, 3:],
        stepped_depths(found.motion.inverse_depths, own[:, 0]),
        found.motion.lens,
    )
    return NoisyReference(motion.rescaled(), found.shifts + own[:, 1:].T)
