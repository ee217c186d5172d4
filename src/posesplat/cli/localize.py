"""``posesplat localize MAP FRAMES --out DIR``: where in this map were these frames taken?"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from posesplat.align.agreement import AgreementRule
from posesplat.align.gsplatloc import GsplatlocOptions
from posesplat.cli.collecting import collected
from posesplat.cli.exit_status import ExitStatus
from posesplat.cli.frame_options import FrameOptions
from posesplat.methods.localize import ObjectiveName

if TYPE_CHECKING:
    from posesplat.datasets.sequences import FrameSequence
    from posesplat.evaluate.frame_errors import FrameErrors
    from posesplat.evaluate.run_record import RunRecord
    from posesplat.gaussians.splat_map import SplatMap
    from posesplat.geometry.trajectory import Trajectory
    from posesplat.io.frame_poses import FramePoses
    from posesplat.io.seen_images import SmallImages

_LOG = logging.getLogger(__name__)
_START_RULES = ("previous", "velocity", "none")
_STARTS = {
    "FILE": "poses of the frames, in any trajectory format",
    "previous": "the last pose",
    "velocity": "the last motion continued",
    "none": "no start",
}


@dataclass(frozen=True)
class Options:
    """A map, the frames to find in it, and where to write the answer."""

    map: Annotated[Positional[Path], arg(metavar="MAP")]
    """A splat PLY: of ``posesplat map``, or any trained one."""
    frames: Annotated[Positional[tuple[str, ...]], arg(metavar="FRAMES")]
    """A video, a folder of images or RGB-D frames, a quoted glob, or a list of images."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for trajectory.txt, result.json, report.html and exports."""
    start: Annotated[str, arg(metavar="FILE|previous|velocity|none")] = "velocity"
    """Begin at poses of a file, the last pose, the last motion continued, or nowhere (also where that fails)."""
    objective: ObjectiveName = "auto"
    """plane = depth, colour = image, joint = both, gsplatloc = the published method; auto takes what there is."""
    ground_truth: Annotated[str, arg(metavar="auto|none|FILE")] = "auto"
    """True poses to compare with, in the map's world; auto takes those that come with the frames."""
    export: Annotated[str, arg(metavar="FORMAT,...")] = ""
    """Also write colmap, colmap-binary, nerfstudio (these with images/), kitti, npz or json."""
    pictures: int = 3
    """How many frames the report shows; 0 for a report without any picture."""
    no_report: bool = False
    """Leave report.html out."""
    json: bool = False
    """Print result.json instead of a table."""
    unknown_scale: bool = False
    """The map's unit is not the metre, as in maps trained on SfM poses (maps of posesplat say so themselves)."""
    max_starts: int = 3
    """Most hypotheses refined when there is no start."""
    seed: int = 0
    """Of the robust pose solver behind starts from keypoints."""
    threads: int | None = None
    """Threads of the kernels; default POSESPLAT_THREADS or all processors."""
    reading: Annotated[FrameOptions, arg(name="")] = field(default_factory=FrameOptions)
    """How frames are read."""
    rule: AgreementRule = field(default_factory=AgreementRule)
    """When an answer may be believed."""
    gsplatloc: GsplatlocOptions = field(default_factory=GsplatlocOptions)
    """Options of the published method."""


