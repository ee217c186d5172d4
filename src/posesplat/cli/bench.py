"""``posesplat bench localize|track|pair|bridge|reconstruct|kernel``: errors and times, ours and the rivals'."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from posesplat.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from posesplat.evaluate.protocols.report import Report, Table

Suite = Literal["rooms", "real", "covariance", "failures", "speed"]
TrackSuite = Literal["rooms", "movers", "still", "focal", "real", "speed"]
PairSuite = Literal["rooms", "hard", "real", "photos", "lists", "covariance"]
_QUICK_QUERIES = 4
_QUICK_STRIDE = 20
_QUICK_REALISATIONS = 20
_QUICK_REAL_PAIRS = 2
_PAGE_WIDTH = 200
"""Columns of a table that is written to a file or a pipe."""


@dataclass(frozen=True)
class LocalizeBench:
    """Localisation against the published method, point-cloud registration, and doing nothing."""

    suite: Literal[Suite, "all"] = "all"
    """What is measured: synthetic rooms, real sequences, honesty of the covariance, refusals, time and memory."""
    data: Path | None = None
    """Folder of the real data sets; default the environment variable POSESPLAT_DATA."""
    quick: bool = False
    """Few queries: shows that everything runs, proves little."""
    queries: int | None = None
    """Random starts for each level in the rooms; default 30, with --quick 4."""
    stride: int | None = None
    """Of sequences of more than 60 frames, take every such frame; default 1, with --quick 20."""
    realisations: int | None = None
    """Noisy queries of the covariance suite; default 500, with --quick 20."""
    gsplatloc_queries: int | None = None
    """Queries that the slow published method answers under each condition; default 3, with --quick 1, 0 for none."""
    methods: tuple[str, ...] = ()
    """Only methods whose name contains one of these words; default all."""
    sequences: tuple[str, ...] = ()
    """Only real sequences whose name contains one of these words; default all."""
    width: int = 640
    """Width of the synthetic camera, pixels."""
    threads: int | None = None
    """Threads of the kernels and the rivals; default POSESPLAT_THREADS or all processors."""
    seed: int = 0
    """Of rooms, noise and starts."""
    out: Path | None = None
    """Folder for bench_localize.json and bench_localize.md, written again after each table."""
    json: bool = False
    """Print one JSON object instead of tables."""


@dataclass(frozen=True)
class TrackBench:
    """Tracking against structure from motion and trivial baselines, on exact synthetic clips and on real ones."""

    suite: Literal[TrackSuite, "all"] = "all"
    """What is measured: rooms by tremor and condition, movers, cameras at rest, focal lengths, real videos, cost."""
    data: Path | None = None
    """Folder of the real data sets; default the environment variable POSESPLAT_DATA."""
    cache: Path | None = None
    """Folder where rendered clips are kept, about 11 MB each; default posesplat/clips in the user's cache folder."""
    quick: bool = False
    """One clip of each condition and no structure from motion: shows that everything runs, proves little."""
    clips: int | None = None
    """Clips of each condition; default 6 in rooms, 3 a kind of mover, 16 at rest, all windows of real videos."""
    pycolmap_clips: int | None = None
    """Clips of each condition that the slow pycolmap answers; default 3, with --quick 0, which leaves it out."""
    methods: tuple[str, ...] = ()
    """Only methods whose name contains one of these words; default all."""
    sequences: tuple[str, ...] = ()
    """Only real sequences whose name contains one of these words; default all."""
    frames: int = 30
    """Frames of a synthetic clip."""
    width: int = 640
    """Width of the synthetic camera, pixels."""
    threads: int | None = None
    """Threads of OpenCV, linear algebra and pycolmap; default 1. The suite speed takes 1 and 2."""
    seed: int = 0
    """Which rooms, views, motions and noise."""
    out: Path | None = None
    """Folder for bench_track.json and bench_track.md, written again after each table."""
    json: bool = False
    """Print one JSON object instead of tables."""


