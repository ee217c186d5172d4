"""Queries put to several methods, and the tables of their errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.metrics import paired_interval
from posesplat.evaluate.protocols.report import Column, Row, Table
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import pose_errors

CONVERGED_MM = 20.0
"""An answer has converged within this translation error ..."""
CONVERGED_DEG = 0.5
"""... and this rotation error."""
FALLBACK = "A failed answer counts as its start pose, for every method alike; how many there are stands in its column."


@dataclass(frozen=True)
class Query:
    """An observation whose pose is known to the judge only."""

    frame: Frame
    """What the camera saw."""
    start: RigidTransform
    """Approximate cam_from_world, given to methods that take one."""
    true: RigidTransform
    """True cam_from_world."""
    history: tuple[RigidTransform, RigidTransform] | None = None
    """True cam_from_world two frames and one frame ago, for the constant-velocity baseline."""
    condition: str = ""
    """Level of the start, or whatever else the rows are grouped by."""


@dataclass(frozen=True)
class Answer:
    """One method's answer to one query."""

    method: str
    number: int
    """Of the query, for pairing."""
    query: Query
    estimate: PoseEstimate

    @property
    def cam_from_world(self) -> RigidTransform:
        """The answered pose, or the start where the method failed."""
        found = self.estimate.cam_from_world
        return self.query.start if found is None else found

    @cached_property
    def errors(self) -> tuple[float, float]:
        """Translation in millimetres and rotation in degrees."""
        translation, rotation = pose_errors(self.cam_from_world, self.query.true)
        return 1e3 * float(translation), float(rotation)

    @property
    def converged(self) -> bool:
        """True when the method answered and is close to the truth."""
        return self.estimate.success and self.errors[0] < CONVERGED_MM and self.errors[1] < CONVERGED_DEG


Locate = Callable[[Query], PoseEstimate]


@dataclass(frozen=True)
class Method:
    """A way to find a camera, ready to be prepared for a map."""

    name: str
    prepare: Callable[[Any], Locate]
    """Takes a :class:`posesplat.evaluate.protocols.reference.Reference`."""
    most_queries: int | None = None
    """Slow methods answer only this many queries of each condition."""
    ours: bool = False
    """Whether the other methods are compared with it."""


