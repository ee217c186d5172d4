"""Bundle adjustment for small motion: six unknowns a frame and one inverse depth a point, in the reference's frame.

A point on the ray x_j (z = 1) of the reference with inverse depth w_j lies, up to its own depth, at
q_ij = R_i x_j + w_j t_i in camera i. Lengths are in units of the scene: median(w) = 1, so a translation of 0.01 is a
hundredth of the median depth. Source: Ha et al., High-quality depth from uncalibrated small motion clip, CVPR 2016,
equations 2 to 5; inverse depths are eliminated with a Schur complement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.sightings import SAME_LENS, Lens, LensPrior, Sightings
from posesplat.geometry.poses import skew
from posesplat.kernels.small_motion import MotionSums, Projection, motion_sums, residual_lengths

Loss = Literal["cauchy", "geman-mcclure"]
"""s^2 log(1 + e^2/s^2), or e^2 / (1 + e^2/s^2), of a residual's length e in pixels."""

INVERSE_DEPTHS = (0.02, 20.0)
"""Inverse depths stay between these, in units of their median."""
_LEAST_SCALE_PX = 0.2
_LARGEST_DEPTH_STEP = 0.5
_DAMPING, _LENS_DAMPING, _LEAST_DAMPING = 1e-4, 1e-7, 1e-11
_RAYLEIGH_MEDIAN = 1.1774
_DISTRUSTED = 1.5 * 1.4826
"""Median residual lengths, 1.5 robust deviations, from which on a loss distrusts."""


@dataclass(frozen=True)
class SmallMotion:
    """Poses of the later frames and inverse depths of the points."""

    rotations: Float[np.ndarray, "frames 3 3"]
    """Rotation of cam_from_reference."""
    translations: Float[np.ndarray, "frames 3"]
    """Translation of cam_from_reference, in units of the scene."""
    inverse_depths: Float[np.ndarray, " points"]
    """In the reference camera; their median is 1."""
    lens: Lens = SAME_LENS
    """The lens, relative to that of the sightings."""

    @staticmethod
    def still(frames: int, points: int) -> SmallMotion:
        """No motion, and all points at the same depth."""
        return SmallMotion(np.tile(np.eye(3), (frames, 1, 1)), np.zeros((frames, 3)), np.ones(points))

    def cam_from_reference(self) -> RigidTransform:
        """The poses, shape (frames,)."""
        return RigidTransform.from_components(self.translations, Rotation.from_matrix(self.rotations))

    def rescaled(self) -> SmallMotion:
        """The same motion in the unit in which the median inverse depth is 1."""
        low, high = INVERSE_DEPTHS
        unit = float(np.median(self.inverse_depths))
        return replace(
            self,
            translations=self.translations * unit,
            inverse_depths=np.clip(self.inverse_depths / unit, low, high),
        )

    def residuals(self, sightings: Sightings) -> Float[np.ndarray, "frames 2 points"]:
        """Predicted less seen pixels; 0 where not seen."""
        sightings = sightings.through(self.lens)
        predicted, _ = _predicted(self, sightings)
        return np.where(sightings.seen[:, None], predicted - sightings.offsets, 0.0)

    def lengths(self, sightings: Sightings) -> Float[np.ndarray, "frames points"]:
        """Distances between predicted and seen places, in pixels of a typical point; 0 where not seen."""
        return residual_lengths(_projection(self, sightings), sightings.seen, sightings.deviations)


def robust_scale(lengths: Float[np.ndarray, "frames points"], seen: Bool[np.ndarray, "frames points"]) -> float:
    """The residual length in pixels from which on a loss distrusts: 1.5 robust deviations, at least 0.2."""
    return max(_DISTRUSTED * float(np.median(lengths[seen])), _LEAST_SCALE_PX)


def noise_px(lengths: Float[np.ndarray, "frames points"], seen: Bool[np.ndarray, "frames points"]) -> float:
    """Robust standard deviation of a coordinate: the median length over that of a unit normal in the plane."""
    return float(np.median(lengths[seen])) / _RAYLEIGH_MEDIAN


def frame_scales(
    lengths: Float[np.ndarray, "frames points"], seen: Bool[np.ndarray, "frames points"]
) -> Float[np.ndarray, "frames 1"]:
    """The same for each frame on its own; frames that see nothing have the least."""
    medians = seen_medians(lengths, seen)
    return np.maximum(_DISTRUSTED * np.where(np.isnan(medians), 0.0, medians)[:, None], _LEAST_SCALE_PX)


