"""What every source of matches must do; see :mod:`posesplat.providers.two_view.provider`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.providers.two_view.provider import TwoViewProvider
from posesplat.testing.check import (
    Check,
    answer_or_refusal,
    arrays_of,
    demand,
    demand_close,
    demand_kind,
    demand_name,
    fail,
    run_checks,
    unchanged,
    without_gpu,
)
from posesplat.testing.material import blank, fresh, halved, sample_views, without_depth, without_image

_FEWEST = 8
"""Matches that a source which can match must find in the pair, and must not find in blank images."""


@dataclass(frozen=True)
class ViewPair:
    """Two RGB-D frames whose poses are known exactly."""

    a: Frame
    """The first."""
    b: Frame
    """The second."""
    b_from_a: RigidTransform
    """Relative pose, in the unit of the frames' depth."""


def sample_pair() -> ViewPair:
    """Two views of a room that see much in common."""
    frames, poses = sample_views(2)
    return ViewPair(frames[0], frames[1], poses[1] * poses[0].inv())


@dataclass(frozen=True)
class TwoViewTrial:
    """A source of matches on trial."""

    make: Callable[[], TwoViewProvider]
    """Makes it, with the same options and seed each time."""
    pair: ViewPair = field(default_factory=sample_pair)
    """What is to be matched."""
    accuracy_px: float | None = 1.5
    """Median distance of matches from the truth that is still right; None for sources that do not look at the images
    (files) or were not trained."""

    def matches(self, a: Frame, b: Frame) -> Matches:
        """The matches of two frames by a source made for them."""
        return self.make().matches(a, b)


def _members(trial: TwoViewTrial) -> None:
    provider = trial.make()
    demand_kind(provider, TwoViewProvider, "name and matches")
    demand_name(provider)


def _demand_matches(what: str, found: Any, a: Frame, b: Frame) -> None:
    demand(isinstance(found, Matches), what, "Matches", type(found).__name__)
    for side, pixels, frame in (("a", found.pixels_a, a), ("b", found.pixels_b, b)):
        size = np.array([frame.camera.width, frame.camera.height])
        outside = int(((pixels < 0) | (pixels > size)).any(axis=1).sum())
        demand(not outside, f"pixels_{side} of {what}", f"places inside {size[0]} x {size[1]}", f"{outside} outside")


def _inside(trial: TwoViewTrial) -> None:
    provider, pair = trial.make(), trial.pair
    found = provider.matches(pair.a, pair.b)
    _demand_matches("matches", found, pair.a, pair.b)
    demand(len(found) > 0 or trial.accuracy_px is None, "matches", "some", "none")
    other = halved(pair.b)
    fewer = answer_or_refusal("matches of images of two sizes", lambda: provider.matches(pair.a, other))
    if fewer is not None and trial.accuracy_px is not None:
        _demand_matches("matches of images of two sizes", fewer, pair.a, other)


def _inputs_unchanged(trial: TwoViewTrial) -> None:
    frames = fresh([trial.pair.a, trial.pair.b])
    with unchanged("images and depths of frames", arrays_of(frames)):
        trial.matches(frames[0], frames[1])


def _demand_same(what: str, expected: Matches, found: Matches) -> None:
    demand(len(found) == len(expected), what, f"{len(expected)} matches", f"{len(found)}")
    demand_close(f"pixels_a of {what}", expected.pixels_a, found.pixels_a)
    demand_close(f"pixels_b of {what}", expected.pixels_b, found.pixels_b)
    demand_close(f"scores of {what}", expected.scores, found.scores)


def _deterministic(trial: TwoViewTrial) -> None:
    provider, pair = trial.make(), trial.pair
    first = provider.matches(pair.a, pair.b)
    _demand_same("matches asked for again", first, provider.matches(pair.a, pair.b))
    _demand_same("matches by another one made alike", first, trial.matches(pair.a, pair.b))


def _equivariant_to_order(trial: TwoViewTrial) -> None:
    provider, pair = trial.make(), trial.pair
    provider.matches(pair.b, pair.a)
    provider.matches(pair.a, pair.a)
    _demand_same(
        "matches after other pairs were asked for", trial.matches(pair.a, pair.b), provider.matches(pair.a, pair.b)
    )


def _equivariant_to_size(trial: TwoViewTrial) -> None:
    """An image of half the size shows each thing at half the place: in pixels whose centres are at 0.5."""
    if trial.accuracy_px is None:
        return
    a = trial.pair.a
    found = trial.matches(a, halved(a))
    demand(len(found) >= _FEWEST, "matches of an image with itself at half the size", f"{_FEWEST} or more", len(found))
    offset = np.median(2.0 * found.pixels_b - found.pixels_a, axis=0)
    # Counting pixel centres as whole numbers in both images gives 0.5.
    near = 0.2 * trial.accuracy_px
    demand(
        float(np.abs(offset).max()) <= near,
        "twice the place at half the size, less the place",
        f"(0, 0) within {near:g} px, pixel centres being at 0.5",
        f"({offset[0]:.2f}, {offset[1]:.2f})",
    )


