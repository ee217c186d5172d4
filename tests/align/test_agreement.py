"""Belief in a pose: shares and correlations that are known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from align.walls import CAMERA, WALL_Z, query, texture, wall_depth, wall_view
from posesplat.align.agreement import AgreementRule, measure_agreement

IDENTITY = RigidTransform.identity()
MOVED = RigidTransform.from_exp_coords([0.01, -0.02, 0.01, 0.05, -0.02, 0.04])
RULE = AgreementRule()


def test_a_true_pose_is_believed() -> None:
    found = measure_agreement(wall_view(), query(wall_depth(MOVED)), MOVED, RULE)
    assert found.inlier_fraction == 1.0 and found.overlap > 0.85 and found.refusal == ""


def test_the_share_of_agreeing_depths_is_the_share_left_undisturbed() -> None:
    depth = wall_depth(IDENTITY)
    depth[:, :48] += 0.3
    found = measure_agreement(wall_view(), query(depth), IDENTITY, RULE)
    assert found.inlier_fraction == pytest.approx(0.7) and found.overlap == 1.0 and found.refusal == ""


@pytest.mark.parametrize(("share", "believed"), [(0.99, True), (1.01, False)])
def test_the_tolerance_grows_with_depth(share: float, believed: bool) -> None:
    tolerance = RULE.tolerance_m + RULE.relative_tolerance * WALL_Z
    found = measure_agreement(wall_view(), query(wall_depth(IDENTITY) + share * tolerance), IDENTITY, RULE)
    assert found.inlier_fraction == (1.0 if believed else 0.0)
    assert (found.refusal == "") == believed
    assert believed or "does not agree" in found.refusal


def test_overlap_is_the_covered_share_and_too_little_of_it_is_refused() -> None:
    view = wall_view()
    view.alpha[:, :80] = 0.0
    half = measure_agreement(view, query(wall_depth(IDENTITY)), IDENTITY, RULE)
    assert half.overlap == pytest.approx(0.5) and half.refusal == ""
    view.alpha[:, 80:144] = 0.0
    tenth = measure_agreement(view, query(wall_depth(IDENTITY)), IDENTITY, RULE)
    assert tenth.overlap == pytest.approx(0.1)
    assert "10 %" in tenth.refusal and "15 %" in tenth.refusal


def test_overlap_counts_measured_depths_only() -> None:
    depth = wall_depth(IDENTITY)
    depth[:, :120] = 0.0
    found = measure_agreement(wall_view(), query(depth), IDENTITY, RULE)
    assert found.overlap == 1.0 and found.inlier_fraction == 1.0


def test_nothing_measured_and_nothing_in_view_are_refused() -> None:
    turned = RigidTransform.from_exp_coords([0.0, np.pi, 0.0, 0.0, 0.0, 0.0])
    blank = measure_agreement(wall_view(), query(np.zeros((CAMERA.height, CAMERA.width))), IDENTITY, RULE)
    away = measure_agreement(wall_view(), query(wall_depth(IDENTITY)), turned, RULE)
    assert blank.overlap == away.overlap == 0.0
    assert "no measured depth" in blank.refusal and "covers 0 %" in away.refusal


def test_without_depth_the_correlation_decides_whatever_the_exposure() -> None:
    noise = texture(seed=1)
    seen = 0.6 * texture() + 0.1 + 0.3 * noise
    found = measure_agreement(wall_view(texture()), query(channels=seen), IDENTITY, RULE)
    # Independent uniform textures: correlation 0.6 / sqrt(0.6^2 + 0.3^2).
    assert found.inlier_fraction == pytest.approx(0.6 / np.hypot(0.6, 0.3), abs=0.03)
    assert found.overlap == 1.0 and found.refusal == ""


def test_unrelated_and_uniform_images_are_refused() -> None:
    other = measure_agreement(wall_view(texture()), query(channels=texture(seed=2)), IDENTITY, RULE)
    flat = np.full_like(texture(), 0.5)
    uniform = measure_agreement(wall_view(texture()), query(channels=flat), IDENTITY, RULE)
    assert abs(other.inlier_fraction) < 0.15 and "grey values" in other.refusal
    assert uniform.inlier_fraction == 0.0 and uniform.refusal
