"""Trials of contenders on pairs, and the tables of their errors, flags, covariances and times."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2

from posesplat.evaluate.metrics import paired_interval
from posesplat.evaluate.protocols.pair_contenders import IDENTITY
from posesplat.evaluate.protocols.pair_flags import accepted_elsewhere, flagged, wilson
from posesplat.evaluate.protocols.pair_scores import AUC_DEG, PairScore, aucs, paired_auc_interval
from posesplat.evaluate.protocols.report import Column, Row, Table

ALL = "all"
_NAN = float("nan")
NOTES = (
    "Success: rotation below 5 deg, and translation below 10 cm or 10 % of the baseline (direction below 10 deg where "
    "lengths are unknown), with its standard error. AUC of the larger of rotation and direction error, in percent; for "
    "baselines below 5 % of the median depth the angle of the translation error at the scene stands for the direction. "
    "Medians count refusals as infinite. A method that flags its own answer is judged by its best guess here; "
    "'flagged' says how many. Times are processor time of all threads, a dash where the shared matching is not used.",
)
BEST_NOTES = (
    "The best of all methods but ours by each measure, chosen on these very pairs: what ours must reach. Intervals are "
    "of the paired bootstrap, ours minus the rival with the best AUC@10; without ours, the best minus the second best.",
)
FLAG_NOTES = (
    "Good: rotation below 5 deg, and translation below 10 cm or 15 % of the baseline. Thresholds on each method's "
    "score (inliers, soft inliers, overlapping share) are set to reach 95 % precision on all scenes but the one "
    "they are used on; 'as reported' is the method's own word. Precision has its 95 % Wilson interval.",
)
COVERAGE_NOTES = (
    "Answers whose 95 % region of the pose (rotation and translation together) holds the truth, with the 95 % Wilson "
    "interval of that share, among reported answers with a covariance. On real clips the error of the true pose "
    "(0.3 deg and 3 mm for motion capture, 0.1 deg and 5 mm for the reconstruction of iclaug, each axis) is added. "
    "Without metric depth the region is that of rotation and direction. Cameras of rendered rooms are exact, and ours "
    "is told so.",
)
_REGION_95 = float(chi2.ppf(0.95, 6))


@dataclass(frozen=True)
class PairTrial:
    """One method's answer to one pair, judged."""

    condition: str
    """What depth there was."""
    group: str
    """The set that the pair belongs to."""
    level: str
    """Its overlap level."""
    scene: str
    """What it shows."""
    pair: str
    """Its name; answers to pairs of the same name are compared with each other."""
    method: str
    """Whose answer it is."""
    ours: bool
    """Whether others are compared with it."""
    score: PairScore
    """How good its best guess is."""
    sureness: float
    """What the method says of it; larger is surer, NaN for nothing."""
    accepted: bool
    """Whether the method would use it."""
    cpu_s: float
    """What it cost without matching."""
    wall_s: float
    """The same on the clock."""
    matching_cpu_s: float = 0.0
    """What matching cost, 0 for methods without."""
    matching_wall_s: float = 0.0
    """The same on the clock."""
    nees: float = _NAN
    """Squared Mahalanobis length of the error; NaN without covariance."""
    parts_s: dict[str, float] = field(default_factory=dict)
    """Wall time by part."""
    remark: str = ""
    """Why there is no pose, or the first warning."""


