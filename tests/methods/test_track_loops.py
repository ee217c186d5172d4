from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from methods.returning import CAMERA, anchor, drifted, view
from posesplat.align.pose_graph import PoseNode, optimised
from posesplat.geometry import poses
from posesplat.methods.track_anchor import Anchor
from posesplat.methods.track_loops import UNMEASURED_VARIANCE, LoopOptions, log_unit_ratio, loop_edges

PLACES = {
    "first": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    "back": ((0.1, 0.0, 0.05), (8.0, 3.0, 10.0)),
    "beside": ((0.3, 0.0, 0.0), (-15.0, 0.0, 0.0)),
    "rolled": ((0.02, 0.0, 0.0), (0.0, 0.0, 35.0)),
    "away": ((0.0, 0.0, 0.0), (75.0, 0.0, 0.0)),
}
DRIFT = np.array([0.03, -0.04, 0.02, 0.05, -0.03, 0.04])


@functools.cache
def seen_from(place: str) -> Anchor:
    return anchor(10 * list(PLACES).index(place), view(*PLACES[place]))


@pytest.mark.parametrize("place", ["back", "beside", "rolled"])
def test_a_place_seen_again_gives_an_edge_without_the_drift(place: str) -> None:
    first, new = seen_from("first"), seen_from(place)
    true = new.cam_from_world * first.cam_from_world.inv()
    (edge,) = loop_edges(drifted(new, DRIFT, 1.2), [first], CAMERA)
    assert (edge.a, edge.b, edge.doubtful) == (first.index, new.index, True)
    error = poses.log(edge.b_from_a * true.inv())
    assert np.linalg.norm(error[3:]) < 0.012  # metres, at a median depth of 4.2
    assert np.degrees(np.linalg.norm(error[:3])) < 0.12
    assert error @ np.linalg.solve(edge.covariance[:6, :6], error) < 12.59  # the 95 % point with 6 degrees
    assert edge.log_unit_ratio == pytest.approx(np.log(1.2), abs=2e-3)
    assert edge.covariance[6, 6] < 1e-4


def test_translations_are_in_units_of_the_earlier_anchor() -> None:
    first, new = seen_from("first"), seen_from("beside")
    in_metres = new.cam_from_world * first.cam_from_world.inv()
    doubled = [
        anchor(each.index, view(*PLACES[place]), unit=0.5) for each, place in ((first, "first"), (new, "beside"))
    ]
    (edge,) = loop_edges(doubled[1], doubled[:1], CAMERA)
    np.testing.assert_allclose(edge.b_from_a.translation, 2.0 * in_metres.translation, atol=0.03)
    assert edge.log_unit_ratio == pytest.approx(0.0, abs=2e-3)


def test_another_view_and_another_room_give_no_edge() -> None:
    first = seen_from("first")
    other = anchor(90, view((0, 0, 0), (0, 0, 0), "box"), "box")
    assert loop_edges(seen_from("away"), [first], CAMERA) == []
    assert loop_edges(replace(other, cam_from_world=first.cam_from_world), [first], CAMERA) == []
    # Nor when drift claims that a camera that looks elsewhere looks there.
    lost = replace(seen_from("away"), cam_from_world=first.cam_from_world)
    assert loop_edges(lost, [first, seen_from("back")], CAMERA) == []


def test_without_depths_of_its_own_the_ratio_of_units_is_unmeasured() -> None:
    first, new = seen_from("first"), seen_from("back")
    bare = replace(new, inverse_depths=np.full(len(new.points), np.nan))
    (edge,) = loop_edges(bare, [first], CAMERA)
    assert (edge.log_unit_ratio, edge.covariance[6, 6]) == (0.0, UNMEASURED_VARIANCE)
    assert loop_edges(new, [replace(first, inverse_depths=np.full(len(first.points), np.nan))], CAMERA) == []


def test_a_loop_puts_a_drifted_path_right() -> None:
    first, back = seen_from("first"), seen_from("back")
    away = seen_from("away")
    lost = drifted(back, DRIFT, 1.2)
    loops = loop_edges(lost, [first], CAMERA)
    trusted = np.diag(np.array([0.03, 0.03, 0.03, 0.05, 0.05, 0.05, 0.15]) ** 2)
    steps = []
    for a, b in ((first, away), (away, lost)):
        step = b.cam_from_world * a.cam_from_world.inv()
        steps.append(replace(loops[0], a=a.index, b=b.index, b_from_a=step, covariance=trusted, log_unit_ratio=0.0))
    start = {each.index: PoseNode(each.cam_from_world) for each in (first, away, lost)}
    solved = optimised(start, [*(replace(step, doubtful=False) for step in steps), *loops])
    assert solved.weights[-1] > 0.5
    before, after = (
        np.linalg.norm(poses.log(pose * back.cam_from_world.inv()))
        for pose in (lost.cam_from_world, solved.nodes[back.index].cam_from_world)
    )
    assert after < 0.15 * before
    assert solved.nodes[back.index].log_unit == pytest.approx(np.log(1.2), abs=0.01)


def test_a_ratio_is_the_median_and_its_variance_that_of_the_median() -> None:
    rng = np.random.default_rng(0)
    found = [
        log_unit_ratio(0.3 + 0.1 * rng.standard_normal(100), LoopOptions(scale_inflation=np.pi / 2)) for _ in range(400)
    ]
    middles, variances = np.array(found).T
    assert middles.mean() == pytest.approx(0.3, abs=0.003)
    # The variance of a median is pi / 2 times that of a mean.
    assert np.mean((middles - 0.3) ** 2 / variances) == pytest.approx(1.0, abs=0.25)
    few = np.full(40, np.nan)
    few[:14] = 0.3
    assert log_unit_ratio(few) == (0.0, UNMEASURED_VARIANCE)


def test_the_answer_is_the_same_each_time() -> None:
    first, new = seen_from("first"), drifted(seen_from("back"), DRIFT, 1.2)
    one, two = (loop_edges(new, [first], CAMERA)[0] for _ in range(2))
    np.testing.assert_array_equal(one.b_from_a.as_matrix(), two.b_from_a.as_matrix())
    np.testing.assert_array_equal(one.covariance, two.covariance)


@pytest.mark.parametrize(
    "change", [{"min_overlap": 0.0}, {"max_turn_deg": -1.0}, {"min_agreeing": 3}, {"inflation": 0.0}, {"min_pairs": 1}]
)
def test_impossible_options_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="LoopOptions needs"):
        LoopOptions(**change)


def test_the_world_may_be_anywhere() -> None:
    new_from_world = RigidTransform.from_components([2.0, -1.0, 0.5], poses.exp(np.full(6, 0.4)).rotation)
    first, new = seen_from("first"), seen_from("beside")
    moved = [replace(each, cam_from_world=each.cam_from_world * new_from_world.inv()) for each in (first, new)]
    here, there = loop_edges(new, [first], CAMERA), loop_edges(moved[1], moved[:1], CAMERA)
    np.testing.assert_allclose(here[0].b_from_a.as_matrix(), there[0].b_from_a.as_matrix(), atol=1e-6)
