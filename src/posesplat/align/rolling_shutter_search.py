"""How long the readout of a rolling shutter takes, found together with the motion.

Gauss-Newton on robust weights, with all that poses and depths can absorb projected out, in turn with the adjustment. A
readout is believed only where it is many times its standard deviation and the frames fit clearly better; otherwise
nothing is changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import CubicSpline
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from posesplat.align.rolling_shutter import (
    SMOOTH_KNOTS,
    FrameClock,
    Shutter,
    at_middles,
    flat,
    path_knots,
    perturbation,
)
from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import (
    SmallMotion,
    adjusted,
    jacobian,
    noise_px,
    normal_equations,
    reduced_system,
    robust_cost,
    robust_scale,
    robust_weights,
    rotation_only,
    with_fixed_scale,
)
from posesplat.align.small_motion_search import FoundMotion, SearchOptions, searched_motion, with_depths
from posesplat.align.small_motion_trust import regions
from posesplat.align.tracks import evenly_spread
from posesplat.kernels.threads import first_accepted

_STEP = 0.02
_LEAST_DRIFT = 1e-6
_ENDS_TRIED = 8
"""Ends of shorter paths that tell how well splines know their own."""
_NOISE_INFLATION = 12.0
"""Errors of tracks are alike in neighbouring points: noise counts by this factor, as a variance, against priors."""
_LARGEST_STEP = 0.4
_FEWEST_FRAMES = 6
"""Fewer frames with a known speed say nothing about a shutter."""
_SUSPECTED = "rolling shutter suspected, but no readout time explains the frames: the poses may be off"


@dataclass(frozen=True)
class ReadoutOptions:
    """When a rolling shutter is believed."""

    min_readout: float = 0.1
    """Least share of the frame interval that is corrected."""
    max_readout: float = 1.2
    """Largest share that a camera can have."""
    min_significance: float = 12.0
    """The readout must be this many of its standard deviations."""
    min_gain: float = 0.12
    """Share by which the robust cost must fall."""
    max_rounds: int = 12
    """Most rounds of correcting and adjusting."""
    tolerance: float = 2e-3
    """Stop when the readout changes by less than this."""

    def __post_init__(self) -> None:
        if not (0 < self.min_readout < self.max_readout and self.max_rounds >= 1 and self.tolerance > 0):
            raise ValueError(
                "ReadoutOptions needs 0 < min_readout < max_readout, at least 1 round and a tolerance above 0; got "
                f"{self}."
            )


@dataclass(frozen=True)
class _DriftPrior:
    """What is known of drifts beforehand: normal distributions about 0, the same for all axes."""

    deviations: Float[np.ndarray, "knots 6"]
    """Standard deviations; reference first."""

    @staticmethod
    def of(motion: SmallMotion, clock: FrameClock, readout: float) -> _DriftPrior:
        """From how well splines that begin or end inside a path tell the speed there, and from the speeds."""
        times, poses = path_knots(motion, clock)
        speeds, misses = [], []
        for run in clock.runs():
            if len(run) < SMOOTH_KNOTS:
                continue
            inner = CubicSpline(times[run], poses[run])(times[run], 1)
            speeds.append(inner)
            for first in 1 + evenly_spread(max(len(run) - SMOOTH_KNOTS - 1, 0), _ENDS_TRIED):
                later, earlier = run[first:], run[: len(run) - first]
                misses.append(CubicSpline(times[later], poses[later])(times[later[0]], 1) - inner[first])
                misses.append(CubicSpline(times[earlier], poses[earlier])(times[earlier[-1]], 1) - inner[-1 - first])
        speed = np.vstack(speeds) if speeds else np.diff(poses, axis=0)
        free, end = _by_kind(speed), _by_kind(np.array(misses)) if misses else _by_kind(speed)
        deviations = np.tile(free, (len(times), 1))
        for run in clock.runs():
            if len(run) >= SMOOTH_KNOTS:
                deviations[run] = end
        return _DriftPrior(np.maximum(abs(readout) * deviations, _LEAST_DRIFT))


def _by_kind(values: Float[np.ndarray, "rows 6"]) -> Float[np.ndarray, "6"]:
    """Root mean square of rotations, three times, and of translations, three times."""
    return np.repeat(np.sqrt(np.square(values).reshape(-1, 2, 3).mean(axis=(0, 2))), 3)


@dataclass(frozen=True)
class FoundShutter:
    """What was found about a shutter."""

    shutter: Shutter
    """The readout, and drifts of frames without neighbours."""
    deviation: float
    """Standard deviation of the readout; infinite where nothing determines it."""
    gain: float
    """Share of the robust cost that the readout explains."""
    converged: bool
    """Whether the readout had settled."""
    motion: SmallMotion
    """Poses at the middle of each frame, and inverse depths."""
    sightings: Sightings
    """What would have been seen had each frame been read at its middle."""
    noise_px: float
    """Robust standard deviation of a coordinate of a typical point."""

    def significant(self, options: ReadoutOptions) -> bool:
        """Whether there is a rolling shutter: the readout is not 0, and the frames fit better with it."""
        readout = abs(self.shutter.readout)
        return (
            readout >= options.min_readout
            and readout >= options.min_significance * self.deviation
            and self.gain >= options.min_gain
        )

    def credible(self, options: ReadoutOptions) -> bool:
        """Whether the readout found is one that a camera can have."""
        return self.converged and abs(self.shutter.readout) <= options.max_readout


def found_shutter(
    sightings: Sightings,
    motion: SmallMotion,
    clock: FrameClock,
    readout: float | None = None,
    start: Shutter | None = None,
    rival: SmallMotion | None = None,
    options: ReadoutOptions = ReadoutOptions(),
) -> FoundShutter | None:
    """The readout that explains the sightings best, with poses and depths adjusted to it; None where none can be told.

    Args:
        sightings: what was seen, each point with its deviation.
        motion: the motion found for them without a thought of shutters, or nearly right already.
        clock: when the frames were taken.
        readout: the known readout; found when left out.
        start: where to begin; a global shutter when left out.
        rival: the motion of a global shutter whose cost must fall; ``motion`` when left out.
        options: when to stop. An unknown readout that becomes hopelessly insignificant ends the search.
    """
    frames = len(sightings.seen)
    if readout is None and clock.known_speed().sum() < min(_FEWEST_FRAMES, frames + 1):
        return None
    if readout is None and frames + 1 < _FEWEST_FRAMES:
        return None
    rival = motion if rival is None else rival
    shutter = start if start is not None else Shutter.of(0.0, frames)
    if readout is not None:
        shutter = replace(shutter, readout=readout)
    converged = False
    for round_number in range(options.max_rounds):
        corrected = at_middles(sightings, motion, shutter, clock)
        if round_number or start is not None or readout is not None:
            motion = adjusted(corrected, motion, "geman-mcclure", max_iterations=6)
            corrected = at_middles(sightings, motion, shutter, clock)
        # A readout of 0 has no drifts, but those of a likely one must be free to be found.
        prior = _DriftPrior.of(motion, clock, shutter.readout if shutter.readout else 0.5)
        step = _step(sightings, corrected, motion, shutter, clock, prior, fixed=readout is not None)
        if step is None:
            return None
        if start is None and readout is None and not step.promising(shutter.readout, options):
            return None
        change = float(np.clip(step.readout, -_LARGEST_STEP, _LARGEST_STEP))
        limit = 2.0 * options.max_readout
        moved = float(np.clip(shutter.readout + change, -limit, limit))
        drifts = shutter.drifts.copy()
        drifts[0] += step.drift
        shutter = Shutter(moved, _own_drifts(corrected, motion, drifts, clock, prior))
        if round_number and abs(change) < options.tolerance:
            converged = True
            break
    corrected = at_middles(sightings, motion, shutter, clock)
    motion = adjusted(corrected, motion, "geman-mcclure", max_iterations=15)
    corrected = at_middles(sightings, motion, shutter, clock)
    last = _step(sightings, corrected, motion, shutter, clock, prior, fixed=False)
    lengths = motion.lengths(corrected)
    scale = robust_scale(lengths, corrected.seen)
    plain = adjusted(sightings, rival, "geman-mcclure", max_iterations=15).lengths(sightings)
    gain = 1.0 - robust_cost(lengths, "geman-mcclure", scale) / max(robust_cost(plain, "geman-mcclure", scale), 1e-12)
    deviation = last.deviation if last is not None else float("inf")
    noise = noise_px(lengths, corrected.seen)
    return FoundShutter(shutter, deviation, gain, converged, motion, corrected, noise)


@dataclass(frozen=True)
class _Step:
    """One Gauss-Newton step of the readout and of the reference's own drift."""

    readout: float
    drift: Float[np.ndarray, "6"] = field(repr=False)
    deviation: float

    def promising(self, before: float, options: ReadoutOptions) -> bool:
        """Whether further rounds could make the readout significant; a first step falls short of it."""
        return abs(before + self.readout) > max(0.25 * options.min_readout, self.deviation)


