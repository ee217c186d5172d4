"""How good a relative pose is, and the area under the curve of many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import block_diag
from scipy.spatial.transform import RigidTransform
from scipy.stats import chi2

from posesplat.evaluate.metrics import PairedInterval
from posesplat.evaluate.protocols.pair_cases import PairCase
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.poses import pose_errors, rescaled

AUC_DEG = (5.0, 10.0, 20.0)
SUCCESS_DEG = 5.0
SUCCESS_CM = 10.0
SUCCESS_PERCENT = 10.0
GOOD_PERCENT = 15.0
DIRECTION_DEG = 10.0
"""Largest direction error of a success where lengths are unknown."""
SMALL_BASELINE = 0.05
"""Of the median depth. Below it directions mean little, and the angle of the translation error at the scene is used."""
_RESAMPLES = 2000
_INF = math.inf


@dataclass(frozen=True)
class PairScore:
    """The errors of one answer; infinite for a refusal, NaN where an error is not defined."""

    rotation_deg: float = _INF
    """Angle between true and estimated rotation."""
    translation_cm: float = _INF
    """Distance of the camera centres of B, seen from A; NaN without metric truth."""
    baseline_percent: float = _INF
    """The same, in percent of the true distance of A and B."""
    direction_deg: float = _INF
    """Angle between true and estimated translation of b_from_a; 180 for an estimate without translation."""
    error_deg: float = _INF
    """What the AUC is about: the larger of rotation and direction error, with care for small baselines."""
    success: bool = False
    """Rotation below 5 degrees, and translation below 10 cm or 10 % of the baseline (direction below 10 degrees where
    there is no metric truth)."""
    good: bool = False
    """The same with 15 % of the baseline: what a flag of failure is judged by."""


REFUSED = PairScore()
"""No pose at all."""


def scored(estimate: PoseEstimate, case: PairCase, metric: bool = True) -> PairScore:
    """The errors of an answer to a case.

    Args:
        estimate: b_from_a as ``cam_from_world``.
        case: with the true pose.
        metric: False when the contender had no depth, so that lengths are not asked for.
    """
    found = estimate.cam_from_world
    if found is None:
        return REFUSED
    metres, degrees = (float(error) for error in pose_errors(found, case.b_from_a))
    direction = angle_between(found.translation, case.b_from_a.translation)
    if not (metric and case.metric):
        fine = degrees < SUCCESS_DEG and direction < DIRECTION_DEG
        return PairScore(degrees, math.nan, math.nan, direction, max(degrees, direction), fine, fine)
    percent = 100.0 * metres / case.baseline if case.baseline > 0 else math.inf
    shift = direction
    if case.baseline < SMALL_BASELINE * case.depth:
        shift = math.degrees(math.atan2(metres, case.depth))
    near = 100.0 * metres < SUCCESS_CM
    turned = degrees < SUCCESS_DEG
    return PairScore(
        degrees,
        100.0 * metres,
        percent,
        direction,
        max(degrees, shift),
        turned and (near or percent < SUCCESS_PERCENT),
        turned and (near or percent < GOOD_PERCENT),
    )


def angle_between(first: Float[np.ndarray, " 3"], second: Float[np.ndarray, " 3"]) -> float:
    """Degrees between two vectors, in [0, 180]; 180 when one of them is zero."""
    lengths = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if min(lengths) == 0.0:
        return 180.0
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(first, second))), float(np.dot(first, second))))


def aucs(errors: Float[np.ndarray, "*sets n"], threshold: float) -> Float[np.ndarray, "*sets"]:
    """:func:`posesplat.evaluate.metrics.pose_auc` of many sets of errors at once, in [0, 1]."""
    ordered = np.sort(errors, axis=-1)
    count = ordered.shape[-1]
    below = ordered < threshold
    clipped = np.minimum(ordered, threshold)
    widths = np.diff(clipped, axis=-1, prepend=0.0)
    heights = (np.arange(count) + 0.5 * below) / count
    return np.asarray((np.sum(widths * heights, axis=-1) + (threshold - clipped[..., -1])) / threshold)


def paired_auc_interval(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"], threshold: float, seed: int, level: float = 0.95
) -> PairedInterval:
    """AUC of the first minus AUC of the second, in percent, with the percentile-bootstrap interval over pairs.

    Unlike for errors, a positive difference is in favour of the first.
    """
    drawn = np.random.default_rng(seed).integers(len(first), size=(_RESAMPLES, len(first)))
    differences = 100.0 * (aucs(first[drawn], threshold) - aucs(second[drawn], threshold))
    low, high = np.quantile(differences, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    here = 100.0 * float(aucs(first, threshold) - aucs(second, threshold))
    return PairedInterval(here, float(low), float(high))


def normalised_error(
    estimate: PoseEstimate, true: RigidTransform, truth_error: tuple[float, float] = (0.0, 0.0)
) -> float:
    """Squared Mahalanobis length of log(estimated * true^-1), chi-square of 6 degrees of freedom when honest.

    An estimate without metric scale is asked for rotation and direction alone; their 5 degrees of freedom are turned
    into 6 at equal probability. NaN without a pose or a covariance, infinite for a covariance that cannot be inverted.

    Args:
        estimate: b_from_a as ``cam_from_world``, with its covariance.
        true: b_from_a.
        truth_error: standard deviation of the true pose along each axis, degrees and metres, added to the covariance.
    """
    if estimate.cam_from_world is None or estimate.covariance is None:
        return math.nan
    found, asked = estimate.cam_from_world, np.eye(6)
    sigmas = np.repeat([math.radians(truth_error[0]), truth_error[1]], 3)
    if not estimate.scale.metric:
        found, true = (
            rescaled(pose, 1.0 / max(float(np.linalg.norm(pose.translation)), 1e-12)) for pose in (found, true)
        )
        across = np.linalg.svd(np.asarray(found.translation)[None])[2][1:]
        asked = block_diag(np.eye(3), across)
    error = asked @ (found * true.inv()).as_exp_coords()
    try:
        squared = float(error @ np.linalg.solve(asked @ (estimate.covariance + np.diag(sigmas**2)) @ asked.T, error))
    except np.linalg.LinAlgError:
        return math.inf
    return squared if len(asked) == 6 else float(chi2.isf(chi2.sf(squared, len(asked)), 6))
