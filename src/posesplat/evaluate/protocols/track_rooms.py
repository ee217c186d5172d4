"""Tracking of synthetic clips: amounts of tremor, harder conditions, movers, and cameras without motion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from posesplat.evaluate.protocols.report import Column, Row, Table
from posesplat.evaluate.protocols.track_clips import ClipSpec, MoverPath, TrackClip
from posesplat.evaluate.protocols.track_contenders import OURS, Contender
from posesplat.evaluate.protocols.track_settings import TrackBench, TrackSettings
from posesplat.evaluate.protocols.track_tables import Trial, grouped, mean, most, verdicts

TREMOR: dict[str, dict[str, float]] = {
    "no motion": {"translation_mm": 0.0, "rotation_deg": 0.0},
    "rotation only, 1 deg": {"translation_mm": 0.0, "rotation_deg": 1.0},
    "1 mm, 0.5 deg": {"translation_mm": 1.0, "rotation_deg": 0.5},
    "3 mm, 0.5 deg": {"translation_mm": 3.0, "rotation_deg": 0.5},
    "10 mm, 1 deg": {"translation_mm": 10.0, "rotation_deg": 1.0},
    "30 mm, 3 deg": {"translation_mm": 30.0, "rotation_deg": 3.0},
}
"""Largest distance and angle to the first frame."""
PLAIN = "plain"
CONDITIONS: dict[str, dict[str, object]] = {
    PLAIN: {},
    "motion blur, 25 ms": {"exposure_ms": 25.0},
    "rolling shutter, 20 ms": {"readout_ms": 20.0},
    "10 % moves": {"mover_share": 0.1, "mover_px": 2.0},
    "20 % moves": {"mover_share": 0.2, "mover_px": 2.0},
    "30 % moves": {"mover_share": 0.3, "mover_px": 2.0},
    "polygons everywhere": {"texture": "patches"},
    "waves everywhere": {"texture": "waves"},
    "clouds everywhere": {"texture": "noise"},
}
"""What is changed in clips of 10 mm and 1 degree."""
MOVERS: tuple[tuple[str, MoverPath, float], ...] = (
    ("drifts 0.5 px a frame", "drift", 0.5),
    ("drifts 2 px a frame", "drift", 2.0),
    ("drifts 4 px a frame", "drift", 4.0),
    ("swings, 1 px a frame", "swing", 1.0),
    ("swings, 3 px a frame", "swing", 3.0),
    ("drifts 1 px a frame and turns", "spin", 1.0),
)
"""How the board moves."""
MOVER_SHARES = (0.1, 0.2, 0.3)
MOVER_BOUND_MM = 0.5
"""A mover clip has failed when it is not posed, or its ATE is larger than this ..."""
MOVER_FACTOR = 2.0
"""... and has suffered when its ATE is this many times that of the same clip without the mover."""
_CLIPS = 6
_MOVER_CLIPS = 3
_STILL_CLIPS = 16

DEGRADATION_COLUMNS = (
    Column("condition", "condition"),
    Column("method", "method"),
    Column("clips", "n"),
    Column("ate_ratio", "ATE, times plain", ".3g"),
    Column("most_ate_ratio", "largest", ".3g"),
    Column("rpe_deg_ratio", "RPE deg, times plain", ".3g"),
    Column("over_3", "over 3 times"),
    Column("over_3_silent", "of these without a warning"),
)
MOVER_COLUMNS = (
    Column("share", "moves"),
    Column("path", "how"),
    Column("clips", "n"),
    Column("failed", "failed"),
    Column("suffered", "suffered"),
    Column("ate_mm", "ATE mm", ".3g"),
    Column("most_ate_mm", "largest", ".3g"),
    Column("ratio", "times without mover", ".3g"),
    Column("most_ratio", "largest", ".3g"),
    Column("rpe_deg", "RPE deg", ".3g"),
    Column("verdicts", "verdicts"),
    Column("cpu_s", "CPU s", ".3g"),
)
STILL_COLUMNS = (
    Column("motion", "motion"),
    Column("clips", "n"),
    Column("unobservable", "translation unobservable"),
    Column("percent", "%", ".1f"),
    Column("weak", "weak"),
    Column("refused", "refused"),
    Column("first_deg", "mean first deg", ".3g"),
    Column("most_first_deg", "largest", ".3g"),
    Column("ate_mm", "ATE mm", ".3g"),
    Column("most_ate_mm", "largest", ".3g"),
    Column("cpu_s", "CPU s", ".3g"),
)


def run_rooms(bench: TrackBench) -> None:
    """The table of tremor and the table of conditions, with all contenders."""
    settings = bench.settings
    count = settings.clips or _CLIPS
    tremor = [(name, spec) for name, change in TREMOR.items() for spec in settings.specs(count, **change)]
    _table(bench, "rooms/tremor", "Rooms, amount of tremor", tremor)
    hard = [(name, spec) for name, change in CONDITIONS.items() for spec in settings.specs(count, **change)]
    trials = _table(bench, "rooms/conditions", "Rooms, 10 mm and 1 degree, conditions", hard)
    rows = degradation_rows(trials)
    if rows:
        title = "Rooms: what the conditions cost, against the same camera motion in the plain clip"
        bench.add([Table("rooms/degradation", title, DEGRADATION_COLUMNS, tuple(rows))])


def run_movers(bench: TrackBench) -> None:
    """Ours on clips in which a board moves before the scene, and on the same clips without it."""
    methods = _ours(bench.settings)
    if not methods:
        return
    pairs = mover_pairs(bench.settings)
    without = {replace(spec, mover_share=0.0, mover_px=0.0, mover_path="drift") for _, spec in pairs}
    clips = [("without", spec) for spec in sorted(without, key=lambda spec: spec.seed)]
    advance = bench.advancing("movers", len(clips) + len(pairs))
    clean: list[Trial] = []
    trials: list[Trial] = []
    try:
        bench.put([(name, partial(bench.settings.open, spec)) for name, spec in clips], methods, clean, advance)
        bench.put([(name, partial(bench.settings.open, spec)) for name, spec in pairs], methods, trials, advance)
    finally:
        bare = {spec.seed: trial.score.ate_mm for (_, spec), trial in zip(clips, clean, strict=False)}
        moved = [(spec, trial) for (_, spec), trial in zip(pairs, trials, strict=False)]
        if moved:
            bench.add([mover_table(moved, bare)])


def run_still(bench: TrackBench) -> None:
    """Ours on cameras that do not move, that only turn, and that move by 1 mm."""
    methods = _ours(bench.settings)
    if not methods:
        return
    clips = still_clips(bench.settings)
    trials: list[Trial] = []
    try:
        advance = bench.advancing("still", len(clips))
        bench.put([(name, partial(bench.settings.open, spec)) for name, spec in clips], methods, trials, advance)
    finally:
        if trials:
            note = "Called unobservable: right for the first two motions, wrong for the third."
            rows = tuple(still_row(group[OURS]) for group in grouped(trials).values())
            bench.add(
                [Table("still", "Cameras without translation, and with 1 mm of it", STILL_COLUMNS, rows, (note,))]
            )


def mover_pairs(settings: TrackSettings) -> list[tuple[str, ClipSpec]]:
    """Clips with movers: every share and path, each on other rooms; 54 by default."""
    count, paths = settings.clips or _MOVER_CLIPS, len(MOVERS)
    rooms = settings.specs(count * paths)
    found = []
    for share in MOVER_SHARES:
        for place, (how, path, pixels) in enumerate(MOVERS):
            for turn in range(count):
                # Shifted at every turn, so that every path is seen in every kind of room.
                spec = rooms[turn * paths + (place + turn) % paths]
                name = f"{100 * share:.0f} %, {how}"
                found.append((name, replace(spec, mover_share=share, mover_px=pixels, mover_path=path)))
    return found


def mover_table(moved: Sequence[tuple[ClipSpec, Trial]], bare_mm: dict[int, float]) -> Table:
    """Failures and errors by share and path, and in all.

    Args:
        moved: clips with movers and what came of them.
        bare_mm: ATE of the same clips without movers by seed.
    """
    groups: dict[tuple[str, str], list[tuple[ClipSpec, Trial]]] = {}
    for spec, trial in moved:
        share, _, how = trial.condition.partition(", ")
        groups.setdefault((share, how), []).append((spec, trial))
    rows = [_mover_row(share, how, group, bare_mm) for (share, how), group in groups.items()]
    rows += [
        _mover_row(
            share, "all", [pair for (other, _), group in groups.items() if other == share for pair in group], bare_mm
        )
        for share in dict.fromkeys(share for share, _ in groups)
    ]
    rows.append(_mover_row("all", "all", moved, bare_mm))
    notes = (
        f"Failed: refused, translation called unobservable, or ATE above {MOVER_BOUND_MM} mm. Suffered: ATE more than "
        f"{MOVER_FACTOR:g} times that of the same clip without the mover, for which there are fewer points.",
    )
    title = f"{OURS}: a textured board moves before the scene, 10 mm and 1 degree of tremor"
    return Table("movers", title, MOVER_COLUMNS, tuple(rows), notes)


def still_clips(settings: TrackSettings) -> list[tuple[str, ClipSpec]]:
    """Clips at rest, that only turn by 0.4 to 2 degrees, and that move by 1 mm and turn by 0.3 to 1 degree."""
    count = settings.clips or _STILL_CLIPS
    at_rest = settings.specs(count, translation_mm=0.0, rotation_deg=0.0)
    turning = settings.specs(count, translation_mm=0.0)
    moving = settings.specs(2 * count, translation_mm=1.0)

    def turned(specs: Sequence[ClipSpec], low: float, high: float) -> list[ClipSpec]:
        angles = np.linspace(low, high, len(specs)).round(2).tolist()
        return [replace(spec, rotation_deg=angle) for spec, angle in zip(specs, angles, strict=True)]

    return [
        *(("no motion", spec) for spec in at_rest),
        *(("rotation only", spec) for spec in turned(turning, 0.4, 2.0)),
        *(("1 mm", spec) for spec in turned(moving, 0.3, 1.0)),
    ]


def still_row(trials: Sequence[Trial]) -> Row:
    """How often a kind of motion was called what."""
    scores = [trial.score for trial in trials]
    counts = {word: sum(score.verdict == word for score in scores) for word in ("unobservable", "weak", "refused")}
    return {
        "motion": trials[0].condition,
        "clips": len(trials),
        **counts,
        "percent": 100.0 * counts["unobservable"] / len(trials),
        "first_deg": mean(score.first_deg for score in scores),
        "most_first_deg": most(score.first_deg for score in scores),
        "ate_mm": mean(score.ate_mm for score in scores),
        "most_ate_mm": most(score.ate_mm for score in scores),
        "cpu_s": mean(trial.cpu_s for trial in trials),
        "clips_wrong": [
            trial.clip for trial in trials if (trial.score.verdict == "unobservable") == (trials[0].condition == "1 mm")
        ],
    }


def degradation_rows(trials: Sequence[Trial]) -> list[Row]:
    """Each method's errors under each condition over its own on the plain clip of the same number."""
    groups = grouped(trials)
    plain = {(method, trial.number): trial for method, group in groups.get(PLAIN, {}).items() for trial in group}
    rows: list[Row] = []
    for condition, by_method in groups.items():
        for method, group in by_method.items():
            pairs = [
                (trial, plain[method, trial.number])
                for trial in group
                if condition != PLAIN and not trial.method.told and (method, trial.number) in plain
            ]
            both = [pair for pair in pairs if all(np.isfinite(trial.score.ate_mm) for trial in pair)]
            if not both:
                continue
            ratios = [trial.score.ate_mm / other.score.ate_mm for trial, other in both]
            over = [trial for (trial, _), ratio in zip(both, ratios, strict=True) if ratio > 3]
            turned, plain_turned = (sum(pair[index].score.rpe_deg for pair in both) for index in (0, 1))
            rows.append(
                {
                    "condition": condition,
                    "method": method,
                    "clips": len(both),
                    "ate_ratio": mean(trial.score.ate_mm for trial, _ in both)
                    / mean(other.score.ate_mm for _, other in both),
                    "most_ate_ratio": max(ratios),
                    "rpe_deg_ratio": turned / plain_turned,
                    "over_3": len(over),
                    "over_3_silent": sum(trial.score.verdict == "motion" for trial in over),
                }
            )
    return rows


