from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.pose_graph import (
    PoseEdge,
    PoseGraphOptions,
    PoseNode,
    SolvedGraph,
    carried_covariance,
    optimised,
)
from posesplat.geometry import poses
from posesplat.geometry.poses import pose_errors

DEVIATIONS = np.array([0.01, 0.01, 0.01, 0.02, 0.02, 0.02, 0.03])


def circle(count: int, radius: float = 2.0) -> list[PoseNode]:
    """Cameras on a circle that look outwards, the last one beside the first; all units 1, the first at the origin."""
    nodes = []
    for angle in np.linspace(0.0, 2.0 * np.pi, count, endpoint=False):
        turn = Rotation.from_euler("y", angle)
        centre = turn.apply([0.0, 0.0, radius])
        nodes.append(PoseNode(RigidTransform.from_components(centre, turn).inv()))
    first = nodes[0].cam_from_world.inv()
    return [PoseNode(node.cam_from_world * first) for node in nodes]


def edge(nodes: Sequence[PoseNode], a: int, b: int, deviations: np.ndarray = DEVIATIONS, **changes: object) -> PoseEdge:
    """What an exact measurement between two nodes would be."""
    step = nodes[b].cam_from_world * nodes[a].cam_from_world.inv()
    step = RigidTransform.from_components(np.exp(-nodes[a].log_unit) * step.translation, step.rotation)
    return replace(
        PoseEdge(a, b, step, nodes[b].log_unit - nodes[a].log_unit, np.diag(deviations**2)),
        **changes,  # type: ignore[arg-type]
    )


def disturbed(exact: PoseEdge, tangent: np.ndarray) -> PoseEdge:
    """A measurement with an error, as its covariance describes errors."""
    return replace(
        exact, b_from_a=poses.exp(tangent[:6]) * exact.b_from_a, log_unit_ratio=exact.log_unit_ratio + tangent[6]
    )


def chained(count: int, edges: Sequence[PoseEdge]) -> dict[int, PoseNode]:
    """Nodes 0, 1, ... as the edges (0, 1), (1, 2), ... alone place them."""
    nodes = {0: PoseNode(RigidTransform.identity())}
    for index in range(1, count):
        before, step = nodes[index - 1], edges[index - 1]
        unit = np.exp(before.log_unit)
        moved = RigidTransform.from_components(unit * step.b_from_a.translation, step.b_from_a.rotation)
        nodes[index] = PoseNode(moved * before.cam_from_world, before.log_unit + step.log_unit_ratio)
    return nodes


def random_covariance(rng: np.random.Generator, deviations: np.ndarray = DEVIATIONS) -> np.ndarray:
    mix = rng.normal(size=(7, 7)) / np.sqrt(7) + np.eye(7)
    return np.diag(deviations) @ mix @ mix.T @ np.diag(deviations)


def noisy_chain(seed: int, count: int) -> tuple[list[PoseNode], list[PoseEdge]]:
    """A circle's true nodes, with units that differ, and noisy edges between neighbours."""
    rng = np.random.default_rng(seed)
    units = np.concatenate([[0.0], rng.normal(scale=0.3, size=count - 1)])
    true = [replace(node, log_unit=unit) for node, unit in zip(circle(count), units, strict=True)]
    edges = []
    for index in range(count - 1):
        covariance = random_covariance(rng)
        exact = edge(true, index, index + 1, covariance=covariance)
        edges.append(disturbed(exact, rng.multivariate_normal(np.zeros(7), covariance)))
    return true, edges


def gaps(solved: SolvedGraph, nodes: Sequence[PoseNode]) -> tuple[float, float, float]:
    """Largest distance of centres, angle in degrees, and difference of log units."""
    distance, angle = pose_errors(
        RigidTransform.concatenate([node.cam_from_world for node in solved.nodes.values()]),
        RigidTransform.concatenate([node.cam_from_world for node in nodes]),
    )
    units = [abs(a.log_unit - b.log_unit) for a, b in zip(solved.nodes.values(), nodes, strict=True)]
    return float(distance.max()), float(angle.max()), max(units)


