"""What every way from frames to poses must do: localize, track, pair, bridge, reconstruct, or your own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import rescaled
from posesplat.testing.check import (
    Check,
    answer_or_refusal,
    arrays_of,
    demand,
    demand_close,
    fail,
    run_checks,
    unchanged,
    without_gpu,
)
from posesplat.testing.estimates import demand_estimate, demand_relative_poses
from posesplat.testing.material import blank, fresh, noise, rescaled_frame, sample_views

World = Literal["first", "map"]
"""Which frame answers are told in: the first frame's camera, or the world of the map's poses."""
_FACTOR = 1.5
_MOVED = RigidTransform.from_components([0.7, -0.4, 1.1], Rotation.from_rotvec([0.3, -0.5, 0.2]))


@dataclass(frozen=True)
class MethodCase:
    """Frames to be posed, and frames of known pose for methods that need a map."""

    frames: tuple[Frame, ...]
    """What the method is asked about."""
    map_frames: tuple[Frame, ...]
    """RGB-D frames that a map may be built of."""
    map_cam_from_world: RigidTransform
    """Their exact poses, stacked."""


def sample_case(
    count: int = 2,
    width: int = 160,
    height: int = 120,
    turn_deg: float = 8.0,
    shift_m: tuple[float, float, float] = (0.15, 0.02, 0.05),
    *,
    depth: bool = True,
) -> tuple[MethodCase, RigidTransform]:
    """Frames of a furnished room between two more, of which a map may be built.

    Args:
        count: frames to be posed.
        width: of images.
        height: of images.
        turn_deg: rotation over all frames.
        shift_m: translation over all frames.
        depth: whether the frames to be posed have depth.

    Returns:
        the case, and the exact cam_from_world of its frames, stacked.
    """
    frames, poses = sample_views(count + 2, width, height, turn_deg, shift_m)
    ends = [0, count + 1]
    asked = tuple(frame if depth else replace(frame, depth=None) for frame in frames[1:-1])
    return MethodCase(asked, tuple(frames[index] for index in ends), poses[ends]), poses[1:-1]


Method = Callable[[MethodCase], Sequence[PoseEstimate]]
"""From frames to one estimate a frame."""


@dataclass(frozen=True)
class MethodTrial:
    """A method on trial."""

    method: Method
    """With the same options and seed each time."""
    case: MethodCase = field(default_factory=lambda: sample_case()[0])
    """What it is asked."""
    cam_from_world: RigidTransform = field(default_factory=lambda: sample_case()[1])
    """The exact poses of the case's frames, stacked."""
    world: World = "first"
    """The frame of its answers."""
    tolerance_deg: float = 1.0
    """Error of rotations that is still right."""
    tolerance: float = 0.1
    """Error of translations that is still right, as a share of the motion."""

    @cached_property
    def answers(self) -> list[PoseEstimate]:
        """What the method says of the case, asked once."""
        return list(self.method(self.case))

    def relative(self, poses: Sequence[RigidTransform], case: MethodCase) -> list[RigidTransform]:
        """Poses seen from the first frame, which is left out, or from the first camera of the map."""
        if self.world == "map":
            return [pose * case.map_cam_from_world[0].inv() for pose in poses]
        return [pose * poses[0].inv() for pose in poses[1:]]

    def true(self) -> list[RigidTransform]:
        """The true poses, seen alike."""
        return self.relative(list(self.cam_from_world), self.case)


def _posed(what: str, answers: Sequence[PoseEstimate], case: MethodCase) -> list[RigidTransform]:
    demand(len(answers) == len(case.frames), what, f"{len(case.frames)} estimates, one a frame", len(answers))
    poses = [answer.cam_from_world for answer in answers]
    if any(pose is None for pose in poses):
        fail(what, "poses of frames that are easy to see", [answer.reason for answer in answers if not answer.success])
    return [pose for pose in poses if pose is not None]


def _contract(trial: MethodTrial) -> None:
    for index, estimate in enumerate(trial.answers):
        demand_estimate(f"estimate {index}", estimate)
    poses = _posed("the answer", trial.answers, trial.case)
    if trial.world == "first":
        demand_close("pose of the first frame, the world", np.eye(4), poses[0].as_matrix(), absolute=1e-9)


def _inputs_unchanged(trial: MethodTrial) -> None:
    case = replace(trial.case, frames=fresh(trial.case.frames), map_frames=fresh(trial.case.map_frames))
    with unchanged("images and depths of frames", arrays_of([*case.frames, *case.map_frames])):
        trial.method(case)


def _deterministic(trial: MethodTrial) -> None:
    again = list(trial.method(trial.case))
    demand(
        len(again) == len(trial.answers), "the answer asked for again", f"{len(trial.answers)} estimates", len(again)
    )
    for index, (one, other) in enumerate(zip(trial.answers, again, strict=True)):
        demand(one.success == other.success, f"success of estimate {index}, again", one.success, other.success)
        if one.cam_from_world is not None and other.cam_from_world is not None:
            what = f"estimate {index}, again"
            demand_close(
                f"pose of {what}", np.asarray(one.cam_from_world.as_matrix()), other.cam_from_world.as_matrix()
            )
        if one.covariance is not None:
            demand_close(f"covariance of estimate {index}, again", one.covariance, other.covariance)


