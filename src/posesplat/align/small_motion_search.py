"""The global side of small-motion bundle adjustment: several starts, points of unequal quality, and things that move.

A scene and its depth-reversed twin explain small motion almost equally well, so one start is not safe; and a mover that
fills a third of the image captures a plain robust loss, so when many points disagree, small random samples of points
propose motions as well. One cost decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from posesplat.align.sightings import SAME_LENS, Lens, LensPrior, Sightings
from posesplat.align.small_motion import (
    INVERSE_DEPTHS,
    Loss,
    SmallMotion,
    adjusted,
    noise_px,
    normal_equations,
    robust_cost,
    robust_scale,
    robust_weights,
    rotation_only,
)

_LOSSES: tuple[Loss, Loss] = ("cauchy", "geman-mcclure")
_DEVIATION_LIMITS = (0.3, 50.0)


@dataclass(frozen=True)
class SearchOptions:
    """How the motion is looked for."""

    seed: int = 0
    """Of random starts and samples."""
    points: int = 400
    """Points with which starts are compared; the winner is then adjusted to all."""
    depth_spread: float = 0.4
    """Standard deviation of the logarithm of random inverse depths."""
    disagreeing: float = 5.0
    """A point disagrees when its residual exceeds this many times the typical point's."""
    disagreeing_share: float = 0.07
    """From this share of disagreeing points on, random samples propose motions too."""
    doubtful_noise_px: float = 0.25
    """The same from this noise on: a compromise between scene and movers disagrees with all points alike."""
    samples: int = 30
    """Random samples of points; every second one is from one neighbourhood."""
    sample_points: int = 20
    """Points of a sample."""
    sample_frames: int = 7
    """Frames that a sample is adjusted to."""
    reweighting_rounds: int = 2
    """How often points are weighted anew by their own residuals."""
    readout: float | None = None
    """Time that a rolling shutter takes from the first row to the last, as a share of the frame interval; negative from
    the bottom up, 0 for a global shutter. Found from the frames, and used only where it is beyond doubt, when None."""

    def __post_init__(self) -> None:
        if self.readout is not None and not -1.5 <= self.readout <= 1.5:
            raise ValueError(
                f"SearchOptions.readout must lie in [-1.5, 1.5], a share of the frame interval; got {self.readout}. "
                "Divide the readout time by the time between frames."
            )


@dataclass(frozen=True)
class FoundMotion:
    """The answer of a search."""

    motion: SmallMotion
    """Poses of all frames, inverse depths of the points kept."""
    sightings: Sightings
    """The points kept, each with its deviation."""
    kept: Bool[np.ndarray, " points"]
    """Which of the points searched with are kept: those that move with the scene."""
    lens: Lens = SAME_LENS
    """The lens found, relative to that of the sightings searched with; motion and sightings here have it already."""


def searched_motion(
    sightings: Sightings,
    options: SearchOptions = SearchOptions(),
    start: SmallMotion | None = None,
    lens: LensPrior | None = None,
) -> FoundMotion:
    """The motion of least common cost over all starts, adjusted to the points that agree, each weighted by its quality.

    Args:
        sightings: at least one frame and a handful of points, the best points first.
        options: how to search.
        start: motion of these frames and points that is nearly right already; takes the place of all starts.
        lens: makes focal length and radial term unknown too.
    """
    rng = np.random.default_rng(options.seed)
    turned = rotation_only(sightings)
    if start is None:
        few = sightings.select(slice(options.points))
        start = with_depths(sightings, cheapest(few, _candidates(few, turned, rng, options, lens)))
    motion = adjusted(sightings, start, "geman-mcclure", max_iterations=15, lens=lens)
    disagreeing_share = 1.0 - agreeing(motion, sightings, options.disagreeing).mean()
    noise = noise_px(motion.lengths(sightings), sightings.seen)
    if disagreeing_share >= options.disagreeing_share or noise > options.doubtful_noise_px:
        sampled = _sampled(sightings, replace(turned, lens=motion.lens), rng, options)
        proposed = adjusted(sightings, sampled, "geman-mcclure", max_iterations=25, lens=lens)
        motion = cheapest(sightings, [motion, proposed])
    kept = np.ones(len(sightings.rays), dtype=bool)
    for _ in range(options.reweighting_rounds):
        agree = agreeing(motion, sightings, options.disagreeing)
        kept[kept] = agree
        motion = replace(motion, inverse_depths=motion.inverse_depths[agree])
        sightings = reweighted(motion, sightings.select(agree))
        motion = adjusted(sightings, motion, "geman-mcclure", max_iterations=15, lens=lens)
    if lens is not None:
        motion = adjusted(sightings, motion, "geman-mcclure", max_iterations=60, tolerance=1e-9, lens=lens)
    found = replace(motion, lens=SAME_LENS)
    return FoundMotion(found, sightings.through(motion.lens), kept, motion.lens)