@dataclass(frozen=True)
class PairBench:
    """The pose of two images against matches with depth, point-cloud registration, and doing nothing."""

    suite: Literal[PairSuite, "all"] = "all"
    """What is measured: rooms by overlap, hard rooms, real clips, photographs, published lists, honest covariance."""
    data: Path | None = None
    """Folder of the real data sets; default the environment variable POSESPLAT_DATA."""
    quick: bool = False
    """One room of each kind and few pairs: shows that everything runs, proves little."""
    rooms: int | None = None
    """Rooms of each plain kind; default 6, and 3 of each hard kind. With --quick 1."""
    pairs: int | None = None
    """Pairs of each overlap level in each room; default 2, with --quick 1."""
    real_pairs: int | None = None
    """Pairs of each level in each real RGB-D clip, half as many in each set of photographs; default 15, quick 2."""
    realisations: int | None = None
    """Noisy pairs of the covariance suite; default 510, with --quick 20."""
    depths: tuple[Literal["sensor", "monocular", "monocular-common"], ...] = ()
    """Kinds of depth that contenders are given; default all three."""
    methods: tuple[str, ...] = ()
    """Only methods whose name contains one of these words; default all."""
    sequences: tuple[str, ...] = ()
    """Only real sequences whose name contains one of these words; default all."""
    width: int = 640
    """Width of the synthetic camera, pixels."""
    threads: int | None = None
    """Threads of OpenCV and linear algebra; default 1."""
    seed: int = 0
    """Which rooms, views, pairs and noise."""
    out: Path | None = None
    """Folder for bench_pair.json and bench_pair.md, written again after each table, and report.html."""
    json: bool = False
    """Print one JSON object instead of tables."""


@dataclass(frozen=True)
class BridgeBench:
    """Ways of choosing among the poses that in-between frames, true and faulty ones, lead to."""

    suite: Literal["rooms", "photos", "lists", "all"] = "all"
    """Synthetic rooms by turn, real photographs, or cambridge, scannet, dl3dv and navi in the folder of data sets."""
    data: Path | None = None
    """Folder of the real data sets; default the environment variable POSESPLAT_DATA."""
    quick: bool = False
    """One room and one pair of photographs each: shows that everything runs, proves little."""
    pairs: int | None = None
    """Rooms, with three pairs each; default 10, with --quick 1."""
    photo_pairs: int | None = None
    """Pairs of each set of photographs; default 6, with --quick 1."""
    seed: int = 0
    """Of rooms, pairs, clips and noise; the calibration's own rooms are never used."""
    out: Path | None = None
    """Folder for bench_bridge.json and bench_bridge.md, written again after each table."""
    json: bool = False
    """Print one JSON object instead of tables."""


@dataclass(frozen=True)
class ReconstructBench:
    """The feed-forward network and its refinement against five points on SIFT matches, and doing nothing."""

    suite: Literal["rooms", "pairs", "photos", "lists", "rasterisers", "ablation", "all"] = "all"
    """Rooms never seen, pairs and triples of photographs, evaluation indices of RE10K, ACID and DL3DV, speed; or
    training with and without the reprojection loss (40 minutes, not in all)."""
    data: Path | None = None
    """Folder of the real data sets; default the environment variable POSESPLAT_DATA."""
    quick: bool = False
    """Few pairs: shows that everything runs, proves little."""
    pairs: int | None = None
    """Pairs of views of held-out rooms; default 100, with --quick 4."""
    weights: str = "tiny"
    """Name of weights, or a file of posesplat train."""
    side: int = 128
    """Side of the rooms' pictures, pixels."""
    threads: int | None = None
    """Threads of the kernels; default POSESPLAT_THREADS or all processors."""
    seed: int = 0
    """Of random samples."""
    out: Path | None = None
    """Folder for bench_reconstruct.json and bench_reconstruct.md."""
    json: bool = False
    """Print one JSON object instead of tables."""


@dataclass(frozen=True)
class KernelBench:
    """Time of each compiled loop at two map sizes, two image sizes, and one and two threads."""

    runs: int = 15
    """Timed calls of each kernel; the median is reported."""
    widths: tuple[int, ...] = (320, 640)
    """Image widths among 160, 320 and 640 pixels."""
    strides: tuple[int, ...] = (2, 1)
    """One Gaussian every so many pixels of a 640 x 480 frame: 2 gives 77 k, 1 gives 307 k."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads; the first is what the others are compared with."""
    seed: int = 0
    """Of the room that is rendered."""
    out: Path | None = None
    """Folder for bench_kernel.json and bench_kernel.md."""
    json: bool = False
    """Print one JSON object instead of tables."""


@dataclass(frozen=True)
class Options:
    """Which benchmark to run."""

    bench: OmitSubcommandPrefixes[
        OmitArgPrefixes[
            Annotated[LocalizeBench, subcommand("localize")]
            | Annotated[TrackBench, subcommand("track")]
            | Annotated[PairBench, subcommand("pair")]
            | Annotated[BridgeBench, subcommand("bridge")]
            | Annotated[ReconstructBench, subcommand("reconstruct")]
            | Annotated[KernelBench, subcommand("kernel")]
        ]
    ]


