"""What a small motion is worth: whether its translation can be seen at all, whether it repeats, and its covariance.

Two halves of the points, each in its own squares of the image, are adjusted from the same ignorant start. Noise drives
them apart; a true translation brings both to the same path. The first frame's own error shifts a whole path, so paths
are compared about their means.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import (
    SmallMotion,
    adjusted,
    jacobian,
    left_perturbations,
    noise_px,
    normal_equations,
    reduced_system,
    robust_cost,
    robust_scale,
    robust_weights,
    rotation_only,
)

_SQUARES = 8
"""Squares along the longer side of the image over which halves and regions are laid."""
_FEWEST_IN_HALF = 15


@dataclass(frozen=True)
class Evidence:
    """What speaks for a translation."""

    cost_ratio: float
    """Robust cost a degree of freedom of the best pure rotation, over that of the full motion."""
    repeatability: float
    """Correlation in [-1, 1] of the camera paths that the two halves of the points give on their own."""
    noise_px: float
    """Robust standard deviation of a coordinate of a typical point."""
    signal_to_noise: float
    """Largest median residual of a frame under pure rotation, over ``noise_px``."""


def evidence(motion: SmallMotion, sightings: Sightings) -> Evidence:
    """What speaks for the translation of a motion."""
    turned = rotation_only(sightings)
    full, bare = motion.lengths(sightings), turned.lengths(sightings)
    scale = robust_scale(full, sightings.seen)
    noise = noise_px(full, sightings.seen)
    # Each residual is freed by the unknowns spent on it, which matters when there are few frames.
    frames, points = sightings.seen.shape
    measured = 2.0 * float(sightings.seen.sum())
    spent = (measured - 3 * frames) / max(measured - 6 * frames - points, 1.0)
    cost = robust_cost(full, "geman-mcclure", scale) * spent
    unexplained = np.nanmedian(np.where(sightings.seen, bare, np.nan), axis=1)
    return Evidence(
        cost_ratio=robust_cost(bare, "geman-mcclure", scale) / max(cost, 1e-12),
        repeatability=_repeatability(turned, sightings),
        noise_px=noise,
        signal_to_noise=float(unexplained.max()) / max(noise, 1e-12),
    )


def _repeatability(turned: SmallMotion, sightings: Sightings) -> float:
    column, row = _squares(sightings)
    dark = (column + row) % 2 == 1
    if min(int(dark.sum()), int((~dark).sum())) < _FEWEST_IN_HALF or len(sightings.seen) < 2:
        return float("nan")
    return path_correlation(*(_path_of_half(turned, sightings, half) for half in (dark, ~dark)))


def path_correlation(first: Float[np.ndarray, "frames 3"], second: Float[np.ndarray, "frames 3"]) -> float:
    """Correlation of two paths about their means, in [-1, 1]; 0 when one stands still."""
    a, b = (path - path.mean(axis=0) for path in (first, second))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.sum(a * b)) / lengths if lengths > 0 else 0.0


def _path_of_half(
    turned: SmallMotion, sightings: Sightings, half: Bool[np.ndarray, " points"]
) -> Float[np.ndarray, "frames 3"]:
    start = replace(turned, inverse_depths=np.ones(int(half.sum())))
    motion = adjusted(sightings.select(half), start, "geman-mcclure", max_iterations=25)
    return -np.einsum("fji,fj->fi", motion.rotations, motion.translations)


def _squares(
    sightings: Sightings,
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Column and row of the square of the reference image that each point lies in."""
    pixels = sightings.rays[:, :2] * sightings.focal
    low, extent = pixels.min(axis=0), max(float(np.ptp(pixels, axis=0).max()), 1e-9)
    place = np.minimum(np.floor((pixels - low) / extent * _SQUARES), _SQUARES - 1)
    return place[:, 0], place[:, 1]


