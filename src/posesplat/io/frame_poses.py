"""Poses from a file for the frames of a sequence."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.pose_files import PoseRows, poses_at_times
from posesplat.datasets.sequences import FrameSequence
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.formats import read_trajectory

FramePoses = tuple[RigidTransform | None, ...]

_LOG = logging.getLogger(__name__)
_PLAIN_NUMBER = r"(0|[1-9]\d*)(\.\d+)?"


def read_frame_poses(path: str | PathLike[str], frames: FrameSequence) -> FramePoses:
    """cam_from_world of each frame from a trajectory file of any format; None for frames that it does not hold.

    Frames are found by image name where the file holds names, else by time (interpolated between rows at most 0.1 s
    apart), else by order when there are as many poses as frames and one of both has no clock.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is malformed, or none of its poses belongs to a frame.
    """
    trajectory = read_trajectory(path).successes()
    if not len(trajectory):
        raise ValueError(f"{path} must hold poses of the frames; got none. Pass another file.")
    rules: tuple[tuple[str, Callable[[Trajectory, FrameSequence], FramePoses]], ...] = (
        ("name", _by_name),
        ("time", _by_time),
        ("order", _by_order),
    )
    for label, rule in rules:
        poses = rule(trajectory, frames)
        found = sum(pose is not None for pose in poses)
        if found:
            blind = label == "order" and not _only_row_numbers(trajectory)
            _LOG.log(
                logging.WARNING if blind else logging.INFO,
                "%s: poses of %d of %d frames, by %s",
                path,
                found,
                len(frames),
                label + (", for neither its names nor its times are those of the frames" if blind else ""),
            )
            return poses
    raise ValueError(
        f"{path} must hold poses of these frames, by image name, time or order; got {len(trajectory)} poses such as "
        f"{trajectory.names[0]!r} at {trajectory.timestamps[0]:.6f} s for {len(frames)} frames such as "
        f"{frames.names[0]!r} at {frames.timestamps[0]:.6f} s. Check that file and frames belong together."
    )


def true_poses(choice: str, frames: FrameSequence) -> FramePoses | None:
    """The poses to compare with that a command was asked for: ``auto`` (the data set's), ``none``, or a file's."""
    if choice == "none":
        return None
    return frames.cam_from_world if choice == "auto" else read_frame_poses(choice, frames)


def seen_from_first(poses: FramePoses) -> FramePoses:
    """The same poses in the camera frame of the first one that is known."""
    first = next((pose for pose in poses if pose is not None), None)
    return tuple(None if pose is None or first is None else pose * first.inv() for pose in poses)


def _by_name(trajectory: Trajectory, frames: FrameSequence) -> FramePoses:
    """By equal names, or names less suffix; plain numbers are times or row numbers rather than names."""
    if all(re.fullmatch(_PLAIN_NUMBER, name) for name in trajectory.names) or _only_row_numbers(trajectory):
        return (None,) * len(frames)
    pose_of: dict[str, RigidTransform | None] = {}
    for name, estimate in zip(trajectory.names, trajectory, strict=True):
        base = Path(name).name
        pose_of[base] = estimate.cam_from_world
        pose_of.setdefault(Path(base).stem if re.search(r"\.[A-Za-z]+$", base) else base, estimate.cam_from_world)
    return tuple(pose_of.get(name, pose_of.get(Path(name).stem)) for name in frames.names)


def _by_time(trajectory: Trajectory, frames: FrameSequence) -> FramePoses:
    """By time; row numbers are times only where frame numbers are."""
    if _only_row_numbers(trajectory) and not np.array_equal(frames.timestamps, np.rint(frames.timestamps)):
        return (None,) * len(frames)
    rows = PoseRows(tuple(repr(float(time)) for time in trajectory.timestamps), trajectory.world_from_cam())
    return poses_at_times(rows, frames.timestamps)


def _by_order(trajectory: Trajectory, frames: FrameSequence) -> FramePoses:
    clocks = [np.any(times != np.rint(times)) for times in (trajectory.timestamps, frames.timestamps)]
    if len(trajectory) != len(frames) or all(clocks):
        return (None,) * len(frames)
    return tuple(estimate.cam_from_world for estimate in trajectory)


def _only_row_numbers(trajectory: Trajectory) -> bool:
    """True when the file had neither clock nor names, only rows."""
    numbers = range(len(trajectory))
    named = any(name != f"{number:06d}" for number, name in zip(numbers, trajectory.names, strict=True))
    return not named and np.array_equal(trajectory.timestamps, numbers)
