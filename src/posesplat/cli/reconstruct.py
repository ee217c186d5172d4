"""``posesplat reconstruct IMAGES... --out DIR``: the scene and the cameras of a few unposed images."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from posesplat.cli.exit_status import ExitStatus
from posesplat.cli.frame_options import FrameOptions

if TYPE_CHECKING:
    from posesplat.evaluate.run_record import RunRecord
    from posesplat.geometry.frame import Frame
    from posesplat.geometry.trajectory import Trajectory
    from posesplat.learned.reconstruction import Reconstruction
    from posesplat.viewer.shown import ShownResult

_SCENE = "gaussians.ply"


@dataclass(frozen=True)
class Options:
    """Images of one scene, and where to write the answer."""

    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGES")]
    """2 to 10 images, or one folder of them; the camera of the first is the world."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for gaussians.ply, trajectory.txt, result.json, report.html and exports."""
    query: Annotated[tuple[Path, ...], arg(metavar="IMAGES")] = ()
    """Images that are located in the scene but add nothing to it."""
    weights: str = "tiny"
    """Name of posesplat weights list, a .safetensors file of posesplat train, or an official checkpoint."""
    matches: Literal["both", "network", "sift"] = "both"
    """Which matches decide about poses: the network's, those of SIFT keypoints, or both."""
    side: int | None = None
    """The network sees images of about this many pixels squared; default: of as many as it was trained with."""
    longest: int = 640
    """Poses are made exact in images whose longer side has at most so many pixels."""
    export: Annotated[str, arg(metavar="FORMAT,...")] = ""
    """Also write colmap, colmap-binary, nerfstudio (these with images/), kitti, npz or json."""
    no_report: bool = False
    """Leave report.html out."""
    json: bool = False
    """Print result.json instead of a table."""
    seed: int = 0
    """Of the random samples."""
    threads: int | None = None
    """Threads; default POSESPLAT_THREADS or all processors."""
    reading: Annotated[FrameOptions, arg(name="")] = field(default_factory=FrameOptions)
    """How the images are read. Without any camera EXIF tells the focal length, or else the matches."""


def run(options: Options) -> int:
    """Reconstruct, write the output folder, print."""
    import numpy as np

    from posesplat.cli.extras import require
    from posesplat.datasets.folder import check_image_files
    from posesplat.evaluate.run_record import RunRecord
    from posesplat.geometry.trajectory import Trajectory
    from posesplat.io.results import check_output_folder, output_folder, parse_exports, write_results
    from posesplat.io.seen_images import small_images
    from posesplat.viewer.shown import ShownResult

    began = time.perf_counter()
    exports = parse_exports(options.export)
    check_output_folder(options.out, exports)
    require("learned")
    from posesplat.learned.reconstruction import ReconstructOptions, reconstruct_frames

    record = RunRecord.begin("reconstruct", options, options.seed, options.threads)
    settings = ReconstructOptions(
        options.weights, options.side, options.longest, options.matches, options.seed, options.threads
    )
    check_image_files(options.query)
    opened = [options.reading.open_image(path, options.reading.camera) for path in _paths(options.images)]
    frames = [frame for frame, _ in opened]
    found = reconstruct_frames(frames, [guessed for _, guessed in opened], settings)
    asked = [_query(options, path, found) for path in options.query]
    frames = [replace(frame, camera=camera) for frame, camera in zip(frames, found.cameras, strict=True)] + asked
    estimates = [*found.trajectory, *(found.locate(frame) for frame in asked)]
    names = _unique([*found.trajectory.names, *(frame.name for frame in asked)])
    trajectory = Trajectory(tuple(estimates), np.arange(len(names), dtype=np.float64), names)
    record = replace(record, duration_s=time.perf_counter() - began)
    shown = ShownResult(
        options.out.name,
        trajectory,
        tuple(frame.camera for frame in frames),
        None if found.scene is None else found.scene.gaussians,
        seen={} if options.no_report else small_images(frames),
        metric=False,
    )
    with output_folder(options.out) as folder:
        if found.scene is not None:
            found.scene.save(folder / _SCENE)
        written = write_results(
            folder,
            record,
            trajectory,
            shown.cameras,
            exports=exports,
            frames=frames,
            gaussians=None if found.scene is None else found.scene.gaussians,
            report=None if options.no_report else _report(options, record, frames, found, shown),
            extra={"reconstruction": _summary(found)},
            seen=shown.seen,
        )
    if options.json:
        sys.stdout.write(json.dumps(written, indent=1, allow_nan=False) + "\n")
    else:
        _print_table(options, found, trajectory)
    return ExitStatus.of(int(trajectory.posed.sum()) if found.success else 0, len(trajectory))


def _paths(images: tuple[Path, ...]) -> list[Path]:
    from posesplat.images import images_in

    if len(images) == 1 and images[0].is_dir():
        return images_in(images[0])
    return list(images)


def _query(options: Options, path: Path, found: Reconstruction) -> Frame:
    """An image to be located; it has the camera of the first where it is of its size and says nothing else."""
    frame, guessed = options.reading.open_image(path, options.reading.camera)
    first = found.cameras[0]
    alike = (frame.camera.width, frame.camera.height) == (first.width, first.height)
    return replace(frame, camera=first) if guessed and alike else frame


def _unique(names: list[str]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    return tuple(name if seen[name] == 1 else f"{index} {name}" for index, name in enumerate(names))


def _summary(found: Reconstruction) -> dict[str, Any]:
    focal = found.focal
    known = focal is not None and focal.focal_px is not None
    return {
        "success": found.success,
        "reason": found.reason,
        "gaussians": 0 if found.scene is None else len(found.scene.gaussians),
        "focal_interval_px": list(focal.interval_px) if focal is not None and known else None,
        "network_cam_from_world": [pose.as_matrix().tolist() for pose in found.network_poses],
        "seconds": {name: round(seconds, 4) for name, seconds in found.seconds.items()},
    }


def _report(options: Options, record: RunRecord, frames: list[Frame], found: Reconstruction, shown: ShownResult) -> str:
    from posesplat.evaluate.reports.reconstruction import reconstruction_report
    from posesplat.viewer.page import report_view

    view = report_view([shown], options.threads)
    return reconstruction_report(record, frames, found, shown.trajectory, options.threads, view)


def _print_table(options: Options, found: Reconstruction, trajectory: Trajectory) -> None:
    from rich.console import Console
    from rich.table import Table

    from posesplat.evaluate.reports.reconstruction import POSE_HEADINGS, pose_rows, reconstruction_facts

    console = Console()
    facts = Table(show_header=False)
    for name, value in reconstruction_facts(found).items():
        facts.add_row(name, value)
    console.print(facts)
    poses = Table(*POSE_HEADINGS)
    for row in pose_rows(found, trajectory):
        poses.add_row(*row)
    console.print(poses)
    if found.reason:
        console.print(found.reason, highlight=False, markup=False)
    console.print(f"written to {options.out}", highlight=False, markup=False)
