"""``posesplat track VIDEO --out DIR``: how did the camera move in this short, nearly still video?"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from posesplat.cli.collecting import collected
from posesplat.cli.exit_status import ExitStatus
from posesplat.cli.frame_options import FrameOptions
from posesplat.methods.track_segment import TrustRule

if TYPE_CHECKING:
    from posesplat.datasets.sequences import FrameSequence
    from posesplat.geometry.trajectory import Trajectory


@dataclass(frozen=True)
class Options:
    """A video, and where to write the answer."""

    video: Annotated[Positional[tuple[str, ...]], arg(metavar="VIDEO")]
    """A video, a folder of images, a quoted glob, or a list of images."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for trajectory.txt, result.json and exports; the world is the first frame's camera, scale unknown."""
    export: Annotated[str, arg(metavar="FORMAT,...")] = ""
    """Also write colmap, colmap-binary, nerfstudio, kitti, npz or json."""
    json: bool = False
    """Print result.json instead of a table."""
    max_points: int = 1500
    """Most points followed from a reference frame."""
    max_segment_frames: int = 60
    """Most frames solved together."""
    seed: int = 0
    """Of random starts and samples."""
    reading: Annotated[FrameOptions, arg(name="")] = field(default_factory=FrameOptions)
    """How frames are read."""
    rule: TrustRule = field(default_factory=TrustRule)
    """When a translation is believed."""


def run(options: Options) -> int:
    """Track, write the output folder, print; an interrupted run writes the frames done so far."""
    from posesplat.evaluate.run_record import RunRecord
    from posesplat.io.results import check_output_folder, output_folder, parse_exports, write_results

    began = time.perf_counter()
    exports = parse_exports(options.export)
    check_output_folder(options.out)
    record = RunRecord.begin("track", options, options.seed, threads=1)
    frames = options.reading.open(options.video)
    trajectory, interrupted = _tracked(options, frames)
    if not len(trajectory):
        sys.stderr.write("posesplat: interrupted before the first frames were done; nothing was written\n")
        return ExitStatus.INTERRUPTED
    record = replace(record, duration_s=time.perf_counter() - began, interrupted=interrupted)
    with output_folder(options.out) as folder:
        written = write_results(folder, record, trajectory, frames.camera, exports=exports)
    if options.json:
        sys.stdout.write(json.dumps(written, indent=1, allow_nan=False) + "\n")
    else:
        _print_table(options, trajectory, record.duration_s)
    if interrupted:
        sys.stderr.write(f"posesplat: interrupted; {options.out} holds the {len(trajectory)} frames done by then\n")
        return ExitStatus.INTERRUPTED
    return ExitStatus.of(int(trajectory.posed.sum()), len(trajectory))


def _tracked(options: Options, frames: FrameSequence) -> tuple[Trajectory, bool]:
    """The poses of the frames done, and whether the rest was interrupted."""
    from posesplat.align.small_motion_search import SearchOptions
    from posesplat.align.tracks import CornerOptions
    from posesplat.methods.track import track
    from posesplat.methods.track_options import TrackOptions

    settings = TrackOptions(
        corners=CornerOptions(max_points=options.max_points),
        search=SearchOptions(seed=options.seed),
        rule=options.rule,
        max_segment_frames=options.max_segment_frames,
    )
    return collected("track", frames, lambda keep: track(frames.readable(), settings, keep))


def _print_table(options: Options, trajectory: Trajectory, seconds: float) -> None:
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(show_header=False)
    table.add_row("posed", f"{int(trajectory.posed.sum())} of {len(trajectory)}")
    table.add_row("scale", "unknown: 1 = median depth in the first frame")
    table.add_row("seconds", f"{seconds:.1f}")
    console.print(table)
    remarks = Counter(remark for estimate in trajectory for remark in (estimate.reason, *estimate.warnings) if remark)
    for remark, count in remarks.most_common(5):
        console.print(f"{count} frames: {remark}", highlight=False, markup=False)
    if len(remarks) > 5:
        console.print(f"... and {len(remarks) - 5} more; see {options.out / 'result.json'}", highlight=False)
    console.print(f"written to {options.out}", highlight=False, markup=False)
