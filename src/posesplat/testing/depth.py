"""What every source of depth must do; see :mod:`posesplat.providers.depth.provider`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from posesplat.geometry.depth_map import DepthMap, DepthMeaning, not_metres
from posesplat.geometry.frame import Frame
from posesplat.providers.depth.provider import DepthProvider
from posesplat.testing.check import (
    Check,
    answer_or_refusal,
    arrays_of,
    demand,
    demand_array,
    demand_close,
    demand_kind,
    demand_name,
    fail,
    run_checks,
    unchanged,
    without_gpu,
)
from posesplat.testing.material import blank, fresh, halved, rescaled_frame, sample_frames, without_depth, without_image

_SOURCES = ("depth sensor", "learned depth")
_FACTOR = 2.0


@dataclass(frozen=True)
class DepthTrial:
    """A source of depth on trial."""

    make: Callable[[], DepthProvider]
    """Makes it, with the same options and seed each time."""
    frames: Sequence[Frame] = field(default_factory=sample_frames)
    """At least two, with images and exact depth."""
    tolerance: float | None = None
    """Median relative error of inverse depth that is still right, once what the meaning leaves unknown is fitted; None
    where the values cannot be right on these frames (a network that was not trained, or on something else)."""

    def depth(self, frame: Frame) -> DepthMap:
        """The depth map of a frame by a source made for it."""
        return self.make().depth(frame)


def _members(trial: DepthTrial) -> None:
    provider = trial.make()
    demand_kind(provider, DepthProvider, "name, meaning, source and depth")
    demand_name(provider)
    demand(provider.meaning in get_args(DepthMeaning), "meaning", f"one of {get_args(DepthMeaning)}", provider.meaning)
    demand(provider.source in _SOURCES, "source", f"one of {_SOURCES}", repr(provider.source))


def _demand_on_grid(what: str, found: Any, frame: Frame) -> None:
    demand(isinstance(found, DepthMap), what, "a DepthMap", type(found).__name__)
    shape = (frame.camera.height, frame.camera.width)
    demand_array(f"values of {what}", found.values, shape, np.float32)
    demand_array(f"known of {what}", found.known, shape, bool)
    demand(np.isfinite(found.values).all(), f"values of {what}", "finite numbers", "NaN or infinity")
    demand(not found.values[~found.known].any(), f"values of {what} that are not known", "0", "other numbers")


def _grid(trial: DepthTrial) -> None:
    provider = trial.make()
    for frame in trial.frames:
        found = provider.depth(frame)
        _demand_on_grid(f"depth of {frame.name!r}", found, frame)
        demand(found.known.any(), f"depth of {frame.name!r}", "some values that are known", "none")
    small = halved(trial.frames[0])
    smaller = answer_or_refusal(f"depth of {small.name!r} at half the size", lambda: provider.depth(small))
    if smaller is not None:
        _demand_on_grid(f"depth of {small.name!r} at half the size", smaller, small)


def _inputs_unchanged(trial: DepthTrial) -> None:
    frames = fresh(trial.frames)
    provider = trial.make()
    with unchanged("images and depths of frames", arrays_of(frames)):
        found = [provider.depth(frame) for frame in frames]
    with unchanged("images and depths of frames whose depth map was written into", arrays_of(frames)):
        for one in found:
            if one.values.flags.writeable:
                one.values[...] += np.float32(1)


def _deterministic(trial: DepthTrial) -> None:
    frame = trial.frames[0]
    provider = trial.make()
    first = provider.depth(frame)
    demand_close("depth asked for again", first.values, provider.depth(frame).values)
    demand_close("depth by another one made alike", first.values, trial.depth(frame).values)


def _equivariant_to_order(trial: DepthTrial) -> None:
    forward, backward = trial.make(), trial.make()
    found = [forward.depth(frame).values for frame in trial.frames]
    reverse = [backward.depth(frame).values for frame in reversed(trial.frames)]
    for frame, one, other in zip(trial.frames, found, reversed(reverse), strict=True):
        demand_close(f"depth of {frame.name!r} with the frames in reverse order", one, other)


def _equivariant_to_length(trial: DepthTrial) -> None:
    """The image does not change with the unit of length; what reads the frame's depth must follow it."""
    frame = trial.frames[0]
    found, rescaled = trial.depth(frame), trial.depth(rescaled_frame(frame, _FACTOR))
    if np.array_equal(found.values, rescaled.values) and np.array_equal(found.known, rescaled.known):
        return
    demand_close("known, with all lengths doubled", found.known, rescaled.known)
    expected = found.values * np.float32(_FACTOR if found.meaning == "metric" else 1 / _FACTOR)
    if found.meaning == "metric":
        demand_close("metres, with all lengths doubled", expected, rescaled.values, relative=1e-3, unit=" m")
    else:
        fault = _error(rescaled, np.where(found.known, expected, np.nan))
        demand(
            fault < 1e-3, "inverse depth, with all lengths doubled", "the same up to what is unknown", f"{fault:.3g}"
        )


