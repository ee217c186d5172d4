"""A graph of cameras, each with a unit of length of its own, brought into agreement by what was measured between them.

Node i is a camera with pose T_i (cam_from_world, in units of the world) and a unit of length of exp(l_i) units of the
world. Edge (a, b) measures M = b_from_a with its translation in units of a, and the logarithm m of b's unit over a's.
With P = T_b T_a^-1 in units of a, which is T_b T_a^-1 with its translation times exp(-l_a), its residual has 7 entries:

    r = (log(P M^-1), l_b - l_a - m).

Nodes move by left perturbations exp(d) T, d = (rotation, translation), and additions to l. To first order P moves from
the left by exp(S d_b - Ad_P S d_a - (0, t_P) dl_a), with S = diag(1, 1, 1, k, k, k) and k = exp(-l_a), and log(P M^-1)
by the inverse left Jacobian of SE(3) times that tangent. So drift of scale is removed as drift of the pose is.

Source: Strasdat, Montiel and Davison, Scale drift-aware large scale monocular SLAM, RSS 2010; wrong edges lose their
weight by graduated non-convexity: Yang, Antonante, Tzoumas and Carlone, RA-L 2020, equations 4 and 12.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import SuperLU, splu
from scipy.spatial.transform import RigidTransform

from posesplat.align.block_marginals import inverse_diagonal_blocks
from posesplat.geometry import poses

_log = logging.getLogger(__name__)

_LEAST_DAMPING = 1e-9
_RIDGES = (0.0, 1e-14, 1e-12, 1e-10)
"""Added to the diagonal, as a share of it, before it is inverted: the first with which rounding leaves it definite."""
_EASING = 1.4
"""The loss's squared scale falls by this factor; by a larger one, true loops get lost along with false ones."""
_STEPS_WHILE_EASING = 10
_EASING_TOLERANCE = 1e-3


@dataclass(frozen=True)
class PoseNode:
    """Where a camera is thought to be, and its unit."""

    cam_from_world: RigidTransform
    """Pose, single, in units of the world."""
    log_unit: float = 0.0
    """Logarithm of its unit of length in units of the world."""


@dataclass(frozen=True)
class PoseEdge:
    """What was measured between two nodes."""

    a: int
    """Name of the node measured from."""
    b: int
    """Name of the node measured."""
    b_from_a: RigidTransform
    """Single pose, its translation in units of a."""
    log_unit_ratio: float
    """Logarithm of b's unit over a's."""
    covariance: Float[np.ndarray, "7 7"]
    """Of (rotation, translation, log_unit_ratio): the left perturbation of ``b_from_a``, and the addition to the ratio.

    A large variance stands for what was not measured, such as 9 for a ratio; one more than 1e10 times those of what was
    is lost in rounding.
    """
    doubtful: bool = False
    """Whether it may be plainly wrong, as a loop may; it then loses its weight when the others contradict it."""


@dataclass(frozen=True)
class PoseGraphOptions:
    """How a graph is solved."""

    doubt_from: float = 4.1
    """Whitened residual at which a doubtful edge has lost three quarters of its weight: the square root of the 98 %
    point of chi-squared with 7 degrees of freedom."""
    max_iterations: int = 50
    """Most steps at the first and at the last stage each."""
    tolerance: float = 1e-10
    """Stop when the cost falls by less than this share."""

    def __post_init__(self) -> None:
        if self.doubt_from <= 0 or self.max_iterations < 1 or self.tolerance < 0:
            raise ValueError(
                f"PoseGraphOptions needs doubt_from > 0, max_iterations >= 1 and tolerance >= 0; got {self}."
            )


@dataclass(frozen=True)
class SolvedNode:
    """Where a camera is, its unit, and how well both are known against the first node."""

    cam_from_world: RigidTransform
    """Pose, single, in units of the world."""
    log_unit: float
    """Logarithm of its unit of length in units of the world."""
    covariance: Float[np.ndarray, "7 7"]
    """Marginal of (left rotation, left translation in units of the world, log_unit); 0 for the first node."""


@dataclass(frozen=True)
class SolvedGraph:
    """A graph in agreement."""

    nodes: dict[int, SolvedNode]
    """In the order of the nodes given."""
    weights: Float[np.ndarray, " edges"]
    """Weight that each edge has left: 1 for those that are not doubtful, near 0 for rejected ones."""
    cost: float
    """Half the sum of the loss: of squared whitened residuals, bounded for doubtful edges."""