def run(options: Options) -> int:
    """Run a benchmark and print it; an interrupted one prints what it has and exits as interrupted."""
    from posesplat.cli.limits import check_folders
    from posesplat.evaluate.protocols.report import Report

    bench = options.bench
    check_folders(bench.out, getattr(bench, "data", None))
    asked = {key: _plain(value) for key, value in vars(bench).items() if key not in ("out", "json")}
    name, threads = _named(bench)
    report = Report(name, asked, threads)
    try:
        with _progress(quiet=not sys.stderr.isatty()) as on_progress:
            if isinstance(bench, LocalizeBench):
                _localize(bench, report, on_progress)
            elif isinstance(bench, TrackBench):
                _track(bench, report, on_progress)
            elif isinstance(bench, PairBench):
                _pair(bench, report, on_progress)
            elif isinstance(bench, BridgeBench):
                _bridge(bench, report, on_progress)
            elif isinstance(bench, ReconstructBench):
                _reconstruct(bench, report, on_progress)
            else:
                _kernel(bench, report, on_progress)
    except KeyboardInterrupt:
        sys.stderr.write("posesplat: interrupted; the tables hold what was done before\n")
    if bench.out is not None:
        report.write(bench.out)
    if bench.json:
        sys.stdout.write(json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n")
    else:
        _print(report)
    return ExitStatus.ALL_POSED if report.complete else ExitStatus.INTERRUPTED


def _named(
    bench: LocalizeBench | TrackBench | PairBench | BridgeBench | ReconstructBench | KernelBench,
) -> tuple[str, int | None]:
    """The benchmark's name, and the threads it was asked for."""
    if isinstance(bench, LocalizeBench):
        return "localize", bench.threads
    if isinstance(bench, TrackBench):
        return "track", bench.threads or 1
    if isinstance(bench, PairBench):
        return "pair", bench.threads or 1
    if isinstance(bench, BridgeBench):
        return "bridge", 1
    if isinstance(bench, ReconstructBench):
        return "reconstruct", bench.threads
    return "kernel", max(bench.threads, default=None)


def _localize(bench: LocalizeBench, report: Report, on_progress: Callable[[str, int, int], None]) -> None:
    from posesplat.evaluate.protocols.settings import Bench, Settings
    from posesplat.evaluate.protocols.suites import SUITES, run_suites

    quick = bench.quick
    defaults = Settings()
    settings = Settings(
        data=bench.data,
        queries=_or(bench.queries, _QUICK_QUERIES if quick else defaults.queries),
        stride=_or(bench.stride, _QUICK_STRIDE if quick else defaults.stride),
        realisations=_or(bench.realisations, _QUICK_REALISATIONS if quick else defaults.realisations),
        gsplatloc_queries=_or(bench.gsplatloc_queries, 1 if quick else defaults.gsplatloc_queries),
        methods=bench.methods,
        sequences=bench.sequences,
        width=bench.width,
        threads=bench.threads,
        seed=bench.seed,
    )
    report.options |= {"settings": {key: _plain(value) for key, value in vars(settings).items()}}
    names = list(SUITES) if bench.suite == "all" else [bench.suite]

    run_suites(Bench(settings, report, on_progress, _saving(report, bench.out)), names)


def _track(bench: TrackBench, report: Report, on_progress: Callable[[str, int, int], None]) -> None:
    from posesplat.evaluate.protocols import track_settings
    from posesplat.evaluate.protocols.track_suites import SUITES, run_track_suites

    settings = track_settings.TrackSettings(
        data=bench.data,
        cache=bench.cache,
        clips=1 if bench.quick and bench.clips is None else bench.clips,
        slow_clips=_or(bench.pycolmap_clips, 0 if bench.quick else track_settings.TrackSettings().slow_clips),
        methods=bench.methods,
        sequences=bench.sequences,
        frames=bench.frames,
        width=bench.width,
        threads=bench.threads,
        seed=bench.seed,
    )
    report.options |= {"settings": {key: _plain(value) for key, value in vars(settings).items()}}
    names = list(SUITES) if bench.suite == "all" else [bench.suite]
    run_track_suites(track_settings.TrackBench(settings, report, on_progress, _saving(report, bench.out)), names)


def _pair(bench: PairBench, report: Report, on_progress: Callable[[str, int, int], None]) -> None:
    from posesplat.evaluate.protocols import pair_settings
    from posesplat.evaluate.protocols.pair_suites import SUITES, run_pair_suites
    from posesplat.evaluate.reports.pair_bench import write_pair_page

    quick, defaults = bench.quick, pair_settings.PairSettings()
    real_pairs = _or(bench.real_pairs, _QUICK_REAL_PAIRS if quick else defaults.real_pairs)
    settings = pair_settings.PairSettings(
        data=bench.data,
        rooms=_or(bench.rooms, 1 if quick else defaults.rooms),
        hard_rooms=max(1, _or(bench.rooms, 1 if quick else defaults.rooms) // 2),
        pairs=_or(bench.pairs, 1 if quick else defaults.pairs),
        real_pairs=real_pairs,
        photo_pairs=max(1, real_pairs // 2),
        realisations=_or(bench.realisations, _QUICK_REALISATIONS if quick else defaults.realisations),
        kinds=bench.depths or defaults.kinds,
        methods=bench.methods,
        sequences=bench.sequences,
        width=bench.width,
        threads=bench.threads,
        seed=bench.seed,
    )
    report.options |= {"settings": {key: _plain(value) for key, value in vars(settings).items()}}
    names = list(SUITES) if bench.suite == "all" else [bench.suite]
    try:
        run_pair_suites(pair_settings.PairBench(settings, report, on_progress, _saving(report, bench.out)), names)
    finally:
        if bench.out is not None:
            write_pair_page(report, bench.out)


def _bridge(bench: BridgeBench, report: Report, on_progress: Callable[[str, int, int], None]) -> None:
    from posesplat.evaluate.protocols.bridge_suites import SUITES, BridgeSettings, run_bridge_suites

    pairs, photo_pairs = (
        _or(asked, 1 if bench.quick else default) for asked, default in ((bench.pairs, 10), (bench.photo_pairs, 6))
    )
    settings = BridgeSettings(bench.data, pairs, photo_pairs, bench.seed)
    names = SUITES if bench.suite == "all" else (bench.suite,)
    run_bridge_suites(settings, report, names, on_progress, _saving(report, bench.out))


def _reconstruct(bench: ReconstructBench, report: Report, on_progress: Callable[[str, int, int], None]) -> None:
    import os

    from posesplat.cli.extras import require

    require("train" if bench.suite == "ablation" else "learned")
    from posesplat.evaluate.protocols import reconstruct_suites as suites

    data = bench.data or (Path(os.environ["POSESPLAT_DATA"]) if os.environ.get("POSESPLAT_DATA") else None)
    pairs = _or(bench.pairs, 4 if bench.quick else suites.ReconstructSettings().pairs)
    settings = suites.ReconstructSettings(
        pairs, bench.side, bench.weights, data, bench.threads, bench.seed, bench.quick
    )
    left_out = {"ablation"} | ({"photos", "lists"} if data is None else set())
    every = [name for name in suites.SUITES if name not in left_out]
    names = every if bench.suite == "all" else [bench.suite]
    suites.run_reconstruct_suites(settings, report, names, on_progress, _saving(report, bench.out))


def _saving(report: Report, out: Path | None) -> Callable[[], None]:
    """What writes the report as it is, if it is to be written at all."""

    def save() -> None:
        if out is not None:
            report.write(out)

    return save


def _kernel(bench: KernelBench, report: Report, on_progress: Callable[[str, int, int], None]) -> None:
    from posesplat.evaluate.protocols import kernel

    settings = kernel.KernelSettings(bench.runs, bench.widths, bench.strides, bench.threads, bench.seed)
    kernel.run(settings, report, on_progress)
    report.complete = True


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr for each part of the work; nothing at all when ``quiet``."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    tasks: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), disable=quiet, transient=True) as bars:

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield told


def _print(report: Report) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=_PAGE_WIDTH)
    where = report.environment
    console.print(
        f"posesplat {where['version']} ({where['commit'] or 'no commit'}), {where['date']}, {where['host']}, "
        f"{where['cpu']}, {where['threads']} threads, load {where['load']}"
    )
    for table in report.tables:
        _print_table(table, console)


def _print_table(table: Table, console: Any) -> None:
    import rich.table

    page = rich.table.Table(title=table.title, title_justify="left")
    for column in table.columns:
        page.add_column(column.heading, justify="right" if column.spec else "left")
    for cells in table.cells():
        page.add_row(*cells)
    console.print(page)
    for note in table.notes:
        console.print(note, style="dim")