def _degenerate_input(trial: DepthTrial) -> None:
    frame = trial.frames[0]
    provider = trial.make()
    whole = provider.depth(frame)
    for part, rest in (("image", without_image(frame)), ("depth", without_depth(frame))):
        if rest is None:
            continue
        what = f"depth of a frame without {part}"
        found = answer_or_refusal(what, lambda rest=rest: provider.depth(rest))  # type: ignore[misc]
        if found is not None:
            demand_close(f"{what}, which was not refused and so cannot have been needed", whole.values, found.values)
    covered = blank(frame)
    nothing = answer_or_refusal("depth of a blank frame", lambda: provider.depth(covered))
    if nothing is not None:
        _demand_on_grid("depth of a blank frame", nothing, covered)


def _works_on_cpu(trial: DepthTrial) -> None:
    with without_gpu():
        found = trial.depth(trial.frames[0])
    _demand_on_grid("depth without a GPU", found, trial.frames[0])


def _meaning_held(trial: DepthTrial) -> None:
    provider = trial.make()
    for frame in trial.frames:
        found = provider.depth(frame)
        what = f"depth of {frame.name!r}"
        demand(found.meaning == provider.meaning, f"meaning of {what}", provider.meaning, found.meaning)
        if found.meaning != "affine":
            demand(not (found.values < 0).any(), what, f"no negative values, being {found.meaning}", found.values.min())
        if found.meaning == "metric":
            demand(not not_metres(found.values), what, "metres", not_metres(found.values))
        if trial.tolerance is None:
            continue
        if frame.depth is None:
            fail(f"frame {frame.name!r} of the trial", "exact depth to compare with", "none")
        true = np.divide(1.0, frame.depth, out=np.full(frame.depth.shape, np.nan), where=frame.depth > 0)
        fault = _error(found, true)
        demand(
            fault <= trial.tolerance,
            f"{what}, being {found.meaning}",
            f"a median relative error of at most {trial.tolerance:g}",
            f"{fault:.3g}",
        )


def _error(found: DepthMap, true_inverse: np.ndarray) -> float:
    """Median relative error of inverse depth after fitting the factor and the shift that the meaning leaves open.

    A negative factor, near for far, is an error of 1.
    """
    inverse = found.inverse_depths().astype(np.float64)
    both = np.isfinite(inverse) & np.isfinite(true_inverse)
    if not both.any():
        return 1.0
    x, y = inverse[both], true_inverse[both].astype(np.float64)
    if found.meaning == "metric":
        factor, shift = 1.0, 0.0
    elif found.meaning == "relative":
        factor, shift = float(np.median(y) / max(np.median(x), 1e-12)), 0.0
    else:
        factor, shift = (float(value) for value in np.polyfit(x, y, 1))
    return 1.0 if factor <= 0 else float(np.median(np.abs(factor * x + shift - y) / y))


DEPTH_CHECKS: tuple[Check[DepthTrial], ...] = (
    Check("members", "it is made without arguments and has a name, a meaning and a source", _members),
    Check("grid", "the map is on the frame's pixel grid, 0 where nothing is known, at any size it takes", _grid),
    Check("inputs_unchanged", "images and depths of frames stay as they were given", _inputs_unchanged),
    Check("deterministic", "the same frame gives the same map, again and by another one made alike", _deterministic),
    Check("equivariant_to_order", "maps follow their frames when the order of frames changes", _equivariant_to_order),
    Check(
        "equivariant_to_length",
        "in a world of doubled lengths the map is the same, or has doubled lengths where the depth was read",
        _equivariant_to_length,
    ),
    Check(
        "degenerate_input",
        "a frame that lacks what is needed is refused with a reason, and a blank one gives no NaN",
        _degenerate_input,
    ),
    Check("works_on_cpu", "it works without a GPU and answers in NumPy arrays", _works_on_cpu),
    Check(
        "meaning_held",
        "values are metres, or inverse depth up to factor or shift, as the meaning says",
        _meaning_held,
    ),
)
"""By name; each is called with a :class:`DepthTrial`."""


def check_depth_provider(
    make: Callable[[], DepthProvider], frames: Sequence[Frame] | None = None, tolerance: float | None = None
) -> None:
    """Put all :data:`DEPTH_CHECKS` to a source of depth.

    Args:
        make: makes it, with the same options and seed each time.
        frames: takes the place of :func:`posesplat.testing.sample_frames`; with images and exact depth.
        tolerance: see :class:`DepthTrial`.

    Raises:
        AssertionError: naming each check that failed, what was expected and what came.

    Example:
        >>> check_depth_provider(Stereo, tolerance=0.05)
    """
    trial = DepthTrial(make) if frames is None else DepthTrial(make, frames)
    run_checks("depth provider", DEPTH_CHECKS, DepthTrial(make, trial.frames, tolerance))
