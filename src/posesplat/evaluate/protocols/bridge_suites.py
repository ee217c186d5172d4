"""``posesplat bench bridge``: ways of choosing among the same hypotheses, in rooms and on real photographs.

Metrics are InterPose's: mean rotation and translation errors (the latter folded at 90 degrees), shares within 5, 15 and
30 degrees, and their mean over 1 to 30; failures count as wrong in shares and stand in a column of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posesplat.align.consensus_score import shipped_calibration
from posesplat.datasets.samples import MissingData
from posesplat.evaluate.protocols.bridge_calibration import TRIAL_OPTIONS, chosen_calibration_error
from posesplat.evaluate.protocols.bridge_lists import LISTS, listed_cases
from posesplat.evaluate.protocols.bridge_real import SCENES, real_case
from posesplat.evaluate.protocols.bridge_rooms import YAW_BINS, BridgeCase, room_case
from posesplat.evaluate.protocols.bridge_trials import WAYS, BridgeTrial, run_trial, way_scores
from posesplat.evaluate.protocols.report import Column, Report, Table, skipped

SUITES = ("rooms", "photos", "lists")
"""Synthetic rooms that the calibration never saw, real photographs, and the data sets of the paper where they are."""
FIRST_ROOM = 5000
_COLUMNS = (
    Column("way", "chosen by"),
    Column("pairs", "pairs", "d"),
    Column("failed", "failed", "d"),
    Column("mean_rotation_deg", "MRE deg", ".2f"),
    Column("median_rotation_deg", "median deg", ".2f"),
    Column("mean_translation_deg", "MTE deg", ".2f"),
    Column("within_5", "acc@5", ".3f"),
    Column("within_15", "acc@15", ".3f"),
    Column("within_30", "acc@30", ".3f"),
    Column("auc_30", "AUC30", ".3f"),
)


@dataclass(frozen=True)
class BridgeSettings:
    """How much is measured."""

    data: Path | None = None
    """Folder of the real data sets."""
    pairs: int = 10
    """Rooms, one pair for each range of turns in each."""
    photo_pairs: int = 6
    """Pairs of each set of photographs, and of each data set of the paper."""
    seed: int = 0
    """Of rooms, pairs, clips and noise."""


def run_bridge_suites(
    settings: BridgeSettings,
    report: Report,
    names: Sequence[str],
    on_progress: Callable[[str, int, int], None],
    save: Callable[[], None],
) -> None:
    """Add one table for each range of turns or set of photographs, and one over all of a suite."""
    for name in names:
        trials: list[BridgeTrial] = []
        missing: list[tuple[str, str]] = []
        for part, cases in _cases(name, settings, missing).items():
            found = []
            for number, make in enumerate(cases):
                on_progress(f"{name} {part}", number, len(cases))
                case = make()
                if case is not None:
                    found.append(run_trial(case, TRIAL_OPTIONS))
            on_progress(f"{name} {part}", len(cases), len(cases))
            if found:
                report.tables.append(_table(f"bridge {name} {part}", found))
                save()
            trials += found
        if trials:
            report.tables.append(_table(f"bridge {name} all", trials))
        if missing:
            report.tables.append(skipped(f"bridge {name} skipped", "Not measured", missing))
        save()
    report.complete = True


def _cases(
    name: str, settings: BridgeSettings, missing: list[tuple[str, str]]
) -> dict[str, list[Callable[[], BridgeCase | None]]]:
    if name == "rooms":
        return _rooms(settings)
    return _photos(settings, missing) if name == "photos" else _lists(settings, missing)


def _rooms(settings: BridgeSettings) -> dict[str, list[Callable[[], BridgeCase | None]]]:
    def maker(seed: int, yaw: str) -> Callable[[], BridgeCase | None]:
        def make() -> BridgeCase | None:
            try:
                return room_case(seed, yaw)
            except ValueError:
                return None

        return make

    first = FIRST_ROOM + 1000 * settings.seed
    return {f"{yaw} deg": [maker(first + k, yaw) for k in range(settings.pairs)] for yaw in YAW_BINS}


def _photos(
    settings: BridgeSettings, missing: list[tuple[str, str]]
) -> dict[str, list[Callable[[], BridgeCase | None]]]:
    def maker(scene: str, seed: int) -> Callable[[], BridgeCase | None]:
        def make() -> BridgeCase | None:
            try:
                return real_case(scene, settings.data, seed)
            except MissingData as error:
                if (scene, str(error)) not in missing:
                    missing.append((scene, str(error)))
                return None

        return make

    seeds = range(1000 * settings.seed, 1000 * settings.seed + settings.photo_pairs)
    return {scene: [maker(scene, seed) for seed in seeds] for scene in SCENES}


def _lists(
    settings: BridgeSettings, missing: list[tuple[str, str]]
) -> dict[str, list[Callable[[], BridgeCase | None]]]:
    found = {}
    for name in LISTS:
        try:
            found[name] = listed_cases(name, settings.data, settings.photo_pairs, 1000 * settings.seed)
        except MissingData as error:
            missing.append((name, str(error)))
    return found


def _table(name: str, trials: list[BridgeTrial]) -> Table:
    calibration = shipped_calibration()
    scores = way_scores(trials, calibration)
    of_answers, of_all = chosen_calibration_error(trials, calibration)
    gap = scores["D_total"].mean_rotation_deg - scores["oracle"].mean_rotation_deg
    closed = (scores["D_total"].mean_rotation_deg - scores["evidence"].mean_rotation_deg) / gap if gap > 0 else np.nan
    notes = (
        f"{100 * closed:.0f} % of the gap between D_total and the oracle is closed (MRE)",
        f"expected calibration error {of_answers:.3f} of the answers, {of_all:.3f} of all hypotheses",
        f"{np.mean([trial.seconds for trial in trials]):.1f} s of processor time a pair, "
        f"{np.mean([len(trial.hypotheses) - 1 for trial in trials]):.0f} subsets",
        "clips: " + ", ".join(f"{count} {kind}" for kind, count in _counts(trials)),
    )
    return Table(name, name, _COLUMNS, tuple({"way": way, **vars(scores[way])} for way in WAYS), notes)


def _counts(trials: list[BridgeTrial]) -> Iterator[tuple[str, int]]:
    kinds = [kind for trial in trials for kind in trial.kinds]
    for kind in sorted(set(kinds)):
        yield kind, kinds.count(kind)