def seen_medians(lengths: Float[np.ndarray, "rows n"], seen: Bool[np.ndarray, "rows n"]) -> Float[np.ndarray, " rows"]:
    """The median of each row's seen values; NaN where nothing is seen."""
    count = seen.sum(axis=1)
    ordered = np.sort(np.where(seen, lengths, np.inf), axis=1)
    rows = np.arange(len(seen))
    middle = 0.5 * (
        ordered[rows, np.maximum(count - 1, 0) // 2] + ordered[rows, np.minimum(count // 2, seen.shape[1] - 1)]
    )
    return np.where(count > 0, middle, np.nan)


def robust_losses(
    lengths: Float[np.ndarray, "frames points"], loss: Loss, scale: float | Float[np.ndarray, "frames 1"]
) -> Float[np.ndarray, "frames points"]:
    """The loss of each sighting (0 where not seen, as the residual is); squared pixels."""
    ratio = (lengths / scale) ** 2
    return np.asarray(scale**2 * (np.log1p(ratio) if loss == "cauchy" else ratio / (1.0 + ratio)))


def robust_cost(lengths: Float[np.ndarray, "frames points"], loss: Loss, scale: float) -> float:
    """Sum of the loss over all sightings; squared pixels."""
    return float(robust_losses(lengths, loss, scale).sum())


def robust_weights(
    lengths: Float[np.ndarray, "frames points"],
    sightings: Sightings,
    loss: Loss,
    scale: float | Float[np.ndarray, "frames 1"],
) -> Float[np.ndarray, "frames points"]:
    """Derivative of the loss by the squared residual in pixels; 1 for a perfect fit of a typical point."""
    flat = 1.0 / (1.0 + (lengths / scale) ** 2)
    return np.where(sightings.seen, flat if loss == "cauchy" else flat**2, 0.0) / sightings.deviations**2


def _projection(motion: SmallMotion, sightings: Sightings) -> Projection:
    sightings = sightings.through(motion.lens)
    focal = (float(sightings.focal[0]), float(sightings.focal[1]))
    return Projection(
        motion.rotations, motion.translations, motion.inverse_depths, sightings.rays[:, :2].T, sightings.offsets, focal
    )


def _predicted(
    motion: SmallMotion, sightings: Sightings
) -> tuple[Float[np.ndarray, "frames 2 points"], Float[np.ndarray, "frames 3 points"]]:
    """Predicted pixels from the principal point, and R_i x_j + w_j t_i."""
    in_cam = motion.rotations @ sightings.rays.T + motion.translations[:, :, None] * motion.inverse_depths
    in_cam[:, 2] = np.maximum(in_cam[:, 2], 1e-3)
    return sightings.focal[:, None] * in_cam[:, :2] / in_cam[:, 2:], in_cam


def jacobian(motion: SmallMotion, sightings: Sightings) -> Float[np.ndarray, "frames 7 2 points"]:
    """Derivatives of the residuals by left rotation (3), translation (3) and inverse depth (1)."""
    sightings = sightings.through(motion.lens)
    predicted, in_cam = _predicted(motion, sightings)
    turned = in_cam - motion.translations[:, :, None] * motion.inverse_depths
    frames, points = sightings.seen.shape
    derivative = np.empty((frames, 7, 2, points))
    for axis in range(2):
        # One row of the projection's derivative: (f, 0, -u) / z for the horizontal, (0, f, -v) / z for the vertical.
        along = sightings.focal[axis] / in_cam[:, 2]
        ahead = -predicted[:, axis] / in_cam[:, 2]
        other = 1 - axis
        sign = 1.0 - 2.0 * axis
        derivative[:, axis, axis] = ahead * turned[:, other] * sign
        derivative[:, other, axis] = sign * (along * turned[:, 2] - ahead * turned[:, axis])
        derivative[:, 2, axis] = -sign * along * turned[:, other]
        derivative[:, 3 + axis, axis] = along * motion.inverse_depths
        derivative[:, 3 + other, axis] = 0.0
        derivative[:, 5, axis] = ahead * motion.inverse_depths
        derivative[:, 6, axis] = along * motion.translations[:, axis, None] + ahead * motion.translations[:, 2, None]
    return derivative


def normal_equations(
    motion: SmallMotion, sightings: Sightings, weights: Float[np.ndarray, "frames points"], free_lens: bool = False
) -> MotionSums:
    """The sums of one Gauss-Newton step; with ``free_lens`` the lens is unknown too."""
    return motion_sums(_projection(motion, sightings), weights, sightings.bend(motion.lens) if free_lens else None)


def with_prior(sums: MotionSums, prior: LensPrior, lens: Lens, variance: float) -> MotionSums:
    """The sums with what is known of the lens beforehand, as one more observation of a residual's variance (px^2)."""
    weight = variance / np.array([prior.log_focal, prior.radial]) ** 2
    frames, gradient = sums.frames.copy(), sums.frames_gradient.copy()
    frames[0, 6:, 6:] += np.diag(weight)
    gradient[0, 6:] += weight * np.array([lens.log_focal, lens.radial])
    return replace(sums, frames=frames, frames_gradient=gradient)


def reduced_system(
    sums: MotionSums, damping: float = 0.0
) -> tuple[Float[np.ndarray, "unknowns unknowns"], Float[np.ndarray, " unknowns"], Float[np.ndarray, " points"]]:
    """Hessian and gradient over the poses (and the lens, last), and the inverse of the points' damped diagonal.

    ``damping`` is added to all diagonals in proportion to them.
    """
    frames = len(sums.frames)
    poses = 6 * frames
    diagonal = sums.points * (1.0 + damping)
    inverse = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 1e-9)
    mixed = _mixed(sums)
    unknowns = len(mixed)
    scaled = mixed * np.sqrt(inverse)
    hessian = -(scaled @ scaled.T)
    blocks = hessian[:poses, :poses].reshape(frames, 6, frames, 6)
    index = np.arange(frames)
    blocks[index, :, index, :] += sums.frames[:, :6, :6]
    gradient = np.concatenate([sums.frames_gradient[:, :6].ravel(), sums.frames_gradient[:, 6:].sum(axis=0)])
    own = [sums.frames[:, :6, :6].diagonal(axis1=1, axis2=2).ravel()]
    if unknowns > poses:
        across = sums.frames[:, :6, 6:].reshape(poses, unknowns - poses)
        hessian[:poses, poses:] += across
        hessian[poses:, :poses] += across.T
        lens = sums.frames[:, 6:, 6:].sum(axis=0)
        hessian[poses:, poses:] += lens
        own.append(lens.diagonal())
    hessian[np.diag_indices(unknowns)] += damping * np.concatenate(own) + 1e-9
    return hessian, gradient - mixed @ (inverse * sums.points_gradient), inverse


