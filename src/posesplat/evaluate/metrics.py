"""Errors of trajectories and poses, as the field defines them.

All poses are cam_from_world in batches of shape (n,), estimated and true in the same world frame and paired
(:mod:`posesplat.evaluate.association`, :mod:`posesplat.evaluate.alignment`). Source of the trajectory errors: Sturm et
al., A benchmark for the evaluation of RGB-D SLAM systems, IROS 2012, sections IV.A and IV.B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.poses import pose_errors


@dataclass(frozen=True)
class ErrorStatistics:
    """Summary of a list of errors, in their unit."""

    rmse: float
    """Root of the mean square."""
    mean: float
    """Arithmetic mean."""
    median: float
    """Middle value."""
    std: float
    """Population standard deviation (divided by n)."""
    min: float
    """Smallest error."""
    max: float
    """Largest error."""
    count: int
    """How many errors there are."""

    @staticmethod
    def of(errors: Float[np.ndarray, " n"]) -> ErrorStatistics:
        """The statistics of at least one finite error."""
        if not len(errors) or not np.isfinite(errors).all():
            raise ValueError(
                f"Statistics need at least one error and only finite ones; got {len(errors)} errors, "
                f"{np.count_nonzero(~np.isfinite(errors))} not finite. Leave failures out and count them apart."
            )
        return ErrorStatistics(
            rmse=float(np.sqrt(np.mean(np.square(errors)))),
            mean=float(np.mean(errors)),
            median=float(np.median(errors)),
            std=float(np.std(errors)),
            min=float(np.min(errors)),
            max=float(np.max(errors)),
            count=len(errors),
        )

    def to_json(self) -> dict[str, float | int]:
        """A JSON-ready record."""
        return asdict(self)


@dataclass(frozen=True)
class PoseErrors:
    """Translation and rotation error of each pose, or of each pair of poses."""

    translation: Float[np.ndarray, " n"]
    """In the unit of the true world, usually metres."""
    rotation_deg: Float[np.ndarray, " n"]
    """Degrees in [0, 180]."""

    @property
    def translation_statistics(self) -> ErrorStatistics:
        """Summary of the translation errors."""
        return ErrorStatistics.of(self.translation)

    @property
    def rotation_statistics(self) -> ErrorStatistics:
        """Summary of the rotation errors."""
        return ErrorStatistics.of(self.rotation_deg)


def absolute_trajectory_error(estimated: RigidTransform, true: RigidTransform) -> PoseErrors:
    """Distance between camera centres and angle between orientations, frame by frame (ATE; ``evo_ape``)."""
    _check_paired(estimated, true)
    return PoseErrors(*pose_errors(estimated, true))


def relative_pose_error(
    estimated: RigidTransform, true: RigidTransform, delta: int = 1, all_pairs: bool = False
) -> PoseErrors:
    """Error of the motion over ``delta`` frames, E = (Q_i^-1 Q_j)^-1 (P_i^-1 P_j) (RPE; ``evo_rpe``).

    P and Q are the estimated and true world_from_cam.

    Args:
        estimated: cam_from_world, shape (n,).
        true: cam_from_world, shape (n,).
        delta: frames from i to j, at least 1.
        all_pairs: True for every i, False for i = 0, delta, 2 delta, ... (pairs that do not overlap).

    Raises:
        ValueError: when the trajectory is not longer than ``delta`` frames.
    """
    count = _check_paired(estimated, true)
    if not 1 <= delta < count:
        raise ValueError(
            f"The step of a relative pose error must lie between 1 and the {count} paired poses minus one; got {delta}."
        )
    first = np.arange(0, count - delta, 1 if all_pairs else delta)
    estimated_motion, true_motion = _motions(estimated, first, delta), _motions(true, first, delta)
    error = true_motion.inv() * estimated_motion
    return PoseErrors(np.linalg.norm(error.translation, axis=-1), np.degrees(error.rotation.magnitude()))


def speed_difference(estimated: RigidTransform, true: RigidTransform, frame_rate_hz: float = 30.0) -> float:
    """Absolute difference of mean speeds: | mean step of the truth - mean step of the estimate | x frame rate.

    Unit: that of the world per second. Source: SmallGS (arXiv 2504.17810), section 4.
    """
    if _check_paired(estimated, true) < 2:
        raise ValueError("A speed needs at least 2 poses; got 1. Evaluate a longer trajectory.")
    estimated_step, true_step = (
        np.linalg.norm(np.diff(cam_from_world.inv().translation, axis=0), axis=1).mean()
        for cam_from_world in (estimated, true)
    )
    return float(abs(true_step - estimated_step) * frame_rate_hz)


def pose_auc(errors: Float[np.ndarray, " n"], thresholds: Sequence[float]) -> tuple[float, ...]:
    """Area under the curve of recall against error, up to each threshold, as a share of the best possible in [0, 1].

    Trapezoids between the sorted errors, from (0, 0), and flat from the last error below the threshold to it. An error
    of infinity counts a failure. Source: Sarlin et al., SuperGlue, CVPR 2020, section 5.2.
    """
    if not len(errors) or np.isnan(errors).any() or (errors < 0).any():
        raise ValueError("AUC needs at least one error, each >= 0 (infinity for a failure); got none, NaN or negative.")
    if not thresholds or min(thresholds) <= 0:
        raise ValueError(f"AUC thresholds must be positive, in the unit of the errors; got {thresholds}.")
    error = np.concatenate([[0.0], np.sort(errors)])
    recall = np.arange(len(error)) / len(errors)
    areas = []
    for threshold in thresholds:
        below = int(np.searchsorted(error[1:], threshold)) + 1
        heights = np.append(recall[:below], recall[below - 1])
        areas.append(float(np.trapezoid(heights, np.append(error[:below], threshold)) / threshold))
    return tuple(areas)


@dataclass(frozen=True)
class PairedInterval:
    """The difference of two methods' typical errors and its confidence interval."""

    difference: float
    """Statistic of the first minus statistic of the second."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""

    @property
    def first_is_lower(self) -> bool:
        """True when the first method's error is lower beyond the interval."""
        return self.high < 0

    @property
    def second_is_lower(self) -> bool:
        """True when the second method's error is lower beyond the interval."""
        return self.low > 0