ERROR_COLUMNS = (
    Column("level", "overlap"),
    Column("method", "method"),
    Column("pairs", "n"),
    Column("flagged", "flagged"),
    Column("success_percent", "success %", ".1f"),
    Column("success_error", "se", ".1f"),
    *(Column(f"auc_{threshold:g}", f"AUC@{threshold:g}", ".1f") for threshold in AUC_DEG),
    Column("rotation_deg", "med deg", ".2f"),
    Column("translation_cm", "med cm", ".1f"),
    Column("baseline_percent", "med % base", ".0f"),
    Column("direction_deg", "med dir deg", ".1f"),
    Column("cpu_ms", "CPU ms", ".0f"),
    Column("matching_ms", "matching", ".0f"),
)
BEST_COLUMNS = (
    Column("level", "overlap"),
    Column("pairs", "n"),
    Column("best_success", "best success"),
    *(Column(f"best_auc_{threshold:g}", f"best AUC@{threshold:g}") for threshold in AUC_DEG),
    Column("first", "compared"),
    Column("second", "with"),
    Column("auc_10", "AUC@10 difference", "+.1f"),
    Column("auc_10_interval", "95 %"),
    Column("success_percent", "success difference", "+.1f"),
    Column("success_interval", "95 %"),
)
FLAG_COLUMNS = (
    Column("method", "method"),
    Column("rule", "rule"),
    Column("pairs", "n"),
    Column("good_percent", "good %", ".1f"),
    Column("accepted_percent", "accepted %", ".1f"),
    Column("precision_percent", "precision %", ".1f"),
    Column("interval", "95 %"),
    Column("recall_percent", "recall %", ".1f"),
)
COVERAGE_COLUMNS = (
    Column("level", "overlap"),
    Column("method", "method"),
    Column("pairs", "n"),
    Column("coverage_percent", "in 95 % region", ".1f"),
    Column("interval", "95 %"),
    Column("median_nees", "median NEES (5.35)", ".3g"),
)
TIME_COLUMNS = (
    Column("method", "method"),
    Column("pairs", "n"),
    Column("cpu_ms", "CPU ms", ".0f"),
    Column("cpu_p90_ms", "p90", ".0f"),
    Column("wall_ms", "wall ms", ".0f"),
    Column("matching_cpu_ms", "matching CPU", ".0f"),
    Column("matching_wall_ms", "matching wall", ".0f"),
    Column("total_wall_ms", "total wall", ".0f"),
    Column("parts", "split, wall ms"),
)
REMARK_COLUMNS = (Column("method", "method"), Column("pairs", "pairs"), Column("remark", "commonest remark"))


def trial_tables(name: str, title: str, trials: Sequence[PairTrial], seed: int) -> list[Table]:
    """All tables of trials under one condition: errors by level and overall, best rivals, flags, coverage, times."""
    if not trials:
        return []
    errors = tuple(error_row(level, one) for level, by in groups_with_all(trials) for one in by.values())
    tables = [Table(name, title, ERROR_COLUMNS, errors, NOTES)]
    best = tuple(row for level, by in groups_with_all(trials) if (row := best_row(level, by, seed)) is not None)
    if best:
        tables.append(Table(f"{name}/best", f"{title}: the numbers to beat", BEST_COLUMNS, best, BEST_NOTES))
    flags = tuple(row for one in by_method(trials).values() for row in flag_rows(one))
    if flags:
        tables.append(Table(f"{name}/flags", f"{title}: knowing when to refuse", FLAG_COLUMNS, flags, FLAG_NOTES))
    covered = tuple(
        row for level, by in groups_with_all(trials) for one in by.values() if (row := coverage_row(level, one))
    )
    if covered:
        tables.append(Table(f"{name}/coverage", f"{title}: covariance", COVERAGE_COLUMNS, covered, COVERAGE_NOTES))
    times = tuple(time_row(one) for one in by_method(trials).values())
    tables.append(Table(f"{name}/time", f"{title}: medians of time", TIME_COLUMNS, times))
    remarks = tuple(row for one in by_method(trials).values() if (row := remark_row(one)))
    if remarks:
        tables.append(Table(f"{name}/remarks", f"{title}: refusals and warnings", REMARK_COLUMNS, remarks))
    return tables


def by_method(trials: Iterable[PairTrial]) -> dict[str, list[PairTrial]]:
    """Trials by method, in the order in which they came."""
    groups: dict[str, list[PairTrial]] = defaultdict(list)
    for trial in trials:
        groups[trial.method].append(trial)
    return groups


