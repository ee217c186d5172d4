"""PoseEstimate: a pose exactly when it succeeds, and records that survive JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.estimate import PoseEstimate, Scale

POSE = RigidTransform.from_components([1.0, 2.0, 3.0], Rotation.from_euler("z", 90, degrees=True))


def test_a_refusal_has_no_pose_and_a_reason() -> None:
    refusal = PoseEstimate.failure("the depth is blank", overlap=0.25, warnings=("dark",))
    assert (refusal.success, refusal.cam_from_world) == (False, None)
    assert (refusal.reason, refusal.overlap, refusal.warnings) == ("the depth is blank", 0.25, ("dark",))


def test_success_and_pose_go_together() -> None:
    with pytest.raises(ValueError, match="must hold a pose exactly when it succeeds"):
        PoseEstimate(True, "", None)
    with pytest.raises(ValueError, match="must hold a pose exactly when it succeeds"):
        PoseEstimate(False, "why", POSE)
    with pytest.raises(ValueError, match="must give a reason"):
        PoseEstimate.failure("")
    with pytest.raises(TypeError, match="overlapp"):
        PoseEstimate.failure("why", overlapp=1.0)


def test_json_holds_the_matrix_and_null_for_what_is_unknown() -> None:
    record = json.loads(json.dumps(PoseEstimate(True, "", POSE, scale=Scale(True, "map")).to_json(), allow_nan=False))
    expected = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(record["cam_from_world"], expected, atol=1e-12)
    assert record["scale"] == {"metric": True, "source": "map"}
    assert record["covariance"] is None and record["cost"] is None and record["overlap"] is None


def test_json_round_trip() -> None:
    full = PoseEstimate(
        True, "", POSE, np.diag(np.arange(1.0, 7)), Scale(True, "learned depth"), 0.5, 0.25, 3.0, 7, 0.1
    )
    for estimate in (full.replace(source="start", warnings=("a",)), PoseEstimate.failure("blank")):
        again = PoseEstimate.from_json(json.loads(json.dumps(estimate.to_json())))
        left, right = again.to_json(), estimate.to_json()
        if estimate.success:
            np.testing.assert_allclose(left.pop("cam_from_world"), right.pop("cam_from_world"), atol=1e-15)
        assert left == right


def test_replace_keeps_the_rest() -> None:
    estimate = PoseEstimate(True, "", POSE, overlap=0.5).replace(cost=2.0)
    assert (estimate.overlap, estimate.cost, estimate.cam_from_world) == (0.5, 2.0, POSE)
