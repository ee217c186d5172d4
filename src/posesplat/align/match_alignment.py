"""The pose of two images from matches with depth: one robust objective in space, minimised by Gauss-Newton.

A match is a gap between two points, each of which is known well across its viewing ray (pixels) and less well along it
(depth). With both depths known that is three equations a match, with one depth two (the reprojection into the other
image), with none the epipolar constraint. Depth maps may each be off by a smooth factor, which is estimated with them.
docs/pair.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.covariance import Regions, effective_regions, jackknife, small_sample_inflation
from posesplat.align.matched_depths import MatchedDepths, MatchNoise, Side
from posesplat.geometry import poses

_FEWEST_TO_ADAPT = 12
"""Inliers from which the pixel noise may be read."""
_MAD_TO_SIGMA = 1.4826
_GAUGE = 1e6
"""Weight that holds the length of a translation that nothing else determines."""

_ALIKE = 1.3
"""Excess of the variance over that of independent cells: quantised depth errs alike in several. Of synthetic rooms."""


@dataclass(frozen=True)
class MatchState:
    """What is estimated: the pose, and the smooth log-factor of each depth map."""

    b_from_a: RigidTransform
    bias_a: Float[np.ndarray, " k"]
    bias_b: Float[np.ndarray, " k"]

    @staticmethod
    def at(b_from_a: RigidTransform, noise: MatchNoise) -> MatchState:
        """A pose with depth as it was given."""
        return MatchState(b_from_a, np.zeros(noise.bias_terms), np.zeros(noise.bias_terms))

    def moved(self, step: Float[np.ndarray, " d"]) -> MatchState:
        """The state after a step (rotation, translation, bias of A, bias of B)."""
        count = len(self.bias_a)
        pose = poses.perturbed(self.b_from_a, step[:6])
        return MatchState(pose, self.bias_a + step[6 : 6 + count], self.bias_b + step[6 + count :])


@dataclass(frozen=True)
class _Gaps:
    """The gaps of all matches at one state: squared lengths in standard deviations, and derivatives."""

    squared: Float[np.ndarray, " n"]
    jacobians: Float[np.ndarray, "n 3 d"]
    scaled: Float[np.ndarray, "n 3 d"]
    """Inverse covariances times the Jacobians."""
    residuals: Float[np.ndarray, "n 3"]


@dataclass(frozen=True)
class MatchFit:
    """A refined pose and the evidence for it."""

    state: MatchState
    squared: Float[np.ndarray, " n"]
    """Squared gaps of the matches, in standard deviations; infinite behind a camera."""
    cost: float
    """Sum of the robust costs, prior included."""
    iterations: int
    cutoff: float
    """Squared gap at which a match counts half."""

    @property
    def soft_inliers(self) -> float:
        """How many matches agree, each counted by 1 / (1 + squared gap / cutoff)."""
        return float(np.sum(1.0 / (1.0 + self.squared / self.cutoff)))

    @property
    def inliers(self) -> Bool[np.ndarray, " n"]:
        """Matches whose gap is below the cut-off."""
        return np.asarray(self.squared < self.cutoff)


@dataclass(frozen=True)
class MatchRefineOptions:
    """Schedule of the refinement."""

    cutoffs: tuple[float, ...] = (36.0, 9.0)
    """Squared gaps, in standard deviations, at which a match counts half: one minimisation for each, in order."""
    iterations: int = 12
    """Most steps of each minimisation."""
    min_step: float = 1e-5
    """Steps below this (rad, and metres by the median depth) end a minimisation."""

    def __post_init__(self) -> None:
        if not self.cutoffs or min(self.cutoffs) <= 0 or self.iterations < 1:
            raise ValueError(f"MatchRefineOptions needs cut-offs above 0 and at least 1 iteration; got {self}.")


def refine_matches(
    matched: MatchedDepths, start: RigidTransform, options: MatchRefineOptions = MatchRefineOptions()
) -> MatchFit:
    """The pose near a start at which the matches' gaps are smallest, outliers counting little.

    The cost of a match is Geman and McClure's, m / (1 + m / cutoff) of its squared gap m, so the pose of least cost is
    that of the largest soft inlier count. Without any depth the translation keeps the length 1.

    Args:
        matched: matches with depths.
        start: b_from_a.
        options: schedule.
    """
    state = MatchState.at(start, matched.noise)
    metric = matched.metric
    if not metric:
        state = _unit(state)
    length = matched.median_depth if metric else 1.0
    spent = 0
    for cutoff in options.cutoffs:
        gaps = _gaps(matched, state)
        cost = _cost(matched, state, gaps.squared, cutoff)
        damping = 1e-6
        for _ in range(options.iterations):
            step = _step(matched, state, gaps, cutoff, damping)
            proposal = state.moved(step)
            if not metric:
                proposal = _unit(proposal)
            candidate = _gaps(matched, proposal)
            proposed = _cost(matched, proposal, candidate.squared, cutoff)
            spent += 1
            small = max(np.abs(step[:3]).max(), np.abs(step[3:6]).max() / length) < options.min_step
            if proposed <= cost:
                state, gaps, cost, damping = proposal, candidate, proposed, max(0.1 * damping, 1e-9)
            else:
                damping = max(30.0 * damping, 1e-3)
            if small or damping > 1e4:
                break
    return MatchFit(state, gaps.squared, cost, spent, options.cutoffs[-1])


def fit_at(matched: MatchedDepths, state: MatchState, cutoff: float = 9.0) -> MatchFit:
    """The evidence of the matches for a pose as it is."""
    squared = _gaps(matched, state).squared
    return MatchFit(state, squared, _cost(matched, state, squared, cutoff), 0, cutoff)


def epipolar_inliers(matched: MatchedDepths, b_from_a: RigidTransform, cutoff: float = 9.0) -> Bool[np.ndarray, " n"]:
    """Which matches lie near their epipolar lines, whatever their depths say.

    Args:
        matched: matches.
        b_from_a: the pose.
        cutoff: largest squared distance, in standard deviations.
    """
    values, variances = _epipolar_errors(matched, b_from_a)
    return np.asarray(values**2 <= cutoff * variances)


def adapted(matched: MatchedDepths, fit: MatchFit) -> MatchedDepths:
    """The same matches with the pixel noise that the inliers of a fit show, at most what was said before.

    It is read off the distances from the epipolar lines, in which the depths take no part.
    """
    values, variances = _epipolar_errors(matched, fit.state.b_from_a)
    inliers = fit.inliers
    if inliers.sum() < _FEWEST_TO_ADAPT or not np.any(variances[inliers] > 0):
        return matched
    lengths = np.abs(values[inliers]) / np.sqrt(np.maximum(variances[inliers], 1e-18))
    sigma = _MAD_TO_SIGMA * float(np.median(lengths)) * matched.noise.pixel_px
    least = min(matched.noise.least_pixel_px, matched.noise.pixel_px)
    pixel = float(np.clip(sigma, least, matched.noise.pixel_px))
    return replace(matched, noise=replace(matched.noise, pixel_px=pixel))


def match_regions(matched: MatchedDepths, fit: MatchFit) -> tuple[Regions, Float[np.ndarray, "d d"]]:
    """Normal equations at a fit, split over cells of image A, and those of what is known beforehand."""
    gaps = _gaps(matched, fit.state)
    weights = _weights(gaps.squared, fit.cutoff)
    along = np.einsum("nij,ni->nj", gaps.scaled, gaps.residuals)
    gradients = along * weights[:, None]
    # The robust cost is flatter along each gap than Gauss and Newton's matrix says.
    flatter = 4.0 / fit.cutoff * weights**1.5
    hessians = np.einsum("nij,nik,n->njk", gaps.jacobians, gaps.scaled, weights)
    hessians -= np.einsum("nj,nk,n->njk", along, along, flatter)
    cells, where = np.unique(matched.cells(), return_inverse=True)
    member = np.asarray(where == np.arange(len(cells))[:, None], dtype=np.float64)
    size = gradients.shape[1]
    split = Regions(member @ gradients, (member @ hessians.reshape(len(hessians), -1)).reshape(-1, size, size))
    return split, _prior(matched, fit.state)


@dataclass(frozen=True)
class MatchSpread:
    """How far the pose of a fit may be off: b_from_a's left perturbation, rad and metres."""

    typical: Float[np.ndarray, "6 6"]
    """Covariance as it was estimated."""
    inflation: float
    """Factor by which the covariance grows for having been estimated from few cells."""

    @property
    def covariance(self) -> Float[np.ndarray, "6 6"]:
        """Covariance whose 95 % ellipsoid holds the truth as often."""
        return self.inflation * self.typical


