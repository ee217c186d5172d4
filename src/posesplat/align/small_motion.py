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
from jaxtyping import Bool, Float, Int
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.tracks import Tracks
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import skew

Loss = Literal["cauchy", "geman-mcclure"]
"""s^2 log(1 + e^2/s^2), or e^2 / (1 + e^2/s^2), of a residual's length e in pixels."""

INVERSE_DEPTHS = (0.02, 20.0)
"""Inverse depths stay between these, in units of their median."""
_LEAST_SCALE_PX = 0.2
_LARGEST_DEPTH_STEP = 0.5
_RAYLEIGH_MEDIAN = 1.1774
_DISTRUSTED = 1.5 * 1.4826
"""Median residual lengths, 1.5 robust deviations, from which on a loss distrusts."""


@dataclass(frozen=True)
class Sightings:
    """Tracks as the adjustment needs them: rays of the reference and where they were seen, from the principal point."""

    rays: Float[np.ndarray, "points 3"]
    """Viewing rays with z = 1 in the reference camera."""
    offsets: Float[np.ndarray, "frames 2 points"]
    """Seen pixels less the principal point."""
    seen: Bool[np.ndarray, "frames points"]
    """Which are measured."""
    focal: Float[np.ndarray, "2"]
    """Focal lengths in pixels."""
    deviations: Float[np.ndarray, " points"]
    """How uncertain each point is, relative to the typical one; residuals count in this unit."""

    @staticmethod
    def of(tracks: Tracks, camera: Camera) -> Sightings:
        """The sightings of tracks in images of a pinhole camera."""
        focal, centre = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
        rays = camera.rays_at(tracks.reference)
        offsets = np.where(tracks.seen[:, None], (tracks.pixels - centre).transpose(0, 2, 1), 0.0)
        return Sightings(rays, np.ascontiguousarray(offsets), tracks.seen, focal, np.ones(len(rays)))

    def select(self, points: Bool[np.ndarray, " points"] | Int[np.ndarray, " chosen"] | slice) -> Sightings:
        """Some of the points, in all frames."""
        offsets = np.ascontiguousarray(self.offsets[:, :, points])
        deviations = self.deviations[points]
        return Sightings(self.rays[points], offsets, self.seen[:, points], self.focal, deviations)

    def frames(self, chosen: Int[np.ndarray, " chosen"]) -> Sightings:
        """All points, in some of the frames."""
        return replace(self, offsets=self.offsets[chosen], seen=self.seen[chosen])


@dataclass(frozen=True)
class SmallMotion:
    """Poses of the later frames and inverse depths of the points."""

    rotations: Float[np.ndarray, "frames 3 3"]
    """Rotation of cam_from_reference."""
    translations: Float[np.ndarray, "frames 3"]
    """Translation of cam_from_reference, in units of the scene."""
    inverse_depths: Float[np.ndarray, " points"]
    """In the reference camera; their median is 1."""

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
        predicted, _ = _predicted(self, sightings)
        return np.where(sightings.seen[:, None], predicted - sightings.offsets, 0.0)

    def lengths(self, sightings: Sightings) -> Float[np.ndarray, "frames points"]:
        """Distances between predicted and seen places, in pixels of a typical point; 0 where not seen."""
        residual = self.residuals(sightings)
        return np.sqrt(residual[:, 0] ** 2 + residual[:, 1] ** 2) / sightings.deviations


@dataclass(frozen=True)
class NormalEquations:
    """Weighted Gauss-Newton sums, split into what belongs to frames, to points, and to both."""

    frames: Float[np.ndarray, "frames 6 6"]
    """Blocks of the Hessian over (rotation, translation)."""
    mixed: Float[np.ndarray, "frames 6 points"]
    """Blocks between poses and inverse depths."""
    points: Float[np.ndarray, " points"]
    """Diagonal of the Hessian over inverse depths."""
    frames_gradient: Float[np.ndarray, "frames 6"]
    """Gradient over the poses."""
    points_gradient: Float[np.ndarray, " points"]
    """Gradient over the inverse depths."""


