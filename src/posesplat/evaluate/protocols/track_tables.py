"""Trials of contenders on clips, and the tables of their errors and processor times."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from posesplat.evaluate.metrics import paired_interval
from posesplat.evaluate.protocols.report import Column, Row, Table
from posesplat.evaluate.protocols.track_contenders import PYCOLMAP, Contender
from posesplat.evaluate.protocols.track_scores import Score

BEST_PYCOLMAP = f"{PYCOLMAP}, best of its settings for each clip"
NOTES = (
    "Means over the clips in which the error is defined: translation errors need three posed frames, a moving camera "
    "and a translation that is not called unobservable. ATE and RPE after the best similarity; 'first' is the largest "
    "rotation error against the first frame; CPU s is processor time of all threads. Told methods know true poses: "
    "bounds, not methods.",
)
PAIRED_NOTES = (
    "Over the clips in which both have an ATE: mean ATE of the rival over ours, the difference of medians with its "
    "percentile-bootstrap interval, and the rival's processor time over ours. 'posed' counts frames over all clips "
    "that the rival was asked; where it has no ATE, its time still counts.",
)


FEWEST_FOR_VERDICT = 3
"""An interval of fewer clips proves nothing."""


@dataclass(frozen=True)
class Trial:
    """One method's answer to one clip, judged."""

    condition: str
    """What rows are grouped by."""
    number: int
    """Of the clip within its condition, for pairing."""
    clip: str
    """Its name."""
    method: Contender
    """Whose answer it is."""
    score: Score
    """How good it is."""
    cpu_s: float
    """What it cost."""
    remark: str = ""
    """The commonest reason or warning of its frames."""


ERROR_COLUMNS = (
    Column("condition", "condition"),
    Column("method", "method"),
    Column("clips", "n"),
    Column("posed_percent", "posed %", ".0f"),
    Column("ate_mm", "ATE mm", ".3g"),
    Column("most_ate_mm", "largest", ".3g"),
    Column("ate_se3_mm", "SE(3) ATE mm", ".3g"),
    Column("rpe_mm", "RPE mm", ".3g"),
    Column("rpe_deg", "RPE deg", ".3g"),
    Column("first_deg", "first deg", ".3g"),
    Column("speed_mm_s", "dv mm/s", ".3g"),
    Column("coverage_percent", "in 95 % region", ".0f"),
    Column("verdicts", "verdicts"),
    Column("cpu_s", "CPU s", ".3g"),
)
PAIRED_COLUMNS = (
    Column("condition", "condition"),
    Column("ours", "ours"),
    Column("rival", "rival"),
    Column("clips", "n"),
    Column("posed_percent", "rival posed %", ".0f"),
    Column("ate_ratio", "ATE, times ours", ".3g"),
    Column("ate_mm", "ours - rival, mm", "+.3g"),
    Column("ate_interval", "95 %"),
    Column("rpe_deg_ratio", "RPE deg, times ours", ".3g"),
    Column("cpu_ratio", "CPU, times ours", ".3g"),
    Column("verdict", "lower ATE"),
)
REMARK_COLUMNS = (
    Column("condition", "condition"),
    Column("method", "method"),
    Column("clips", "clips"),
    Column("remark", "remark"),
)


def trial_tables(name: str, title: str, trials: Sequence[Trial], seed: int, notes: Sequence[str] = ()) -> list[Table]:
    """The errors of every method under every condition, ours against each other one, and what the methods say."""
    if not trials:
        return []
    rows: list[Row] = []
    paired: list[Row] = []
    for by_method in grouped(trials).values():
        rows += [error_row(group) for group in by_method.values()]
        rivals = [group for group in by_method.values() if not group[0].method.ours and not group[0].method.told]
        best = best_of_each_clip([trial for group in rivals for trial in group if _is_pycolmap(trial)])
        for ours in (group for group in by_method.values() if group[0].method.ours):
            paired += [paired_row(ours, rival, rival[0].method.name, seed) for rival in rivals]
            if best:
                paired.append(paired_row(ours, best, BEST_PYCOLMAP, seed))
    tables = [Table(name, title, ERROR_COLUMNS, tuple(rows), (*NOTES, *notes))]
    if paired:
        tables.append(
            Table(f"{name}/paired", f"{title}: ours against each", PAIRED_COLUMNS, tuple(paired), PAIRED_NOTES)
        )
    remarks = remark_rows(trials)
    if remarks:
        tables.append(Table(f"{name}/remarks", f"{title}: refusals and warnings", REMARK_COLUMNS, tuple(remarks)))
    return tables


