"""A depth map brought to the unit of an adjustment, from points whose inverse depths the adjustment knows.

The adjustment's inverse depths are w = a d + b with the map's inverse depths d: a factor where the map is metric or
relative, a factor and a shift where it is affine. For a metric map, a is the number of metres in one unit of the
adjustment. Residuals count relative to the depth predicted, as the errors of depth networks and sensors grow with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.ndimage import map_coordinates
from scipy.special import stdtrit

from posesplat.geometry.depth_map import DepthMap

_LEAST_PREDICTED = 0.2
"""Predicted inverse depths below this share of the median count as that much: far points say little."""
_ROUNDS = 30
_TUKEY = 4.685
"""Cutoff of Tukey's weights in standard deviations: 95 % efficient on normal errors."""
_LEAST_CUTOFF = 1e-6
_SINGULAR = 1e14
_FEWEST_CELLS = 4
_LEAST_BEND = 0.2
_ROUNDING = 1e-6


@dataclass(frozen=True)
class DepthAlignmentRule:
    """How a depth map is fitted, and when the fit is believed."""

    tolerance: float = 0.25
    """A point agrees when its inverse depth is within this share of the map's: the usual 1.25 of depth evaluation."""
    min_points: int = 15
    """Fewest points with depth on both sides."""
    min_inlier_share: float = 0.5
    """Least share of points that must agree."""
    close_spread: float = 0.15
    """A map whose relative residuals spread less than this is believed whatever the scene,"""
    max_share_of_constant: float = 1.0
    """any other only if they spread at most this many times as much as around one depth for all points,"""
    max_share_of_constant_affine: float = 0.8
    """and an affine map only if it explains that much of the points' depths."""
    min_significance: float = 3.0
    """The factor must be this many of its standard deviations above 0."""
    samples: int = 300
    """Random pairs of points that propose a factor and a shift, or points that propose a factor."""
    cells: int = 4
    """Errors of depth are alike within a cell; the image has this many along its longer side."""
    seed: int = 0
    """Of the samples."""

    def __post_init__(self) -> None:
        if not (0 < self.tolerance < 1 and 0 < self.min_inlier_share <= 1 and self.min_significance >= 0):
            raise ValueError(
                "DepthAlignmentRule needs tolerance in (0, 1), min_inlier_share in (0, 1] and min_significance >= 0; "
                f"got {self}."
            )
        if self.min_points < 3 or self.samples < 1 or self.cells < 2:
            raise ValueError(f"DepthAlignmentRule needs min_points >= 3, samples >= 1 and cells >= 2; got {self}.")


@dataclass(frozen=True)
class AlignedDepth:
    """A depth map in the unit of an adjustment, or a refusal: ``inverse_depths is None`` exactly when it failed."""

    success: bool
    """True when the map fits the points."""
    reason: str
    """Empty on success, otherwise one sentence."""
    inverse_depths: Float32[np.ndarray, "height width"] | None
    """1 / (units of the adjustment); NaN where the map knows nothing or the result is not positive."""
    factor: float = math.nan
    """a of w = a d + b. Of a metric map: metres in one unit of the adjustment."""
    shift: float = 0.0
    """b of w = a d + b; 0 unless the map is affine."""
    factor_deviation: float = math.nan
    """Standard deviation of ``factor`` from how the points scatter; errors of neighbouring points count as one. Errors
    that all inverse depths of the adjustment share do not show in it."""
    inlier_share: float = math.nan
    """Share of the points that agree."""
    relative_spread: float = math.nan
    """Robust standard deviation of the points' relative residuals."""
    points: int = 0
    """Points with depth on both sides."""