def optimised(
    nodes: Mapping[int, PoseNode], edges: Sequence[PoseEdge], options: PoseGraphOptions = PoseGraphOptions()
) -> SolvedGraph:
    """The poses and units that agree best with the edges; the first node stays as it is.

    Levenberg-Marquardt on sparse normal equations. All edges count fully at first, so that a true loop pulls even when
    drift is many standard deviations; then doubtful ones are doubted ever more strictly (Geman-McClure).

    Args:
        nodes: where to begin, by name; the first is fixed.
        edges: between them; must connect all nodes.
        options: how to solve.

    Returns:
        poses, units and marginal covariances.

    Raises:
        ValueError: when an edge names no node or joins one with itself, a covariance is not positive definite, or nodes
            hang in the air.
    """
    graph = _Graph(nodes, edges)
    state = _State(
        RigidTransform.concatenate([node.cam_from_world for node in nodes.values()]),
        np.array([node.log_unit for node in nodes.values()], dtype=np.float64),
    )
    bound = np.inf
    if edges:
        state = _settled(graph, state, bound, options.max_iterations, options.tolerance)
    if graph.doubtful.any():
        final = options.doubt_from**2
        bound = max(2.0 * float(_squares(graph.residuals(state))[graph.doubtful].max()), final)
        while bound > _EASING * final:
            bound /= _EASING
            state = _settled(graph, state, bound, _STEPS_WHILE_EASING, _EASING_TOLERANCE)
        bound = final
        state = _settled(graph, state, bound, options.max_iterations, options.tolerance)
    return _solution(graph, state, bound)


def carried_covariance(
    b_from_a: RigidTransform,
    unit: float,
    measured: Float[np.ndarray, "7 7"],
    covariance_a: Float[np.ndarray, "7 7"],
) -> Float[np.ndarray, "7 7"]:
    """Covariance of a node that hangs on another by one edge, to first order, as :class:`SolvedNode` has it.

    For frames of a segment, too: their pose is their step, times the unit of the segment's node, after its pose.

    Args:
        b_from_a: the edge, its translation in units of a.
        unit: of a, in units of the world.
        measured: covariance of the edge, independent of that of a.
        covariance_a: of the node that it hangs on.
    """
    inner = RigidTransform.from_components(unit * b_from_a.translation, b_from_a.rotation)
    change = np.eye(7)
    change[:6, :6] = poses.adjoint(inner)
    change[3:6, 6] = inner.translation
    units = np.array([1.0, 1.0, 1.0, unit, unit, unit, 1.0])
    return np.asarray(change @ covariance_a @ change.T + measured * np.outer(units, units))


@dataclass(frozen=True)
class _State:
    cam_from_world: RigidTransform
    log_units: Float[np.ndarray, " nodes"]

    def moved(self, step: Float[np.ndarray, "nodes 7"]) -> _State:
        return _State(poses.exp(step[:, :6]) * self.cam_from_world, self.log_units + step[:, 6])