def _step(
    sightings: Sightings,
    corrected: Sightings,
    motion: SmallMotion,
    shutter: Shutter,
    clock: FrameClock,
    prior: _DriftPrior,
    fixed: bool,
) -> _Step | None:
    """The step of least robust cost, and the readout's deviation; None when the poses are not determined.

    The deviation is a sandwich, once with all that the points of one square of the image pull as one observation and
    once with all of one frame: the larger counts.
    """
    lengths = motion.lengths(corrected)
    weights = robust_weights(lengths, corrected, "geman-mcclure", robust_scale(lengths, corrected.seen))
    sums = normal_equations(motion, corrected, weights)
    hessian, _, inverse = reduced_system(sums)
    residual = motion.residuals(corrected)
    columns = _columns(sightings, corrected, motion, shutter, clock, residual)
    derivative = jacobian(motion, corrected)
    weighted = derivative * weights[:, None, None]
    try:
        factor = cho_factor(with_fixed_scale(hessian, motion.translations), lower=True)
    except LinAlgError:
        return None
    # What poses and depths can absorb of each column is taken out of it.
    free = np.empty_like(columns)
    for place, column in enumerate(columns):
        pull = np.einsum("fkcp,fcp->fkp", weighted, column)
        depth_pull = pull[:, 6].sum(axis=0)
        poses = cho_solve(factor, (pull[:, :6].sum(axis=2) - sums.mixed @ (inverse * depth_pull)).ravel())
        poses = poses.reshape(-1, 6)
        depths = inverse * (depth_pull - np.einsum("fk,fkp->p", poses, sums.mixed))
        absorbed = np.einsum("fk,fkcp->fcp", poses, derivative[:, :6]) + derivative[:, 6] * depths
        free[place] = column - absorbed
    pulled = free * weights[None, :, None]
    normal = np.einsum("afcp,bfcp->ab", pulled, free)
    gradient = np.einsum("afcp,fcp->a", pulled, residual)
    known = _NOISE_INFLATION * noise_px(lengths, corrected.seen) ** 2 / prior.deviations[0] ** 2
    normal[1:, 1:] += np.diag(known)
    gradient[1:] += known * shutter.drifts[0]
    size = np.sqrt(np.maximum(np.diag(normal), 1e-30))
    normal = normal / np.outer(size, size) + 1e-9 * np.eye(len(size))
    gradient /= size
    if fixed:
        step = np.concatenate([[0.0], -np.linalg.solve(normal[1:, 1:], gradient[1:])]) / size
        return _Step(0.0, step[1:], 0.0)
    solved = np.linalg.inv(normal)
    step = -solved @ gradient / size
    along = (solved / size[:, None])[0] / size
    # The readout's own combination of the columns, and how each sighting pulls at it.
    alone = np.einsum("a,afcp->fcp", along, pulled)
    pulls = alone * residual
    region = regions(corrected)
    deviations = [
        _clustered(pulls.sum(axis=(0, 1)) @ region),
        _clustered(pulls.sum(axis=(1, 2))),
    ]
    own_noise = noise_px(lengths, corrected.seen) * corrected.deviations
    by_reference = float(np.sum((alone.sum(axis=0) * own_noise) ** 2))
    return _Step(float(step[0]), step[1:], float(np.sqrt(max(deviations) ** 2 + by_reference)))