def aligned_depth(
    depth: DepthMap,
    pixels: Float[np.ndarray, "points 2"],
    inverse_depths: Float[np.ndarray, " points"],
    rule: DepthAlignmentRule = DepthAlignmentRule(),
) -> AlignedDepth:
    """The depth map in the unit of the points' inverse depths.

    A random search for the parameters with which most points agree, then least squares with Tukey's weights.

    Args:
        depth: of the frame in which the points lie.
        pixels: the points, corner-based pixels.
        inverse_depths: what the adjustment found, in any unit; NaN where it knows nothing.
        rule: how the map is fitted and judged.
    """
    of_map = sampled_inverse_depths(depth, pixels)
    usable = np.isfinite(of_map) & np.isfinite(inverse_depths) & (inverse_depths > 0)
    count = int(usable.sum())
    if count < rule.min_points:
        told = f"only {count} points have depth in the map and in the adjustment; {rule.min_points} are needed"
        return AlignedDepth(False, told, None, points=count)
    of_map, known = of_map[usable], inverse_depths[usable].astype(np.float64)
    design = np.column_stack([of_map, np.ones(count)]) if depth.meaning == "affine" else of_map[:, None]
    start = _searched(design, known, rule)
    if start is None:
        return AlignedDepth(False, "the depth map has one value at all points", None, points=count)
    parameters, weights, bend = _refined(design, known, start, rule)
    residuals, predicted = _relative(design, known, parameters)
    fit = AlignedDepth(
        False,
        "not judged",
        None,
        factor=float(parameters[0]),
        shift=float(parameters[1]) if len(parameters) == 2 else 0.0,
        factor_deviation=_deviation(
            design, known, parameters, weights, _cells(pixels[usable], depth.values.shape, rule.cells)
        )
        / bend,
        inlier_share=float(np.mean((np.abs(residuals) <= rule.tolerance) & (predicted > 0))),
        relative_spread=_spread(residuals),
        points=count,
    )
    affine = depth.meaning == "affine"
    fault = _fault(fit, _spread(known / np.median(known) - 1.0), affine, rule)
    if fault:
        return replace(fit, reason=fault)
    dense = np.float32(fit.factor) * depth.inverse_depths() + np.float32(fit.shift)
    with np.errstate(invalid="ignore"):
        dense[~(dense > 0)] = np.nan
    return replace(fit, success=True, reason="", inverse_depths=dense)


def sampled_inverse_depths(depth: DepthMap, pixels: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, " points"]:
    """A depth map's inverse depths at corner-based pixels, bilinear; NaN outside and beside pixels without a value."""
    height, width = depth.values.shape
    outside = ~np.all((pixels >= 0) & (pixels <= (width, height)), axis=1)
    inverse = depth.inverse_depths().astype(np.float64)
    sampled = map_coordinates(inverse, np.where(outside[:, None], 0.0, pixels - 0.5).T[::-1], order=1, mode="nearest")
    return np.where(outside, np.nan, sampled)


def _relative(
    design: Float[np.ndarray, "points parameters"],
    known: Float[np.ndarray, " points"],
    parameters: Float[np.ndarray, "*candidates parameters"],
) -> tuple[Float[np.ndarray, "*candidates points"], Float[np.ndarray, "*candidates points"]]:
    """Residuals relative to the predicted inverse depths, and those predictions."""
    predicted = parameters @ design.T
    return (known - predicted) / np.maximum(predicted, _LEAST_PREDICTED * np.median(known)), predicted


def _searched(
    design: Float[np.ndarray, "points parameters"], known: Float[np.ndarray, " points"], rule: DepthAlignmentRule
) -> Float[np.ndarray, " parameters"] | None:
    """The candidate with the least truncated cost; None when no sample of points gives one."""
    rng = np.random.default_rng(rule.seed)
    count, size = design.shape
    samples = rng.integers(count, size=(rule.samples, size))
    of_map = design[samples, 0]
    if size == 1:
        candidates = known[samples] / np.where(of_map > 0, of_map, np.nan)
    else:
        apart = of_map[:, 1] - of_map[:, 0]
        least = max(1e-6 * np.ptp(design[:, 0]), _ROUNDING * np.abs(design[:, 0]).max())
        apart = np.where(np.abs(apart) > least, apart, np.nan)
        factor = (known[samples[:, 1]] - known[samples[:, 0]]) / apart
        candidates = np.column_stack([factor, known[samples[:, 0]] - factor * of_map[:, 0]])
    candidates = candidates[np.isfinite(candidates).all(axis=1)]
    if not len(candidates):
        return None
    residuals, _ = _relative(design, known, candidates)
    cost = np.minimum(np.square(residuals / rule.tolerance), 1.0).sum(axis=1)
    return candidates[np.argmin(cost)]


