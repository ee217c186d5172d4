"""``posesplat demo``: maps from real RGB-D frames, held-out frames found in them, rivals in the same table."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from posesplat.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from posesplat.cli.progress import Advance
    from posesplat.datasets.samples import SampleName
    from posesplat.evaluate.protocols.trials import Method
    from posesplat.evaluate.reports.demonstration import ClipResult
    from posesplat.evaluate.run_record import RunRecord

_JOINT = "ours: colour + depth"
_TITLES: dict[str, str] = {
    "tum_fr1_desk": "A Kinect over a desk (TUM RGB-D benchmark, CC BY 4.0). The truth is motion capture, itself good "
    "to about 1 mm and 0.3 degrees: smaller errors than that cannot be told apart here.",
    "icl_livingroom1": "A rendered living room with sensor noise (Augmented ICL-NUIM, CC BY 3.0), with reference "
    "poses.",
}


@dataclass(frozen=True)
class Options:
    """Where to write, and how much to run."""

    out: Annotated[Path, arg(metavar="DIR")] = Path("demo-report")
    """Folder for report.html, overview.png, result.json and, for each clip, map.ply and the found poses."""
    quick: bool = False
    """One frame of one clip and a short run of the published method: shows that everything runs."""
    frames: int = 4
    """Frames of each clip that are held out and asked for."""
    gsplatloc_frames: int = 1
    """Of these, how many the slow published method answers; 0 for none."""
    gsplatloc_width: int = 320
    """Image width at which the published method runs; 640 is full size, about twice as accurate and 4 times slower."""
    gsplatloc_steps: int = 200
    """Steps of the published method."""
    threads: int | None = None
    """Threads of the kernels; default POSESPLAT_THREADS or all processors."""
    seed: int = 0
    """Of the robust pose solver behind starts from keypoints."""


def run(options: Options) -> int:
    """Run both clips, print a table for each, write the folder."""
    from posesplat.cli.progress import progress_bar
    from posesplat.datasets.samples import SAMPLE_NAMES
    from posesplat.evaluate.run_record import RunRecord

    if options.quick:
        options = replace(options, frames=1, gsplatloc_width=160, gsplatloc_steps=20)
    names = SAMPLE_NAMES[:1] if options.quick else SAMPLE_NAMES
    began = time.perf_counter()
    _check(options)
    record = RunRecord.begin("demo", options, options.seed, options.threads)
    clips = []
    try:
        with progress_bar("demo", len(names) * (options.frames + 1)) as advance:
            for name in names:
                clips.append(_clip(options, name, advance))
                _print_clip(clips[-1])
        record = replace(record, duration_s=time.perf_counter() - began)
        _write(options, record, clips)
    except KeyboardInterrupt:
        sys.stderr.write(f"posesplat: interrupted; {options.out} was not written\n")
        return ExitStatus.INTERRUPTED
    _print_end(options, time.perf_counter() - began)
    shown = [answer.estimate for clip in clips for answer in clip.answers if answer.method == _JOINT]
    return ExitStatus.of(sum(estimate.success for estimate in shown), len(shown))


def _check(options: Options) -> None:
    from posesplat.io.results import check_output_folder

    if options.frames < 1 or options.gsplatloc_frames < 0 or options.gsplatloc_steps < 2:
        raise ValueError(
            "--frames must be at least 1, --gsplatloc-frames at least 0 and --gsplatloc-steps at least 2; got "
            f"{options.frames}, {options.gsplatloc_frames} and {options.gsplatloc_steps}."
        )
    check_output_folder(options.out)


def _clip(options: Options, name: SampleName, advance: Advance) -> ClipResult:
    """Build the map of one clip and put its held-out frames to every method."""
    from posesplat.datasets.samples import sample_sequence
    from posesplat.evaluate.protocols.held_out import HeldOut
    from posesplat.evaluate.protocols.trials import Answer, ask
    from posesplat.evaluate.reports.demonstration import ClipResult

    frames = sample_sequence(name)
    held_out = HeldOut.split(frames, map_every=4 if options.quick else 2, most_queries=options.frames)
    reference = held_out.reference(options.threads)
    began = time.perf_counter()
    scene = reference.scene
    map_seconds = time.perf_counter() - began
    advance(f"{name}: map of {len(scene.gaussians):,} Gaussians")
    methods = _methods(options)
    answers: list[Answer] = []
    ask(methods, reference, held_out.queries(), answers, lambda: advance(f"{name}: frames found"))
    title = _TITLES.get(name, "")
    return ClipResult(
        name, title, held_out, scene, map_seconds, tuple(methods), tuple(answers), _JOINT, options.threads
    )


def _methods(options: Options) -> list[Method]:
    from posesplat.align.gsplatloc import GsplatlocOptions
    from posesplat.evaluate.protocols import contenders
    from posesplat.evaluate.protocols.contenders import Registration, registration

    threads, steps = options.threads, options.gsplatloc_steps
    methods = [
        contenders.ours("joint", _JOINT, threads),
        contenders.ours("joint", "ours: same, no start", threads, start=False),
        contenders.ours("plane", "ours: depth", threads),
        contenders.ours("colour", "ours: colour", threads),
    ]
    if options.gsplatloc_frames:
        published = contenders.gsplatloc(
            options.gsplatloc_frames,
            options.gsplatloc_width,
            GsplatlocOptions(max_steps=steps, min_steps=min(100, steps - 1)),
            threads,
        )
        label = f"GSplatLoc {options.gsplatloc_width} px, {steps} steps"
        methods.append(replace(published, name=label))
    return [
        *methods,
        replace(registration(Registration("GICP", 0.03), threads), name="GICP"),
        replace(registration(Registration("ICP", 0.03), threads), name="point-to-plane ICP"),
        contenders.identity(),
        contenders.constant_velocity(),
    ]


def _notes(options: Options) -> tuple[str, ...]:
    return (
        "Every search but the one without a start begins at the true pose of the nearest frame of the map; 'identity' "
        "is that start itself. 'constant velocity' continues the true motion of the two frames before, which no other "
        "method is given.",
        "All methods have the same frames for their map: ours the Gaussians built from them, GICP and ICP their "
        "depth pixels as points, averaged over 3 cm voxels.",
        f"GSplatLoc as published takes its map from the nearest frame alone, as in the paper. It is slow, so it runs "
        f"here at {options.gsplatloc_width} pixels width, for at most {options.gsplatloc_steps} steps, on "
        f"{options.gsplatloc_frames} frame(s) of each clip. At full size and with more steps its error is about half "
        "as large: --gsplatloc-width 640 --gsplatloc-steps 400 --gsplatloc-frames 4 shows it, in some minutes.",
        "Errors (mm, deg) and times (ms a frame, without the building of maps) are medians unless they say RMS.",
    )


def _print_clip(clip: ClipResult) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from posesplat.evaluate.reports.demonstration import HEADINGS

    table = Table(
        title=f"{clip.name}: {len(clip.held_out.query_indices)} held-out frames, map of "
        f"{len(clip.scene.gaussians):,} Gaussians from {len(clip.held_out.map_indices)} others",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column(HEADINGS[0], no_wrap=True)
    for heading in HEADINGS[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    ours = {method.name for method in clip.methods if method.ours}
    for cells in clip.cells():
        table.add_row(*cells, style="bold" if cells[0] in ours else "")
    Console().print(table)


def _write(options: Options, record: RunRecord, clips: list[ClipResult]) -> None:
    from posesplat.evaluate.frame_errors import FrameErrors
    from posesplat.evaluate.protocols.held_out import answered_trajectory
    from posesplat.evaluate.reports import plots
    from posesplat.evaluate.reports.demonstration import clip_json, demonstration_report, overview_png
    from posesplat.io.results import REPORT, output_folder, write_result_json, write_results
    from posesplat.io.seen_images import small_images
    from posesplat.viewer.page import report_view
    from posesplat.viewer.shown import ShownResult

    shown = []
    with output_folder(options.out) as folder:
        for clip in clips:
            inner = folder / clip.name
            inner.mkdir()
            clip.scene.save(inner / "map.ply")
            trajectory, true = answered_trajectory(clip.answers, clip.shown)
            errors, camera = FrameErrors.of(trajectory, true), clip.held_out.frames.camera
            seen = small_images([answer.query.frame for answer in clip.answers if answer.method == clip.shown])
            write_results(inner, record, trajectory, camera, errors=errors, true=tuple(true), seen=seen)
            shown.append(ShownResult.of_map(clip.name, trajectory, camera, clip.scene, tuple(true), seen))
        view = report_view(shown, options.threads)
        if plots.have_matplotlib():
            (folder / "overview.png").write_bytes(overview_png(clips))
        (folder / REPORT).write_text(demonstration_report(record, clips, _notes(options), view), encoding="utf-8")
        write_result_json(folder, {**record.to_json(), "clips": [clip_json(clip) for clip in clips]})


def _print_end(options: Options, seconds: float) -> None:
    from rich.console import Console

    from posesplat.datasets.samples import sample_folder

    console = Console(highlight=False, soft_wrap=True)
    for note in _notes(options)[:3]:
        console.print(note, style="dim")
    console.print(f"{seconds:.0f} s. Open {options.out / 'report.html'}, then try:")
    folder = options.out / "tum_fr1_desk"
    console.print(
        f"  posesplat localize {folder / 'map.ply'} {sample_folder('tum_fr1_desk')} --start none --out found",
        markup=False,
    )