def plain_residuals(values: np.ndarray, edges: Sequence[PoseEdge]) -> np.ndarray:
    """Whitened residuals with 4x4 matrices; nodes after the first are rotation vector, translation, log unit."""
    nodes = [(np.eye(4), 0.0)]
    for row in values.reshape(-1, 7):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = Rotation.from_rotvec(row[:3]).as_matrix(), row[3:6]
        nodes.append((matrix, row[6]))
    found = []
    for each in edges:
        (a, unit_a), (b, unit_b) = nodes[each.a], nodes[each.b]
        step = b @ np.linalg.inv(a)
        step[:3, 3] /= np.exp(unit_a)
        gap = RigidTransform.from_matrix(step @ np.linalg.inv(each.b_from_a.as_matrix())).as_exp_coords()
        residual = np.append(gap, unit_b - unit_a - each.log_unit_ratio)
        found.append(np.linalg.solve(np.linalg.cholesky(each.covariance), residual))
    return np.concatenate(found)


def test_a_noisy_chain_with_a_loop_is_solved_as_scipy_solves_it() -> None:
    true, edges = noisy_chain(1, 8)
    edges.append(edge(true, 7, 0, 0.1 * DEVIATIONS))
    start = chained(8, edges)
    solved = optimised(start, edges)
    values = np.array(
        [
            np.concatenate([node.cam_from_world.rotation.as_rotvec(), node.cam_from_world.translation, [node.log_unit]])
            for node in list(start.values())[1:]
        ]
    )
    dense = least_squares(plain_residuals, values.ravel(), args=(edges,), xtol=1e-14, ftol=1e-14, gtol=1e-12)
    expected = [PoseNode(RigidTransform.identity())]
    for row in dense.x.reshape(-1, 7):
        expected.append(
            PoseNode(RigidTransform.from_components(row[3:6], Rotation.from_rotvec(row[:3])), float(row[6]))
        )
    assert solved.cost == pytest.approx(dense.cost, rel=1e-8)
    distance, angle, unit = gaps(solved, expected)
    assert distance < 1e-6
    assert angle < 1e-5
    assert unit < 1e-6
    # The Hessian at the minimum is that of the dense problem, in the tangents of left perturbations.
    to_values = np.zeros((7 * 7, 7 * 7))
    for index, node in enumerate(list(solved.nodes.values())[1:]):
        for unknown in range(7):
            ahead, behind = (
                poses.exp(sign * 1e-6 * np.eye(7)[unknown, :6]) * node.cam_from_world for sign in (1.0, -1.0)
            )
            at = slice(7 * index, 7 * index + 3), slice(7 * index + 3, 7 * index + 6)
            to_values[at[0], 7 * index + unknown] = (ahead.rotation.as_rotvec() - behind.rotation.as_rotvec()) / 2e-6
            to_values[at[1], 7 * index + unknown] = (ahead.translation - behind.translation) / 2e-6
        to_values[7 * index + 6, 7 * index + 6] = 1.0
    hessian = to_values.T @ dense.jac.T @ dense.jac @ to_values
    inverse = np.linalg.inv(hessian)
    for index, node in enumerate(list(solved.nodes.values())[1:]):
        block = slice(7 * index, 7 * index + 7)
        np.testing.assert_allclose(node.covariance, inverse[block, block], rtol=1e-3, atol=1e-7)


def test_a_graph_that_agrees_with_its_edges_stays() -> None:
    rng = np.random.default_rng(2)
    nodes = [replace(node, log_unit=float(unit)) for node, unit in zip(circle(9), rng.normal(size=9), strict=True)]
    edges = [edge(nodes, a, b, doubtful=True) for a, b in [*((a, a + 1) for a in range(8)), (8, 0), (2, 6)]]
    solved = optimised(dict(enumerate(nodes)), edges)
    assert max(gaps(solved, nodes)) < 1e-7
    assert solved.cost < 1e-15
    np.testing.assert_allclose(solved.weights, 1.0)
    np.testing.assert_array_equal(solved.nodes[0].covariance, 0.0)