def _equivariant_to_world(trial: MethodTrial) -> None:
    """Another origin and other axes of the map's world."""
    moved = replace(trial.case, map_cam_from_world=trial.case.map_cam_from_world * _MOVED)
    answers = list(trial.method(moved))
    expected = _posed("the answer", trial.answers, trial.case)
    if trial.world == "map":
        expected = [pose * _MOVED for pose in expected]
    found = _posed("the answer in a world that was moved", answers, moved)
    demand_relative_poses(
        "the answer in a world that was moved",
        trial.relative(found, moved),
        trial.relative(expected, moved),
        metric=True,
        tolerance_deg=0.5 * trial.tolerance_deg,
        tolerance=0.5 * trial.tolerance,
    )


def _equivariant_to_length(trial: MethodTrial) -> None:
    """The same images in a world of longer lengths: metric answers must follow, others must not."""
    case = trial.case
    long = MethodCase(
        tuple(rescaled_frame(frame, _FACTOR) for frame in case.frames),
        tuple(rescaled_frame(frame, _FACTOR) for frame in case.map_frames),
        RigidTransform.concatenate([rescaled(pose, _FACTOR) for pose in case.map_cam_from_world]),
    )
    metric = trial.answers[-1].scale.metric
    expected = trial.relative(_posed("the answer", trial.answers, case), case)
    if metric or trial.world == "map":
        expected = [rescaled(pose, _FACTOR) for pose in expected]
    found = _posed("the answer in a longer world", list(trial.method(long)), long)
    demand_relative_poses(
        f"the answer, {'in metres' if metric else 'up to scale'}, in a world {_FACTOR:g} times as long",
        trial.relative(found, long),
        expected,
        metric=True,
        tolerance_deg=trial.tolerance_deg,
        tolerance=trial.tolerance,
    )


def _degenerate_input(trial: MethodTrial) -> None:
    for what, spoilt in (("blank", blank), ("noise", noise)):
        frames = tuple(
            spoilt(frame) if spoilt is blank else noise(frame, seed=index)
            for index, frame in enumerate(trial.case.frames)
        )
        case = replace(trial.case, frames=frames)
        answers = answer_or_refusal(f"poses of frames that are {what}", lambda case=case: list(trial.method(case)))  # type: ignore[misc]
        for index, estimate in enumerate(answers or ()):
            demand_estimate(f"estimate {index} of frames that are {what}", estimate)
            # The first frame may be the world, which is no finding.
            if index > 0 or trial.world == "map":
                demand(
                    not estimate.success,
                    f"estimate {index} of frames that are {what}",
                    "a refusal with its reason",
                    "a pose",
                )


def _works_on_cpu(trial: MethodTrial) -> None:
    with without_gpu():
        _posed("the answer without a GPU", list(trial.method(trial.case)), trial.case)


def _meaning_held(trial: MethodTrial) -> None:
    demand_relative_poses(
        "the answer",
        trial.relative(_posed("the answer", trial.answers, trial.case), trial.case),
        trial.true(),
        metric=trial.answers[-1].scale.metric or trial.world == "map",
        tolerance_deg=trial.tolerance_deg,
        tolerance=trial.tolerance,
    )


METHOD_CHECKS: tuple[Check[MethodTrial], ...] = (
    Check(
        "contract", "one sound estimate a frame: a pose with its covariance, or a refusal with its reason", _contract
    ),
    Check("inputs_unchanged", "images and depths of frames stay as they were given", _inputs_unchanged),
    Check("deterministic", "equal frames and seeds give equal answers", _deterministic),
    Check("equivariant_to_world", "answers move with the map's world, and with nothing else", _equivariant_to_world),
    Check(
        "equivariant_to_length", "longer worlds give longer metric translations and no others", _equivariant_to_length
    ),
    Check("degenerate_input", "blank images and noise are refused with a reason, never posed", _degenerate_input),
    Check("works_on_cpu", "it works without a GPU", _works_on_cpu),
    Check(
        "meaning_held", "poses are cam_from_world of OpenCV cameras, in metres where the scale says so", _meaning_held
    ),
)
"""By name; each is called with a :class:`MethodTrial`."""


def check_method(
    method: Method,
    case: MethodCase | None = None,
    cam_from_world: RigidTransform | None = None,
    world: World = "first",
    tolerance_deg: float = 1.0,
    tolerance: float = 0.1,
) -> None:
    """Put all :data:`METHOD_CHECKS` to a method.

    Args:
        method: from a case to one estimate a frame, with the same options and seed each time.
        case: takes the place of :func:`sample_case`'s; then ``cam_from_world`` is needed too.
        cam_from_world: the exact poses of the case's frames, stacked.
        world: the frame of its answers.
        tolerance_deg: see :class:`MethodTrial`.
        tolerance: see :class:`MethodTrial`.

    Raises:
        AssertionError: naming each check that failed, what was expected and what came.
        ValueError: for a case without poses.

    Example:
        >>> check_method(lambda case: my_odometry(case.frames))
    """
    if (case is None) != (cam_from_world is None):
        raise ValueError("check_method needs a case and its cam_from_world, or neither; got one of them. Pass both.")
    if case is None or cam_from_world is None:
        case, cam_from_world = sample_case()
    trial = MethodTrial(method, case, cam_from_world, world, tolerance_deg, tolerance)
    run_checks("method", METHOD_CHECKS, trial)
