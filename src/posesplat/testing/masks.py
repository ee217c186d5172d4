"""What every source of masks must do; see :mod:`posesplat.providers.masks.provider`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from posesplat.geometry.frame import Frame
from posesplat.providers.masks.provider import MaskProvider
from posesplat.testing.check import (
    Check,
    answer_or_refusal,
    arrays_of,
    demand,
    demand_array,
    demand_close,
    demand_kind,
    demand_name,
    run_checks,
    unchanged,
    without_gpu,
)
from posesplat.testing.material import blank, fresh, halved, sample_frames

_LEAST_AGREEMENT = 0.9
"""Share of pixels that must be as they are known to be."""


@dataclass(frozen=True)
class MaskTrial:
    """A source of masks on trial."""

    make: Callable[[], MaskProvider]
    """Makes it, with the same options and seed each time."""
    frames: Sequence[Frame] = field(default_factory=sample_frames)
    """At least two."""
    usable: Sequence[np.ndarray] | None = None
    """For each frame, True where its pixels may be used, as far as that is known; None where nobody knows."""


def _members(trial: MaskTrial) -> None:
    provider = trial.make()
    demand_kind(provider, MaskProvider, "name and mask")
    demand_name(provider)


def _demand_on_grid(what: str, found: Any, frame: Frame) -> None:
    demand_array(what, found, (frame.camera.height, frame.camera.width), bool)


def _grid(trial: MaskTrial) -> None:
    provider = trial.make()
    for frame in trial.frames:
        _demand_on_grid(f"mask of {frame.name!r}", provider.mask(frame), frame)
    small = halved(trial.frames[0])
    found = answer_or_refusal("mask of a frame of half the size", lambda: provider.mask(small))
    if found is not None:
        _demand_on_grid("mask of a frame of half the size", found, small)


def _inputs_unchanged(trial: MaskTrial) -> None:
    provider, frames = trial.make(), fresh(trial.frames)
    with unchanged("images and depths of frames", arrays_of(frames)):
        for frame in frames:
            provider.mask(frame)


def _deterministic(trial: MaskTrial) -> None:
    provider, frame = trial.make(), trial.frames[0]
    first = provider.mask(frame).copy()
    demand_close("mask asked for again", first, provider.mask(frame))
    demand_close("mask by another one made alike", first, trial.make().mask(frame))


def _equivariant_to_order(trial: MaskTrial) -> None:
    forward, backward = trial.make(), trial.make()
    found = [forward.mask(frame).copy() for frame in trial.frames]
    reverse = [backward.mask(frame).copy() for frame in reversed(trial.frames)]
    for frame, one, other in zip(trial.frames, found, reversed(reverse), strict=True):
        demand_close(f"mask of {frame.name!r} with the frames in reverse order", one, other)


def _degenerate_input(trial: MaskTrial) -> None:
    provider = trial.make()
    for what, frame in (
        ("a blank frame", blank(trial.frames[0])),
        ("a frame that nobody knows", replace(trial.frames[0], name="nobody-knows-this.png")),
    ):
        found = answer_or_refusal(f"mask of {what}", lambda frame=frame: provider.mask(frame))  # type: ignore[misc]
        if found is not None:
            _demand_on_grid(f"mask of {what}", found, frame)


def _works_on_cpu(trial: MaskTrial) -> None:
    with without_gpu():
        _demand_on_grid("mask without a GPU", trial.make().mask(trial.frames[0]), trial.frames[0])


def _meaning_held(trial: MaskTrial) -> None:
    provider = trial.make()
    shares = [float(provider.mask(frame).mean()) for frame in trial.frames]
    demand(any(share > 0 for share in shares), "masks", "True somewhere: True means use", "False in all pixels")
    for frame, usable in zip(trial.frames, trial.usable or (), strict=trial.usable is not None):
        share = float((provider.mask(frame) == usable).mean())
        inverted = " They agree when inverted: True must mean use." if share < 1 - _LEAST_AGREEMENT else ""
        demand(
            share >= _LEAST_AGREEMENT,
            f"mask of {frame.name!r}",
            f"at least {_LEAST_AGREEMENT:.0%} of the pixels as they are known to be",
            f"{share:.0%}.{inverted}",
        )


MASK_CHECKS: tuple[Check[MaskTrial], ...] = (
    Check("members", "it is made without arguments and has a name", _members),
    Check("grid", "the mask is boolean, on the frame's pixel grid, at any size it takes", _grid),
    Check("inputs_unchanged", "images and depths of frames stay as they were given", _inputs_unchanged),
    Check("deterministic", "the same frame gives the same mask, again and by another one made alike", _deterministic),
    Check("equivariant_to_order", "masks follow their frames when the order of frames changes", _equivariant_to_order),
    Check("degenerate_input", "blank and unknown frames give a mask or a refusal with a reason", _degenerate_input),
    Check("works_on_cpu", "it works without a GPU and answers in NumPy arrays", _works_on_cpu),
    Check("meaning_held", "True means that a pixel may be used", _meaning_held),
)
"""By name; each is called with a :class:`MaskTrial`."""


def check_mask_provider(
    make: Callable[[], MaskProvider],
    frames: Sequence[Frame] | None = None,
    usable: Sequence[np.ndarray] | None = None,
) -> None:
    """Put all :data:`MASK_CHECKS` to a source of masks.

    Args:
        make: makes it, with the same options and seed each time.
        frames: takes the place of :func:`posesplat.testing.sample_frames`.
        usable: see :class:`MaskTrial`.

    Raises:
        AssertionError: naming each check that failed, what was expected and what came.
    """
    trial = MaskTrial(make) if frames is None else MaskTrial(make, frames)
    run_checks("mask provider", MASK_CHECKS, replace(trial, usable=usable))
