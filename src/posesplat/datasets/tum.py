"""The TUM RGB-D benchmark's layout: rgb.txt and depth.txt, or associations.txt; groundtruth.txt.

Source: Sturm, Engelhard, Endres, Burgard, Cremers, A benchmark for the evaluation of RGB-D SLAM systems, IROS 2012, and
https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats.

The benchmark's depth maps are registered to the raw colour pixels, so they carry the colour lens's distortion and both
are undistorted with the same maps (``ReadOptions.undistort_depth``): on fr1_rpy the mean image gradient at depth edges,
relative to the whole image, is 2.28 that way and 1.70 with the depth left alone.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.calibration import Calibration, ReadOptions, find_calibration
from posesplat.datasets.paths import file_sequence
from posesplat.datasets.pose_files import poses_at_times, poses_by_name, read_pose_rows
from posesplat.datasets.sequences import FrameSequence
from posesplat.geometry.cameras import Camera

_LOG = logging.getLogger(__name__)
_DEPTH_SCALE = 5000.0
_MAX_DIFFERENCE_S = 0.02
_ASSOCIATIONS = ("associations.txt", "associated.txt", "associate.txt")

FREIBURG_CAMERAS = {
    1: Camera.from_opencv(
        517.306408, 516.469215, 318.643040, 255.313989, 640, 480, (0.262383, -0.953104, -0.005358, 0.002628, 1.163314)
    ),
    2: Camera.from_opencv(
        520.908620, 521.007327, 325.141442, 249.701764, 640, 480, (0.231222, -0.784899, -0.003257, -0.000105, 0.917205)
    ),
    3: Camera.from_opencv(535.4, 539.2, 320.1, 247.6, 640, 480),
}
"""The benchmark's colour calibrations; their numbers count pixel centres as whole numbers."""


def is_tum(folder: Path) -> bool:
    """Whether ``folder`` has the TUM layout."""
    lists = (folder / "rgb.txt").is_file() and (folder / "depth.txt").is_file()
    return lists or _association_file(folder) is not None


def open_tum(folder: Path, options: ReadOptions | None = None) -> FrameSequence:
    """Open a TUM sequence; frame times are those of the colour images.

    True poses come from ``groundtruth.txt``, interpolated at the colour time (:func:`poses_at_times`), or from
    ``poses.txt``, whose ids are image names. The camera is the given one, else ``camera.json`` or ``intrinsics.txt`` in
    the folder, else the calibration of freiburg1, 2 or 3 when the folder's name says which.

    Raises:
        ValueError: when no colour and depth image belong together, or no camera is known.
    """
    options = options or ReadOptions()
    pairs = _listed_pairs(folder)
    times = np.array([time for time, _, _ in pairs])
    images = [image for _, image, _ in pairs]
    calibration = find_calibration(options, (folder,), images[0], default_calibration(folder))
    return file_sequence(
        images,
        [depth for _, _, depth in pairs],
        times,
        Calibration(calibration.camera, calibration.depth_scale or _DEPTH_SCALE),
        options,
        cam_from_world=_true_poses(folder, images, times),
    )


def associate(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"], max_difference_s: float = _MAX_DIFFERENCE_S
) -> list[tuple[int, int]]:
    """Index pairs of times that belong together, each used once, closest pairs first; ordered by ``first``.

    The rule of the benchmark's ``associate.py``.
    """
    order = np.argsort(second, kind="stable")
    ordered = second[order]
    low = np.searchsorted(ordered, first - max_difference_s, side="left")
    high = np.searchsorted(ordered, first + max_difference_s, side="right")
    candidates = [
        (abs(first[i] - ordered[j]), i, int(order[j])) for i in range(len(first)) for j in range(low[i], high[i])
    ]
    pairs: list[tuple[int, int]] = []
    used_first, used_second = set(), set()
    for _, i, j in sorted(candidates):
        if i not in used_first and j not in used_second:
            used_first.add(i)
            used_second.add(j)
            pairs.append((i, j))
    return sorted(pairs, key=lambda pair: (first[pair[0]], pair[0]))


def _association_file(folder: Path) -> Path | None:
    return next((folder / name for name in _ASSOCIATIONS if (folder / name).is_file()), None)


def _listed_pairs(folder: Path) -> list[tuple[float, Path, Path]]:
    """Colour time, colour file and depth file of each frame."""
    listed = _association_file(folder)
    if listed is not None:
        rows = read_list(listed, 4)
        depth_first = "depth" in Path(rows[0][1]).parts and "depth" not in Path(rows[0][3]).parts
        time, colour, depth = (2, 3, 1) if depth_first else (0, 1, 3)
        return [(float(row[time]), folder / row[colour], folder / row[depth]) for row in rows]
    colours, depths = (read_list(folder / name, 2) for name in ("rgb.txt", "depth.txt"))
    colour_times, depth_times = (np.array([float(row[0]) for row in rows]) for rows in (colours, depths))
    pairs = associate(colour_times, depth_times)
    if not pairs:
        raise ValueError(
            f"Colour images in {folder} must have a depth image within {_MAX_DIFFERENCE_S} s; none of "
            f"{len(colours)} colour and {len(depths)} depth images do. Check the clocks, or write associations.txt."
        )
    if len(pairs) < len(colours):
        _LOG.info(
            "%s: %d of %d colour images have no depth in time; left out",
            folder,
            len(colours) - len(pairs),
            len(colours),
        )
    return [(float(colour_times[i]), folder / colours[i][1], folder / depths[j][1]) for i, j in pairs]


def read_list(path: Path, columns: int) -> list[list[str]]:
    """The rows of ``rgb.txt`` and the like: times, each followed by a file.

    Raises:
        ValueError: when there are none, or a row has fewer columns or no time where one belongs.
    """
    rows = [line.split() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    for row in rows:
        if len(row) < columns or any(not _is_time(row[column]) for column in range(0, columns, 2)):
            raise ValueError(
                f"{path} must have rows of {columns // 2} times (s), each followed by a file; got {' '.join(row)!r}. "
                "Write it with the benchmark's associate.py."
            )
    if not rows:
        raise ValueError(f"{path} must list at least one image; got none. Write it again, or remove it.")
    return rows


def _is_time(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def default_calibration(folder: Path) -> Calibration | None:
    """The benchmark's calibration for freiburg1, 2 or 3, whichever the folder's name says; None when it says none."""
    match = re.search(r"(?:freiburg|fr)([123])(?!\d)", folder.resolve().name)
    return Calibration(FREIBURG_CAMERAS[int(match[1])], _DEPTH_SCALE) if match else None


def _true_poses(
    folder: Path, images: list[Path], times: Float[np.ndarray, " n"]
) -> tuple[RigidTransform | None, ...] | None:
    if (folder / "groundtruth.txt").is_file():
        return poses_at_times(read_pose_rows(folder / "groundtruth.txt"), times)
    if (folder / "poses.txt").is_file():
        return poses_by_name(read_pose_rows(folder / "poses.txt"), images, folder / "poses.txt", by_order=True)
    return None
