"""The suites of ``bench pair`` by name.

Every contender gets the same two frames, cameras and SIFT matches. Synthetic rooms have exact poses and a Kinect-like
sensor at 640 x 480, photographs have no depth. Levels are shares of image A's pixels that image B sees, found from
depth and true pose with a check for occlusion. Rooms, views, pairs and noise come from seeds that nothing was set on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

from posesplat.datasets.samples import MissingData
from posesplat.evaluate.protocols import pair_rooms
from posesplat.evaluate.protocols.pair_cases import PairSource
from posesplat.evaluate.protocols.pair_depths import DepthKind
from posesplat.evaluate.protocols.pair_overlap import LEVELS
from posesplat.evaluate.protocols.pair_real import LISTS, RGB, RGBD, listed_sources, rgb_sources, rgbd_sources
from posesplat.evaluate.protocols.pair_rooms import HARD, PLAIN, room_case, room_pairs
from posesplat.evaluate.protocols.pair_settings import PairBench, PairSettings
from posesplat.evaluate.protocols.pair_tables import (
    COVERAGE_COLUMNS,
    COVERAGE_NOTES,
    PairTrial,
    coverage_row,
    groups_with_all,
    trial_tables,
)
from posesplat.evaluate.protocols.report import Table, skipped
from posesplat.evaluate.protocols.suites import run_in_turn

COVERAGE_SEED = 9700
"""Of the rooms of the covariance suite, which nothing else uses."""
_COVERAGE_ROOMS = 8
_LISTED = 20
"""Pairs of a published list for each pair of a level of a real clip."""


def run_rooms(bench: PairBench) -> None:
    """Plain rooms by overlap, with every kind of depth."""
    settings = bench.settings
    pairs = pair_rooms.sources(PLAIN, settings.seed, settings.rooms, settings.pairs, settings.width)
    _with_depth(bench, "rooms", "Rooms", pairs)


def run_hard(bench: PairBench) -> None:
    """Flat wall, bare corridor, gloss and repeated structure, a table each."""
    settings = bench.settings
    for kind in HARD:
        pairs = pair_rooms.sources((kind,), settings.seed, settings.hard_rooms, settings.pairs, settings.width)
        _with_depth(bench, f"hard/{kind}", f"Hard room: {kind}", pairs)


def run_real(bench: PairBench) -> None:
    """Real and rendered RGB-D clips by overlap; those that are missing become rows that say so."""
    settings = bench.settings
    pairs, missing = _found(
        bench, [(name, partial(rgbd_sources, name, settings.data, settings.real_pairs, settings.seed)) for name in RGBD]
    )
    _with_depth(bench, "real", "Real RGB-D clips", pairs)
    if missing:
        bench.add([skipped("real/skipped", "Data sets that are missing", missing)])


def run_photos(bench: PairBench) -> None:
    """Photographs without depth, by the angle between the cameras: rotation and direction only."""
    settings = bench.settings
    pairs, missing = _found(
        bench,
        [
            (name, partial(rgb_sources, name, metric, settings.data, settings.photo_pairs, settings.seed))
            for name, metric in RGB
        ],
    )
    trials: dict[DepthKind, list[PairTrial]] = {}
    try:
        bench.put("photos", pairs, ("none",), settings.contenders(), trials)
    finally:
        bench.add(trial_tables("photos", "Photographs without depth: direction", trials.get("none", []), settings.seed))
    if missing:
        bench.add([skipped("photos/skipped", "Data sets that are missing", missing)])


def run_lists(bench: PairBench) -> None:
    """Published lists of pairs, with the depth that they have; those that are missing become rows that say so."""
    settings = bench.settings
    count = settings.real_pairs * _LISTED
    missing: list[tuple[str, str]] = []
    for name in LISTS:
        pairs, why = _found(bench, [(name, partial(listed_sources, name, settings.data, count))])
        missing += why
        trials: dict[DepthKind, list[PairTrial]] = {}
        try:
            if pairs:
                first = pairs[0].open()
                kinds: tuple[DepthKind, ...] = ("sensor",) if first.a.depth is not None else ("none",)
                bench.put(f"lists/{name}", pairs, kinds, settings.contenders(), trials)
        finally:
            for kind, some in trials.items():
                bench.add(trial_tables(f"lists/{name}/{kind}", f"{name}, depth: {kind}", some, settings.seed))
    if missing:
        bench.add([skipped("lists/skipped", "Lists of pairs that are missing", missing)])


def run_covariance(bench: PairBench) -> None:
    """How often the 95 % region of ours holds the truth, on plain rooms with sensor depth and noise of their own."""
    settings = bench.settings
    methods = [one for one in settings.contenders() if one.ours]
    if not methods:
        return
    pairs = list(islice(_repeated_draws(settings), settings.realisations))
    trials: dict[DepthKind, list[PairTrial]] = {}
    try:
        bench.put("covariance", pairs, ("sensor",), methods, trials)
    finally:
        rows = [
            row
            for level, by_name in groups_with_all(trials.get("sensor", []))
            for one in by_name.values()
            if (row := coverage_row(level, one)) is not None
        ]
        if rows:
            title = "Covariance: rooms with sensor depth"
            bench.add([Table("covariance", title, COVERAGE_COLUMNS, tuple(rows), COVERAGE_NOTES)])


SUITES: dict[str, Callable[[PairBench], None]] = {
    "rooms": run_rooms,
    "hard": run_hard,
    "real": run_real,
    "photos": run_photos,
    "lists": run_lists,
    "covariance": run_covariance,
}
"""In the order in which ``all`` runs them."""


def run_pair_suites(bench: PairBench, names: Sequence[str]) -> None:
    """Run suites of ``bench pair``; what was measured on pairs with depth is reported once more for all sets together.

    See :func:`posesplat.evaluate.protocols.suites.run_in_turn`.
    """
    try:
        run_in_turn(bench, SUITES, names, (*bench.settings.methods, *bench.settings.sequences))
    finally:
        for kind, trials in bench.depth_trials.items():
            if len({trial.group for trial in trials}) > 1:
                title = f"All pairs with depth, {kind}"
                bench.add(trial_tables(f"all/{kind}", title, trials, bench.settings.seed))


def _repeated_draws(settings: PairSettings) -> Iterator[PairSource]:
    """Pairs of rooms that nothing else uses, each as often as is needed, every time with other noise."""
    rooms = [(kind, COVERAGE_SEED + number) for number in range(_COVERAGE_ROOMS) for kind in PLAIN]
    draws = -(-settings.realisations // (len(rooms) * len(LEVELS) * settings.pairs))
    for kind, seed in rooms:
        for pair in room_pairs(kind, seed, settings.pairs):
            for draw in range(1, draws + 1):
                name = f"{pair.scene}, {pair.level}, {pair.number}, noise {draw}"
                yield PairSource(name, pair.scene, pair.level, partial(room_case, pair, settings.width, draw))


def _with_depth(bench: PairBench, name: str, title: str, pairs: Sequence[PairSource]) -> None:
    """All contenders with every kind of depth, a set of tables for each kind."""
    if not pairs:
        return
    settings = bench.settings
    trials: dict[DepthKind, list[PairTrial]] = {}
    try:
        bench.put(name, pairs, settings.kinds, settings.contenders(), trials)
    finally:
        for kind, some in trials.items():
            bench.depth_trials.setdefault(kind, []).extend(some)
            bench.add(trial_tables(f"{name}/{kind}", f"{title}, depth: {kind}", some, settings.seed))


def _found(
    bench: PairBench, sets: Sequence[tuple[str, Callable[[], list[PairSource]]]]
) -> tuple[list[PairSource], list[tuple[str, str]]]:
    """The pairs of all sets that were asked for and are there, and why the others are not."""
    pairs: list[PairSource] = []
    missing: list[tuple[str, str]] = []
    for name, find in sets:
        if not bench.settings.wants(name):
            continue
        try:
            pairs += find()
        except MissingData as error:
            missing.append((name, str(error)))
    return pairs, missing