def covariances(
    motion: SmallMotion, sightings: Sightings, inflation: float = 1.0
) -> Float[np.ndarray, "frames 6 6"] | None:
    """Covariance of each frame's left perturbation (rotation, translation), cam_from_reference, in units of the scene.

    Three parts: a sandwich in which all that the points of one square of the image pull counts as one observation,
    since neighbouring windows share pixels; the reference's noise, which is the same in all frames and so leaves no
    residual; and depth contrast, which that noise exaggerates when the motion is small. The common scale is held fixed.

    Args:
        motion: at the minimum.
        sightings: what it was adjusted to.
        inflation: factor on the variances, measured on clips with known truth.

    Returns:
        None when the motion is not determined.

    Source: Cameron and Miller, A practitioner's guide to cluster-robust inference, 2015, equation 11.
    """
    frames, points = sightings.seen.shape
    lengths = motion.lengths(sightings)
    weights = robust_weights(lengths, sightings, "geman-mcclure", robust_scale(lengths, sightings.seen))
    sums = normal_equations(motion, sightings, weights)
    hessian, _, inverse = reduced_system(sums)
    fixed = np.zeros((frames, 6))
    fixed[:, 3:] = motion.translations
    fixed /= max(float(np.linalg.norm(fixed)), 1e-12)
    hessian += 1e3 * float(np.diag(hessian).max()) * np.outer(fixed, fixed)
    try:
        factor = cho_factor(hessian, lower=True)
    except LinAlgError:
        return None

    derivative = jacobian(motion, sightings) * weights[:, None, None]
    residual = motion.residuals(sightings)
    region = regions(sightings)
    pulls = _reduced(np.einsum("fkcp,fcp->fkp", derivative, residual), sums.mixed, inverse) @ region
    own_noise = noise_px(lengths, sightings.seen) * sightings.deviations
    by_reference = [
        _reduced(derivative[:, :, axis] * own_noise, sums.mixed, inverse).reshape(6 * frames, points)
        for axis in range(2)
    ]
    scatter = pulls @ pulls.T * (region.shape[1] / max(region.shape[1] - 1, 1))
    scatter += sum(pull @ pull.T for pull in by_reference)
    spread = cho_solve(factor, cho_solve(factor, scatter).T).reshape(frames, 6, frames, 6)
    index = np.arange(frames)
    blocks = spread[index, :, index, :]

    depth_noise = (derivative[:, 6].sum(axis=0) * own_noise * inverse) ** 2
    low, high = np.quantile(motion.inverse_depths, [0.16, 0.84])
    exaggerated = min(inflation * float(np.median(depth_noise.sum(axis=0))) / max(0.25 * (high - low) ** 2, 1e-12), 1.0)
    contrast = exaggerated * (motion.inverse_depths - 1.0)
    response = -np.linalg.solve(sums.frames, (sums.mixed @ contrast)[:, :, None])[:, :, 0]
    response -= fixed * float(np.sum(fixed * response))
    blocks = inflation * blocks + response[:, :, None] * response[:, None, :]
    change = left_perturbations(motion)
    return change @ blocks @ change.transpose(0, 2, 1)


def rotation_covariances(
    turned: SmallMotion, sightings: Sightings, inflation: float = 1.0
) -> Float[np.ndarray, "frames 3 3"]:
    """Covariance of each frame's rotation when there is no translation.

    Args:
        turned: of :func:`posesplat.align.small_motion.rotation_only`.
        sightings: what it was fitted to.
        inflation: factor on the variances.
    """
    lengths = turned.lengths(sightings)
    weights = robust_weights(lengths, sightings, "geman-mcclure", robust_scale(lengths, sightings.seen))
    hessian = normal_equations(turned, sightings, weights).frames[:, :3, :3] + 1e-9 * np.eye(3)
    return inflation * noise_px(lengths, sightings.seen) ** 2 * np.linalg.inv(hessian)


def _reduced(
    pulls: Float[np.ndarray, "frames 7 points"],
    mixed: Float[np.ndarray, "frames 6 points"],
    inverse: Float[np.ndarray, " points"],
) -> Float[np.ndarray, "unknowns points"]:
    """Each point's gradient over all poses once its inverse depth has followed."""
    depths = inverse * pulls[:, 6].sum(axis=0)
    return (pulls[:, :6] - mixed * depths).reshape(-1, pulls.shape[2])


def regions(sightings: Sightings) -> Float[np.ndarray, "points regions"]:
    """1 where a point lies in a region; regions are the squares that hold points."""
    column, row = _squares(sightings)
    names, region = np.unique(row * _SQUARES + column, return_inverse=True)
    return np.asarray(region[:, None] == np.arange(len(names)), dtype=np.float64)