class _Graph:
    """The edges as stacked arrays."""

    def __init__(self, nodes: Mapping[int, PoseNode], edges: Sequence[PoseEdge]) -> None:
        if not nodes:
            raise ValueError("A pose graph needs at least one node; got none. Add the first camera.")
        self.names = list(nodes)
        place = {name: index for index, name in enumerate(self.names)}
        for edge in edges:
            if edge.a == edge.b or edge.a not in place or edge.b not in place:
                raise ValueError(
                    f"An edge must join two nodes of the graph; got {edge.a} and {edge.b}. Add the missing node first."
                )
        self.a: Int[np.ndarray, " edges"] = np.array([place[edge.a] for edge in edges], dtype=np.intp)
        self.b: Int[np.ndarray, " edges"] = np.array([place[edge.b] for edge in edges], dtype=np.intp)
        self.doubtful = np.array([edge.doubtful for edge in edges], dtype=bool)
        self._refuse_loose_nodes()
        if edges:
            self._a_from_b = RigidTransform.concatenate([edge.b_from_a for edge in edges]).inv()
            self._ratios = np.array([edge.log_unit_ratio for edge in edges], dtype=np.float64)
            self._whitening = np.array([_whitening(edge) for edge in edges])

    def _refuse_loose_nodes(self) -> None:
        count = len(self.names)
        joined = sparse.coo_array((np.ones(len(self.a)), (self.a, self.b)), shape=(count, count))
        _, part = connected_components(joined, directed=False)
        loose = np.flatnonzero(part != part[0])
        if len(loose):
            raise ValueError(
                f"Edges must connect every node with the first; {len(loose)} of {count} hang in the air, the first of "
                f"them {self.names[loose[0]]}. Leave them out, or add an edge."
            )

    def residuals(self, state: _State) -> Float[np.ndarray, "edges 7"]:
        """Whitened residuals."""
        return self._linearised(state)[0]

    def linearised(
        self, state: _State
    ) -> tuple[Float[np.ndarray, "edges 7"], Float[np.ndarray, "edges 7 7"], Float[np.ndarray, "edges 7 7"]]:
        """Whitened residuals, and their derivatives by the edges' nodes a and b."""
        residual, tangent, predicted = self._linearised(state)
        units = np.ones((len(tangent), 6))
        units[:, 3:] = np.exp(-state.log_units[self.a])[:, None]
        outer = poses.inverse_left_jacobian(tangent)
        by_a, by_b = np.zeros((2, len(tangent), 7, 7))
        by_b[:, :6, :6] = outer * units[:, None, :]
        by_a[:, :6, :6] = -outer @ (poses.adjoint(predicted) * units[:, None, :])
        by_a[:, :6, 6] = -np.einsum("eij,ej->ei", outer[:, :, 3:], predicted.translation)
        by_b[:, 6, 6], by_a[:, 6, 6] = 1.0, -1.0
        return residual, self._whitening @ by_a, self._whitening @ by_b

    def _linearised(
        self, state: _State
    ) -> tuple[Float[np.ndarray, "edges 7"], Float[np.ndarray, "edges 6"], RigidTransform]:
        """Whitened residuals, the poses' part of them before whitening, and b_from_a as predicted in units of a."""
        in_world_units = state.cam_from_world[self.b] * state.cam_from_world[self.a].inv()
        inverse_unit = np.exp(-state.log_units[self.a])[:, None]
        predicted = RigidTransform.from_components(inverse_unit * in_world_units.translation, in_world_units.rotation)
        tangent = poses.log(predicted * self._a_from_b)
        ratio = state.log_units[self.b] - state.log_units[self.a] - self._ratios
        residual = np.concatenate([tangent, ratio[:, None]], axis=1)
        return np.einsum("eij,ej->ei", self._whitening, residual), tangent, predicted

    def weights(self, squares: Float[np.ndarray, " edges"], bound: float) -> Float[np.ndarray, " edges"]:
        """Derivative of the loss by the squared residual: Geman-McClure's for doubtful edges."""
        return np.where(self.doubtful, 1.0 / (1.0 + squares / bound) ** 2, 1.0)

    def cost(self, squares: Float[np.ndarray, " edges"], bound: float) -> float:
        """Half the sum of the loss."""
        return 0.5 * float(np.where(self.doubtful, squares / (1.0 + squares / bound), squares).sum())

    def normal_equations(
        self, state: _State, bound: float
    ) -> tuple[sparse.csc_array, Float[np.ndarray, " unknowns"], Float[np.ndarray, " edges"]]:
        """Hessian and gradient over all nodes but the first, and squared whitened residuals."""
        residual, by_a, by_b = self.linearised(state)
        squares = _squares(residual)
        weights = self.weights(squares, bound)
        ends, sides = (self.a, self.b), (by_a, by_b)
        weighted = [side * weights[:, None, None] for side in sides]
        count = len(self.names)
        gradient = np.zeros((count, 7))
        data, rows, columns = [], [], []
        within = np.arange(7)
        for end, side in zip(ends, weighted, strict=True):
            np.add.at(gradient, end, np.einsum("eki,ek->ei", side, residual))
            for other, derivative in zip(ends, sides, strict=True):
                data.append(side.transpose(0, 2, 1) @ derivative)
                shape = data[-1].shape
                rows.append(np.broadcast_to((7 * end)[:, None, None] + within[:, None], shape))
                columns.append(np.broadcast_to((7 * other)[:, None, None] + within, shape))
        values, row, column = (np.concatenate(part).ravel() for part in (data, rows, columns))
        full = sparse.coo_array((values, (row, column)), shape=(7 * count, 7 * count)).tocsc()
        return full[7:, 7:], gradient[1:].ravel(), squares