def _table(bench: TrackBench, name: str, title: str, specs: Sequence[tuple[str, ClipSpec]]) -> list[Trial]:
    """All contenders on clips under conditions; their trials."""
    clips: list[tuple[str, Callable[[], TrackClip]]] = [
        (condition, partial(bench.settings.open, spec)) for condition, spec in specs
    ]
    with bench.trials(name, title) as trials:
        bench.put(clips, bench.settings.contenders(), trials, bench.advancing(name, len(clips)))
    return trials


def _ours(settings: TrackSettings) -> list[Contender]:
    return [one for one in settings.contenders() if one.name == OURS]


def _mover_row(share: str, how: str, group: Sequence[tuple[ClipSpec, Trial]], bare_mm: dict[int, float]) -> Row:
    scores = [trial.score for _, trial in group]
    ratios = [trial.score.ate_mm / bare_mm.get(spec.seed, float("nan")) for spec, trial in group]
    return {
        "share": share,
        "path": how,
        "clips": len(group),
        "failed": sum(not score.ate_mm <= MOVER_BOUND_MM for score in scores),
        "suffered": sum(ratio > MOVER_FACTOR for ratio in ratios),
        "ate_mm": mean(score.ate_mm for score in scores),
        "most_ate_mm": most(score.ate_mm for score in scores),
        "ratio": mean(ratios),
        "most_ratio": most(ratios),
        "rpe_deg": mean(score.rpe_deg for score in scores),
        "verdicts": verdicts(scores),
        "cpu_s": mean(trial.cpu_s for _, trial in group),
    }
