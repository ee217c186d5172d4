"""TUM trajectories: one row ``timestamp tx ty tz qx qy qz qw`` a frame, world_from_cam, OpenCV camera axes.

Source: https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats (Sturm et al., IROS 2012).
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.files import write_text
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.rows import finite_numbers, malformed, read_rows, unit_quaternion

_COLUMNS = "timestamp tx ty tz qx qy qz qw"


def write_tum(path: str | PathLike[str], trajectory: Trajectory) -> None:
    """Write the posed frames; frames without a pose are left out, and the header says how many."""
    posed = trajectory.successes()
    metric = all(estimate.scale.metric for estimate in posed)
    lines = [
        "# world_from_cam: position of the camera in the world and rotation from camera to world axes",
        "# camera axes: OpenCV (x right, y down, z forward)",
        f"# unit of translation: {'metre' if metric and len(posed) else 'not known to be metric'}",
        f"# frames: {len(posed)} posed, {len(trajectory) - len(posed)} without a pose left out",
        f"# {_COLUMNS}",
    ]
    if len(posed):
        world_from_cam = posed.world_from_cam()
        quats_xyzw = world_from_cam.rotation.as_quat(canonical=True)
        for time, position, quat in zip(
            posed.timestamps, world_from_cam.translation + 0.0, quats_xyzw + 0.0, strict=True
        ):
            stamp = np.format_float_positional(time, trim="-")
            lines.append(" ".join([stamp, *(f"{value:.12g}" for value in (*position, *quat))]))
    write_text(path, "\n".join(lines) + "\n")


def read_tum(path: str | PathLike[str]) -> Trajectory:
    """Read a TUM trajectory; names are the first column as written.

    A first column of file names instead of numbers is accepted: the timestamps are then the row numbers.

    Raises:
        ValueError: for a malformed row (file, line, what was expected, what came), or a file without rows.
    """
    path = Path(path)
    names, positions, quats_xyzw = [], [], []
    for line, words in read_rows(path, 8, _COLUMNS):
        numbers = finite_numbers(path, line, words[1:], _COLUMNS)
        names.append(words[0])
        positions.append(numbers[:3])
        quats_xyzw.append(unit_quaternion(path, line, numbers[3:], f"{_COLUMNS} with a unit quaternion"))
    if not names:
        raise ValueError(f"{path} must hold rows '{_COLUMNS}'; got none. Every frame may have failed: see result.json.")
    world_from_cam = RigidTransform.from_components(np.array(positions), Rotation.from_quat(np.array(quats_xyzw)))
    return Trajectory.from_poses(world_from_cam.inv(), _timestamps(path, names), names)


def _timestamps(path: Path, names: list[str]) -> list[float]:
    """The first column as seconds, or row numbers when none of it is a number."""
    stamps = [_number(name) for name in names]
    if all(stamp is None for stamp in stamps):
        return [float(index) for index in range(len(names))]
    for name, stamp in zip(names, stamps, strict=True):
        if stamp is None or not np.isfinite(stamp):
            line = next(line for line, words in read_rows(path, 8, _COLUMNS) if words[0] == name)
            raise malformed(path, line, "a timestamp in seconds in every row, or a file name in every row", repr(name))
    return [stamp for stamp in stamps if stamp is not None]


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
