"""The probability of hypotheses: fits against SciPy, calibration by hand, choices, and what comes with the package."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.consensus import Hypothesis
from posesplat.align.consensus_score import (
    FEATURES,
    Calibration,
    best_hypothesis,
    expected_calibration_error,
    features,
    fitted_calibration,
    shipped_calibration,
)


def turned(yaw_deg: float, group: str = "a", **evidence: float) -> Hypothesis:
    pose = RigidTransform.from_components([1.0, 0.0, 0.0], Rotation.from_euler("y", yaw_deg, degrees=True))
    return Hypothesis(pose, f"{group} {yaw_deg}", group, evidence=evidence)


def test_terms_are_the_logarithms_they_say() -> None:
    failed = Hypothesis(None, "f", "a", reason="no")
    alone = turned(20.0, "pair")
    hypotheses = [turned(0.0, epipolar=3.0, points=99.0), turned(10.0), failed, alone]
    rows = features(hypotheses, alone)
    term = dict(zip(FEATURES, rows[0], strict=True))
    assert term["own_spread"] == pytest.approx(np.log1p(10.0), abs=1e-5)
    assert term["pair_distance"] == pytest.approx(np.log1p(20.0), abs=1e-5)
    assert term["epipolar"] == pytest.approx(np.arcsinh(3.0))
    assert term["points"] == pytest.approx(np.log(100.0))
    assert np.isnan(term["cheirality"])
    assert np.isnan(rows[2]).all()
    assert np.isnan(dict(zip(FEATURES, rows[3], strict=True))["pair_distance"])


def test_the_fit_minimises_the_penalised_likelihood() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, len(FEATURES)))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    slopes = rng.normal(size=len(FEATURES))
    right = rng.random(300) < 1 / (1 + np.exp(-(np.nan_to_num(rows) @ slopes + 0.3)))
    found = fitted_calibration(rows, right, ridge=2.0)
    terms = found.standardised(rows)

    def objective(x: np.ndarray) -> float:
        logits = terms @ x[:-1] + x[-1]
        return float(np.logaddexp(0.0, logits).sum() - logits[right].sum() + 1.0 * (x[:-1] ** 2).sum())

    reference = minimize(objective, np.zeros(len(FEATURES) + 1), method="BFGS", options={"gtol": 1e-6}).x
    assert found.weights == pytest.approx(reference[:-1], abs=1e-3)
    assert found.bias == pytest.approx(reference[-1], abs=1e-3)
    back = Calibration.from_json(found.to_json())
    assert back.probability(rows) == pytest.approx(found.probability(rows))


def test_probabilities_of_simulated_hypotheses_are_calibrated() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(8000, len(FEATURES)))
    right = rng.random(8000) < 1 / (1 + np.exp(-2.0 * rows[:, 1]))
    found = fitted_calibration(rows[:4000], right[:4000])
    assert expected_calibration_error(found.probability(rows[4000:]), right[4000:]) < 0.02


def test_calibration_error_by_hand() -> None:
    probability = np.array([0.1, 0.1, 0.9, 0.9])
    assert expected_calibration_error(probability, np.array([False, False, True, True])) == pytest.approx(0.1)
    assert expected_calibration_error(probability, np.array([True, True, False, False])) == pytest.approx(0.9)


def test_a_fit_needs_both_outcomes() -> None:
    with pytest.raises(ValueError, match="right and wrong"):
        fitted_calibration(np.zeros((3, len(FEATURES))), np.ones(3, dtype=bool))


def test_the_answer_is_the_middle_of_the_likely_ones() -> None:
    hypotheses = [turned(0.0), turned(9.0), turned(10.0), turned(11.0), turned(60.0), turned(60.5), turned(61.0)]
    chances = np.array([0.90, 0.88, 0.89, 0.88, 0.5, 0.5, 0.5])
    assert best_hypothesis(hypotheses, chances) == 2
    assert best_hypothesis(hypotheses[:1], np.array([0.2])) == 0
    assert best_hypothesis(hypotheses[:2], np.array([np.nan, np.nan])) is None


def test_the_shipped_numbers_tell_a_good_case_from_a_bad_one() -> None:
    shipped = shipped_calibration()
    assert shipped.made["held_out_calibration_error_of_hypotheses"] < 0.06
    assert "rooms" in shipped.made["fitted_on"]
    terms = {"epipolar": 20.0, "reprojection": 5.0, "unmet": 0.05, "overlap": 0.3, "cheirality": 1.0, "points": 400.0}
    agreeing = [turned(k, group, **terms) for group in "abc" for k in (50.0, 51.0, 52.0)]
    lost = {"epipolar": 0.0, "reprojection": 0.0, "unmet": 1.0, "overlap": 1.0, "points": 20.0}
    scattered = [turned(yaw, group, **lost) for group, yaw in zip("aabbcc", (0, 90, 170, 250, 300, 40), strict=True)]
    assert shipped.probability(features(agreeing)).min() > 0.8
    assert shipped.probability(features(scattered)).max() < 0.4
