"""Tables of benchmarks, against errors that were put into the answers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation
from scipy.stats import chi2

from posesplat.evaluate.protocols.coverage import Calibration
from posesplat.evaluate.protocols.report import Column, Report, Table
from posesplat.evaluate.protocols.settings import Bench, Settings
from posesplat.evaluate.protocols.trials import Answer, Method, Query, ask, error_row, error_tables, paired_row
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import exp

FRAME = Frame(Camera(50.0, 50.0, 8.0, 6.0, 16, 12), depth=np.ones((12, 16), np.float32))
TRUE = RigidTransform.from_components(np.array([1.0, -2.0, 0.5]), Rotation.from_euler("xyz", [0.3, -0.2, 1.0]))
START = RigidTransform.from_translation(np.array([0.03, 0.0, 0.04])) * TRUE


def off(millimetres: float, degrees: float = 0.0) -> RigidTransform:
    """The true pose with its centre moved along x and its axes turned about z."""
    turned = RigidTransform.from_rotation(Rotation.from_euler("z", degrees, degrees=True)) * TRUE
    return turned * RigidTransform.from_translation(np.array([-1e-3 * millimetres, 0.0, 0.0]))


def answer(number: int, pose: RigidTransform | None, method: str = "m", runtime_s: float = 0.002) -> Answer:
    query = Query(FRAME, START, TRUE, condition="level")
    if pose is None:
        return Answer(method, number, query, PoseEstimate.failure("lost", runtime_s=runtime_s))
    return Answer(method, number, query, PoseEstimate(True, "", pose, runtime_s=runtime_s))


def test_the_row_of_known_errors() -> None:
    row = error_row([answer(0, off(1.0, 0.1)), answer(1, off(2.0, 0.2)), answer(2, off(30.0, 0.6)), answer(3, None)])
    # The failure counts as its start, 50 mm and 0 degrees away.
    assert row["median_translation_mm"] == pytest.approx((2.0 + 30.0) / 2, abs=1e-6)
    assert row["rms_translation_mm"] == pytest.approx(math.sqrt((1 + 4 + 900 + 2500) / 4), abs=1e-6)
    assert row["median_rotation_deg"] == pytest.approx((0.1 + 0.2) / 2, abs=1e-6)
    assert row["rms_rotation_deg"] == pytest.approx(math.sqrt((0.01 + 0.04 + 0.36) / 4), abs=1e-6)
    assert (row["queries"], row["failed"], row["converged_percent"]) == (4, 1, 50.0)
    assert row["median_ms"] == pytest.approx(2.0)


@pytest.mark.parametrize(("rival_mm", "verdict"), [(5.0, "ours"), (0.2, "RIVAL")])
def test_a_clear_difference_is_told_as_such(rival_mm: float, verdict: str) -> None:
    ours = [answer(k, off(1.0 + 0.01 * k, 0.1 + 0.001 * k)) for k in range(9)]
    rival = [answer(k, off(rival_mm + 0.01 * k, 0.1 * rival_mm + 0.001 * k), "r") for k in range(7)]
    row = paired_row(ours, rival, seed=0)
    assert row["queries"] == 7
    assert row["translation_mm"] == pytest.approx(1.0 - rival_mm, abs=1e-6)
    assert row["translation_mm_low"] <= row["translation_mm"] <= row["translation_mm_high"]
    assert row["verdict"] == verdict


def test_equal_errors_are_no_difference() -> None:
    ours = [answer(k, off(1.0 + 0.1 * k)) for k in range(9)]
    assert paired_row(ours, ours, seed=0)["verdict"] == "neither"


def told(pose: RigidTransform | None) -> Method:
    estimate = PoseEstimate.failure("lost") if pose is None else PoseEstimate(True, "", pose, runtime_s=0.0)
    return Method("told" if pose is not None else "lost", lambda reference: lambda query: estimate, ours=True)


def test_slow_methods_are_asked_less_often_and_errors_are_failures() -> None:
    def refuse(query: Query) -> PoseEstimate:
        raise ValueError("no depth")

    few = Method("few", lambda reference: lambda query: PoseEstimate(True, "", TRUE), most_queries=2)
    broken = Method("broken", lambda reference: refuse)
    queries = [(k, Query(FRAME, START, TRUE, condition=str(k % 2))) for k in range(10)]
    answers: list[Answer] = []
    for part in (queries[:5], queries[5:]):
        ask([told(off(1.0)), few, broken], None, part, answers)
    counts = {name: sum(a.method == name for a in answers) for name in ("told", "few", "broken")}
    assert counts == {"told": 10, "few": 4, "broken": 10}
    assert {a.estimate.reason for a in answers if a.method == "broken"} == {"ValueError: no depth"}


def test_an_interrupt_keeps_the_answers_before_it() -> None:
    bench = Bench(Settings(), Report("localize", {}))
    asked = []

    def locate(query: Query) -> PoseEstimate:
        asked.append(query)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return PoseEstimate(True, "", off(2.0))

    method = Method("m", lambda reference: locate)
    with pytest.raises(KeyboardInterrupt), bench.answers("name", "title", [method]) as answers:
        ask([method], None, [(k, Query(FRAME, START, TRUE)) for k in range(9)], answers)
    assert [row["queries"] for row in bench.report.tables[0].rows] == [3]
    assert not bench.report.complete


def test_failures_are_listed_with_their_reason() -> None:
    answers: list[Answer] = []
    methods = [told(off(1.0)), replace(told(None), ours=False)]
    ask(methods, None, [(k, Query(FRAME, START, TRUE)) for k in range(3)], answers)
    tables = {t.name: t for t in error_tables("n", "t", methods, answers, seed=0)}
    assert [row["method"] for row in tables["n"].rows] == ["told", "lost"]
    assert [(row["ours"], row["rival"]) for row in tables["n/paired"].rows] == [("told", "lost")]
    assert [(row["method"], row["count"], row["reason"]) for row in tables["n/failures"].rows] == [("lost", 3, "lost")]


def test_a_report_is_json_and_markdown(tmp_path: Path) -> None:
    report = Report("localize", {"seed": 1}, threads=1)
    columns = (Column("name", "who"), Column("error_mm", "mm", ".2f"))
    rows = ({"name": "a|b", "error_mm": np.float64(1.234)}, {"name": "c", "error_mm": math.nan, "seen": (1, math.inf)})
    report.tables.append(Table("x/y", "Title", columns, rows, ("A note.",)))
    record_path, page_path = report.write(tmp_path / "new")
    record = json.loads(record_path.read_text())
    assert record["tables"][0]["rows"] == [
        {"name": "a|b", "error_mm": 1.234},
        {"name": "c", "error_mm": None, "seen": [1, None]},
    ]
    assert {"version", "commit", "host", "cpu", "threads", "date", "packages"} <= set(record["environment"])
    assert record["options"] == {"seed": 1}
    page = page_path.read_text()
    assert "| who | mm |\n| --- | --- |\n| a/b | 1.23 |\n| c | - |" in page
    assert "A note." in page
    assert "Not complete" in page


@pytest.mark.parametrize("share", [1.0, 0.5, 2.0])
def test_coverage_of_errors_drawn_from_a_known_covariance(share: float) -> None:
    rng = np.random.default_rng(0)
    root = 1e-3 * rng.normal(size=(6, 6))
    drawn = rng.normal(size=(4000, 6)) @ root.T
    covariances = np.broadcast_to(share * root @ root.T, (4000, 6, 6))
    true = RigidTransform.concatenate([TRUE] * 4000)
    calibration = Calibration.of(exp(drawn) * true, true, covariances)
    for found, degrees in zip(calibration.coverage, (6, 3, 3), strict=True):
        expected = chi2.cdf(share * chi2.ppf(0.95, degrees), degrees)
        assert found == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 4000))
    assert calibration.pose.mean() == pytest.approx(6 / share, rel=0.05)


def test_the_threshold_of_six_degrees_of_freedom_is_the_textbook_one() -> None:
    assert chi2.ppf(0.95, 6) == pytest.approx(12.592, abs=5e-4)
