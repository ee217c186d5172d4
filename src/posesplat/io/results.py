"""The output folder that every command writes: trajectory.txt, result.json, report.html and exports.

A folder appears whole or not at all. One that exists already is brought up to date: files of the earlier run are
replaced or removed, files that posesplat did not write are never touched, and ``result.json`` comes last.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.frame_errors import FrameErrors, errors_json
from posesplat.evaluate.run_record import RunRecord
from posesplat.files import folder_above
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.archive import trajectory_record
from posesplat.io.dataset_export import DATASETS, write_dataset, write_images
from posesplat.io.formats import FORMATS, write_trajectory
from posesplat.io.frame_poses import FramePoses
from posesplat.io.seen_images import SmallImages, write_seen

RESULT = "result.json"
REPORT = "report.html"
EXPORTS = tuple(name for name in FORMATS if name != "tum")
"""Formats that can be written beside trajectory.txt."""

_LOG = logging.getLogger(__name__)


def parse_exports(names: str) -> tuple[str, ...]:
    """Format names from ``colmap,npz``.

    Raises:
        ValueError: for a name that is not in :data:`EXPORTS`.
    """
    chosen = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    for name in chosen:
        if name not in EXPORTS:
            raise ValueError(
                f"--export must be a comma-separated list of {', '.join(EXPORTS)}; got {name!r}. "
                "The TUM file trajectory.txt is always written."
            )
    return chosen


def check_output_folder(path: str | os.PathLike[str], exports: Sequence[str] = ()) -> None:
    """Refuse an output folder that could not be written, before the work is done.

    Args:
        path: of the folder.
        exports: keys of :data:`EXPORTS` that will be written into it.

    Raises:
        OSError: when nothing can be written there.
        ValueError: when the path is a file, lies below one, or holds files that are not of posesplat.
    """
    target = Path(path)
    check_place(target if target.is_dir() else target.parent)
    if target.exists() and not target.is_dir():
        raise ValueError(f"The output folder {target} must be a folder; it is a file. Choose another --out.")
    earlier = _files_of_earlier_run(target)
    names = [FORMATS[name].default_name for name in ("tum", *exports)]
    _refuse_foreign(target, [Path(name) for name in (*names, REPORT)], earlier)


def check_place(folder: Path) -> None:
    """Refuse a folder in which no file can be made, or that cannot be made itself; nothing is left behind.

    Raises:
        OSError: saying why.
        ValueError: when a part of its path is a file.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f"The place of the output must be a folder; {there} is a file. Choose another --out.")
    try:
        Path(tempfile.mkdtemp(prefix=".posesplat-", dir=there)).rmdir()
    except OSError as error:
        raise OSError(
            f"The output must lie where files can be written; {there} cannot be written ({error.strerror}). "
            "Choose another --out."
        ) from error