def run(options: Options) -> int:
    """Localise, write the output folder, print; an interrupted run writes the frames done so far."""
    from posesplat.evaluate.frame_errors import FrameErrors
    from posesplat.evaluate.run_record import RunRecord
    from posesplat.gaussians.splat_map import SplatMap
    from posesplat.io.frame_poses import read_frame_poses, true_poses
    from posesplat.io.results import check_output_folder, output_folder, parse_exports, write_results
    from posesplat.io.seen_images import small_images
    from posesplat.providers.specs import unknown_spec

    began = time.perf_counter()
    exports = parse_exports(options.export)
    check_output_folder(options.out, exports)
    record = RunRecord.begin("localize", options, options.seed, options.threads)
    scene = SplatMap.load(options.map, metric=not options.unknown_scale)
    frames = options.reading.open(options.frames)
    starts: Any = options.start
    if starts not in _START_RULES:
        if not Path(starts).exists():
            raise unknown_spec("--start", starts, _STARTS)
        starts = read_frame_poses(options.start, frames)
    true = true_poses(options.ground_truth, frames)

    trajectory, interrupted = _localized(options, scene, frames, starts)
    if not len(trajectory):
        sys.stderr.write("posesplat: interrupted before the first frame was done; nothing was written\n")
        return ExitStatus.INTERRUPTED
    frames = frames[: len(trajectory)]
    true = None if true is None else true[: len(trajectory)]
    errors = None if true is None else FrameErrors.of(trajectory, true)
    record = replace(record, duration_s=time.perf_counter() - began, interrupted=interrupted)
    seen = {} if options.no_report else small_images(frames)
    with output_folder(options.out) as folder:
        written = write_results(
            folder,
            record,
            trajectory,
            frames.camera,
            exports=exports,
            frames=frames,
            gaussians=scene.gaussians,
            errors=errors,
            report=None if options.no_report else _report(options, record, scene, frames, trajectory, true, seen),
            extra={"map": {"file": str(options.map.resolve()), "metric": scene.metric}},
            true=true,
            seen=seen,
        )
    if options.json:
        sys.stdout.write(json.dumps(written, indent=1, allow_nan=False) + "\n")
    else:
        _print_table(options, trajectory, errors, scene.metric)
    if interrupted:
        sys.stderr.write(f"posesplat: interrupted; {options.out} holds the {len(trajectory)} frames done by then\n")
        return ExitStatus.INTERRUPTED
    return ExitStatus.of(int(trajectory.posed.sum()), len(trajectory))


def _localized(options: Options, scene: SplatMap, frames: FrameSequence, starts: Any) -> tuple[Trajectory, bool]:
    """The poses of the frames done, and whether the rest was interrupted."""
    from posesplat.methods.localize import LocalizeOptions, Localizer
    from posesplat.methods.localize_sequence import localize_sequence

    localizer = Localizer(
        scene,
        LocalizeOptions(
            objective=options.objective,
            rule=options.rule,
            gsplatloc=options.gsplatloc,
            max_starts=options.max_starts,
            seed=options.seed,
            threads=options.threads,
        ),
    )
    return collected(
        "localize",
        frames,
        lambda keep: localize_sequence(
            localizer, iter(frames), starts, lambda frame, estimate: keep(frame.name, estimate)
        ),
    )


def _report(
    options: Options,
    record: RunRecord,
    scene: SplatMap,
    frames: FrameSequence,
    trajectory: Trajectory,
    true: FramePoses | None,
    seen: SmallImages,
) -> str:
    from posesplat.evaluate.reports.localization import localization_report
    from posesplat.viewer.page import report_view
    from posesplat.viewer.shown import ShownResult

    shown = ShownResult.of_map(options.out.name, trajectory, frames.camera, scene, true, seen)
    view = report_view([shown], options.threads) if options.pictures else None
    return localization_report(record, scene, frames, trajectory, true, options.pictures, options.threads, view)


def _print_table(options: Options, trajectory: Trajectory, errors: FrameErrors | None, metric: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from posesplat.evaluate.reports.localization import summary_facts

    console = Console()
    table = Table(show_header=False)
    for name, value in summary_facts(trajectory, errors, metric).items():
        table.add_row(name, value)
    console.print(table)
    refused = [
        (name, estimate) for name, estimate in zip(trajectory.names, trajectory, strict=True) if not estimate.success
    ]
    for name, estimate in refused[:5]:
        console.print(f"{name}: {estimate.reason}", highlight=False, markup=False)
    if len(refused) > 5:
        console.print(f"... and {len(refused) - 5} more; see {options.out / 'result.json'}", highlight=False)
    console.print(f"written to {options.out}", highlight=False, markup=False)