def match_spread(matched: MatchedDepths, fit: MatchFit) -> MatchSpread | None:
    """How far the pose may be off: a jackknife over cells of image A.

    What is known beforehand, as the scale of learned depth, enters with its own variance. None when the pose is not
    determined.
    """
    split, prior = match_regions(matched, fit)
    covariance = jackknife(split, prior)
    if covariance is None:
        return None
    return MatchSpread(_ALIKE * covariance, small_sample_inflation(effective_regions(split, prior)))


def shifts_of_pose(
    matched: MatchedDepths, others: Sequence[MatchedDepths], fit: MatchFit
) -> Float[np.ndarray, "others 6"]:
    """How the pose found would move (left perturbations) were the matches each of the others, to first order.

    Args:
        matched: what the pose was found from.
        others: the same matches at slightly different places.
        fit: the pose found.
    """
    own, *theirs = (
        _step(each, fit.state, _gaps(each, fit.state), fit.cutoff, damping=0.0)[:6] for each in (matched, *others)
    )
    return np.array(theirs) - own


def _factors(side: Side, bias: Float[np.ndarray, " k"]) -> Float[np.ndarray, " n"]:
    return np.asarray(side.depths * np.exp(side.basis @ bias))


def _gaps(matched: MatchedDepths, state: MatchState) -> _Gaps:
    a, b = matched.a, matched.b
    matrix = state.b_from_a.as_matrix()
    rotation, translation = matrix[:3, :3], matrix[:3, 3]
    turned = a.rays @ rotation.T
    depth_a, depth_b = _factors(a, state.bias_a), _factors(b, state.bias_b)
    known_a, known_b = a.known, b.known
    # A depth that was not measured is where the other image's point puts it; along its ray anything goes.
    only_a, only_b = known_a & ~known_b, known_b & ~known_a
    depth_b = np.where(only_a, depth_a * turned[:, 2] + translation[2], depth_b)
    depth_a = np.where(only_b, (b.rays * depth_b[:, None] - translation) @ rotation[:, 2], depth_a)
    moved = turned * depth_a[:, None] + translation
    points_b = b.rays * depth_b[:, None]
    residuals = points_b - moved
    inverse = _inverse_covariances(matched, turned, depth_a, depth_b)
    terms = matched.noise.bias_terms
    jacobians = np.zeros((len(matched), 3, 6 + 2 * terms))
    jacobians[:, :, :3] = poses.skew(moved)
    jacobians[:, :, 3:6] = -np.eye(3)
    if terms:
        # The covariances grow with the depths: without their half of it, all gaps would shrink with the whole scene.
        half = 0.5 * residuals
        jacobians[:, :, 6 : 6 + terms] = -((moved - translation + half)[:, :, None] * a.basis[:, None, :])
        jacobians[:, :, 6 + terms :] = (points_b - half)[:, :, None] * b.basis[:, None, :]
        jacobians[only_b, :, 6 : 6 + terms] = 0.0
        jacobians[only_a, :, 6 + terms :] = 0.0
    neither = ~(known_a | known_b)
    if neither.any():
        _epipolar(matched, state, neither, turned, translation, residuals, inverse, jacobians)
    scaled = inverse @ jacobians
    squared = np.einsum("ni,nij,nj->n", residuals, inverse, residuals)
    behind = ~neither & ((depth_a <= 0) | (depth_b <= 0) | (moved[:, 2] <= 0))
    squared = np.where(behind, np.inf, np.maximum(squared, 0.0))
    return _Gaps(squared, jacobians, scaled, residuals)


