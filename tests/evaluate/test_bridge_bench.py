"""The bench of bridge: errors and choices by hand, cases that are what they say, one small run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.consensus import PAIR_GROUP, Hypothesis
from posesplat.align.consensus_score import FEATURES, Calibration
from posesplat.evaluate.protocols import bridge_calibration, bridge_suites
from posesplat.evaluate.protocols.bridge_calibration import CalibrationOptions, calibrate
from posesplat.evaluate.protocols.bridge_real import real_case
from posesplat.evaluate.protocols.bridge_rooms import YAW_BINS, room_case
from posesplat.evaluate.protocols.bridge_suites import BridgeSettings, run_bridge_suites
from posesplat.evaluate.protocols.bridge_trials import (
    WAYS,
    BridgeTrial,
    chosen_poses,
    labelled_rows,
    pose_error,
    way_scores,
)
from posesplat.evaluate.protocols.report import Report

TRUE = RigidTransform.from_components([1.0, 0.0, 0.0], Rotation.from_euler("y", 60.0, degrees=True))


def turned(yaw_deg: float, group: str, **evidence: float) -> Hypothesis:
    pose = RigidTransform.from_components([1.0, 0.0, 0.0], Rotation.from_euler("y", yaw_deg, degrees=True))
    return Hypothesis(pose, f"{group} {yaw_deg}", group, evidence=evidence)


def trial() -> BridgeTrial:
    """A clip that agrees with itself and is wrong, one that scatters about the truth, and no pair."""
    wrong = [turned(yaw, "clip 0", unmet=1.0) for yaw in (0.0, 1.0, 2.0)]
    right = [turned(yaw, "clip 1", unmet=0.0) for yaw in (52.0, 61.0, 64.0)]
    alone = Hypothesis(None, "the pair alone", PAIR_GROUP, False, reason="few matches")
    return BridgeTrial("by hand", ("morph", "true"), TRUE, (*wrong, *right, alone))


def judge() -> Calibration:
    """Believes in met overlaps only."""
    weights = np.array([-4.0 if name == "unmet" else 0.0 for name in FEATURES])
    return Calibration(np.zeros(len(FEATURES)), np.ones(len(FEATURES)), weights, 1.0)


def test_errors_by_hand() -> None:
    assert pose_error(TRUE, TRUE) == pytest.approx((0.0, 0.0), abs=1e-6)
    other = RigidTransform.from_components([-1.0, 1.0, 0.0], Rotation.from_euler("y", 50.0, degrees=True))
    assert pose_error(other, TRUE) == pytest.approx((10.0, 45.0))
    still = RigidTransform.from_rotation(TRUE.rotation)
    assert np.isnan(pose_error(still, TRUE)[1]) and np.isnan(pose_error(None, TRUE)).all()


def test_ways_choose_what_they_say() -> None:
    chosen = chosen_poses(trial(), judge())
    assert tuple(chosen) == WAYS
    error = {way: pose_error(pose, TRUE)[0] for way, pose in chosen.items()}
    assert np.isnan(error["pair"])
    assert error["medoid"] == error["D_total"] == pytest.approx(59.0)
    assert error["average"] == pytest.approx(30.0, abs=0.5)
    assert error["evidence"] == error["oracle"] == pytest.approx(1.0)


def test_scores_by_hand() -> None:
    scores = way_scores([trial(), trial()], judge())
    best, pair = scores["evidence"], scores["pair"]
    assert (best.mean_rotation_deg, best.within_5, best.failed) == (pytest.approx(1.0), 1.0, 0)
    assert best.auc_30 == pytest.approx(1.0, abs=0.04)
    assert (pair.failed, pair.within_30, pair.auc_30) == (2, 0.0, 0.0) and np.isnan(pair.mean_rotation_deg)
    assert scores["average"].auc_30 == pytest.approx(1 / 30, abs=0.04)


def test_rows_weigh_every_pair_the_same() -> None:
    rows, right, weights = labelled_rows([trial(), trial()])
    assert rows.shape == (12, len(FEATURES)) and right.sum() == 6
    assert weights.sum() == pytest.approx(2.0)
    back = BridgeTrial.from_json(json.loads(json.dumps(trial().to_json())))
    assert labelled_rows([back])[0] == pytest.approx(labelled_rows([trial()])[0], nan_ok=True)


def test_cases_turn_by_what_their_range_says() -> None:
    kinds = ("true", "mirror", "cut", "object", "morph", "drift")
    low, high = YAW_BINS["50-65"]
    again, case = (room_case(7, "50-65", width=48, frames=2, kinds=kinds) for _ in range(2))
    assert low - 15 < np.degrees(case.b_from_a.rotation.magnitude()) < high + 15
    assert all(image.shape == (36, 48, 3) for clip in case.clips for image in clip)
    assert all(np.array_equal(a, b) for a, b in zip(case.clips, again.clips, strict=True))
    assert len({np.array(clip).tobytes() for clip in case.clips}) == 6
    with pytest.raises(ValueError, match="kinds of true"):
        room_case(0, "50-65", kinds=("magic",))


def test_a_small_run_reports_every_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bridge_suites, "run_trial", lambda case, options: trial())
    case = room_case(7, "0-50", width=48, frames=1, kinds=("morph",))
    monkeypatch.setattr(bridge_suites, "room_case", lambda seed, yaw: case)
    monkeypatch.setenv("POSESPLAT_DATA", str(tmp_path))
    report = Report("bridge", {})
    saved: list[int] = []
    settings = BridgeSettings(pairs=1, photo_pairs=1)
    run_bridge_suites(settings, report, bridge_suites.SUITES, lambda *_: None, lambda: saved.append(1))
    names = [table.name for table in report.tables]
    skipped = [f"bridge {suite} skipped" for suite in ("photos", "lists")]
    assert names == [*(f"bridge rooms {yaw} deg" for yaw in YAW_BINS), "bridge rooms all", *skipped]
    assert [row["way"] for row in report.tables[0].rows] == list(WAYS)
    assert report.complete and len(saved) == 6
    assert json.loads(json.dumps(report.to_json()))["complete"]


def test_a_calibration_is_made_once_and_written_with_what_made_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[str] = []

    def fake(case: str, options: object) -> BridgeTrial:
        made.append(case)
        return trial()

    monkeypatch.setattr(bridge_calibration, "run_trial", fake)
    monkeypatch.setattr(bridge_calibration, "room_case", lambda seed, yaw: f"{seed} {yaw}")
    options = CalibrationOptions(tmp_path, rooms=2, held_out=1)
    for _ in range(2):
        found = calibrate(options)
    assert len(made) == 9
    record = json.loads((tmp_path / "consensus_calibration.json").read_text())
    assert record["made"]["fitted_on"] == "6 pairs of rooms 100 to 101"
    assert Calibration.from_json(record).weights == pytest.approx(found.weights)
    assert found.weights[FEATURES.index("unmet")] < 0


def test_photographs_between_two_others_make_clips(data_root: Path) -> None:
    case = real_case("fox50", data_root, 0, largest=128)
    assert case is not None and len(case.clips) == len(case.kinds) == 4
    assert 25 < np.degrees(case.b_from_a.rotation.magnitude()) < 110
    assert max(case.a.camera.width, case.a.camera.height) == 128
    assert all(len(clip) >= 1 for clip in case.clips)