def paired_interval(
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    seed: int,
    statistic: Literal["median", "mean"] = "median",
    level: float = 0.95,
    resamples: int = 2000,
) -> PairedInterval:
    """Percentile-bootstrap interval of statistic(first) - statistic(second) for errors on the same queries.

    Args:
        first: errors of one method, one a query.
        second: errors of the other, on the same queries in the same order.
        seed: of the resampling; equal seeds give equal intervals.
        statistic: what is compared.
        level: coverage in (0, 1).
        resamples: how often queries are drawn with replacement.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    if not len(first) or not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError(
            "A paired interval needs at least one query and finite errors for both methods; got none, NaN or infinity. "
            "Leave out the queries where either failed, and report how many they are."
        )
    if not 0 < level < 1:
        raise ValueError(f"The level of an interval must lie in (0, 1); got {level}.")
    summarise = np.median if statistic == "median" else np.mean
    drawn = np.random.default_rng(seed).integers(len(first), size=(resamples, len(first)))
    differences = summarise(first[drawn], axis=1) - summarise(second[drawn], axis=1)
    low, high = np.quantile(differences, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    return PairedInterval(float(summarise(first) - summarise(second)), float(low), float(high))


def _motions(cam_from_world: RigidTransform, first: Int[np.ndarray, " k"], delta: int) -> RigidTransform:
    return cam_from_world[first] * cam_from_world[first + delta].inv()


def _check_paired(estimated: RigidTransform, true: RigidTransform) -> int:
    if estimated.shape != true.shape or len(true.shape) != 1:
        raise ValueError(
            f"Estimated and true poses must be paired batches of shape (n,); got {estimated.shape} and {true.shape}. "
            "Pair them with posesplat.evaluate.association.associate."
        )
    return int(true.shape[0])
