"""KITTI odometry trajectories: the 12 numbers of a 3x4 world_from_cam matrix, row by row, one line a frame.

OpenCV camera axes. The format allows neither comments nor timestamps nor gaps: line i is frame i.
Source: https://www.cvlibs.net/datasets/kitti/eval_odometry.php (Geiger et al., CVPR 2012).
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.files import write_text
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.rows import finite_numbers, malformed, read_rows

_COLUMNS = "12 numbers, the rows of a 3x4 world_from_cam matrix"


def write_kitti(path: str | PathLike[str], trajectory: Trajectory) -> None:
    """Write one row for each frame.

    Raises:
        ValueError: when a frame has no pose, because the format cannot leave frames out.
    """
    failed = [name for name, posed in zip(trajectory.names, trajectory.posed, strict=True) if not posed]
    if failed:
        raise ValueError(
            f"KITTI files need a pose for every frame; got {len(failed)} of {len(trajectory)} without one "
            f"(first: {failed[0]}). Write TUM, or pass trajectory.successes() and keep its names beside the file."
        )
    rows = (
        trajectory.world_from_cam().as_matrix()[:, :3].reshape(-1, 12) + 0.0 if len(trajectory) else np.empty((0, 12))
    )
    write_text(path, "".join(" ".join(f"{value:.12g}" for value in row) + "\n" for row in rows))


def read_kitti(path: str | PathLike[str]) -> Trajectory:
    """Read a KITTI trajectory; timestamps and names are frame numbers.

    Raises:
        ValueError: for a malformed row (file, line, what was expected, what came), or a file without rows.
    """
    path = Path(path)
    matrices = []
    for line, words in read_rows(path, 12, _COLUMNS):
        matrix = np.eye(4)
        matrix[:3] = np.reshape(finite_numbers(path, line, words, _COLUMNS), (3, 4))
        rotation = matrix[:3, :3]
        gap = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
        if gap > 0.01 or np.linalg.det(rotation) < 0:
            raise malformed(path, line, f"{_COLUMNS} with a rotation in it", f"R R^T off the identity by {gap:.3g}")
        matrices.append(matrix)
    if not matrices:
        raise ValueError(f"{path} must hold rows of {_COLUMNS}; got none. Pass another file.")
    return Trajectory.from_poses(RigidTransform.from_matrix(np.stack(matrices)).inv())