def _whitening(edge: PoseEdge) -> Float[np.ndarray, "7 7"]:
    """The matrix W with W^T W the inverse of the edge's covariance."""
    deviations = np.sqrt(np.maximum(np.diag(edge.covariance), 0.0))
    try:
        if not np.isfinite(edge.covariance).all() or not (deviations > 0).all():
            raise np.linalg.LinAlgError
        factor = np.linalg.cholesky(edge.covariance / np.outer(deviations, deviations))
    except np.linalg.LinAlgError:
        raise ValueError(
            f"The covariance of edge ({edge.a}, {edge.b}) must be positive definite; its diagonal is "
            f"{np.diag(edge.covariance)}. Give a large variance to what was not measured."
        ) from None
    return np.asarray(np.linalg.inv(factor) / deviations)


def _squares(residuals: Float[np.ndarray, "edges 7"]) -> Float[np.ndarray, " edges"]:
    return np.asarray(np.einsum("ei,ei->e", residuals, residuals))


def _settled(graph: _Graph, state: _State, bound: float, max_iterations: int, tolerance: float) -> _State:
    """The state of least cost near a start, the squared scale of the loss given: Levenberg-Marquardt."""
    if len(graph.names) == 1:
        return state
    damping, equations = 1e-6, graph.normal_equations(state, bound)
    for _ in range(max_iterations):
        hessian, gradient, squares = equations
        cost = graph.cost(squares, bound)
        step = np.zeros((len(graph.names), 7))
        step[1:] = -_factorised(hessian, damping).solve(gradient).reshape(-1, 7)
        proposal = state.moved(step)
        change = cost - graph.cost(_squares(graph.residuals(proposal)), bound)
        if not change > 0:
            damping *= 100.0
            if damping > 1e4:
                break
            continue
        state, damping = proposal, max(0.1 * damping, _LEAST_DAMPING)
        equations = graph.normal_equations(state, bound)
        if change < tolerance * cost:
            break
    return state


def _factorised(hessian: sparse.csc_array, damping: float = 0.0) -> SuperLU:
    """Factors of the Hessian with its diagonal raised in proportion to it."""
    damped = hessian + sparse.diags_array(damping * hessian.diagonal(), format="csc")
    options = {"SymmetricMode": True}
    return splu(damped.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)


def _solution(graph: _Graph, state: _State, bound: float) -> SolvedGraph:
    """The state with its marginals: the diagonal blocks of the Hessian's inverse."""
    covariances = np.zeros((len(graph.names), 7, 7))
    weights, cost = np.zeros(0), 0.0
    if len(graph.names) > 1:
        hessian, _, squares = graph.normal_equations(state, bound)
        weights, cost = graph.weights(squares, bound), graph.cost(squares, bound)
        covariances[1:] = _marginals(hessian)
        _log.debug("%d of %d doubtful edges kept", (weights[graph.doubtful] > 0.25).sum(), graph.doubtful.sum())
    solved = {
        name: SolvedNode(pose, float(unit), covariance)
        for name, pose, unit, covariance in zip(
            graph.names, state.cam_from_world, state.log_units, covariances, strict=True
        )
    }
    return SolvedGraph(solved, weights, cost)


def _marginals(hessian: sparse.csc_array) -> Float[np.ndarray, "nodes 7 7"]:
    """Diagonal blocks of the Hessian's inverse."""
    for ridge in _RIDGES:
        try:
            raised = hessian + sparse.diags_array(ridge * hessian.diagonal())
            return inverse_diagonal_blocks(sparse.csc_array(raised), 7)
        except np.linalg.LinAlgError:
            _log.debug("the graph's Hessian is singular to rounding with %g added to its diagonal", ridge)
    raise ValueError(
        "The edges of a pose graph must determine its nodes, with variances within 1e10 of each other; got a singular "
        "system. Give less extreme variances."
    )