def grouped(trials: Iterable[Trial]) -> dict[str, dict[str, list[Trial]]]:
    """Trials by condition and method, in the order in which they came."""
    groups: dict[str, dict[str, list[Trial]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        groups[trial.condition][trial.method.name].append(trial)
    return groups


def error_row(trials: Sequence[Trial]) -> Row:
    """Summary of one method under one condition; every trial is in JSON."""
    scores = [trial.score for trial in trials]
    frames = sum(score.frames for score in scores)
    return {
        "condition": trials[0].condition,
        "method": trials[0].method.name,
        "clips": len(trials),
        "posed_percent": 100.0 * sum(score.posed for score in scores) / frames,
        "ate_mm": mean(score.ate_mm for score in scores),
        "most_ate_mm": most(score.ate_mm for score in scores),
        "ate_se3_mm": mean(score.ate_se3_mm for score in scores),
        "rpe_mm": mean(score.rpe_mm for score in scores),
        "rpe_deg": mean(score.rpe_deg for score in scores),
        "first_deg": most(score.first_deg for score in scores),
        "speed_mm_s": mean(score.speed_mm_s for score in scores),
        "coverage_percent": 100.0 * mean(score.coverage for score in scores),
        "verdicts": verdicts(scores),
        "cpu_s": mean(trial.cpu_s for trial in trials),
        "told": trials[0].method.told,
        "trials": [
            {"clip": trial.clip, "cpu_s": _plain(trial.cpu_s), "remark": trial.remark}
            | {key: _plain(value) for key, value in asdict(trial.score).items()}
            for trial in trials
        ],
    }


def paired_row(ours: Sequence[Trial], rival: Sequence[Trial], name: str, seed: int) -> Row:
    """Ours against a rival on the clips that both were asked."""
    theirs = {trial.number: trial for trial in rival}
    asked = [(trial, theirs[trial.number]) for trial in ours if trial.number in theirs]
    both = [pair for pair in asked if all(np.isfinite(trial.score.ate_mm) for trial in pair)]
    frames = sum(other.score.frames for _, other in asked)
    own_cpu = sum(trial.cpu_s for trial, _ in asked)
    row: Row = {
        "condition": ours[0].condition,
        "ours": ours[0].method.name,
        "rival": name,
        "clips": len(both),
        "posed_percent": 100.0 * sum(other.score.posed for _, other in asked) / frames if frames else float("nan"),
        "cpu_ratio": sum(other.cpu_s for _, other in asked) / own_cpu if own_cpu else float("nan"),
        "verdict": "no ATE to compare" if asked else "not asked",
    }
    if not both:
        return row
    first, second = (np.array([pair[index].score.ate_mm for pair in both]) for index in (0, 1))
    turned, their_turned = (np.array([pair[index].score.rpe_deg for pair in both]) for index in (0, 1))
    interval = paired_interval(first, second, seed)
    row["ate_ratio"] = float(second.mean() / first.mean()) if first.mean() > 0 else float("nan")
    row["rpe_deg_ratio"] = float(their_turned.mean() / turned.mean()) if turned.mean() > 0 else float("nan")
    row["ate_mm"] = interval.difference
    row["ate_low"], row["ate_high"] = interval.low, interval.high
    row["ate_interval"] = f"[{interval.low:+.3g}, {interval.high:+.3g}]"
    row["verdict"] = "ours" if interval.first_is_lower else "RIVAL" if interval.second_is_lower else "neither"
    if len(both) < FEWEST_FOR_VERDICT:
        row["verdict"] = f"{'ours' if first.mean() < second.mean() else 'RIVAL'}, too few clips to tell"
    return row


def best_of_each_clip(trials: Sequence[Trial]) -> list[Trial]:
    """For each clip the setting with the lowest ATE among those that posed at least half of the frames, else the one
    that posed most frames: what nobody knows who does not know the truth."""
    by_clip: dict[int, list[Trial]] = defaultdict(list)
    for trial in trials:
        by_clip[trial.number].append(trial)

    def rank(trial: Trial) -> tuple[bool, float, int]:
        usable = trial.score.verdict != "refused" and bool(np.isfinite(trial.score.ate_mm))
        return not usable, trial.score.ate_mm if usable else 0.0, -trial.score.posed

    return [min(group, key=rank) for group in by_clip.values()]


def remark_rows(trials: Sequence[Trial]) -> list[Row]:
    """What methods said of clips that they did not answer without reservation: how often, and the commonest."""
    rows: list[Row] = []
    for condition, by_method in grouped(trials).items():
        for method, group in by_method.items():
            said = [trial.remark for trial in group if trial.remark]
            if said:
                commonest = Counter(said).most_common(1)[0][0]
                row = {"condition": condition, "method": method, "clips": len(said), "remark": commonest}
                rows.append({**row, "remarks": sorted(set(said))})
    return rows


def verdicts(scores: Sequence[Score]) -> str:
    """How often each verdict but ``motion`` was given."""
    counts = Counter(score.verdict for score in scores)
    return ", ".join(f"{counts[word]} {word}" for word in ("weak", "unobservable", "refused") if counts[word])


def mean(values: Iterable[float]) -> float:
    """Mean of the finite values; NaN without any."""
    return _over(np.mean, values)


def most(values: Iterable[float]) -> float:
    """Largest finite value; NaN without any."""
    return _over(np.max, values)


def _over(summary: Callable[[np.ndarray], object], values: Iterable[float]) -> float:
    finite = np.array([value for value in values if np.isfinite(value)])
    return float(summary(finite)) if len(finite) else float("nan")  # type: ignore[arg-type]


def _is_pycolmap(trial: Trial) -> bool:
    return trial.method.name.startswith(PYCOLMAP)


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not np.isfinite(value) else value
