"""The lens of a camera from a small motion of its own, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from posesplat.align.reference_noise import with_noisy_reference
from posesplat.align.sightings import Lens, LensPrior, Sightings
from posesplat.align.small_motion import SmallMotion, adjusted, robust_scale
from posesplat.align.small_motion_trust import regions
from posesplat.geometry.cameras import Camera

_GROUPS = 12
_ITERATIONS = 8
_FOCAL_STEPS = (0.01, 0.005)
_FARTHEST = 1.5


@dataclass(frozen=True)
class LensDeviation:
    """Standard deviations of a lens."""

    log_focal: float
    """Of the logarithm of the focal length."""
    radial: float
    """Of the radial term of straightening."""


def lens_deviation(motion: SmallMotion, sightings: Sightings, prior: LensPrior) -> LensDeviation:
    """How far the lens would move without parts of the image: a delete-one-group jackknife.

    Regions of the image are dealt to 12 groups; the errors of points near to each other, which share pixels, stay
    together, and what the reference's noise does to all frames alike is counted.

    Args:
        motion: at the minimum, with the lens found.
        sightings: what it was adjusted to, at that lens.
        prior: what was known of the lens beforehand.

    Source: Cameron and Miller, A practitioner's guide to cluster-robust inference, 2015, section VI.B (CV3).
    """
    region = regions(sightings)
    dealt = np.random.default_rng(0).permutation(region.shape[1]) % _GROUPS
    group = dealt[np.argmax(region, axis=1)]
    found = []
    for left_out in np.unique(group):
        kept = group != left_out
        start = replace(motion, inverse_depths=motion.inverse_depths[kept])
        lens = adjusted(
            sightings.select(kept), start, "geman-mcclure", max_iterations=_ITERATIONS, tolerance=1e-9, lens=prior
        ).lens
        found.append((lens.log_focal, lens.radial))
    moved = np.array(found)
    share = (len(moved) - 1) / max(len(moved), 1)
    spread = np.sqrt(share * np.square(moved - moved.mean(axis=0)).sum(axis=0))
    return LensDeviation(float(spread[0]), float(spread[1]))


def refined_log_focal(motion: SmallMotion, sightings: Sightings, deviation: float) -> float:
    """What the logarithm of the focal length changes by when the reference's own noise is counted.

    That noise bends all frames alike, as a wrong focal length does. The minimum of a parabola through three
    adjustments, twice.

    Args:
        motion: at the minimum that takes the reference's places for exact, through no lens.
        sightings: what it was adjusted to.
        deviation: of the logarithm of the focal length.

    Returns:
        0 where the change is not credible: beyond 1.5 deviations, which happens where nothing but rotation is seen.
    """
    scale = robust_scale(motion.lengths(sightings), sightings.seen)
    total, start = 0.0, motion

    def solved(log_focal: float) -> tuple[float, SmallMotion]:
        seen = sightings.through(Lens(log_focal))
        found = with_noisy_reference(start, seen)
        return found.cost(seen, scale), found.motion

    for step in _FOCAL_STEPS:
        (less, _), (middle, start), (more, _) = (solved(total + change) for change in (-step, 0.0, step))
        curvature = less - 2.0 * middle + more
        if curvature <= 0:
            return 0.0
        total += float(np.clip(0.5 * step * (less - more) / curvature, -4.0 * step, 4.0 * step))
    return total if abs(total) <= _FARTHEST * deviation else 0.0


def straightening_terms(radial: float, terms: int = 2) -> Float[np.ndarray, " terms"]:
    """OpenCV's radial terms k1, k2 of the lens that o (1 + radial |o|^2) straightens, o in units of the focal length.

    Series inversion: n = d + radial d^3 gives d = n - radial n^3 + 3 radial^2 n^5 - ...
    """
    return np.array([-radial, 3.0 * radial**2])[:terms]


def calibrated(camera: Camera, lens: Lens) -> Camera:
    """The camera with a lens found relative to it.

    The radial term is relative to the focal length of ``camera``; OpenCV's terms are relative to the new one.
    """
    stretch = float(np.exp(lens.log_focal))
    terms = straightening_terms(lens.radial * stretch**2)
    distortion = (*(float(term) for term in terms), 0.0, 0.0) if lens.radial else ()
    return replace(camera, fx=camera.fx * stretch, fy=camera.fy * stretch, distortion=distortion)