def _inverse_covariances(
    matched: MatchedDepths,
    turned: Float[np.ndarray, "n 3"],
    depth_a: Float[np.ndarray, " n"],
    depth_b: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "n 3 3"]:
    """Inverse of l^2 1 + alpha u u^T + beta v v^T: pixels across both rays u and v, depth along them."""
    a, b, pixel = matched.a, matched.b, matched.noise.pixel_px
    across = (pixel * depth_a / a.camera.fx) ** 2 + (pixel * depth_b / b.camera.fx) ** 2
    across = np.maximum(across, 1e-18)
    u, v = _units(turned), _units(b.rays)
    along_a = (a.deviations * depth_a) ** 2 * np.sum(a.rays**2, axis=1)
    along_b = (b.deviations * depth_b) ** 2 * np.sum(b.rays**2, axis=1)
    share = along_a / (across + along_a)
    w = (v - (share * np.sum(u * v, axis=1))[:, None] * u) / across[:, None]
    factor = along_b / (1.0 + along_b * np.sum(v * w, axis=1))
    inverse = -u[:, :, None] * (u * share[:, None])[:, None, :]
    inverse += np.eye(3)
    inverse /= across[:, None, None]
    inverse -= w[:, :, None] * (w * factor[:, None])[:, None, :]
    return inverse