def robust_scale(lengths: Float[np.ndarray, "frames points"], seen: Bool[np.ndarray, "frames points"]) -> float:
    """The residual length in pixels from which on a loss distrusts: 1.5 robust deviations, at least 0.2."""
    return max(_DISTRUSTED * float(np.median(lengths[seen])), _LEAST_SCALE_PX)


def noise_px(lengths: Float[np.ndarray, "frames points"], seen: Bool[np.ndarray, "frames points"]) -> float:
    """Robust standard deviation of a coordinate: the median length over that of a unit normal in the plane."""
    return float(np.median(lengths[seen])) / _RAYLEIGH_MEDIAN


def robust_cost(lengths: Float[np.ndarray, "frames points"], loss: Loss, scale: float) -> float:
    """Sum of the loss over all sightings (0 where not seen, as the residual is); squared pixels."""
    ratio = (lengths / scale) ** 2
    values = np.log1p(ratio) if loss == "cauchy" else ratio / (1.0 + ratio)
    return float(scale**2 * values.sum())


def robust_weights(
    lengths: Float[np.ndarray, "frames points"],
    sightings: Sightings,
    loss: Loss,
    scale: float | Float[np.ndarray, "frames 1"],
) -> Float[np.ndarray, "frames points"]:
    """Derivative of the loss by the squared residual in pixels; 1 for a perfect fit of a typical point."""
    flat = 1.0 / (1.0 + (lengths / scale) ** 2)
    return np.where(sightings.seen, flat if loss == "cauchy" else flat**2, 0.0) / sightings.deviations**2


def _predicted(
    motion: SmallMotion, sightings: Sightings
) -> tuple[Float[np.ndarray, "frames 2 points"], Float[np.ndarray, "frames 3 points"]]:
    """Predicted pixels from the principal point, and R_i x_j + w_j t_i."""
    in_cam = motion.rotations @ sightings.rays.T + motion.translations[:, :, None] * motion.inverse_depths
    in_cam[:, 2] = np.maximum(in_cam[:, 2], 1e-3)
    return sightings.focal[:, None] * in_cam[:, :2] / in_cam[:, 2:], in_cam


def jacobian(motion: SmallMotion, sightings: Sightings) -> Float[np.ndarray, "frames 7 2 points"]:
    """Derivatives of the residuals by left rotation (3), translation (3) and inverse depth (1)."""
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
    motion: SmallMotion, sightings: Sightings, weights: Float[np.ndarray, "frames points"]
) -> NormalEquations:
    """The sums of one Gauss-Newton step."""
    root = np.sqrt(weights)[:, None]
    frames, points = weights.shape
    weighted = jacobian(motion, sightings) * root[:, None]
    residual = motion.residuals(sightings) * root
    poses = weighted[:, :6].reshape(frames, 6, 2 * points)
    depths = weighted[:, 6]
    return NormalEquations(
        frames=poses @ poses.transpose(0, 2, 1),
        mixed=weighted[:, :6, 0] * depths[:, None, 0] + weighted[:, :6, 1] * depths[:, None, 1],
        points=np.einsum("fcp,fcp->p", depths, depths),
        frames_gradient=(poses @ residual.reshape(frames, 2 * points, 1))[:, :, 0],
        points_gradient=np.einsum("fcp,fcp->p", depths, residual),
    )


def reduced_system(
    sums: NormalEquations, damping: float = 0.0
) -> tuple[Float[np.ndarray, "unknowns unknowns"], Float[np.ndarray, " unknowns"], Float[np.ndarray, " points"]]:
    """Hessian and gradient over the poses alone, and the inverse of the points' damped diagonal.

    ``damping`` is added to all diagonals in proportion to them.
    """
    count = 6 * len(sums.frames)
    diagonal = sums.points * (1.0 + damping)
    inverse = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 1e-9)
    mixed = sums.mixed.reshape(count, -1)
    hessian = -((mixed * inverse) @ mixed.T)
    blocks = hessian.reshape(len(sums.frames), 6, len(sums.frames), 6)
    index = np.arange(len(sums.frames))
    blocks[index, :, index, :] += sums.frames
    hessian[np.diag_indices(count)] += damping * sums.frames.diagonal(axis1=1, axis2=2).ravel() + 1e-9
    gradient = sums.frames_gradient.ravel() - mixed @ (inverse * sums.points_gradient)
    return hessian, gradient, inverse


