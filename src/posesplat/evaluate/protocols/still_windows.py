"""The clips on which SmallGS was evaluated: nearly still windows of the TUM benchmark's static sequences.

Source: SmallGS (arXiv 2504.17810), section 4, and its released code: colour images and true poses associated within
0.02 s; windows of 30 frames that stay within 0.07 rad and 0.10 m of their middle frame, none overlapping another; a
sequence without such a window is searched for shorter ones, by 5 frames at a time down to 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.calibration import Calibration, ReadOptions, find_calibration
from posesplat.datasets.paths import file_sequence
from posesplat.datasets.pose_files import read_pose_rows
from posesplat.datasets.sequences import FrameSequence
from posesplat.datasets.tum import associate, default_calibration, read_list
from posesplat.geometry.poses import pose_errors


@dataclass(frozen=True)
class StillWindows:
    """Which windows of a sequence count as nearly still."""

    frames: int = 30
    """Longest window."""
    fewest: int = 10
    """Shortest window."""
    shrink: int = 5
    """Frames by which windows get shorter while none is found."""
    max_angle_rad: float = 0.07
    """Largest angle to the middle frame."""
    max_distance_m: float = 0.10
    """Largest distance to the middle frame."""
    max_time_difference_s: float = 0.02
    """Between an image and its true pose."""

    def __post_init__(self) -> None:
        if not 1 <= self.fewest <= self.frames or self.shrink < 1:
            raise ValueError(f"StillWindows needs 1 <= fewest <= frames and shrink of at least 1; got {self}.")
        if min(self.max_angle_rad, self.max_distance_m, self.max_time_difference_s) < 0:
            raise ValueError(f"StillWindows needs limits of at least 0; got {self}.")


def is_static(folder: Path) -> bool:
    """Whether a folder is one of the sequences that are searched: its name says static, and it has the lists."""
    return "static" in folder.name and (folder / "rgb.txt").is_file() and (folder / "groundtruth.txt").is_file()


def still_windows(cam_from_world: RigidTransform, options: StillWindows = StillWindows()) -> list[range]:
    """Windows of frames that stay near their middle frame, the earliest first; empty when there is none.

    The middle of a window of n frames is its frame n // 2.

    Args:
        cam_from_world: true poses, shape (n,).
        options: sizes and limits.
    """
    count = len(cam_from_world)
    for size in range(options.frames, options.fewest - 1, -options.shrink):
        found: list[range] = []
        start = 0
        while start + size <= count:
            window = range(start, start + size)
            middle = cam_from_world[start + size // 2]
            distance, angle = pose_errors(
                cam_from_world[start : start + size], RigidTransform.concatenate([middle] * size)
            )
            if distance.max() <= options.max_distance_m and np.radians(angle).max() <= options.max_angle_rad:
                found.append(window)
                start += size
            else:
                start += 1
        if found:
            return found
    return []


def posed_images(
    folder: Path, options: StillWindows = StillWindows(), read: ReadOptions | None = None
) -> FrameSequence:
    """The colour images of a TUM folder that have a true pose in time, that of the nearest row, without depth.

    The camera is that of :func:`posesplat.datasets.tum.open_tum`.

    Raises:
        ValueError: when no image has a pose, or no camera is known.
    """
    read = read or ReadOptions()
    rows, listed = read_pose_rows(folder / "groundtruth.txt"), read_list(folder / "rgb.txt", 2)
    times, stamps = np.array([float(row[0]) for row in listed]), np.array([float(stamp) for stamp in rows.ids])
    pairs = associate(times, stamps, options.max_time_difference_s)
    if not pairs:
        raise ValueError(
            f"Images in {folder} must have a true pose within {options.max_time_difference_s} s; none of {len(times)} "
            "does. Check the clocks of rgb.txt and groundtruth.txt."
        )
    images = [folder / listed[image][1] for image, _ in pairs]
    calibration = find_calibration(read, (folder,), images[0], default_calibration(folder))
    poses = rows.world_from_cam.inv()
    return file_sequence(
        images,
        None,
        times[[image for image, _ in pairs]],
        Calibration(calibration.camera),
        read,
        cam_from_world=[poses[pose] for _, pose in pairs],
    )


def still_clips(folder: Path, options: StillWindows = StillWindows()) -> Iterator[tuple[range, FrameSequence]]:
    """The windows of a TUM folder as places among its posed images, and their frames."""
    sequence = posed_images(folder, options)
    poses = [pose for pose in sequence.cam_from_world or () if pose is not None]
    for window in still_windows(RigidTransform.concatenate(poses), options):
        yield window, sequence.subset(window)
