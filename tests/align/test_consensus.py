"""Distances, medoids and scores of hypotheses against closed forms, brute force and examples done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.consensus import (
    Hypothesis,
    averaged,
    group_consensus,
    medoid,
    pose_distances,
    rotation_distances,
    support,
)


def turned(yaw_deg: float, direction: tuple[float, float, float] = (1.0, 0.0, 0.0), **fields) -> Hypothesis:
    pose = RigidTransform.from_components(np.array(direction), Rotation.from_euler("y", yaw_deg, degrees=True))
    return Hypothesis(pose, "test", **{"group": "g", **fields})


FAILED = Hypothesis(None, "test", "g", reason="no points")


def test_distance_is_the_turn_plus_the_folded_angle_between_translations() -> None:
    first = [turned(0.0)]
    second = [
        turned(30.0),
        turned(30.0, (0.0, 2.0, 0.0)),
        turned(30.0, (-1.0, 0.0, 0.0)),
        turned(30.0, (-1.0, 1.0, 0.0)),
    ]
    assert pose_distances(first, second)[0] == pytest.approx([30.0, 120.0, 30.0, 75.0], abs=1e-5)


def test_translations_that_say_nothing_are_left_out() -> None:
    unobserved = turned(10.0, (0.0, 1.0, 0.0), translation_observed=False)
    still = turned(10.0, (0.0, 0.0, 0.0))
    assert pose_distances([turned(0.0)], [unobserved, still])[0] == pytest.approx([10.0, 10.0], abs=1e-6)


def test_distances_agree_with_the_published_formula_on_random_poses() -> None:
    rng = np.random.default_rng(0)
    poses = [
        Hypothesis(RigidTransform.from_components(rng.normal(size=3), Rotation.random(rng=rng)), "r") for _ in range(6)
    ]
    found = pose_distances(poses, poses)
    for i, one in enumerate(poses):
        for j, other in enumerate(poses):
            a, b = one.b_from_a.as_matrix(), other.b_from_a.as_matrix()
            turn = np.arccos(np.clip((np.trace(b[:3, :3] @ a[:3, :3].T) - 1) / 2, -1, 1))
            cosine = a[:3, 3] @ b[:3, 3] / np.linalg.norm(a[:3, 3]) / np.linalg.norm(b[:3, 3])
            shift = np.arccos(np.clip(abs(cosine), -1, 1))
            assert found[i, j] == pytest.approx(np.degrees(turn + shift), abs=1e-4)


@pytest.mark.parametrize("angle", [1e-5, 1e-3, 179.999])
def test_tiny_and_half_turns_keep_their_size(angle: float) -> None:
    assert rotation_distances([turned(0.0)], [turned(angle)])[0, 0] == pytest.approx(angle, rel=1e-4)


def test_medoid_agrees_with_brute_force() -> None:
    rng = np.random.default_rng(1)
    for size in range(2, 7):
        points = rng.normal(size=(size, 2))
        distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
        means = [np.mean([distances[i, j] for j in range(size) if j != i]) for i in range(size)]
        assert medoid(distances) == (int(np.argmin(means)), pytest.approx(min(means)))
    assert np.isnan(medoid(np.zeros((1, 1)))[1])
    with pytest.raises(ValueError, match="at least one pose"):
        medoid(np.zeros((0, 0)))


def test_scores_of_an_example_by_hand() -> None:
    # Clip a: yaws 0, 10, 40: means of the others 25, 20, 35; its medoid is 10 with D_med 20.
    # Clip b: yaws 50, 60: both 10; the first is taken. The pair says 12.
    clips = [turned(yaw, group="a") for yaw in (0.0, 10.0, 40.0)] + [turned(yaw, group="b") for yaw in (50.0, 60.0)]
    alone = turned(12.0, group="pair")
    first, second = group_consensus([*clips, Hypothesis(None, "f", "b", reason="no")], alone)
    assert (first.group, first.medoid, first.posed, first.tried) == ("a", 1, 3, 3)
    assert (first.spread_deg, first.total_deg) == pytest.approx((20.0, 22.0), abs=1e-4)
    assert (second.group, second.medoid, second.posed, second.tried) == ("b", 3, 2, 3)
    assert (second.spread_deg, second.total_deg) == pytest.approx((10.0, 48.0), abs=1e-4)
    without = group_consensus(clips)
    assert [one.group for one in without] == ["b", "a"]
    assert without[0].total_deg == without[0].spread_deg


def test_groups_with_one_pose_have_no_consensus() -> None:
    assert group_consensus([turned(0.0), FAILED, FAILED]) == []
    with pytest.raises(ValueError, match="Leave failures out"):
        pose_distances([FAILED], [FAILED])
    with pytest.raises(ValueError, match="must give a reason"):
        Hypothesis(None, "x")


def test_support_counts_groups_equally_and_failures_against() -> None:
    ones = [turned(0.0, group="a"), turned(0.0, group="a"), *(turned(15.0, group="b") for _ in range(3))]
    found = support([*ones, Hypothesis(None, "f", "b", reason="no")])
    near = np.exp(-1.0)
    assert found[0] == pytest.approx([1.0, 0.75 * near], abs=1e-6)
    assert found[2] == pytest.approx([2 / 3, near], abs=1e-6)
    assert found[5] == pytest.approx([0.0, 0.0])
    assert np.isnan(support([turned(0.0)])).all()


def test_mean_of_poses_forgets_signs_of_translations() -> None:
    mean = averaged([turned(10.0), turned(30.0, (-1.0, 0.0, 0.0)), turned(20.0), FAILED])
    assert mean is not None
    assert np.degrees(mean.rotation.magnitude()) == pytest.approx(20.0, abs=1e-6)
    assert mean.translation == pytest.approx([1.0, 0.0, 0.0])
    assert averaged([FAILED]) is None


def test_records_come_back() -> None:
    one = turned(12.0, evidence={"points": 3.0, "lost": float("nan")}, translation_observed=False)
    back = Hypothesis.from_json(one.to_json())
    assert back.b_from_a.as_matrix() == pytest.approx(one.b_from_a.as_matrix())
    assert (back.evidence, back.group, back.translation_observed) == ({"points": 3.0}, "g", False)
    assert Hypothesis.from_json(FAILED.to_json()) == FAILED
