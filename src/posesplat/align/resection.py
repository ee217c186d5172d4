"""Poses of frames that see points whose depths are known: six unknowns a frame, each frame on its own.

The model is that of :mod:`posesplat.align.small_motion`, q_ij = R_i x_j + w_j t_i, with the inverse depths w_j held
fixed; so the motion may be as large as the tracks allow, and lengths are in the unit of the depths.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import (
    SmallMotion,
    frame_scales,
    left_perturbations,
    noise_px,
    normal_equations,
    robust_losses,
    robust_weights,
    rotation_only,
)

_MOST_DAMPING = 1e4
_LEAST_INFORMATION = 1e-9
_LEAST_NOISE_PX = 0.02
"""No track is more exact; images are of 8 bits."""


def resected(
    sightings: Sightings,
    inverse_depths: Float[np.ndarray, " points"],
    start: RigidTransform | None = None,
    max_iterations: int = 40,
    tolerance: float = 1e-9,
) -> SmallMotion:
    """The poses of least robust cost (Geman-McClure) near a start, with the points' depths held fixed.

    Levenberg-Marquardt, all frames side by side; the loss's scale follows each frame's residuals.

    Args:
        sightings: what was seen. A frame that sees fewer than three points stays near its start.
        inverse_depths: in the reference camera, finite and not negative; their unit becomes that of the translations.
        start: cam_from_reference of each frame, stacked; the best pure rotations when left out.
        max_iterations: most steps tried.
        tolerance: a frame is done when its cost falls by less than this share.

    Raises:
        ValueError: when an inverse depth is unknown or negative, or there is not one start a frame.
    """
    if not (np.isfinite(inverse_depths) & (inverse_depths >= 0)).all():
        raise ValueError(
            f"resected needs inverse depths that are finite and not negative; "
            f"{int((~(np.isfinite(inverse_depths) & (inverse_depths >= 0))).sum())} of {len(inverse_depths)} are not. "
            "Select the points whose depths are known."
        )
    frames = len(sightings.seen)
    if start is not None and start.shape != (frames,):
        raise ValueError(f"resected needs one start for each of {frames} frames; got shape {start.shape}. Stack them.")
    if start is None:
        motion = replace(rotation_only(sightings), inverse_depths=inverse_depths)
    else:
        motion = SmallMotion(start.rotation.as_matrix(), start.translation, inverse_depths)
    damping, open_ = np.full(frames, 1e-4), np.ones(frames, dtype=bool)
    lengths = motion.lengths(sightings)
    for _ in range(max_iterations):
        scale = frame_scales(lengths, sightings.seen)
        cost = robust_losses(lengths, "geman-mcclure", scale).sum(axis=1)
        weights = robust_weights(lengths, sightings, "geman-mcclure", scale)
        proposal = _stepped(motion, sightings, weights, damping)
        proposed = proposal.lengths(sightings)
        change = cost - robust_losses(proposed, "geman-mcclure", scale).sum(axis=1)
        better = open_ & (change > 0)
        motion = replace(
            motion,
            rotations=np.where(better[:, None, None], proposal.rotations, motion.rotations),
            translations=np.where(better[:, None], proposal.translations, motion.translations),
        )
        lengths = np.where(better[:, None], proposed, lengths)
        damping = np.where(better, np.maximum(0.1 * damping, 1e-7), 10.0 * damping)
        open_ &= np.where(better, change >= tolerance * cost, damping <= _MOST_DAMPING)
        if not open_.any():
            break
    return motion


def _stepped(
    motion: SmallMotion,
    sightings: Sightings,
    weights: Float[np.ndarray, "frames points"],
    damping: Float[np.ndarray, " frames"],
) -> SmallMotion:
    """The motion after one damped step of each frame."""
    sums = normal_equations(motion, sightings, weights)
    diagonal = np.einsum("fii->fi", sums.frames)
    raised = damping[:, None] * diagonal + _LEAST_INFORMATION
    step = -np.linalg.solve(sums.frames + raised[:, :, None] * np.eye(6), sums.frames_gradient[:, :, None])[:, :, 0]
    return replace(
        motion,
        rotations=Rotation.from_rotvec(step[:, :3]).as_matrix() @ motion.rotations,
        translations=motion.translations + step[:, 3:],
    )


def agreeing(motion: SmallMotion, sightings: Sightings, max_residual_px: float) -> Bool[np.ndarray, "frames points"]:
    """Which points are seen within a distance of where the motion puts them."""
    return sightings.seen & (motion.lengths(sightings) <= max_residual_px)


def resection_covariances(
    motion: SmallMotion, sightings: Sightings, inflation: float = 1.0, contrast_error: float = 0.0
) -> Float[np.ndarray, "frames 6 6"]:
    """Covariance of each frame's left perturbation (rotation, translation), cam_from_reference.

    The robust variance of the frame's own residuals through the inverse of its Gauss-Newton matrix, and the response to
    an error of the depths' contrast, which leaves hardly a residual: the pose follows it.

    Args:
        motion: of :func:`resected`.
        sightings: what it was fitted to.
        inflation: factor on the variances: the depths' errors, which all frames share, pull neighbours alike.
        contrast_error: standard deviation of the factor on (inverse depth - median inverse depth). Noise in the depths
            and the ambiguity of small motions exaggerate contrast.
    """
    lengths = motion.lengths(sightings)
    weights = robust_weights(lengths, sightings, "geman-mcclure", frame_scales(lengths, sightings.seen))
    noise = np.array(
        [
            max(noise_px(own[None], seen[None]), _LEAST_NOISE_PX) if seen.any() else _LEAST_NOISE_PX
            for own, seen in zip(lengths, sightings.seen, strict=True)
        ]
    )
    sums = normal_equations(motion, sightings, weights)
    inverse = np.linalg.inv(sums.frames + _LEAST_INFORMATION * np.eye(6))
    contrast = contrast_error * (motion.inverse_depths - np.median(motion.inverse_depths))
    response = -inverse @ (sums.mixed @ contrast)[:, :, None]
    spread = inflation * noise[:, None, None] ** 2 * inverse + response @ response.transpose(0, 2, 1)
    change = left_perturbations(motion)
    return np.asarray(change @ spread @ change.transpose(0, 2, 1))
