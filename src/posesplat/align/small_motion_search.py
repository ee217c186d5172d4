"""The global side of small-motion bundle adjustment: several starts, points of unequal quality, and things that move.

A scene and its depth-reversed twin explain small motion almost equally well, so several starts are tried and one cost
decides. A mover that fills a third of the image captures a plain robust loss, or is taken for a near part of the scene
in a compromise that fits both badly. So the points are split in two groups by their image motion, and the larger one is
asked whether it fits better without the other: in a rigid scene it does not. Where even that leaves many points that
disagree, small random samples of points propose motions as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from posesplat.align.flow_groups import flow_groups, spread
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
    seen_medians,
    stepped_depths,
)
from posesplat.align.tracks import evenly_spread
from posesplat.kernels.threads import side_by_side

_LOSSES: tuple[Loss, Loss] = ("cauchy", "geman-mcclure")
_DEVIATION_LIMITS = (0.3, 50.0)
_FEWEST_ASKED = 30
_LEAST_SPREAD = 0.15
"""Share of the image below which a group of points is too small to be asked for its own motion."""


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
    """From this share of disagreeing points on, the larger group's own motion is tried, and after it random samples."""
    doubtful_noise_px: float = 0.25
    """The same from this noise on: a compromise between scene and movers disagrees with all points alike."""
    unlike: float = 1.08
    """Two groups of points move unlike each other when one alone fits this many times better. At most 1.05 in rigid
    scenes, at least 1.10 where a mover had bent the motion, in the clips that this was set on."""
    unlike_frames: int = 15
    """Fewer frames do not tell groups apart: parts of a blurred picture then fit better alone by chance."""
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
    other_share: float = 0.0
    """Share of the image whose points follow another motion together, and were left out."""
    unlike: float = 1.0
    """How many times better a group of the points kept would fit by itself, the larger of two; 1 in a rigid scene."""


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
    if len(sightings.seen) < options.unlike_frames:
        options = replace(options, unlike=np.inf)
    turned = rotation_only(sightings)
    if start is None:
        few = sightings.select(slice(options.points))
        start = with_depths(sightings, cheapest(few, _candidates(few, turned, rng, options, lens)))
    motion = adjusted(sightings, start, "geman-mcclure", max_iterations=15, lens=lens)
    group = flow_groups(turned, sightings)
    whole = sightings
    agree = np.ones(len(sightings.rays), dtype=bool)
    if _doubtful(motion, sightings, options) or _gain(motion, sightings, ~group) > options.unlike:
        motion, agree = _without(group, motion, sightings, rng, options, lens)
    kept = np.ones(len(sightings.rays), dtype=bool)
    for turn in range(options.reweighting_rounds):
        agree = agree if turn == 0 and not agree.all() else agreeing(motion, sightings, options.disagreeing)
        kept[kept] = agree
        motion = replace(motion, inverse_depths=motion.inverse_depths[agree])
        sightings = reweighted(motion, sightings.select(agree))
        motion = adjusted(sightings, motion, "geman-mcclure", max_iterations=15, lens=lens)
    if lens is not None:
        motion = adjusted(sightings, motion, "geman-mcclure", max_iterations=60, tolerance=1e-9, lens=lens)
    unlike = max(_gain(motion, sightings, part) for part in (group[kept], ~group[kept]))
    lost = group & ~kept
    other_share = spread(whole, lost) if 2 * lost.sum() > group.sum() else 0.0
    found = replace(motion, lens=SAME_LENS)
    return FoundMotion(found, sightings.through(motion.lens), kept, motion.lens, other_share, unlike)


def _doubtful(motion: SmallMotion, sightings: Sightings, options: SearchOptions) -> bool:
    """Whether many points disagree with a motion, or all do."""
    share = 1.0 - agreeing(motion, sightings, options.disagreeing).mean()
    noise = noise_px(motion.lengths(sightings), sightings.seen)
    return bool(share >= options.disagreeing_share or noise > options.doubtful_noise_px)


def _gain(motion: SmallMotion, sightings: Sightings, part: Bool[np.ndarray, " points"]) -> float:
    """How many times better some of the points fit when they move by themselves; 1 when they are too few to ask."""
    if part.all() or part.sum() < _FEWEST_ASKED or spread(sightings, part) < _LEAST_SPREAD:
        return 1.0
    own = sightings.select(part)
    start = replace(motion, inverse_depths=motion.inverse_depths[part])
    alone = adjusted(own, start, "geman-mcclure", max_iterations=15)
    return float(np.median(point_lengths(start, own) / np.maximum(point_lengths(alone, own), 1e-9)))


def _without(
    group: Bool[np.ndarray, " points"],
    motion: SmallMotion,
    sightings: Sightings,
    rng: np.random.Generator,
    options: SearchOptions,
    lens: LensPrior | None,
) -> tuple[SmallMotion, Bool[np.ndarray, " points"]]:
    """The motion when a group of points may move on its own, and which points agree with it."""
    scene = sightings.select(~group)
    turned = replace(rotation_only(scene), lens=motion.lens)
    few = scene.select(slice(options.points))
    start = with_depths(scene, cheapest(few, _candidates(few, turned, rng, options, lens)))
    found = adjusted(scene, start, "geman-mcclure", max_iterations=15, lens=lens)
    together = replace(motion, inverse_depths=motion.inverse_depths[~group])
    if _doubtful(found, scene, options):
        sampled = adjusted(scene, _sampled(scene, turned, rng, options), "geman-mcclure", max_iterations=25, lens=lens)
        found = cheapest(scene, [found, sampled])
    alone, bound = point_lengths(found, scene), point_lengths(together, scene)
    apart = float(np.median(bound / np.maximum(alone, 1e-9))) > options.unlike
    found = with_depths(sightings, found)
    if not apart:
        found = cheapest(sightings, [motion, adjusted(sightings, found, "geman-mcclure", max_iterations=15, lens=lens)])
        return found, agreeing(found, sightings, options.disagreeing)
    return found, point_lengths(found, sightings) <= options.disagreeing * max(float(np.median(alone)), 1e-12)


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
    motion = replace(motion, inverse_depths=np.ones(len(sightings.rays)))
    for _ in range(iterations):
        lengths = motion.lengths(sightings)
        scale = robust_scale(lengths, sightings.seen)
        sums = normal_equations(motion, sightings, robust_weights(lengths, sightings, "geman-mcclure", scale))
        step = -sums.points_gradient / np.maximum(sums.points, 1e-9)
        motion = replace(motion, inverse_depths=stepped_depths(motion.inverse_depths, step))
    return motion


def point_lengths(motion: SmallMotion, sightings: Sightings) -> Float[np.ndarray, " points"]:
    """Each point's median residual length over the frames that saw it, in pixels."""
    pixels = motion.lengths(sightings) * sightings.deviations
    return seen_medians(pixels.T, sightings.seen.T)


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

    def led_to(loss: Loss) -> list[SmallMotion]:
        uniform = adjusted(sightings, start, loss, max_iterations=20, lens=lens)
        return [
            uniform,
            adjusted(sightings, reversed_depth(uniform), loss, max_iterations=20, lens=lens),
            adjusted(sightings, random, loss, max_iterations=20, lens=lens),
        ]

    return [motion for led in side_by_side(led_to, _LOSSES) for motion in led]


def _sampled(
    sightings: Sightings, turned: SmallMotion, rng: np.random.Generator, options: SearchOptions
) -> SmallMotion:
    """The best motion among those of small random samples, with the inverse depths that it gives all points."""
    frames = len(sightings.seen)
    chosen = evenly_spread(frames, options.sample_frames)
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
