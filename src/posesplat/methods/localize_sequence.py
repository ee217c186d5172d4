"""A sequence of frames in one map: each start comes from the frames before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import interpolated
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.localize import Localizer

StartRule = Literal["previous", "velocity", "none"]
"""previous = the last pose found; velocity = the last motion continued; none = each frame on its own."""


def localize_sequence(
    localizer: Localizer,
    frames: Iterable[Frame],
    starts: StartRule | Sequence[RigidTransform | None] = "velocity",
    on_estimate: Callable[[Frame, PoseEstimate], None] | None = None,
) -> Trajectory:
    """Poses of a sequence.

    A frame that is refused from its start is tried again without one, and so is every frame without a start.

    Args:
        localizer: the prepared map.
        frames: in order of time.
        starts: a rule, or one approximate cam_from_world a frame (None where there is none).
        on_estimate: called after each frame, for progress; when it raises, the poses found so far are lost, so keep
            them if they matter.

    Returns:
        One estimate a frame.
    """
    estimates: list[PoseEstimate] = []
    timestamps: list[float] = []
    names: list[str] = []
    history: list[tuple[float, RigidTransform]] = []
    for index, frame in enumerate(frames):
        start = _start(starts, index, history, frame.timestamp)
        estimate = localizer.localize(frame, start)
        if not estimate.success and start is not None:
            retry = localizer.localize(frame, None)
            if retry.success:
                estimate = retry.replace(runtime_s=estimate.runtime_s + retry.runtime_s)
        if estimate.cam_from_world is not None:
            history = [*history[-1:], (frame.timestamp, estimate.cam_from_world)]
        else:
            history = history[-1:]
        estimates.append(estimate)
        timestamps.append(frame.timestamp)
        names.append(frame.name)
        if on_estimate is not None:
            on_estimate(frame, estimate)
    return Trajectory(tuple(estimates), np.array(timestamps, dtype=np.float64), tuple(names))


def _start(
    starts: StartRule | Sequence[RigidTransform | None],
    index: int,
    history: Sequence[tuple[float, RigidTransform]],
    timestamp: float,
) -> RigidTransform | None:
    """The start of one frame."""
    if not isinstance(starts, str):
        if index >= len(starts):
            raise ValueError(f"Each frame needs a start; got {len(starts)} for more frames. Pass None where unknown.")
        return starts[index]
    if starts == "none" or not history:
        return None
    last_time, last = history[-1]
    if starts == "previous" or len(history) < 2:
        return last
    before_time, before = history[-2]
    if last_time <= before_time or timestamp <= last_time:
        return last
    # At most two steps ahead: a long gap says little about where the camera went.
    ahead = min((timestamp - last_time) / (last_time - before_time), 2.0)
    return interpolated(before, last, 1.0 + ahead)