def by_level(trials: Iterable[PairTrial]) -> list[tuple[str, dict[str, list[PairTrial]]]]:
    """Trials by level and method."""
    groups: dict[str, list[PairTrial]] = defaultdict(list)
    for trial in trials:
        groups[trial.level].append(trial)
    return [(level, by_method(group)) for level, group in groups.items()]


def groups_with_all(trials: Sequence[PairTrial]) -> list[tuple[str, dict[str, list[PairTrial]]]]:
    """Trials by level and method, and then of all levels by method."""
    levels = by_level(trials)
    return [*levels, (ALL, by_method(trials))] if len(levels) > 1 else levels


def error_row(level: str, trials: Sequence[PairTrial]) -> Row:
    """Summary of one method at one level; every trial is in JSON."""
    scores = [trial.score for trial in trials]
    share = float(np.mean([score.success for score in scores]))
    row: Row = {
        "level": level,
        "method": trials[0].method,
        "pairs": len(trials),
        "flagged": sum(not trial.accepted for trial in trials),
        "success_percent": 100.0 * share,
        "success_error": 100.0 * float(np.sqrt(share * (1 - share) / len(trials))),
    }
    errors = errors_of(trials)
    row |= {f"auc_{threshold:g}": 100.0 * float(aucs(errors, threshold)) for threshold in AUC_DEG}
    for key in ("rotation_deg", "translation_cm", "baseline_percent", "direction_deg"):
        row[key] = median(getattr(score, key) for score in scores)
    row["cpu_ms"] = 1e3 * median(trial.cpu_s for trial in trials)
    matching = median(trial.matching_cpu_s for trial in trials)
    row["matching_ms"] = 1e3 * matching if matching else _NAN
    row["trials"] = [_record(trial) for trial in trials] if level != ALL else []
    return row


def best_row(level: str, methods: dict[str, list[PairTrial]], seed: int) -> Row | None:
    """The best rival by each measure, and the paired comparison; None for fewer than two methods."""
    rivals = {name: group for name, group in methods.items() if not group[0].ours and name != IDENTITY}
    if not rivals:
        return None
    row: Row = {"level": level, "pairs": len(next(iter(rivals.values())))}
    successes = {name: 100.0 * float(np.mean([t.score.success for t in group])) for name, group in rivals.items()}
    row["best_success"] = _leader(successes)
    for threshold in AUC_DEG:
        values = {name: 100.0 * float(aucs(errors_of(group), threshold)) for name, group in rivals.items()}
        row[f"best_auc_{threshold:g}"] = _leader(values)
    ranked = sorted(rivals.values(), key=lambda group: -float(aucs(errors_of(group), 10.0)))
    ours = [group for group in methods.values() if group[0].ours]
    pairs = [(ours[0], ranked[0])] if ours else [(ranked[0], ranked[1])] if len(ranked) > 1 else []
    for first, second in pairs:
        row |= paired_row(first, second, seed)
    return row


def paired_row(first: Sequence[PairTrial], second: Sequence[PairTrial], seed: int) -> Row:
    """The first method against the second on the pairs that both were asked, in percent; positive is better."""
    theirs = {trial.pair: trial for trial in second}
    both = [(trial, theirs[trial.pair]) for trial in first if trial.pair in theirs]
    if not both:
        return {}
    ours, others = [one for one, _ in both], [other for _, other in both]
    row: Row = {"first": first[0].method, "second": second[0].method}
    interval = paired_auc_interval(errors_of(ours), errors_of(others), 10.0, seed)
    row["auc_10"] = interval.difference
    row["auc_10_interval"] = f"[{interval.low:+.1f}, {interval.high:+.1f}]"
    hits, their_hits = (np.array([100.0 * trial.score.success for trial in group]) for group in (ours, others))
    interval = paired_interval(hits, their_hits, seed, "mean")
    row["success_percent"] = interval.difference
    row["success_interval"] = f"[{interval.low:+.1f}, {interval.high:+.1f}]"
    return row


