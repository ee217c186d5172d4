"""What every source of poses for subsets must do; see :mod:`posesplat.providers.multi_view.provider`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.frame import Frame
from posesplat.providers.multi_view.provider import MultiViewProvider, PosedSubset
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
from posesplat.testing.estimates import demand_estimate, demand_relative_poses
from posesplat.testing.material import blank, fresh, noise, rescaled_frame, sample_views, without_depth, without_image


@dataclass(frozen=True)
class PosedViews:
    """Frames whose poses are known exactly."""

    frames: tuple[Frame, ...]
    """At least four."""
    cam_from_world: RigidTransform
    """Their poses, stacked."""


def sample_path() -> PosedViews:
    """Five images along a turn of 28 degrees in a room."""
    frames, poses = sample_views(5, 256, 192, 28.0, (0.4, 0.05, 0.1))
    return PosedViews(frames, poses)


@dataclass(frozen=True)
class MultiViewTrial:
    """A source of poses on trial."""

    make: Callable[[], MultiViewProvider]
    """Makes it, with the same options and seed each time."""
    views: PosedViews = field(default_factory=sample_path)
    """What is to be posed."""
    tolerance_deg: float | None = 1.0
    """Error of rotations that is still right; None for sources that were not trained, whose poses mean nothing."""
    tolerance: float = 0.1
    """Error of translations, as a share of the motion."""
    repeats_within_deg: float = 0.0
    """Differences of rotations between runs, for sources whose threads end in any order."""

    @property
    def subset(self) -> tuple[int, ...]:
        """The first image, the last one, and those between."""
        count = len(self.views.frames)
        return (0, count - 1, *range(1, count - 1))

    def posed(self, subsets: Sequence[Sequence[int]], frames: Sequence[Frame] | None = None) -> list[PosedSubset]:
        """The poses of subsets by a source made for them."""
        return self.make().pose_subsets(self.views.frames if frames is None else frames, subsets)


def _members(trial: MultiViewTrial) -> None:
    provider = trial.make()
    demand_kind(provider, MultiViewProvider, "name and pose_subsets")
    demand_name(provider)


def _demand_subset(what: str, found: Any, frames: Sequence[Frame], subset: Sequence[int]) -> None:
    names = tuple(frames[index].name for index in subset)
    demand(isinstance(found, PosedSubset), what, "a PosedSubset", type(found).__name__)
    demand(found.trajectory.names == names, f"names of {what}", names, found.trajectory.names)
    for name, estimate, observed in zip(names, found.trajectory, found.translation_observed, strict=True):
        demand_estimate(f"{name!r} in {what}", estimate)
        demand(
            estimate.success or not observed, f"translation of {name!r} in {what}", "none, being a failure", "observed"
        )
    first = found.trajectory[0].cam_from_world
    if first is not None:
        demand_close(f"pose of the first image in {what}", np.eye(4), first.as_matrix(), absolute=1e-9)
    else:
        demand(not found.trajectory.posed.any(), what, "no poses without the first image", "some")
    fine = all(math.isfinite(value) for value in found.evidence.values())
    demand(fine, f"evidence of {what}", "finite numbers", found.evidence)


def _contract(trial: MultiViewTrial) -> None:
    subsets = [trial.subset, trial.subset[:3]]
    told: list[int] = []
    found = trial.make().pose_subsets(trial.views.frames, subsets, lambda: told.append(1))
    demand(len(found) == len(subsets), "answers", "one for each subset", len(found))
    demand(len(told) == len(subsets), "calls of on_done", "one for each subset", len(told))
    for subset, one in zip(subsets, found, strict=True):
        _demand_subset(f"subset {subset}", one, trial.views.frames, subset)


def _inputs_unchanged(trial: MultiViewTrial) -> None:
    frames, subset = fresh(trial.views.frames), list(trial.subset[:3])
    with unchanged("images and depths of frames", arrays_of(frames)):
        trial.posed([subset], frames)
    demand(subset == list(trial.subset[:3]), "the subset", list(trial.subset[:3]), subset)


def _demand_same(trial: MultiViewTrial, what: str, one: PosedSubset, other: PosedSubset) -> None:
    demand_close(f"which images have a pose {what}", one.trajectory.posed, other.trajectory.posed)
    for name, first, again in zip(one.trajectory.names, one.trajectory, other.trajectory, strict=True):
        if first.cam_from_world is None or again.cam_from_world is None:
            continue
        if trial.repeats_within_deg == 0:
            demand_close(f"pose of {name!r} {what}", first.cam_from_world.as_matrix(), again.cam_from_world.as_matrix())
            continue
        angle = math.degrees((first.cam_from_world.rotation * again.cam_from_world.rotation.inv()).magnitude())
        near = trial.repeats_within_deg
        demand(angle <= near, f"rotation of {name!r} {what}", f"the same within {near:g} deg", f"{angle:.3g}")


def _deterministic(trial: MultiViewTrial) -> None:
    provider, subsets = trial.make(), [trial.subset[:4]]
    first = provider.pose_subsets(trial.views.frames, subsets)[0]
    _demand_same(trial, "asked for again", first, provider.pose_subsets(trial.views.frames, subsets)[0])
    _demand_same(trial, "by another one made alike", first, trial.posed(subsets)[0])


def _observed(found: PosedSubset) -> bool:
    """Whether all directions from the first image are told by parallax; what is not told is not judged."""
    return all(found.translation_observed[1:])


def _equivariant_to_order(trial: MultiViewTrial) -> None:
    """Subsets in another order, and the images of one with another first image: the same poses, another world."""
    if trial.tolerance_deg is None:
        return
    subset = trial.subset
    turned = (subset[1], subset[0], *subset[2:])
    one, other = trial.posed([subset, turned])
    found, expected = [], []
    world = one.trajectory[1].cam_from_world
    for index, again in zip(turned, other.trajectory, strict=True):
        first = one.trajectory[subset.index(index)]
        if world is None or first.cam_from_world is None or again.cam_from_world is None:
            name = trial.views.frames[index].name
            fail(f"pose of {name!r} with another image first", "found both times", first.reason or again.reason)
        found.append(again.cam_from_world)
        expected.append(first.cam_from_world * world.inv())
    demand_relative_poses(
        "the poses with another image first",
        found[1:],
        expected[1:],
        metric=False,
        tolerance_deg=2 * trial.tolerance_deg,
        tolerance=2 * trial.tolerance if _observed(one) and _observed(other) else None,
    )


def _degenerate_input(trial: MultiViewTrial) -> None:
    frames, subset = list(trial.views.frames), trial.subset[:3]
    bare = without_image(frames[subset[1]])
    if bare is not None:
        lacking = list(frames)
        lacking[subset[1]] = bare
        found = answer_or_refusal("poses of a frame without an image", lambda: trial.posed([subset], lacking))
        if found is not None:
            fail("poses of a frame without an image", "a ValueError that says so", "an answer")
    for wrong in ((0,), (0, 0)):
        found = answer_or_refusal(f"poses of the subset {wrong}", lambda wrong=wrong: trial.posed([wrong]))  # type: ignore[misc]
        if found is not None:
            fail(f"poses of the subset {wrong}", "a ValueError: at least two different images are needed", "an answer")
    for what, spoilt in (("blank", blank), ("noise", noise)):
        shown = [spoilt(frame) if index == subset[1] else frame for index, frame in enumerate(frames)]
        (posed,) = trial.posed([subset], shown)
        _demand_subset(f"a subset with an image that is {what}", posed, shown, subset)
        if trial.tolerance_deg is not None:
            demand(not posed.trajectory[1].success, f"an image that is {what}", "a failure with its reason", "a pose")


def _works_on_cpu(trial: MultiViewTrial) -> None:
    with without_gpu():
        (found,) = trial.posed([trial.subset[:3]])
    _demand_subset("a subset without a GPU", found, trial.views.frames, trial.subset[:3])


def _meaning_held(trial: MultiViewTrial) -> None:
    if trial.tolerance_deg is None:
        return
    views, subset = trial.views, trial.subset
    (found,) = trial.posed([subset], [without_depth(frame) or frame for frame in views.frames])
    poses = [estimate.cam_from_world for estimate in found.trajectory]
    if any(pose is None for pose in poses):
        fail("poses of a room that is easy to see", "all found", [estimate.reason for estimate in found.trajectory])
    demand_relative_poses(
        "the subset",
        [pose for pose in poses if pose is not None][1:],
        [views.cam_from_world[index] * views.cam_from_world[subset[0]].inv() for index in subset[1:]],
        metric=any(estimate.scale.metric for estimate in found.trajectory),
        tolerance_deg=trial.tolerance_deg,
        tolerance=trial.tolerance if _observed(found) else None,
    )


def _equivariant_to_length(trial: MultiViewTrial) -> None:
    factor, subset = 2.0, trial.subset[:3]
    frames = [rescaled_frame(frame, factor) for frame in trial.views.frames]
    (one,), (other,) = trial.posed([subset]), trial.posed([subset], frames)
    for name, first, again in zip(one.trajectory.names, one.trajectory, other.trajectory, strict=True):
        if first.cam_from_world is None or again.cam_from_world is None:
            continue
        before = float(np.linalg.norm(first.cam_from_world.translation))
        after = float(np.linalg.norm(again.cam_from_world.translation))
        expected = before * (factor if first.scale.metric else 1.0)
        what = f"translation of {name!r}, {'metric' if first.scale.metric else 'up to scale'}, with all depths doubled"
        demand(abs(after - expected) <= 0.05 * expected + 1e-9, what, f"a length of {expected:.4g}", f"{after:.4g}")


MULTI_VIEW_CHECKS: tuple[Check[MultiViewTrial], ...] = (
    Check("members", "it is made without arguments and has a name", _members),
    Check("contract", "one answer a subset, one sound estimate an image, the first image being the world", _contract),
    Check("inputs_unchanged", "images and depths of frames, and subsets, stay as they were given", _inputs_unchanged),
    Check("deterministic", "equal images give equal poses, again and by another one made alike", _deterministic),
    Check(
        "equivariant_to_order",
        "with another image first the poses are the same ones in its frame",
        _equivariant_to_order,
    ),
    Check("equivariant_to_length", "doubled depths double metric translations and no others", _equivariant_to_length),
    Check(
        "degenerate_input", "what cannot be posed is a failure with a reason, wrong input an error", _degenerate_input
    ),
    Check("works_on_cpu", "it works without a GPU", _works_on_cpu),
    Check(
        "meaning_held", "poses are cam_from_world of OpenCV cameras, in metres where the scale says so", _meaning_held
    ),
)
"""By name; each is called with a :class:`MultiViewTrial`."""


def check_multi_view_provider(
    make: Callable[[], MultiViewProvider],
    views: PosedViews | None = None,
    tolerance_deg: float | None = 1.0,
    tolerance: float = 0.1,
    repeats_within_deg: float = 0.0,
) -> None:
    """Put all :data:`MULTI_VIEW_CHECKS` to a source of poses.

    Args:
        make: makes it, with the same options and seed each time.
        views: takes the place of :func:`sample_path`.
        tolerance_deg: see :class:`MultiViewTrial`.
        tolerance: see :class:`MultiViewTrial`.
        repeats_within_deg: see :class:`MultiViewTrial`.

    Raises:
        AssertionError: naming each check that failed, what was expected and what came.
    """
    views = sample_path() if views is None else views
    trial = MultiViewTrial(make, views, tolerance_deg, tolerance, repeats_within_deg)
    run_checks("multi-view provider", MULTI_VIEW_CHECKS, trial)