def _refined(
    design: Float[np.ndarray, "points parameters"],
    known: Float[np.ndarray, " points"],
    parameters: Float[np.ndarray, " parameters"],
    rule: DepthAlignmentRule,
) -> tuple[Float[np.ndarray, " parameters"], Float[np.ndarray, " points"], float]:
    """Least squares with Tukey's weights of the relative residuals.

    Returns:
        the parameters, each point's weight, and by how much less the loss bends than the weights say.
    """
    weights, bend = np.zeros(len(known)), 1.0
    for _ in range(_ROUNDS):
        residuals, predicted = _relative(design, known, parameters)
        near = np.abs(residuals) <= rule.tolerance
        cutoff = max(_TUKEY * _spread(residuals[near]), _LEAST_CUTOFF) if near.any() else rule.tolerance
        scale = np.maximum(predicted, _LEAST_PREDICTED * np.median(known))
        square = np.minimum(np.square(residuals / cutoff), 1.0)
        weights = np.square((1.0 - square) / scale)
        bends = (1.0 - square) * (1.0 - 5.0 * square) / np.square(scale)
        bend = max(float(bends.sum() / max(weights.sum(), 1e-300)), _LEAST_BEND)
        matrix = design.T * weights @ design
        if not np.linalg.cond(matrix) < _SINGULAR:
            break
        updated = np.linalg.solve(matrix, design.T * weights @ known)
        done = np.allclose(updated, parameters, rtol=1e-10, atol=0.0)
        parameters = updated
        if done:
            break
    return parameters, weights, bend


def _deviation(
    design: Float[np.ndarray, "points parameters"],
    known: Float[np.ndarray, " points"],
    parameters: Float[np.ndarray, " parameters"],
    weights: Float[np.ndarray, " points"],
    cells: Int[np.ndarray, " points"],
) -> float:
    """Standard deviation of the factor when errors are alike within cells (a sandwich); infinite when undetermined.

    Wider by what Student's distribution asks for few cells, so that 1.96 deviations hold 95 %.
    """
    matrix = design.T * weights @ design
    count = len(np.unique(cells[weights > 0]))
    if count < _FEWEST_CELLS or not np.linalg.cond(matrix) < _SINGULAR:
        return math.inf
    pulls = design * (weights * (known - design @ parameters))[:, None]
    sums = np.stack([np.bincount(cells, pull) for pull in pulls.T])
    bread = np.linalg.inv(matrix)
    covariance = bread @ (sums @ sums.T) @ bread * (count / (count - 1))
    few = float(stdtrit(count - 1, 0.975)) / 1.96
    return few * math.sqrt(max(float(covariance[0, 0]), 0.0))


def _cells(pixels: Float[np.ndarray, "points 2"], size: tuple[int, ...], along: int) -> Int[np.ndarray, " points"]:
    """Which square of the image each point lies in, ``along`` of them along its longer side."""
    columns, rows = np.minimum(np.floor(pixels * (along / max(size))), along - 1).astype(np.intp).T
    return rows * along + columns


def _spread(residuals: Float[np.ndarray, " n"]) -> float:
    """Robust standard deviation of residuals around 0."""
    return 1.4826 * float(np.median(np.abs(residuals)))


def _fault(fit: AlignedDepth, spread_of_constant: float, affine: bool, rule: DepthAlignmentRule) -> str:
    """Why a fit is not believed; empty when it is."""
    if fit.factor <= 0:
        return f"the depth map is the wrong way round: its factor is {fit.factor:.3g}, near would be far"
    if fit.inlier_share < rule.min_inlier_share:
        return (
            f"the depth map does not fit: {fit.inlier_share:.2f} of {fit.points} points agree within "
            f"{100 * rule.tolerance:.0f} %; {rule.min_inlier_share:.2f} are needed"
        )
    most = rule.max_share_of_constant_affine if affine else rule.max_share_of_constant
    if fit.relative_spread > max(0.0 if affine else rule.close_spread, most * spread_of_constant):
        return (
            f"the depth map explains nothing: the points' depths spread by {fit.relative_spread:.2f} around it and by "
            f"{spread_of_constant:.2f} around one constant depth"
        )
    if not fit.factor >= rule.min_significance * fit.factor_deviation:
        return (
            f"the depth map's factor cannot be told: {fit.factor:.3g} with a standard deviation of "
            f"{fit.factor_deviation:.2g}; its depths do not vary as the points' depths do"
        )
    return ""