def ask(
    methods: Sequence[Method],
    reference: Any,
    queries: Iterable[tuple[int, Query]],
    answers: list[Answer],
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Put queries to all methods; answers are appended one by one, so that an interrupt keeps those before it.

    A method that does not apply to a query or a map (it raises ValueError) has failed with that message.
    """
    asked: dict[tuple[str, str], int] = defaultdict(int)
    for answer in answers:
        asked[answer.method, answer.query.condition] += 1
    prepared: dict[str, Locate] = {}
    for number, query in queries:
        for method in methods:
            key = (method.name, query.condition)
            if method.most_queries is not None and asked[key] >= method.most_queries:
                continue
            asked[key] += 1
            try:
                if method.name not in prepared:
                    prepared[method.name] = method.prepare(reference)
                estimate = prepared[method.name](query)
            except ValueError as error:
                estimate = PoseEstimate.failure(f"{type(error).__name__}: {error}")
            answers.append(Answer(method.name, number, query, estimate))
        advance()


ERROR_COLUMNS = (
    Column("condition", "condition"),
    Column("method", "method"),
    Column("queries", "n"),
    Column("failed", "failed"),
    Column("median_translation_mm", "median mm", ".4g"),
    Column("p90_translation_mm", "p90 mm", ".4g"),
    Column("rms_translation_mm", "RMS mm", ".4g"),
    Column("median_rotation_deg", "median deg", ".3g"),
    Column("p90_rotation_deg", "p90 deg", ".3g"),
    Column("rms_rotation_deg", "RMS deg", ".3g"),
    Column("converged_percent", "conv %", ".0f"),
    Column("median_ms", "ms", ".3g"),
)
PAIRED_COLUMNS = (
    Column("condition", "condition"),
    Column("ours", "ours"),
    Column("rival", "rival"),
    Column("queries", "n"),
    Column("translation_mm", "ours - rival, mm", "+.3g"),
    Column("translation_interval", "95 %"),
    Column("rotation_deg", "ours - rival, deg", "+.3g"),
    Column("rotation_interval", "95 %"),
    Column("verdict", "lower error"),
)
FAILURE_COLUMNS = (
    Column("condition", "condition"),
    Column("method", "method"),
    Column("count", "failed"),
    Column("reason", "first reason"),
)


def error_row(answers: Sequence[Answer]) -> Row:
    """Summary of one method's answers."""
    translation, rotation = np.array([answer.errors for answer in answers]).T
    times = [1e3 * answer.estimate.runtime_s for answer in answers]
    return {
        "condition": answers[0].query.condition,
        "method": answers[0].method,
        "queries": len(answers),
        "failed": sum(not answer.estimate.success for answer in answers),
        "median_translation_mm": float(np.median(translation)),
        "p90_translation_mm": float(np.quantile(translation, 0.9)),
        "rms_translation_mm": float(np.sqrt(np.mean(translation**2))),
        "median_rotation_deg": float(np.median(rotation)),
        "p90_rotation_deg": float(np.quantile(rotation, 0.9)),
        "rms_rotation_deg": float(np.sqrt(np.mean(rotation**2))),
        "converged_percent": 100.0 * float(np.mean([answer.converged for answer in answers])),
        "median_ms": float(np.nanmedian(times)) if np.isfinite(times).any() else float("nan"),
    }


def grouped(answers: Iterable[Answer]) -> dict[str, dict[str, list[Answer]]]:
    """Answers by condition and method, in the order in which they came."""
    groups: dict[str, dict[str, list[Answer]]] = defaultdict(lambda: defaultdict(list))
    for answer in answers:
        groups[answer.query.condition][answer.method].append(answer)
    return groups


def error_tables(
    name: str, title: str, methods: Sequence[Method], answers: Sequence[Answer], seed: int, notes: Sequence[str] = ()
) -> list[Table]:
    """The errors of every method under every condition, and the paired intervals of ours against each other one."""
    if not answers:
        return []
    ours = [method.name for method in methods if method.ours]
    rows: list[Row] = []
    paired: list[Row] = []
    for by_method in grouped(answers).values():
        rows += [error_row(group) for group in by_method.values()]
        for our in ours:
            if our in by_method:
                rivals = [group for name, group in by_method.items() if name not in ours]
                paired += [paired_row(by_method[our], rival, seed) for rival in rivals]
    tables = [Table(name, title, ERROR_COLUMNS, tuple(rows), (FALLBACK, *notes))]
    if paired:
        note = "Difference of medians over the same queries, with a percentile-bootstrap interval."
        tables.append(Table(f"{name}/paired", f"{title}: ours against each", PAIRED_COLUMNS, tuple(paired), (note,)))
    failures = failure_rows(answers)
    if failures:
        tables.append(Table(f"{name}/failures", f"{title}: failures", FAILURE_COLUMNS, tuple(failures)))
    return tables


def failure_rows(answers: Sequence[Answer]) -> list[Row]:
    """How often each method failed under each condition, and why."""
    rows: list[Row] = []
    for condition, by_method in grouped(answers).items():
        for method, group in by_method.items():
            reasons = [answer.estimate.reason for answer in group if not answer.estimate.success]
            if reasons:
                row = {"condition": condition, "method": method, "count": len(reasons), "reason": reasons[0]}
                rows.append({**row, "reasons": sorted(set(reasons))})
    return rows


def paired_row(ours: Sequence[Answer], rival: Sequence[Answer], seed: int) -> Row:
    """Ours against a rival on the queries that both were asked."""
    theirs = {answer.number: answer for answer in rival}
    pairs = [(answer, theirs[answer.number]) for answer in ours if answer.number in theirs]
    row: Row = {
        "condition": ours[0].query.condition,
        "ours": ours[0].method,
        "rival": rival[0].method,
        "queries": len(pairs),
    }
    verdicts = []
    for index, (key, label) in enumerate((("translation_mm", "translation"), ("rotation_deg", "rotation"))):
        first = np.array([our.errors[index] for our, _ in pairs])
        second = np.array([other.errors[index] for _, other in pairs])
        interval = paired_interval(first, second, seed)
        row[key] = interval.difference
        row[f"{key}_low"], row[f"{key}_high"] = interval.low, interval.high
        row[f"{label}_interval"] = f"[{interval.low:+.3g}, {interval.high:+.3g}]"
        verdicts.append("ours" if interval.first_is_lower else "RIVAL" if interval.second_is_lower else "neither")
    row["verdict"] = verdicts[0] if verdicts[0] == verdicts[1] else f"mm {verdicts[0]}, deg {verdicts[1]}"
    return row