def test_drift_of_scale_along_a_circle_is_removed_by_one_loop() -> None:
    count = 24
    true = circle(count)
    drift = np.append(np.zeros(6), np.log(1.6) / count)
    edges = [disturbed(edge(true, index, index + 1), drift) for index in range(count - 1)]
    start = chained(count, edges)
    open_ended = optimised(start, edges)
    assert gaps(open_ended, true)[0] > 1.0
    closed = optimised(start, [*edges, edge(true, count - 1, 0, 0.01 * DEVIATIONS, doubtful=True)])
    assert closed.weights[-1] > 0.5
    distance, angle, unit = gaps(closed, true)
    assert distance < 0.15 * gaps(open_ended, true)[0]
    assert angle < 3.0
    assert unit < 0.15 * np.log(1.6)


def test_a_drift_of_many_deviations_of_the_loop_does_not_cost_the_loop_its_weight() -> None:
    true, edges = noisy_chain(3, 30)
    start = chained(30, edges)
    loop = edge(true, 29, 0, 1e-3 * DEVIATIONS, doubtful=True)
    doubted, trusted = optimised(start, [*edges, loop]), optimised(start, [*edges, replace(loop, doubtful=False)])
    assert doubted.weights[-1] > 0.9
    assert max(gaps(doubted, list(trusted.nodes.values()))) < 1e-3  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [[0.8, 0.0, 0.3, 0.5, 0, 1.5, 0.0], [0, 0, 0, 0, 0, 0, 2.0], [0, 1.5, 0, 0, 0, 0, 0]])
def test_a_wrong_loop_is_rejected(wrong: list[float]) -> None:
    true, edges = noisy_chain(4, 20)
    edges.append(edge(true, 19, 0, 0.3 * DEVIATIONS, doubtful=True))
    without = optimised(chained(20, edges), edges)
    lie = disturbed(edge(true, 3, 14, 0.3 * DEVIATIONS, doubtful=True), np.array(wrong))
    misled = optimised(chained(20, edges), [*edges, replace(lie, doubtful=False)])
    solved = optimised(chained(20, edges), [*edges, lie])
    assert solved.weights[-1] < 1e-2
    assert solved.weights[-2] > 0.25
    others = list(without.nodes.values())
    assert max(gaps(misled, others)) > 0.1  # type: ignore[arg-type]
    assert max(gaps(solved, others)) < 0.01  # type: ignore[arg-type]


def test_the_covariance_of_a_chain_is_the_composed_one() -> None:
    _, edges = noisy_chain(5, 70)
    start = chained(70, edges)
    solved = optimised(start, edges)
    expected = np.zeros((7, 7))
    for index, each in enumerate(edges):
        unit = float(np.exp(start[index].log_unit))
        expected = carried_covariance(each.b_from_a, unit, each.covariance, expected)
        np.testing.assert_allclose(solved.nodes[index + 1].covariance, expected, rtol=1e-6, atol=1e-9)


def test_the_composed_covariance_is_what_small_errors_of_all_edges_add_up_to() -> None:
    _, edges = noisy_chain(6, 5)
    exact = chained(5, edges)
    expected, added = np.zeros((2, 7, 7))
    for index, each in enumerate(edges):
        unit = float(np.exp(exact[index].log_unit))
        expected = carried_covariance(each.b_from_a, unit, each.covariance, expected)
        response = np.zeros((7, 7))
        for unknown in range(7):
            ends = []
            for sign in (1.0, -1.0):
                moved = disturbed(each, sign * 1e-6 * np.eye(7)[unknown])
                last = chained(5, [*edges[:index], moved, *edges[index + 1 :]])[4]
                gap = poses.log(last.cam_from_world * exact[4].cam_from_world.inv())
                ends.append(np.append(gap, last.log_unit - exact[4].log_unit))
            response[:, unknown] = (ends[0] - ends[1]) / 2e-6
        added += response @ each.covariance @ response.T
    np.testing.assert_allclose(expected, added, rtol=1e-6, atol=1e-9)


