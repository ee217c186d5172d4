from __future__ import annotations

import numpy as np
import pytest

from align.paired_points import B_FROM_A, CAMERA_A, CAMERA_B, seen_twice
from posesplat.align.degenerate_pairs import parallax, planar_solutions, without_parallax
from posesplat.align.match_alignment import epipolar_inliers, refine_matches
from posesplat.align.pair_starts import (
    STARTS,
    PairStartOptions,
    five_point,
    lengths_by_depth,
    resection_of_a,
    resection_of_b,
    rigid_motion,
    standing_still,
)
from posesplat.align.relative_pose import relative_pose
from posesplat.geometry.poses import exp, pose_errors, rescaled

LENGTH = float(np.linalg.norm(B_FROM_A.translation))


@pytest.mark.parametrize("start", [five_point, resection_of_b, resection_of_a, rigid_motion])
def test_starts_are_near_the_truth_among_outliers(start: object) -> None:
    matched = seen_twice(200, 0.3, 0.003, outliers=0.4)
    pose = start(matched, PairStartOptions())  # type: ignore[operator]
    assert pose is not None
    metres, degrees = pose_errors(pose, B_FROM_A)
    assert metres < 0.03
    assert degrees < 0.6


@pytest.mark.parametrize("name", list(STARTS))
def test_too_few_matches_give_no_start(name: str) -> None:
    if name == "standing still":
        return
    assert STARTS[name](seen_twice(4), PairStartOptions()) is None


def test_starts_need_the_depth_that_they_use() -> None:
    without = seen_twice(100, known=(0.0, 0.0))
    assert [name for name, start in STARTS.items() if start(without, PairStartOptions()) is not None] == ["five points"]
    only_a = seen_twice(100, known=(1.0, 0.0))
    assert resection_of_b(only_a) is not None
    assert resection_of_a(only_a) is None
    assert rigid_motion(only_a) is None


def test_five_points_alone_have_a_translation_of_length_one() -> None:
    pose = five_point(seen_twice(100, known=(0.0, 0.0)))
    assert pose is not None
    assert np.linalg.norm(pose.translation) == pytest.approx(1.0)
    assert standing_still(seen_twice(20, known=(0.0, 0.0))) is None


def test_each_image_tells_a_length() -> None:
    matched = seen_twice(200, 0.1, factors=(1000.0, 1.0))
    unit = rescaled(B_FROM_A, 1.0 / LENGTH)
    lengths = lengths_by_depth(matched, unit, epipolar_inliers(matched, unit))
    assert lengths == pytest.approx((1000.0 * LENGTH, LENGTH), rel=0.02)
    without = seen_twice(200, known=(1.0, 0.0))
    assert lengths_by_depth(without, unit, epipolar_inliers(without, unit))[1] is None
    pose = five_point(matched)
    assert pose is not None
    assert np.linalg.norm(pose.translation) == pytest.approx(1000.0**0.5 * LENGTH, rel=0.02)


def test_five_points_name_the_matches_that_agree() -> None:
    matched = seen_twice(200, 0.2, outliers=0.3)
    pose, agrees = relative_pose(matched.matches, CAMERA_A, CAMERA_B)
    assert pose is not None
    assert 130 <= agrees.sum() <= 160


def test_a_turning_camera_has_no_parallax() -> None:
    turning = seen_twice(200, 0.5, known=(0.0, 0.0), b_from_a=exp(np.array([0.02, 0.15, 0.0, 0.0, 0.0, 0.0])))
    pose = five_point(turning)
    assert pose is not None
    fit = refine_matches(turning, pose)
    assert "not observable" in without_parallax(turning, fit)
    moving = seen_twice(200, 0.5, known=(0.0, 0.0))
    start = five_point(moving)
    assert start is not None
    moved = refine_matches(moving, start)
    assert without_parallax(moving, moved) == ""
    assert parallax(moving, moved.inliers, moved.state.b_from_a.rotation) > 8


def test_a_plane_has_two_solutions_of_equal_cost() -> None:
    wall = seen_twice(200, 0.3, known=(0.0, 0.0), flat=True)
    start = five_point(wall)
    assert start is not None
    fit = refine_matches(wall, start)
    found = planar_solutions(wall, fit)
    assert len(found) == 2
    errors = [pose_errors(other.state.b_from_a, exp(np.zeros(6)) * B_FROM_A)[1] for other in found]
    assert min(errors) < 0.5
    assert max(errors) > 2.0
    assert found[0].cost == pytest.approx(found[1].cost, rel=0.1)
    assert planar_solutions(seen_twice(200, 0.3, known=(0.0, 0.0)), fit) == []


@pytest.mark.parametrize("settings", [{"max_gap": 0.0}, {"samples": 0}, {"min_inliers": 2}])
def test_impossible_thresholds_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="PairStartOptions"):
        PairStartOptions(**settings)  # type: ignore[arg-type]
