"""``posesplat map FRAMES --out MAP.ply``: a map of Gaussians from posed RGB-D frames."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from posesplat.cli.exit_status import ExitStatus
from posesplat.cli.frame_options import FrameOptions
from posesplat.methods.mapping import MapOptions

if TYPE_CHECKING:
    from posesplat.datasets.sequences import FrameSequence
    from posesplat.gaussians.splat_map import SplatMap
    from posesplat.io.frame_poses import FramePoses


@dataclass(frozen=True)
class Options:
    """Posed RGB-D frames, and where to write the map."""

    frames: Annotated[Positional[tuple[str, ...]], arg(metavar="FRAMES")]
    """An RGB-D folder (TUM, Replica, 7-Scenes, or rgb/ and depth/)."""
    out: Annotated[Path, arg(metavar="MAP.ply")]
    """The splat PLY to write; any splat viewer opens it."""
    poses: Annotated[Path | None, arg(metavar="FILE")] = None
    """Poses of the frames, in any trajectory format; by default those that come with the frames."""
    reading: Annotated[FrameOptions, arg(name="")] = field(default_factory=FrameOptions)
    """How frames are read."""
    building: Annotated[MapOptions, arg(name="")] = field(default_factory=MapOptions)
    """How the map is built."""
    threads: int | None = None
    """Threads of the kernels; default POSESPLAT_THREADS or all processors."""
    json: bool = False
    """Print JSON instead of a table."""


def run(options: Options) -> int:
    """Build and write the map; a map that is interrupted is not written."""
    from posesplat.cli.progress import progress_bar
    from posesplat.methods.mapping import build_map

    began = time.perf_counter()
    _check_target(options.out)
    frames = options.reading.open(options.frames)
    poses = _poses(options, frames)
    known = [index for index, pose in enumerate(poses) if pose is not None]
    chosen = [pose for pose in poses if pose is not None]
    try:
        with progress_bar("map", len(known)) as advance:
            images = iter(frames.subset(known))
            scene = build_map(images, chosen, options.building, lambda done, total: advance(), options.threads)
        scene.save(options.out)
    except KeyboardInterrupt:
        sys.stderr.write(f"posesplat: interrupted; {options.out} was not written\n")
        return ExitStatus.INTERRUPTED
    _show(options, frames, scene, time.perf_counter() - began)
    return ExitStatus.of(len(scene.views), len(frames))


def _check_target(out: Path) -> None:
    from posesplat.io.results import check_place

    if out.suffix.lower() != ".ply":
        raise ValueError(f"--out must be the name of a .ply file; got {out}. Write --out {out.with_suffix('.ply')}.")
    if out.is_dir():
        raise ValueError(f"--out must be the name of a .ply file; {out} is a folder. Add the file's name.")
    check_place(out.parent)


def _poses(options: Options, frames: FrameSequence) -> FramePoses:
    from posesplat.io.frame_poses import read_frame_poses

    if not frames.has_depth:
        raise ValueError(
            f"A map needs RGB-D frames; {' '.join(options.frames)} has images without depth. "
            "Pass a folder with depth maps."
        )
    poses = frames.cam_from_world if options.poses is None else read_frame_poses(options.poses, frames)
    if poses is None:
        raise ValueError(
            f"A map needs the poses of its frames; {' '.join(options.frames)} comes without. "
            "Pass --poses FILE (TUM, KITTI, COLMAP, nerfstudio, NPZ or JSON)."
        )
    return poses


def _show(options: Options, frames: FrameSequence, scene: SplatMap, seconds: float) -> None:
    megabytes = options.out.stat().st_size / 1e6
    corrected = sum(view.given_cam_from_world is not None for view in scene.views)
    if options.json:
        record = {
            "file": str(options.out),
            "frames": len(frames),
            "frames_used": len(scene.views),
            "poses_corrected": corrected,
            "gaussians": len(scene.gaussians),
            "seconds": round(seconds, 3),
        }
        sys.stdout.write(json.dumps(record, indent=2) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    table.add_row("frames used", f"{len(scene.views)} of {len(frames)}")
    if corrected:
        table.add_row("poses corrected", f"{corrected}: they contradicted the map beyond noise")
    table.add_row("Gaussians", f"{len(scene.gaussians):,}")
    table.add_row("seconds", f"{seconds:.1f}")
    table.add_row("file", f"{options.out} ({megabytes:.1f} MB)")
    Console().print(table)