def flag_rows(trials: Sequence[PairTrial]) -> list[Row]:
    """What accepting by score on other scenes' thresholds gives, and the method's own word where it has one."""
    good = np.array([trial.score.good for trial in trials])
    sureness = np.array([trial.sureness for trial in trials])
    rules = []
    if not np.isnan(sureness).all():
        scenes = [trial.scene for trial in trials]
        rules.append(("score, other scenes' threshold", accepted_elsewhere(sureness, good, scenes)))
    if any(not trial.accepted for trial in trials):
        rules.append(("as reported", np.array([trial.accepted for trial in trials])))
    rows: list[Row] = []
    for rule, accepted in rules:
        found = flagged(accepted, good)
        rows.append(
            {
                "method": trials[0].method,
                "rule": rule,
                "pairs": found.asked,
                "good_percent": 100.0 * float(good.mean()),
                "accepted_percent": 100.0 * found.accepted / found.asked,
                "precision_percent": 100.0 * found.precision,
                "interval": f"[{100 * found.low:.1f}, {100 * found.high:.1f}]",
                "recall_percent": 100.0 * found.recall,
            }
        )
    return rows


def coverage_row(level: str, trials: Sequence[PairTrial]) -> Row | None:
    """How often the 95 % region of reported answers holds the truth; None without covariances."""
    values = np.array([trial.nees for trial in trials if trial.accepted and not np.isnan(trial.nees)])
    if not len(values):
        return None
    inside = int(np.count_nonzero(values <= _REGION_95))
    low, high = wilson(inside, len(values))
    return {
        "level": level,
        "method": trials[0].method,
        "pairs": len(values),
        "coverage_percent": 100.0 * inside / len(values),
        "coverage_low": 100.0 * low,
        "coverage_high": 100.0 * high,
        "interval": f"[{100 * low:.1f}, {100 * high:.1f}]",
        "median_nees": float(np.median(values)),
    }


def time_row(trials: Sequence[PairTrial]) -> Row:
    """Medians of processor and wall time, in milliseconds."""
    parts = {name: median(trial.parts_s.get(name, _NAN) for trial in trials) for name in trials[0].parts_s}
    matching = median(trial.matching_wall_s for trial in trials)
    return {
        "method": trials[0].method,
        "pairs": len(trials),
        "cpu_ms": 1e3 * median(trial.cpu_s for trial in trials),
        "cpu_p90_ms": 1e3 * float(np.quantile([trial.cpu_s for trial in trials], 0.9)),
        "wall_ms": 1e3 * median(trial.wall_s for trial in trials),
        "matching_cpu_ms": 1e3 * median(trial.matching_cpu_s for trial in trials),
        "matching_wall_ms": 1e3 * matching,
        "total_wall_ms": 1e3 * median(trial.wall_s + trial.matching_wall_s for trial in trials),
        "parts": ", ".join(f"{name} {1e3 * value:.0f}" for name, value in parts.items()),
    }


def remark_row(trials: Sequence[PairTrial]) -> Row | None:
    """How often a method had something to say, and what it said most."""
    said = [trial.remark for trial in trials if trial.remark]
    if not said:
        return None
    commonest = Counter(said).most_common(1)[0][0]
    return {"method": trials[0].method, "pairs": len(said), "remark": commonest, "remarks": sorted(set(said))}


def errors_of(trials: Sequence[PairTrial]) -> Float[np.ndarray, " n"]:
    """The errors that the AUC is about."""
    return np.array([trial.score.error_deg for trial in trials])


def median(values: Iterable[float]) -> float:
    """Median of the values that are defined, infinite ones included; NaN without any."""
    known = np.array([value for value in values if not np.isnan(value)])
    return float(np.quantile(known, 0.5, method="lower")) if len(known) else _NAN


def _leader(values: dict[str, float], spec: Callable[[float], str] = "{:.1f}".format) -> str:
    name = max(values, key=lambda one: values[one])
    return f"{spec(values[name])} {name}"


def _record(trial: PairTrial) -> Row:
    kept = {key: value for key, value in asdict(trial).items() if key not in ("method", "ours", "level", "condition")}
    kept |= kept.pop("score")
    return {key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in kept.items()}