def adjusted(
    sightings: Sightings, start: SmallMotion, loss: Loss, max_iterations: int = 40, tolerance: float = 1e-6
) -> SmallMotion:
    """The motion and inverse depths of least robust cost near a start: Levenberg-Marquardt.

    The loss's scale follows the residuals; a step is judged at one scale.

    Args:
        sightings: what was seen; each frame needs a handful of points.
        start: where to begin.
        loss: how distant residuals count.
        max_iterations: most steps tried.
        tolerance: stop when the cost falls by less than this share.
    """
    motion, damping = start.rescaled(), 1e-4
    lengths = motion.lengths(sightings)
    sums: NormalEquations | None = None
    for _ in range(max_iterations):
        if sums is None:
            scale = robust_scale(lengths, sightings.seen)
            cost = robust_cost(lengths, loss, scale)
            sums = normal_equations(motion, sightings, robust_weights(lengths, sightings, loss, scale))
        proposal = _stepped(motion, sums, damping)
        proposed = None if proposal is None else proposal.lengths(sightings)
        change = -1.0 if proposed is None else cost - robust_cost(proposed, loss, scale)
        if proposal is None or proposed is None or change <= 0:
            damping *= 10.0
            if damping > 1e4:
                break
            continue
        motion, lengths, sums, damping = proposal, proposed, None, max(0.1 * damping, 1e-7)
        if change < tolerance * cost:
            break
    return motion


def _stepped(motion: SmallMotion, sums: NormalEquations, damping: float) -> SmallMotion | None:
    """The motion after one damped step; None when the system is not positive definite."""
    hessian, gradient, inverse = reduced_system(sums, damping)
    try:
        step = -cho_solve(cho_factor(hessian, lower=True, check_finite=False), gradient, check_finite=False)
    except LinAlgError:
        return None
    step = step.reshape(-1, 6)
    depth_gradient = sums.points_gradient + np.einsum("fkp,fk->p", sums.mixed, step)
    depth_step = np.clip(-inverse * depth_gradient, -_LARGEST_DEPTH_STEP, _LARGEST_DEPTH_STEP)
    low, high = INVERSE_DEPTHS
    return SmallMotion(
        Rotation.from_rotvec(step[:, :3]).as_matrix() @ motion.rotations,
        motion.translations + step[:, 3:],
        np.clip(motion.inverse_depths + depth_step, low, high),
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
        counted = np.where(sightings.seen, lengths, np.nan)
        scale = np.maximum(_DISTRUSTED * np.nanmedian(counted, axis=1), _LEAST_SCALE_PX)[:, None]
        turn = _turns(motion, sightings, robust_weights(lengths, sightings, "geman-mcclure", scale))
        motion = replace(motion, rotations=Rotation.from_rotvec(turn).as_matrix() @ motion.rotations)
        if iteration > 2 and float(np.abs(turn).max(initial=0.0)) < tolerance:
            break
    return motion


def _turns(
    motion: SmallMotion, sightings: Sightings, weights: Float[np.ndarray, "frames points"]
) -> Float[np.ndarray, "frames 3"]:
    """One Gauss-Newton step of each frame's rotation."""
    root = np.sqrt(weights)[:, None]
    frames, points = weights.shape
    columns = (jacobian(motion, sightings)[:, :3] * root[:, None]).reshape(frames, 3, 2 * points)
    residual = (motion.residuals(sightings) * root).reshape(frames, 2 * points, 1)
    hessian = columns @ columns.transpose(0, 2, 1) + 1e-9 * np.eye(3)
    return -np.linalg.solve(hessian, columns @ residual)[:, :, 0]


def left_perturbations(motion: SmallMotion) -> Float[np.ndarray, "frames 6 6"]:
    """Turns steps of the adjustment (rotation, added translation) into tangents of a left perturbation.

    exp(omega, v) moves t to exp(omega) t + v + ..., so v = dt - omega x t to first order.
    """
    change = np.tile(np.eye(6), (len(motion.translations), 1, 1))
    change[:, 3:, :3] = skew(motion.translations)
    return change
