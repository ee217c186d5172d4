"""Levenberg-Marquardt over a camera pose (and the exposure of its image) on sums delivered by the kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.covariance import SINGULAR
from posesplat.geometry import poses
from posesplat.kernels.splatting import NormalEquations


@dataclass(frozen=True)
class State:
    """What is estimated: a pose and how the observed image's exposure differs from the map's."""

    cam_from_world: RigidTransform
    """The pose."""
    gain: float = 1.0
    """Observed grey = gain * map grey + bias."""
    bias: float = 0.0
    """See ``gain``."""

    def moved(self, step: Float[np.ndarray, "8"]) -> State:
        """The state after a step (rotation, translation, gain, bias)."""
        pose = poses.perturbed(self.cam_from_world, step[:6])
        return State(pose, float(self.gain + step[6]), float(self.bias + step[7]))


@dataclass(frozen=True)
class Objective:
    """Value and normal equations of the whole objective at one state."""

    cost: float
    """Weighted sum over the terms."""
    hessian: Float[np.ndarray, "8 8"]
    """Gauss-Newton matrix over (rotation, translation, gain, bias)."""
    gradient: Float[np.ndarray, "8"]
    """Gradient over the same."""
    depth: NormalEquations | None
    """The depth term alone."""
    channels: NormalEquations | None
    """The colour term alone."""

    @property
    def inlier_fraction(self) -> float:
        """Share of the covered observations within the robust scale, over both terms."""
        terms = [term for term in (self.depth, self.channels) if term is not None]
        covered = sum(term.covered for term in terms)
        return sum(term.inliers for term in terms) / covered if covered else 0.0

    @property
    def overlap(self) -> float:
        """Share of the observations for which the map shows a clean surface, the better term's."""
        terms = [term for term in (self.depth, self.channels) if term is not None and term.observed]
        return max((term.covered / term.observed for term in terms), default=0.0)


def weighted(
    depth: NormalEquations | None,
    channels: NormalEquations | None,
    depth_weight: float,
    channel_weight: float,
    least_newton_ratio: float = 1.0,
) -> Objective:
    """Both terms as one objective, the matrix scaled towards the true Hessian as far as ``least_newton_ratio``."""
    hessian, gradient, cost = np.zeros((8, 8)), np.zeros(8), 0.0
    if depth is not None:
        hessian[:6, :6] += depth_weight * depth.newton_ratio(least_newton_ratio) * depth.hessian
        gradient[:6] += depth_weight * depth.gradient
        cost += depth_weight * depth.cost
    if channels is not None:
        hessian += channel_weight * channels.newton_ratio(least_newton_ratio) * channels.hessian
        gradient += channel_weight * channels.gradient
        cost += channel_weight * channels.cost
    return Objective(cost, hessian, gradient, depth, channels)


def solve_step(objective: Objective, damping: float) -> Float[np.ndarray, "8"]:
    """The damped Gauss-Newton step; along directions without information nothing moves.

    Such are the exposure in runs with depth only, and sliding along the wall that is all a frame sees.
    """
    diagonal = np.diag(objective.hessian)
    active = diagonal > 1e-12 * max(float(diagonal.max()), 1e-300)
    step = np.zeros(8)
    if not active.any():
        return step
    matrix = objective.hessian[np.ix_(active, active)]
    scale = 1.0 / np.sqrt(np.diag(matrix))
    values, vectors = np.linalg.eigh(matrix * scale[:, None] * scale[None, :])
    along = np.divide(vectors.T @ (scale * objective.gradient[active]), values + damping, where=values > SINGULAR,
                      out=np.zeros(len(values)))  # fmt: skip
    step[active] = -scale * (vectors @ along)
    return step


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended."""

    state: State
    objective: Objective
    evaluations: int


def minimise(
    evaluate: Callable[[State], Objective],
    start: State,
    *,
    max_iterations: int = 10,
    min_step: float = 1e-4,
    max_rotation: float = 0.3,
    first: Objective | None = None,
) -> Minimum:
    """Levenberg-Marquardt with accept or reject.

    Args:
        evaluate: the objective at a state.
        start: where to begin.
        max_iterations: most evaluations.
        min_step: stop when rotation (rad) and translation (units of the world) both move less.
        max_rotation: longest step in rad; longer ones are shortened.
        first: the objective at the start, when it is known.
    """
    state, current = start, evaluate(start) if first is None else first
    evaluations, damping = 1 if first is None else 0, 1e-4
    while evaluations < max_iterations:
        step = solve_step(current, damping)
        length = float(np.linalg.norm(step[:3]))
        if length > max_rotation:
            step = step * (max_rotation / length)
        proposal = state.moved(step)
        candidate = evaluate(proposal)
        evaluations += 1
        small = bool(np.abs(step[:6]).max() < min_step)
        if candidate.cost < current.cost:
            state, current, damping = proposal, candidate, max(damping * 0.1, 1e-6)
        else:
            damping = max(damping * 10, 1e-3)
        if small or damping > 1e3:
            break
    return Minimum(state, current, evaluations)


def with_pose(state: State, cam_from_world: RigidTransform) -> State:
    """The same exposure at another pose."""
    return replace(state, cam_from_world=cam_from_world)