def with_fixed_scale(
    hessian: Float[np.ndarray, "unknowns unknowns"], translations: Float[np.ndarray, "frames 3"]
) -> Float[np.ndarray, "unknowns unknowns"]:
    """A Hessian over poses in which their common scale, which no sighting tells, is held."""
    scale = np.zeros((len(translations), 6))
    scale[:, 3:] = translations
    scale /= max(float(np.linalg.norm(scale)), 1e-12)
    return hessian + 1e3 * float(np.diag(hessian).max()) * np.outer(scale, scale)


def stepped_depths(
    inverse_depths: Float[np.ndarray, " points"], step: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """Inverse depths after a step, which is limited, within what inverse depths may be."""
    return np.clip(inverse_depths + np.clip(step, -_LARGEST_DEPTH_STEP, _LARGEST_DEPTH_STEP), *INVERSE_DEPTHS)


def _mixed(sums: MotionSums) -> Float[np.ndarray, "unknowns points"]:
    """Blocks between all that is common to points and the inverse depths."""
    poses = sums.mixed.reshape(-1, len(sums.points))
    return poses if sums.lens_mixed is None else np.concatenate([poses, sums.lens_mixed])


def adjusted(
    sightings: Sightings,
    start: SmallMotion,
    loss: Loss,
    max_iterations: int = 40,
    tolerance: float = 1e-6,
    lens: LensPrior | None = None,
) -> SmallMotion:
    """The motion and inverse depths of least robust cost near a start: Levenberg-Marquardt.

    The loss's scale follows the residuals; a step is judged at one scale.

    Args:
        sightings: what was seen; each frame needs a handful of points.
        start: where to begin.
        loss: how distant residuals count.
        max_iterations: most steps tried.
        tolerance: stop when the cost falls by less than this share.
        lens: makes focal length and radial term unknown too.
    """
    # A lens lies in a long valley: what damps steps across it must not stop those along it.
    motion, damping = start.rescaled(), _DAMPING if lens is None else _LENS_DAMPING
    lengths = motion.lengths(sightings)
    sums: MotionSums | None = None
    for _ in range(max_iterations):
        if sums is None:
            scale = robust_scale(lengths, sightings.seen)
            cost = robust_cost(lengths, loss, scale)
            weights = robust_weights(lengths, sightings, loss, scale)
            sums = normal_equations(motion, sightings, weights, free_lens=lens is not None)
            if lens is not None:
                variance = noise_px(lengths, sightings.seen) ** 2
                cost += variance * lens.cost(motion.lens)
                sums = with_prior(sums, lens, motion.lens, variance)
        proposal = _stepped(motion, sums, damping)
        proposed = None if proposal is None else proposal.lengths(sightings)
        change = -1.0
        if proposal is not None and proposed is not None:
            change = cost - robust_cost(proposed, loss, scale)
            change -= 0.0 if lens is None else variance * lens.cost(proposal.lens)
        if proposal is None or proposed is None or change <= 0:
            damping *= 10.0
            if damping > 1e4:
                break
            continue
        motion, lengths, sums, damping = proposal, proposed, None, max(0.1 * damping, _LEAST_DAMPING)
        if change < tolerance * cost:
            break
    return motion


def _stepped(motion: SmallMotion, sums: MotionSums, damping: float) -> SmallMotion | None:
    """The motion after one damped step; None when the system is not positive definite."""
    hessian, gradient, inverse = reduced_system(sums, damping)
    try:
        step = -cho_solve(cho_factor(hessian, lower=True, check_finite=False), gradient, check_finite=False)
    except LinAlgError:
        return None
    depth_gradient = sums.points_gradient + step @ _mixed(sums)
    frames = len(sums.frames)
    poses = step[: 6 * frames].reshape(frames, 6)
    return SmallMotion(
        Rotation.from_rotvec(poses[:, :3]).as_matrix() @ motion.rotations,
        motion.translations + poses[:, 3:],
        stepped_depths(motion.inverse_depths, -inverse * depth_gradient),
        motion.lens if len(step) == 6 * frames else motion.lens.moved(*step[6 * frames :]),
    ).rescaled()


def rotation_only(
    sightings: Sightings,
    start: Float[np.ndarray, "frames 3 3"] | None = None,
    max_iterations: int = 15,
    tolerance: float = 1e-8,
) -> SmallMotion:
    """The rotations that explain the sightings best without translation, each frame on its own (Geman-McClure).

    Args:
        sightings: what was seen.
        start: rotations to begin with; none when left out.
        max_iterations: most steps.
        tolerance: stop when no frame turns by more than this, in radians.
    """
    motion = SmallMotion.still(*sightings.seen.shape)
    if start is not None:
        motion = replace(motion, rotations=start)
    # The scale follows the residuals from loose to tight, so that neither a large turn nor movers decide.
    for iteration in range(max_iterations):
        lengths = motion.lengths(sightings)
        scale = frame_scales(lengths, sightings.seen)
        turn = _turns(motion, sightings, robust_weights(lengths, sightings, "geman-mcclure", scale))
        motion = replace(motion, rotations=Rotation.from_rotvec(turn).as_matrix() @ motion.rotations)
        if iteration > 2 and float(np.abs(turn).max(initial=0.0)) < tolerance:
            break
    return motion


def _turns(
    motion: SmallMotion, sightings: Sightings, weights: Float[np.ndarray, "frames points"]
) -> Float[np.ndarray, "frames 3"]:
    """One Gauss-Newton step of each frame's rotation."""
    sums = normal_equations(motion, sightings, weights)
    hessian = sums.frames[:, :3, :3] + 1e-9 * np.eye(3)
    return -np.linalg.solve(hessian, sums.frames_gradient[:, :3, None])[:, :, 0]


def left_perturbations(motion: SmallMotion) -> Float[np.ndarray, "frames 6 6"]:
    """Turns steps of the adjustment (rotation, added translation) into tangents of a left perturbation.

    exp(omega, v) moves t to exp(omega) t + v + ..., so v = dt - omega x t to first order.
    """
    change = np.tile(np.eye(6), (len(motion.translations), 1, 1))
    change[:, 3:, :3] = skew(motion.translations)
    return change