def _degenerate_input(trial: TwoViewTrial) -> None:
    provider, pair = trial.make(), trial.pair
    whole = provider.matches(pair.a, pair.b)
    for part, rest in (("image", without_image(pair.a)), ("depth", without_depth(pair.a))):
        if rest is None:
            continue
        what = f"matches of a frame without {part}"
        found = answer_or_refusal(what, lambda rest=rest: provider.matches(rest, pair.b))  # type: ignore[misc]
        if found is not None:
            _demand_same(f"{what}, which was not refused and so cannot have been needed", whole, found)
    covered = blank(pair.a), blank(pair.b)
    nothing = answer_or_refusal("matches of blank images", lambda: provider.matches(*covered))
    if nothing is not None:
        demand(isinstance(nothing, Matches), "matches of blank images", "Matches", type(nothing).__name__)
        demand(
            len(nothing) < _FEWEST or trial.accuracy_px is None,
            "matches of blank images",
            f"fewer than {_FEWEST}",
            len(nothing),
        )


def _works_on_cpu(trial: TwoViewTrial) -> None:
    pair = trial.pair
    with without_gpu():
        _demand_matches("matches without a GPU", trial.matches(pair.a, pair.b), pair.a, pair.b)


def _meaning_held(trial: TwoViewTrial) -> None:
    """Matched places must show the same point; the depth of A says where B sees it."""
    if trial.accuracy_px is None:
        return
    pair = trial.pair
    found = trial.matches(pair.a, pair.b)
    demand(len(found) >= _FEWEST, "matches of two views of one room", f"{_FEWEST} or more", len(found))
    if pair.a.depth is None:
        fail("frame A of the trial", "exact depth to compare with", "none")
    columns, rows = np.minimum(found.pixels_a.astype(int), [pair.a.camera.width - 1, pair.a.camera.height - 1]).T
    depth = pair.a.depth[rows, columns].astype(np.float64)
    camera = pair.a.camera
    slopes = (found.pixels_a - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    in_b = pair.b_from_a.apply(np.column_stack([slopes, np.ones(len(slopes))]) * depth[:, None])
    other = pair.b.camera
    true = in_b[:, :2] / in_b[:, 2:] * [other.fx, other.fy] + [other.cx, other.cy]
    distance = np.linalg.norm(found.pixels_b - true, axis=1)[depth > 0]
    median = float(np.median(distance)) if len(distance) else float("inf")
    demand(
        median <= trial.accuracy_px,
        "median distance of pixels_b from where the point of pixels_a is seen",
        f"at most {trial.accuracy_px:g} px",
        f"{median:.2f} px",
    )


TWO_VIEW_CHECKS: tuple[Check[TwoViewTrial], ...] = (
    Check("members", "it is made without arguments and has a name", _members),
    Check("inside", "matches are finite places inside their own images, which may differ in size", _inside),
    Check("inputs_unchanged", "images and depths of frames stay as they were given", _inputs_unchanged),
    Check("deterministic", "the same pair gives the same matches, again and by another one made alike", _deterministic),
    Check("equivariant_to_order", "matches do not depend on the pairs seen before", _equivariant_to_order),
    Check(
        "equivariant_to_size",
        "an image of half the size has the same matches at half their places",
        _equivariant_to_size,
    ),
    Check(
        "degenerate_input",
        "a frame that lacks what is needed is refused with a reason, and blank images have no matches",
        _degenerate_input,
    ),
    Check("works_on_cpu", "it works without a GPU", _works_on_cpu),
    Check("meaning_held", "matched places show the same point", _meaning_held),
)
"""By name; each is called with a :class:`TwoViewTrial`."""


def check_two_view_provider(
    make: Callable[[], TwoViewProvider], pair: ViewPair | None = None, accuracy_px: float | None = 1.5
) -> None:
    """Put all :data:`TWO_VIEW_CHECKS` to a source of matches.

    Args:
        make: makes it, with the same options and seed each time.
        pair: takes the place of :func:`sample_pair`.
        accuracy_px: see :class:`TwoViewTrial`.

    Raises:
        AssertionError: naming each check that failed, what was expected and what came.
    """
    trial = TwoViewTrial(make) if pair is None else TwoViewTrial(make, pair)
    run_checks("two-view provider", TWO_VIEW_CHECKS, replace(trial, accuracy_px=accuracy_px))
