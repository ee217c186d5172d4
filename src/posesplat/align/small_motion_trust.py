"""What a small motion is worth: whether its translation can be seen at all, and whether it repeats.

Two halves of the points, each in its own squares of the image, are adjusted from the same ignorant start; where they
disagree, each takes its depth-reversed twin when that fits better. Noise drives the halves apart; a true translation
brings both to the same path. The first frame's own error shifts a whole path, so paths are compared about their means.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import (
    SmallMotion,
    adjusted,
    noise_px,
    normal_equations,
    robust_cost,
    robust_scale,
    robust_weights,
    rotation_only,
    seen_medians,
)
from posesplat.align.small_motion_search import cheapest, reversed_depth
from posesplat.kernels.threads import side_by_side

_SQUARES = 8
"""Squares along the longer side of the image over which halves and regions are laid."""
_FEWEST_IN_HALF = 15
_SURE = 0.9
"""Correlation of the halves' paths below which each half is also asked for the depth-reversed twin."""


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
    unexplained = seen_medians(bare, sightings.seen)
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

    def correlation(both_ways: bool) -> float:
        def path(half: Bool[np.ndarray, " points"]) -> Float[np.ndarray, "frames 3"]:
            return _path_of_half(turned, sightings, half, both_ways)

        return path_correlation(*side_by_side(path, (dark, ~dark)))

    plain = correlation(both_ways=False)
    return plain if plain >= _SURE else correlation(both_ways=True)


def path_correlation(first: Float[np.ndarray, "frames 3"], second: Float[np.ndarray, "frames 3"]) -> float:
    """Correlation of two paths about their means, in [-1, 1]; 0 when one stands still."""
    a, b = (path - path.mean(axis=0) for path in (first, second))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.sum(a * b)) / lengths if lengths > 0 else 0.0


def _path_of_half(
    turned: SmallMotion, sightings: Sightings, half: Bool[np.ndarray, " points"], both_ways: bool
) -> Float[np.ndarray, "frames 3"]:
    """The camera's path that half of the points tell; ``both_ways`` asks the depth-reversed twin, too."""
    half_seen = sightings.select(half)
    start = replace(turned, inverse_depths=np.ones(int(half.sum())))
    motion = adjusted(half_seen, start, "geman-mcclure", max_iterations=25)
    if both_ways:
        twin = adjusted(half_seen, reversed_depth(motion), "geman-mcclure", max_iterations=25)
        motion = cheapest(half_seen, [motion, twin])
    return -np.einsum("fji,fj->fi", motion.rotations, motion.translations)


def _squares(
    sightings: Sightings,
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Column and row of the square of the reference image that each point lies in."""
    pixels = sightings.rays[:, :2] * sightings.focal
    low, extent = pixels.min(axis=0), max(float(np.ptp(pixels, axis=0).max()), 1e-9)
    place = np.minimum(np.floor((pixels - low) / extent * _SQUARES), _SQUARES - 1)
    return place[:, 0], place[:, 1]


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


def regions(sightings: Sightings) -> Float[np.ndarray, "points regions"]:
    """1 where a point lies in a region; regions are the squares that hold points."""
    column, row = _squares(sightings)
    names, region = np.unique(row * _SQUARES + column, return_inverse=True)
    return np.asarray(region[:, None] == np.arange(len(names)), dtype=np.float64)