def cheapest(sightings: Sightings, candidates: Sequence[SmallMotion]) -> SmallMotion:
    """The candidate of least Geman-McClure cost, all at the smallest robust scale among them."""
    lengths = [candidate.lengths(sightings) for candidate in candidates]
    scale = min(robust_scale(candidate, sightings.seen) for candidate in lengths)
    costs = [robust_cost(candidate, "geman-mcclure", scale) for candidate in lengths]
    return candidates[int(np.argmin(costs))]


def reversed_depth(motion: SmallMotion) -> SmallMotion:
    """The same motion seen the other way round: near is far and translations are opposite."""
    low, high = INVERSE_DEPTHS
    inverse_depths = np.clip(2.0 - motion.inverse_depths, low, high)
    return replace(motion, translations=-motion.translations, inverse_depths=inverse_depths)


def with_depths(sightings: Sightings, motion: SmallMotion, iterations: int = 8) -> SmallMotion:
    """The motion with inverse depths of the sightings' points, found point by point with the poses held fixed."""
    low, high = INVERSE_DEPTHS
    motion = replace(motion, inverse_depths=np.ones(len(sightings.rays)))
    for _ in range(iterations):
        lengths = motion.lengths(sightings)
        scale = robust_scale(lengths, sightings.seen)
        sums = normal_equations(motion, sightings, robust_weights(lengths, sightings, "geman-mcclure", scale))
        step = -sums.points_gradient / np.maximum(sums.points, 1e-9)
        inverse_depths = np.clip(motion.inverse_depths + np.clip(step, -0.5, 0.5), low, high)
        motion = replace(motion, inverse_depths=inverse_depths)
    return motion


def point_lengths(motion: SmallMotion, sightings: Sightings) -> Float[np.ndarray, " points"]:
    """Each point's median residual length over the frames that saw it, in pixels."""
    pixels = motion.lengths(sightings) * sightings.deviations
    return np.nanmedian(np.where(sightings.seen, pixels, np.nan), axis=0)


def agreeing(motion: SmallMotion, sightings: Sightings, times: float) -> Bool[np.ndarray, " points"]:
    """Which points have a residual of at most ``times`` that of the typical point."""
    lengths = point_lengths(motion, sightings)
    return lengths <= times * max(float(np.median(lengths)), 1e-12)


def reweighted(motion: SmallMotion, sightings: Sightings) -> Sightings:
    """The sightings with deviations taken from each point's own residuals.

    Corners differ in sharpness, and windows across a depth edge follow neither side: their spread over the frames says
    so, and a point counts by the inverse square of it.
    """
    lengths = point_lengths(motion, sightings)
    return replace(sightings, deviations=np.clip(lengths / max(np.median(lengths), 1e-12), *_DEVIATION_LIMITS))


def _candidates(
    sightings: Sightings,
    turned: SmallMotion,
    rng: np.random.Generator,
    options: SearchOptions,
    lens: LensPrior | None,
) -> list[SmallMotion]:
    """Where the starts lead: uniform depth, its reversal and random depth, with either loss."""
    start = replace(turned, inverse_depths=np.ones(len(sightings.rays)))
    random = replace(start, inverse_depths=np.exp(options.depth_spread * rng.standard_normal(len(sightings.rays))))
    found = []
    for loss in _LOSSES:
        uniform = adjusted(sightings, start, loss, max_iterations=20, lens=lens)
        found += [
            uniform,
            adjusted(sightings, reversed_depth(uniform), loss, max_iterations=20, lens=lens),
            adjusted(sightings, random, loss, max_iterations=20, lens=lens),
        ]
    return found


def _sampled(
    sightings: Sightings, turned: SmallMotion, rng: np.random.Generator, options: SearchOptions
) -> SmallMotion:
    """The best motion among those of small random samples, with the inverse depths that it gives all points."""
    frames = len(sightings.seen)
    chosen = np.unique(np.linspace(0, frames - 1, min(options.sample_frames, frames)).round().astype(np.intp))
    short = sightings.frames(chosen)
    everywhere = np.nonzero(short.seen.all(axis=0))[0]
    if len(everywhere) <= options.sample_points:
        return turned
    found = []
    for sample in range(options.samples):
        points = _sample(short.rays[everywhere], rng, options.sample_points, local=sample % 2 == 1)
        part = short.select(everywhere[points])
        start = SmallMotion(turned.rotations[chosen], turned.translations[chosen], np.ones(len(points)), turned.lens)
        found.append(with_depths(short, adjusted(part, start, "geman-mcclure", max_iterations=12)))
    best = cheapest(short, found)
    return replace(turned, inverse_depths=best.inverse_depths).rescaled()


def _sample(
    rays: Float[np.ndarray, "points 3"], rng: np.random.Generator, count: int, local: bool
) -> Int[np.ndarray, " sample"]:
    """``count`` different points, from all over the image or from around one of them."""
    if not local:
        return rng.choice(len(rays), count, replace=False)
    nearest = np.argsort(np.square(rays - rays[rng.integers(len(rays))]).sum(axis=1))
    return rng.choice(nearest[: 3 * count], count, replace=False)