@contextmanager
def output_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder whose content becomes that of ``path`` when the block ends well, and vanishes otherwise.

    Raises:
        ValueError: when ``path`` is a file, or holds a file of the same name that no earlier run wrote.
    """
    target = Path(path)
    check_output_folder(target)
    with folder_above(target):
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            yield work
            if target.is_dir():
                _update(target, work)
            else:
                work.chmod(0o777 & ~_umask())
                work.replace(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def write_results(
    folder: Path,
    run: RunRecord,
    trajectory: Trajectory,
    camera: Camera | Sequence[Camera],
    *,
    exports: Sequence[str] = (),
    frames: FrameSequence | Sequence[Frame] | None = None,
    gaussians: Gaussians | None = None,
    errors: FrameErrors | None = None,
    report: str | None = None,
    extra: dict[str, Any] | None = None,
    true: FramePoses | None = None,
    seen: SmallImages | None = None,
) -> dict[str, Any]:
    """Write trajectory.txt, result.json, report.html and exports into the folder that :func:`output_folder` yields.

    Exports for other software (COLMAP, nerfstudio) come with ``images/``, the undistorted frames, and with the
    Gaussians as points, so that the folder is a data set to train from.

    An export that cannot hold this trajectory (KITTI with a frame left out) is skipped with a warning, and named in
    ``result.json``, so that it costs no results.

    Args:
        folder: where to write; files that are there already are listed in result.json as well.
        run: what was done.
        trajectory: the answer.
        camera: the camera of all frames, or one for each of them, which result.json tells as ``cameras``.
        exports: keys of :data:`EXPORTS`.
        frames: the frames of the trajectory in its order, for their images.
        gaussians: the scene in the trajectory's world, for points.
        errors: errors of the frames where the truth is known.
        report: the HTML page.
        extra: more entries of result.json.
        true: true cam_from_world of each frame in the world of the trajectory, None where it is not known.
        seen: small images of frames by index, for :func:`posesplat.io.seen_images.write_seen`.

    Returns:
        The content of result.json.
    """
    write_trajectory(folder / FORMATS["tum"].default_name, trajectory, format="tum")
    first = camera if isinstance(camera, Camera) else camera[0]
    skipped = {}
    images = frames is not None and bool(set(exports) & set(DATASETS)) and write_images(folder, trajectory, frames)
    for name in exports:
        try:
            if name in DATASETS:
                write_dataset(folder, name, trajectory, camera, gaussians, images=images)
            else:
                write_trajectory(folder / FORMATS[name].default_name, trajectory, first, name)
        except ValueError as error:
            _LOG.warning("export %s was left out: %s", name, error)
            skipped[name] = str(error)
    if report is not None:
        (folder / REPORT).write_text(report, encoding="utf-8")
    record = result_record(run, trajectory, first, errors)
    if true:
        for frame, pose in zip(record["frames"], true, strict=True):
            frame["true_cam_from_world"] = None if pose is None else pose.as_matrix().tolist()
    if not isinstance(camera, Camera):
        record["cameras"] = [each.to_json() for each in camera]
    write_seen(folder, seen or {})
    record |= {"exports_left_out": skipped, **(extra or {})}
    return write_result_json(folder, record)


def result_record(
    run: RunRecord, trajectory: Trajectory, camera: Camera, errors: FrameErrors | None = None
) -> dict[str, Any]:
    """What result.json says about a trajectory; itself a trajectory that ``read_trajectory`` reads."""
    record = trajectory_record(trajectory, camera)
    frames = record.pop("frames")
    if errors is not None:
        for index, frame in enumerate(frames):
            frame["error"] = errors.to_json(index)
    summary = {
        "frames": len(trajectory),
        "posed": int(trajectory.posed.sum()),
        "errors": None if errors is None else errors_json(errors),
    }
    return {**record, **run.to_json(), "summary": summary, "frames": frames}


def write_result_json(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Write ``result.json`` with a list of all files of the folder; returns what was written."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    record = {**record, "files": sorted({*files, RESULT})}
    (folder / RESULT).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return record


def _update(target: Path, work: Path) -> None:
    """Put the files of ``work`` into an existing folder, in place of those that an earlier run wrote there."""
    earlier = _files_of_earlier_run(target)
    fresh = [path.relative_to(work) for path in sorted(work.rglob("*")) if path.is_file()]
    _refuse_foreign(target, fresh, earlier)
    (target / RESULT).unlink(missing_ok=True)
    for path in earlier:
        (target / path).unlink(missing_ok=True)
    for folder in sorted({path.parent for path in earlier} - {Path()}, reverse=True):
        if (target / folder).is_dir() and not any((target / folder).iterdir()):
            (target / folder).rmdir()
    for path in sorted(fresh, key=lambda path: path == Path(RESULT)):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).replace(target / path)


def _refuse_foreign(target: Path, fresh: Sequence[Path], earlier: Sequence[Path]) -> None:
    foreign = [path for path in fresh if (target / path).exists() and path not in earlier]
    if foreign:
        raise ValueError(
            f"{target} must not hold files that this run would overwrite and posesplat did not write; got "
            f"{', '.join(str(path) for path in foreign)}. Choose another --out, or move them away."
        )


def _files_of_earlier_run(target: Path) -> list[Path]:
    """Relative paths of the files that an earlier run listed in its result.json."""
    listing = target / RESULT
    if not listing.is_file():
        return []
    try:
        record = json.loads(listing.read_text(encoding="utf-8"))
        names = [PurePosixPath(name) for name in record["files"]] if "command" in record else None
    except (ValueError, KeyError, TypeError):
        names = None
    if names is None or any(name.is_absolute() or ".." in name.parts for name in names):
        raise ValueError(
            f"{listing} must be a result of posesplat to be replaced; got another file. Choose another --out."
        )
    return [Path(name) for name in names]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