def _clustered(pulls: Float[np.ndarray, " clusters"]) -> float:
    """Standard deviation of a sum whose parts are independent."""
    count = len(pulls)
    return float(np.sqrt(count / max(count - 1, 1) * np.sum(pulls**2)))


def _columns(
    sightings: Sightings,
    corrected: Sightings,
    motion: SmallMotion,
    shutter: Shutter,
    clock: FrameClock,
    residual: Float[np.ndarray, "frames 2 points"],
) -> Float[np.ndarray, "7 frames 2 points"]:
    """Derivatives of the residuals by the readout and by the reference's drift, poses at the middles held fixed."""
    columns = np.empty((7, *residual.shape))
    longer = replace(shutter, readout=shutter.readout + _STEP)
    columns[0] = (motion.residuals(at_middles(sightings, motion, longer, clock)) - residual) / _STEP
    share = clock.shares(sightings.rays[:, 1] * sightings.focal[1])
    in_ref = corrected.rays.T[None]
    for axis in range(6):
        drift = np.zeros((1, 6))
        drift[0, axis] = 1e-4
        moved = flat(in_ref + share * perturbation(in_ref, drift, motion.inverse_depths))[0]
        rays = corrected.rays.copy()
        rays[:, :2] -= moved.T - corrected.rays[:, :2]
        columns[1 + axis] = (motion.residuals(replace(corrected, rays=rays)) - residual) / 1e-4
    return columns