def test_moving_the_world_moves_the_answer() -> None:
    true, edges = noisy_chain(7, 10)
    edges.append(edge(true, 9, 2, DEVIATIONS, doubtful=True))
    start = chained(10, edges)
    new_from_world = RigidTransform.from_components([3.0, -1.0, 2.0], Rotation.from_rotvec([0.3, 1.0, -0.7]))
    moved = {
        name: replace(node, cam_from_world=node.cam_from_world * new_from_world.inv()) for name, node in start.items()
    }
    here, there = optimised(start, edges), optimised(moved, edges)
    for name, node in here.nodes.items():
        other = there.nodes[name]
        np.testing.assert_allclose(
            (other.cam_from_world * new_from_world).as_matrix(), node.cam_from_world.as_matrix(), atol=1e-7
        )
        np.testing.assert_allclose(other.covariance, node.covariance, rtol=1e-5, atol=1e-10)


def test_what_was_not_measured_is_known_from_elsewhere_or_not_at_all() -> None:
    true = circle(4)
    unscaled = DEVIATIONS.copy()
    unscaled[6] = 1e3
    edges = [edge(true, 0, 1), edge(true, 1, 2), edge(true, 2, 3, unscaled), edge(true, 0, 2, unscaled)]
    solved = optimised(dict(enumerate(true)), edges)
    assert solved.nodes[2].covariance[6, 6] < 3 * DEVIATIONS[6] ** 2
    assert solved.nodes[3].covariance[6, 6] == pytest.approx(1e6, rel=0.01)
    assert solved.nodes[3].covariance[3, 3] < 0.1


def test_the_answer_is_the_same_each_time_and_names_are_kept() -> None:
    true, edges = noisy_chain(8, 12)
    edges.append(edge(true, 11, 0, doubtful=True))
    named = [replace(each, a=100 - 7 * each.a, b=100 - 7 * each.b) for each in edges]
    start = {100 - 7 * name: node for name, node in chained(12, edges).items()}
    first, second, plain = optimised(start, named), optimised(start, named), optimised(chained(12, edges), edges)
    assert list(first.nodes) == [100 - 7 * name for name in range(12)]
    for name, node in first.nodes.items():
        np.testing.assert_array_equal(node.covariance, second.nodes[name].covariance)
        np.testing.assert_array_equal(
            node.cam_from_world.as_matrix(), plain.nodes[(100 - name) // 7].cam_from_world.as_matrix()
        )


def test_one_node_alone_is_its_own_answer() -> None:
    start = PoseNode(poses.exp(np.arange(6) * 0.1), 0.4)
    solved = optimised({5: start}, [])
    assert solved.nodes[5].log_unit == 0.4
    np.testing.assert_array_equal(solved.nodes[5].cam_from_world.as_matrix(), start.cam_from_world.as_matrix())
    assert solved.weights.shape == (0,)


def test_impossible_graphs_are_refused() -> None:
    true = circle(4)
    nodes = dict(enumerate(true))
    good = [edge(true, 0, 1), edge(true, 1, 2), edge(true, 2, 3)]
    with pytest.raises(ValueError, match="at least one node"):
        optimised({}, [])
    with pytest.raises(ValueError, match="1 of 4 hang in the air, the first of them 3"):
        optimised(nodes, good[:2])
    with pytest.raises(ValueError, match="got 1 and 9"):
        optimised(nodes, [*good, replace(good[0], a=1, b=9)])
    with pytest.raises(ValueError, match="got 2 and 2"):
        optimised(nodes, [*good, replace(good[0], a=2, b=2)])
    with pytest.raises(ValueError, match=r"covariance of edge \(0, 1\) must be positive definite"):
        optimised(nodes, [replace(good[0], covariance=np.zeros((7, 7))), *good[1:]])
    with pytest.raises(ValueError, match="PoseGraphOptions needs"):
        PoseGraphOptions(doubt_from=0.0)
