"""True poses as data sets store them: TUM rows and 4x4 matrices, world_from_cam; here turned to cam_from_world."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform, Rotation, Slerp

_MAX_GAP_S = 0.1
_MAX_DISTANCE_S = 0.02
_ORTHONORMAL = 1e-2


@dataclass(frozen=True)
class PoseRows:
    """Rows ``id tx ty tz qx qy qz qw`` of a TUM file."""

    ids: tuple[str, ...]
    """First column as written: a time in seconds, an image name, or a number."""
    world_from_cam: RigidTransform
    """Poses, shape (n,)."""


def read_pose_rows(path: Path) -> PoseRows:
    """Read ``id tx ty tz qx qy qz qw`` rows (world_from_cam, quaternion xyzw); rows with NaN are left out.

    Raises:
        ValueError: when a row has not eight columns, is no number, or its quaternion is far from unit length.
    """
    ids: list[str] = []
    values: list[list[float]] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        columns = line.replace(",", " ").split()
        if not columns or columns[0].startswith("#"):
            continue
        try:
            row = [float(column) for column in columns[1:]]
        except ValueError:
            row = []
        if len(row) != 7:
            raise _bad_row(path, number, line)
        if not np.isfinite(row).all():
            continue
        if abs(np.linalg.norm(row[3:]) - 1.0) > 0.05:
            raise _bad_row(path, number, line)
        ids.append(columns[0])
        values.append(row)
    if not values:
        raise ValueError(
            f"{path} must hold rows 'id tx ty tz qx qy qz qw'; got none. Remove the file if it has no poses."
        )
    table = np.array(values)
    return PoseRows(tuple(ids), RigidTransform.from_components(table[:, :3], Rotation.from_quat(table[:, 3:])))


def poses_by_name(
    rows: PoseRows, paths: Sequence[Path], source: Path, *, by_order: bool
) -> tuple[RigidTransform | None, ...]:
    """cam_from_world of each image whose name, stem or number is a row's id, else None.

    When no id is the name of an image and ``by_order`` is set, rows and images of equal count are taken in order.

    Raises:
        ValueError: when nothing matches.
    """
    cam_from_world = rows.world_from_cam.inv()
    index_of = {name: index for index, name in enumerate(rows.ids)}
    for index, name in enumerate(rows.ids):
        index_of.setdefault(_canonical(name), index)
    found = [index_of.get(path.name, index_of.get(path.stem, index_of.get(_canonical(path.name)))) for path in paths]
    if all(index is None for index in found):
        if not by_order or len(rows.ids) != len(paths):
            raise ValueError(
                f"The ids in {source} must be names of the {len(paths)} images, or as many rows as images; got "
                f"{len(rows.ids)} rows such as {rows.ids[0]!r}, images such as {paths[0].name!r}. "
                "Write image names in the first column."
            )
        found = list(range(len(paths)))
    return tuple(None if index is None else cam_from_world[index] for index in found)


def poses_at_times(rows: PoseRows, times: Float[np.ndarray, " n"]) -> tuple[RigidTransform | None, ...]:
    """cam_from_world at each time: rotation by slerp, centre linearly, between rows at most 0.1 s apart.

    Outside such a gap the nearest row within 0.02 s is taken, as the benchmark's own tools do; else None.
    """
    stamps, first = np.unique(_stamps(rows), return_index=True)
    world_from_cam = rows.world_from_cam[first]
    after = np.clip(np.searchsorted(stamps, times), 1, max(len(stamps) - 1, 1))
    poses: list[RigidTransform | None] = []
    for time, right in zip(times, after, strict=True):
        nearest = int(np.argmin(np.abs(stamps - time)))
        if len(stamps) > 1 and stamps[right - 1] <= time <= stamps[right] <= stamps[right - 1] + _MAX_GAP_S:
            poses.append(_between(stamps, world_from_cam, int(right), float(time)).inv())
        elif abs(stamps[nearest] - time) <= _MAX_DISTANCE_S:
            poses.append(world_from_cam[nearest].inv())
        else:
            poses.append(None)
    return tuple(poses)


def pose_from_matrix(values: Float[np.ndarray, "*n"], source: str) -> RigidTransform | None:
    """cam_from_world of a 4x4 world_from_cam matrix (16 numbers); None when it holds NaN or infinity.

    Raises:
        ValueError: when it is not a rigid transform.
    """
    if values.size == 16 and not np.isfinite(values).all():
        return None
    return rigid_matrix(values, source, "world_from_cam").inv()


def rigid_matrix(values: Float[np.ndarray, "*n"], source: str, what: str = "pose") -> RigidTransform:
    """The transform of a 4x4 matrix as it stands (16 numbers).

    Raises:
        ValueError: when it is not a rigid transform.
    """
    if values.size != 16:
        raise ValueError(f"{source} must hold the 16 numbers of a 4x4 {what} matrix; got {values.size}.")
    matrix = values.reshape(4, 4)
    rotation = matrix[:3, :3]
    gap = float(np.abs(rotation @ rotation.T - np.eye(3)).max()) if np.isfinite(matrix).all() else np.inf
    if gap > _ORTHONORMAL or np.linalg.det(rotation) < 0 or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise ValueError(
            f"{source} must be a rigid {what} matrix (right-handed, no scale, last row 0 0 0 1); "
            f"got {matrix.tolist()}. Remove scale or axis flips first."
        )
    return RigidTransform.from_matrix(matrix)


def _stamps(rows: PoseRows) -> Float[np.ndarray, " n"]:
    try:
        return np.array([float(name) for name in rows.ids])
    except ValueError as error:
        raise ValueError(
            f"The first column of a ground truth must be times in seconds; got {error}. "
            "Poses with image names belong in poses.txt."
        ) from error


def _between(stamps: Float[np.ndarray, " n"], poses: RigidTransform, right: int, time: float) -> RigidTransform:
    pair = poses[[right - 1, right]]
    start, end = stamps[right - 1], stamps[right]
    fraction = (time - start) / (end - start)
    centre = (1.0 - fraction) * pair.translation[0] + fraction * pair.translation[1]
    return RigidTransform.from_components(centre, Slerp([0.0, 1.0], pair.rotation)(fraction))


def _canonical(name: str) -> str:
    """A name without its image suffix; equal numbers (``7``, ``00007``; ``1.5``, ``1.500``) become equal text."""
    stem = re.sub(r"\.[A-Za-z]+$", "", name)
    return str(Decimal(stem).normalize()) if re.fullmatch(r"\d+(\.\d+)?", stem) else stem


def _bad_row(path: Path, number: int, line: str) -> ValueError:
    return ValueError(
        f"{path} line {number} must be 'id tx ty tz qx qy qz qw' (metres, unit quaternion with w last); got {line!r}. "
        "Check the column order."
    )