def _own_drifts(
    corrected: Sightings,
    motion: SmallMotion,
    drifts: Float[np.ndarray, "knots 6"],
    clock: FrameClock,
    prior: _DriftPrior,
) -> Float[np.ndarray, "knots 6"]:
    """Drifts after a step for the frames whose neighbours do not tell their speed: each with its pose, depths fixed."""
    alone = np.flatnonzero(_speedless(clock)[1:])
    if not len(alone):
        return drifts
    drifts = drifts.copy()
    lengths = motion.lengths(corrected)
    weights = robust_weights(lengths, corrected, "geman-mcclure", robust_scale(lengths, corrected.seen))
    variance = _NOISE_INFLATION * noise_px(lengths, corrected.seen) ** 2
    residual, derivative = motion.residuals(corrected), jacobian(motion, corrected)
    for frame in alone:
        share = clock.shares(corrected.offsets[frame, 1])
        columns = np.concatenate([derivative[frame, :6], derivative[frame, :6] * share])
        weighted = columns * weights[frame]
        normal = np.einsum("acp,bcp->ab", weighted, columns)
        gradient = np.einsum("acp,cp->a", weighted, residual[frame])
        known = variance / prior.deviations[1 + frame] ** 2
        normal[6:, 6:] += np.diag(known)
        gradient[6:] += known * drifts[1 + frame]
        size = np.sqrt(np.maximum(np.diag(normal), 1e-30))
        step = -np.linalg.solve(normal / np.outer(size, size) + 1e-8 * np.eye(12), gradient / size) / size
        # A drift adds to what was seen, so it takes the residual away with the sign of a pose's step.
        drifts[1 + frame] += step[6:]
    return drifts


def _speedless(clock: FrameClock) -> Bool[np.ndarray, " knots"]:
    """True for the reference and frames whose own speed must be found: those without neighbours, and the ends."""
    speedless = np.ones(len(clock.times) + 1, dtype=bool)
    for run in clock.runs():
        if len(run) >= SMOOTH_KNOTS:
            speedless[run[1:-1]] = False
    return speedless


def unrolled_motion(
    sightings: Sightings,
    found: FoundMotion,
    clock: FrameClock,
    search: SearchOptions = SearchOptions(),
    options: ReadoutOptions = ReadoutOptions(),
) -> tuple[FoundMotion, float, str | None]:
    """The motion with a rolling shutter accounted for where there is one, the readout, and a warning.

    Without one the answer is ``found`` itself, 0.0 and None.

    Args:
        sightings: all that the search was given.
        found: what it found.
        clock: when the frames were taken.
        search: how the motion is looked for again once rows are at their places, and the readout if it is known.
        options: when a rolling shutter is believed.
    """
    if search.readout == 0:
        return found, 0.0, None
    known = search.readout

    def believed(shutter: FoundShutter | None) -> bool:
        return shutter is not None and (known is not None or shutter.significant(options))

    def begun(start: SmallMotion) -> FoundShutter | None:
        return found_shutter(found.sightings, start, clock, known, rival=found.motion, options=options)

    # It may have led the motion astray, depths above all. Most of what a shutter does is due to rotation.
    starts = [found.motion] if known is not None else [found.motion, rotation_only(found.sightings)]
    first = first_accepted(begun, starts, believed)
    if first is None or not believed(first):
        return found, 0.0, None
    # A rolling shutter makes good points look bad: all are judged again with rows at their places.
    motion = with_depths(sightings, first.motion)
    motion = with_depths(at_middles(sightings, motion, first.shutter, clock), motion)
    again = searched_motion(at_middles(sightings, motion, first.shutter, clock), search)
    kept = replace(sightings.select(again.kept), deviations=again.sightings.deviations)
    last = found_shutter(kept, again.motion, clock, known, first.shutter, options=options)
    if last is None or not believed(last):
        return found, 0.0, _SUSPECTED
    told = f"rolling shutter: {last.shutter.readout:.0%} of the frame interval"
    if known is None and not last.credible(options):
        return found, 0.0, _SUSPECTED
    return FoundMotion(last.motion, last.sightings, again.kept), last.shutter.readout, told
