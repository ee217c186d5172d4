"""Whole trajectories with covariance, success and reason: NPZ (arrays) and JSON (records).

Both hold every frame, refused ones included, so that nothing is lost; both state direction and axes in ``conventions``.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from posesplat.files import load_json_object, whole_file, write_text
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.trajectory import Trajectory

FORMAT = "posesplat trajectory"
"""The value of ``format`` by which the JSON file is known."""

_CONVENTIONS = (
    "cam_from_world, 4x4: points_in_cam = cam_from_world @ points_in_world; OpenCV camera axes (x right, y down, "
    "z forward); covariance 6x6 of the left perturbation exp(xi) * cam_from_world, xi = (rotation rad, translation)"
)
_DAMAGED = (EOFError, OSError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
_NUMBERS = ("inlier_fraction", "overlap", "cost", "iterations", "runtime_s")


def _lacking(error: Exception) -> str:
    """What is wrong with an archive, in words; NumPy takes everything it does not know for a pickle."""
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing in it"
    return "it is no NPZ archive" if "pickle" in str(error) else f"it is damaged ({error})"


def trajectory_record(trajectory: Trajectory, camera: Camera | None = None) -> dict[str, Any]:
    """Every frame's estimate as a JSON-ready record; missing numbers are null."""
    frames = [
        {"name": name, "timestamp": float(timestamp), **estimate.to_json()}
        for name, timestamp, estimate in zip(trajectory.names, trajectory.timestamps, trajectory, strict=True)
    ]
    return {
        "format": FORMAT,
        "conventions": _CONVENTIONS,
        "camera": None if camera is None else camera.to_json(),
        "frames": frames,
    }


def write_json(path: str | PathLike[str], trajectory: Trajectory, camera: Camera | None = None) -> None:
    """Write every frame's estimate as JSON; missing numbers are null."""
    write_text(path, json.dumps(trajectory_record(trajectory, camera), indent=1, allow_nan=False) + "\n")


def read_json(path: str | PathLike[str]) -> Trajectory:
    """Read what :func:`write_json` wrote.

    Raises:
        ValueError: when the file is not such a record; names the frame that is malformed.
    """
    path = Path(path)
    record = load_json_object(path)
    if record.get("format") != FORMAT or not isinstance(record.get("frames"), list):
        raise ValueError(
            f"{path} must be a JSON object with format {FORMAT!r} and a list of frames; "
            f"got format {record.get('format')!r}. Pass a file that posesplat wrote."
        )
    return _from_records(path, record["frames"])


def write_npz(path: str | PathLike[str], trajectory: Trajectory, camera: Camera | None = None) -> None:
    """Write arrays names, timestamps, success, reason, cam_from_world (n,4,4), covariance (n,6,6) ...; NaN = none."""
    records = [estimate.to_json() for estimate in trajectory]
    count = len(records)
    arrays: dict[str, Any] = {
        "conventions": np.array(_CONVENTIONS),
        "camera_json": np.array("" if camera is None else json.dumps(camera.to_json())),
        "names": np.array(trajectory.names, dtype=np.str_),
        "timestamps": trajectory.timestamps,
        "success": trajectory.posed,
        "cam_from_world": _stacked([record["cam_from_world"] for record in records], (count, 4, 4)),
        "covariance": _stacked([record["covariance"] for record in records], (count, 6, 6)),
        "scale_metric": np.array([record["scale"]["metric"] for record in records], dtype=bool),
        "scale_source": np.array([record["scale"]["source"] for record in records], dtype=np.str_),
        "warnings_json": np.array([json.dumps(record["warnings"]) for record in records], dtype=np.str_),
    }
    for name in ("reason", "source"):
        arrays[name] = np.array([record[name] for record in records], dtype=np.str_)
    for name in _NUMBERS:
        arrays[name] = _stacked([record[name] for record in records], (count,))
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(path: str | PathLike[str]) -> Trajectory:
    """Read what :func:`write_npz` wrote.

    Raises:
        ValueError: when the file is not such an archive.
    """
    path = Path(path)
    content = io.BytesIO(path.read_bytes())
    try:
        with np.load(content, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        columns = {name: arrays[name].tolist() for name in ("names", "timestamps", "success", "reason", "source")}
        frames = []
        for index, name in enumerate(columns["names"]):
            numbers = {key: _none_if_nan(arrays[key][index]) for key in _NUMBERS}
            frames.append(
                {key: columns[key][index] for key in ("success", "reason", "source")}
                | numbers
                | {
                    "name": name,
                    "timestamp": columns["timestamps"][index],
                    "iterations": int(arrays["iterations"][index]),
                    "cam_from_world": _none_if_nan(arrays["cam_from_world"][index]),
                    "covariance": _none_if_nan(arrays["covariance"][index]),
                    "scale": {
                        "metric": bool(arrays["scale_metric"][index]),
                        "source": str(arrays["scale_source"][index]),
                    },
                    "warnings": json.loads(str(arrays["warnings_json"][index])),
                }
            )
    except (*_DAMAGED, KeyError, IndexError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path} must be an NPZ trajectory as posesplat writes it; {_lacking(error)}. Write it again."
        ) from error
    return _from_records(path, frames)


def _from_records(path: Path, frames: list[Any]) -> Trajectory:
    names, timestamps, estimates = [], [], []
    for index, frame in enumerate(frames):
        try:
            names.append(str(frame["name"]))
            timestamps.append(float(frame["timestamp"]))
            estimates.append(PoseEstimate.from_json(frame))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path}, frame {index}: expected name, timestamp, success and cam_from_world; got {error!r}. "
                "Correct the frame or write the file again."
            ) from error
    return Trajectory(tuple(estimates), np.array(timestamps, dtype=np.float64), tuple(names))


def _stacked(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Numbers or nested lists as one array, NaN where there is None."""
    result = np.full(shape, np.nan)
    for index, value in enumerate(values):
        if value is not None:
            result[index] = value
    return result


def _none_if_nan(value: np.ndarray | np.floating) -> Any:
    return None if np.isnan(value).any() else value.tolist()
