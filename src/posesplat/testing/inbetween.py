"""What every source of in-between frames must do; see :mod:`posesplat.providers.inbetween.provider`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from posesplat.providers.inbetween.provider import ClipRequest, InbetweenProvider
from posesplat.testing.check import (
    Check,
    answer_or_refusal,
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
from posesplat.testing.material import halved, sample_frames

_SAME_GREY = 0.5
"""Mean difference in grey levels below which a frame is one of the ends."""


def sample_request() -> ClipRequest:
    """A clip of four frames between two views of a room."""
    first, *_, last = sample_frames()
    return ClipRequest(np.asarray(first.image), np.asarray(last.image), count=4, seed=1)


@dataclass(frozen=True)
class InbetweenTrial:
    """A source of in-between frames on trial."""

    make: Callable[[], InbetweenProvider]
    """Makes it, with the same options each time. Paid services belong behind a stand-in: clips are asked for a dozen
    times."""
    request: ClipRequest = field(default_factory=sample_request)
    """What is asked for."""

    def frames(self, **changes: Any) -> list[np.ndarray]:
        """The frames of a request, changed, by a source made for it."""
        return self.make().frames(replace(self.request, **changes))


def _members(trial: InbetweenTrial) -> None:
    provider = trial.make()
    demand_kind(provider, InbetweenProvider, "name, stored_clips, usd_per_clip, identity and frames")
    demand_name(provider)
    stored = provider.stored_clips
    demand(stored is None or (isinstance(stored, int) and stored > 0), "stored_clips", "None, or 1 or more", stored)
    demand(provider.usd_per_clip >= 0, "usd_per_clip", "0 or more dollars", provider.usd_per_clip)
    try:
        first, again = (json.dumps(each.identity(), sort_keys=True) for each in (provider, trial.make()))
    except TypeError as error:
        fail("identity()", "what JSON can hold", error)
    demand(first == again, "identity() of another one made alike", first, again)


def _demand_clip(what: str, found: Sequence[Any], request: ClipRequest) -> None:
    demand(len(found) >= 1, what, "1 frame or more", len(found))
    for index, frame in enumerate(found):
        demand_array(f"frame {index} of {what}", frame, request.first.shape, np.uint8)


def _grid(trial: InbetweenTrial) -> None:
    _demand_clip("the clip", trial.frames(), trial.request)


def _inputs_unchanged(trial: InbetweenTrial) -> None:
    first, last = trial.request.first.copy(), trial.request.last.copy()
    with unchanged("first and last image", [first, last]):
        for frame in trial.frames(first=first, last=last):
            if frame.flags.writeable:
                frame[...] = 0


def _demand_same(what: str, expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> None:
    demand(len(found) == len(expected), what, f"{len(expected)} frames", len(found))
    for index, (one, other) in enumerate(zip(expected, found, strict=True)):
        demand_close(f"frame {index} of {what}", one, other)


def _deterministic(trial: InbetweenTrial) -> None:
    provider = trial.make()
    first = [frame.copy() for frame in provider.frames(trial.request)]
    _demand_same("the clip asked for again", first, provider.frames(trial.request))
    _demand_same("the clip by another one made alike", first, trial.frames())
    with tempfile.TemporaryDirectory(prefix="posesplat-check-") as folder:
        _demand_same("the clip with a folder to keep", first, trial.frames(keep=Path(folder)))


def _equivariant_to_order(trial: InbetweenTrial) -> None:
    provider, request = trial.make(), trial.request
    provider.frames(replace(request, first=request.last, last=request.first, seed=request.seed + 1, backward=True))
    _demand_same("the clip after another one", trial.frames(), provider.frames(request))


def _equivariant_to_size(trial: InbetweenTrial) -> None:
    first, last = (frame.image for frame in (halved(sample_frames()[0]), halved(sample_frames()[-1])))
    request = replace(trial.request, first=np.asarray(first), last=np.asarray(last))
    _demand_clip("the clip of images of half the size", trial.make().frames(request), request)


def _degenerate_input(trial: InbetweenTrial) -> None:
    grey = np.full_like(trial.request.first, 90)
    provider = trial.make()
    request = replace(trial.request, first=grey, last=grey.copy())
    found = answer_or_refusal("the clip of two blank images", lambda: provider.frames(request))
    if found is not None:
        _demand_clip("the clip of two blank images", found, request)
    if provider.stored_clips is not None:
        beyond = replace(trial.request, number=provider.stored_clips)
        found = answer_or_refusal("a clip beyond those that are stored", lambda: provider.frames(beyond))
        if found is not None:
            fail("a clip beyond those that are stored", "a ValueError that says so", "an answer")


def _works_on_cpu(trial: InbetweenTrial) -> None:
    with without_gpu():
        _demand_clip("the clip without a GPU", trial.frames(), trial.request)


def _meaning_held(trial: InbetweenTrial) -> None:
    """Strictly between: the ends are real images, and would be posed as if they were made up."""
    for index, frame in enumerate(trial.frames()):
        for name, end in (("first", trial.request.first), ("last", trial.request.last)):
            gap = float(np.abs(frame.astype(np.float32) - end.astype(np.float32)).mean())
            demand(gap > _SAME_GREY, f"frame {index}", "strictly between the two images", f"the {name} image")


INBETWEEN_CHECKS: tuple[Check[InbetweenTrial], ...] = (
    Check("members", "it is made without arguments, says what it costs, and its identity is JSON", _members),
    Check("grid", "frames are 8-bit RGB of the images' size, and there is one", _grid),
    Check("inputs_unchanged", "first and last image stay as they were given", _inputs_unchanged),
    Check("deterministic", "equal requests give equal clips, wherever they are kept", _deterministic),
    Check("equivariant_to_order", "a clip does not depend on those asked for before", _equivariant_to_order),
    Check("equivariant_to_size", "frames have the size of the images, whatever the source makes", _equivariant_to_size),
    Check(
        "degenerate_input", "blank images and missing clips give frames or a refusal with a reason", _degenerate_input
    ),
    Check("works_on_cpu", "it works without a GPU and answers in NumPy arrays", _works_on_cpu),
    Check("meaning_held", "no frame is the first or the last image", _meaning_held),
)
"""By name; each is called with an :class:`InbetweenTrial`."""


def check_inbetween_provider(make: Callable[[], InbetweenProvider], request: ClipRequest | None = None) -> None:
    """Put all :data:`INBETWEEN_CHECKS` to a source of in-between frames.

    Args:
        make: makes it, with the same options each time.
        request: takes the place of :func:`sample_request`.

    Raises:
        AssertionError: naming each check that failed, what was expected and what came.
    """
    trial = InbetweenTrial(make) if request is None else InbetweenTrial(make, request)
    run_checks("in-between provider", INBETWEEN_CHECKS, trial)
