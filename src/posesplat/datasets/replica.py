"""The Replica layout of NICE-SLAM and iMAP: results/frame*.jpg, results/depth*.png, traj.txt, ../cam_params.json.

Source: Zhu et al., NICE-SLAM, CVPR 2022; renders of Replica by Sucar et al., iMAP, ICCV 2021.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.calibration import Calibration, ReadOptions, find_calibration
from posesplat.datasets.paths import file_sequence
from posesplat.datasets.pose_files import pose_from_matrix
from posesplat.datasets.sequences import FrameSequence
from posesplat.geometry.cameras import Camera
from posesplat.images import images_in

_DEPTH_SCALE = 6553.5


def is_replica(folder: Path) -> bool:
    """Whether ``folder`` has the Replica layout."""
    return (folder / "results").is_dir() and any((folder / "results").glob("frame*"))


def open_replica(folder: Path, options: ReadOptions | None = None) -> FrameSequence:
    """Open a Replica sequence; ``traj.txt`` (one 4x4 world_from_cam matrix a line) is optional.

    The camera is the given one, else ``camera.json`` in the folder, else ``cam_params.json`` there or one level up.

    Raises:
        ValueError: when colour, depth and poses are not equally many, or no camera is known.
    """
    options = options or ReadOptions()
    files = images_in(folder / "results")
    images = [path for path in files if path.stem.startswith("frame")]
    depths = [path for path in files if path.stem.startswith("depth")]
    if [path.stem[5:] for path in images] != [path.stem[5:] for path in depths]:
        raise ValueError(
            f"Each frame* in {folder / 'results'} must have a depth* of the same number; got {len(images)} colour and "
            f"{len(depths)} depth images. Copy the missing files."
        )
    calibration = find_calibration(options, (folder,), images[0], _calibration(folder))
    return file_sequence(
        images,
        depths,
        np.arange(len(images), dtype=np.float64),
        Calibration(calibration.camera, calibration.depth_scale or _DEPTH_SCALE),
        options,
        cam_from_world=_true_poses(folder / "traj.txt", len(images)),
    )


def _calibration(folder: Path) -> Calibration | None:
    path = next(
        (
            place / "cam_params.json"
            for place in (folder, folder.resolve().parent)
            if (place / "cam_params.json").is_file()
        ),
        None,
    )
    if path is None:
        return None
    try:
        record = json.loads(path.read_text())["camera"]
        fx, fy, cx, cy, scale = (float(record[name]) for name in ("fx", "fy", "cx", "cy", "scale"))
        return Calibration(Camera.from_opencv(fx, fy, cx, cy, int(record["w"]), int(record["h"])), scale)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must hold 'camera' with w, h, fx, fy, cx, cy, scale; got {error!r}. Take the data set's own file."
        ) from error


def _true_poses(path: Path, count: int) -> list[RigidTransform | None] | None:
    if not path.is_file():
        return None
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    if len(lines) != count:
        raise ValueError(
            f"{path} must have one pose for each of {count} frames; got {len(lines)}. Copy all frames, or remove it."
        )
    return [
        pose_from_matrix(np.array(line.split(), dtype=np.float64), f"{path} line {number}")
        for number, line in enumerate(lines, start=1)
    ]