def _epipolar(
    matched: MatchedDepths,
    state: MatchState,
    where: Bool[np.ndarray, " n"],
    turned: Float[np.ndarray, "n 3"],
    translation: Float[np.ndarray, " 3"],
    residuals: Float[np.ndarray, "n 3"],
    inverse: Float[np.ndarray, "n 3 3"],
    jacobians: Float[np.ndarray, "n 3 d"],
) -> None:
    """Put Sampson's error in the place of the gap where no depth is known: its first component, the others 0."""
    q, x = turned[where], matched.b.rays[where]
    line = np.cross(translation, q)
    values, variances = _epipolar_errors(matched, state.b_from_a)
    residuals[where] = 0.0
    residuals[where, 0] = values[where]
    jacobians[where] = 0.0
    # d(t x q) for q -> q + w x q, t -> t + w x t + v.
    jacobians[where, 0, :3] = np.cross(line, x)
    jacobians[where, 0, 3:6] = np.cross(q, x)
    inverse[where] = 0.0
    inverse[where, 0, 0] = 1.0 / np.maximum(variances[where], 1e-18)


def _epipolar_errors(
    matched: MatchedDepths, b_from_a: RigidTransform
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Values of the epipolar constraint x . (t x R r), and their variances to first order.

    Source: Hartley and Zisserman, Multiple View Geometry, 2004, section 11.4.3 (Sampson's distance).
    """
    a, b, pixel = matched.a, matched.b, matched.noise.pixel_px
    rotation = b_from_a.rotation.as_matrix()
    line = np.cross(b_from_a.translation, a.rays @ rotation.T)
    back = np.cross(b.rays, b_from_a.translation) @ rotation
    focal_a, focal_b = (np.array([side.camera.fx, side.camera.fy]) for side in (a, b))
    variances = np.sum((pixel * line[:, :2] / focal_b) ** 2, axis=1)
    variances += np.sum((pixel * back[:, :2] / focal_a) ** 2, axis=1)
    return np.sum(b.rays * line, axis=1), variances


def _units(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _weights(squared: Float[np.ndarray, " n"], cutoff: float) -> Float[np.ndarray, " n"]:
    return np.asarray((1.0 + squared / cutoff) ** -2.0)


def _prior(matched: MatchedDepths, state: MatchState) -> Float[np.ndarray, "d d"]:
    """Information known beforehand: of the biases of depth, and of the length of a translation without any depth."""
    terms = matched.noise.bias_terms
    size = 6 + 2 * terms
    prior = np.zeros((size, size))
    constant, linear, quadratic = matched.noise.bias_sigma
    sigmas = np.array([constant, linear, linear, quadratic, quadratic, quadratic])[:terms]
    prior[range(6, size), range(6, size)] = np.tile(sigmas**-2.0, 2)
    if not matched.metric:
        direction = np.asarray(state.b_from_a.translation)
        prior[3:6, 3:6] += _GAUGE * np.outer(direction, direction)
    return prior


def _cost(matched: MatchedDepths, state: MatchState, squared: Float[np.ndarray, " n"], cutoff: float) -> float:
    robust = np.where(np.isfinite(squared), cutoff - cutoff / (1.0 + squared / cutoff), cutoff)
    prior = np.diag(_prior(matched, state))[6:]
    bias = np.concatenate([state.bias_a, state.bias_b])
    return float(robust.sum() + prior @ bias**2)


def _step(
    matched: MatchedDepths, state: MatchState, gaps: _Gaps, cutoff: float, damping: float
) -> Float[np.ndarray, " d"]:
    weights = np.where(np.isfinite(gaps.squared), _weights(gaps.squared, cutoff), 0.0)
    size = gaps.jacobians.shape[2]
    weighted = (gaps.scaled * weights[:, None, None]).reshape(-1, size)
    hessian = gaps.jacobians.reshape(-1, size).T @ weighted
    gradient = weighted.T @ gaps.residuals.ravel()
    prior = _prior(matched, state)
    hessian += prior
    gradient[6:] += np.diag(prior)[6:] * np.concatenate([state.bias_a, state.bias_b])
    diagonal = np.maximum(np.diag(hessian), 1e-12 * max(float(np.diag(hessian).max()), 1e-300))
    scale = 1.0 / np.sqrt(diagonal)
    matrix = hessian * scale[:, None] * scale + (damping + 1e-10) * np.eye(size)
    step = -scale * np.linalg.solve(matrix, scale * gradient)
    turn = float(np.linalg.norm(step[:3]))
    return np.asarray(step * min(1.0, 0.3 / turn) if turn > 0 else step)


def _unit(state: MatchState) -> MatchState:
    pose = state.b_from_a
    length = float(np.linalg.norm(pose.translation))
    return replace(state, b_from_a=poses.rescaled(pose, 1.0 / length)) if length > 0 else state
