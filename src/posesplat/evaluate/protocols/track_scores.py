"""How good a trajectory is against true poses, and what it says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.alignment import Similarity, aligned
from posesplat.evaluate.metrics import absolute_trajectory_error, relative_pose_error, speed_difference
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.track_segment import UNOBSERVABLE_VARIANCE

Verdict = Literal["motion", "weak", "unobservable", "refused"]
"""motion = without reservation, weak = with a warning, unobservable = rotation only, refused = no poses."""

_FEWEST = 3
_NAN = float("nan")
_STILL_M = 1e-9
_REGION_95 = {3: 7.8147, 6: 12.5916}
"""95 % quantiles of the chi-square distribution by degrees of freedom."""


@dataclass(frozen=True)
class Score:
    """The errors of one trajectory; NaN where one is not defined."""

    frames: int
    """Frames of the clip."""
    posed: int
    """Frames with a pose; all errors are of these."""
    verdict: Verdict
    """What the trajectory says about itself."""
    ate_mm: float = _NAN
    """RMS distance of camera centres after the best similarity (rotation, translation, scale)."""
    ate_se3_mm: float = _NAN
    """The same without a change of scale, for answers in metres."""
    rpe_mm: float = _NAN
    """RMS translation error of the motion from frame to frame, after that similarity."""
    rpe_deg: float = _NAN
    """RMS rotation error of the motion from frame to frame."""
    first_deg: float = _NAN
    """Largest error of a rotation against the first posed frame."""
    speed_mm_s: float = _NAN
    """Difference of mean speeds after that similarity, SmallGS's delta v."""
    coverage: float = _NAN
    """Share of frames whose 95 % region holds the true pose relative to the first frame at the best common scale."""


def scored(trajectory: Trajectory, true: RigidTransform, rate_hz: float = 30.0) -> Score:
    """The errors of a trajectory of as many frames as there are true poses.

    Errors are in the unit of the true world, metres, times 1000. Translation errors are NaN for fewer than three poses,
    for a true camera at rest, and where the trajectory says itself that its translations mean nothing.

    Args:
        trajectory: one estimate a frame.
        true: cam_from_world of all frames, shape (n,).
        rate_hz: frames a second.
    """
    if len(trajectory) != len(true):
        raise ValueError(
            f"A score needs one estimate for each true pose; got {len(trajectory)} estimates and {len(true)} poses."
        )
    said = verdict(trajectory)
    posed = np.flatnonzero(trajectory.posed)
    if len(posed) < 2:
        return Score(len(trajectory), len(posed), said)
    estimated, truth = trajectory.cam_from_world(), true[posed]
    turned, true_turned = (poses.rotation * poses[0].rotation.inv() for poses in (estimated, truth))
    first_deg = float(np.degrees((turned * true_turned.inv()).magnitude()).max())
    steps = relative_pose_error(estimated, truth, 1, all_pairs=True)
    rpe_deg, covered = steps.rotation_statistics.rmse, coverage(trajectory, true)
    centres = truth.inv().translation
    at_rest = np.linalg.norm(centres - centres[0], axis=1).max() < _STILL_M
    rotations = Score(len(trajectory), len(posed), said, rpe_deg=rpe_deg, first_deg=first_deg, coverage=covered)
    if len(posed) < _FEWEST or at_rest or said == "unobservable":
        return rotations
    moved = best_aligned(estimated, truth)
    metric = all(estimate.scale.metric for estimate in trajectory if estimate.success)
    unscaled = best_aligned(estimated, truth, with_scale=False) if metric else None
    return Score(
        len(trajectory),
        len(posed),
        said,
        1e3 * absolute_trajectory_error(moved, truth).translation_statistics.rmse,
        _NAN if unscaled is None else 1e3 * absolute_trajectory_error(unscaled, truth).translation_statistics.rmse,
        1e3 * relative_pose_error(moved, truth, 1, all_pairs=True).translation_statistics.rmse,
        rpe_deg,
        first_deg,
        1e3 * speed_difference(moved, truth, rate_hz),
        covered,
    )


def best_aligned(estimated: RigidTransform, true: RigidTransform, with_scale: bool = True) -> RigidTransform:
    """Estimated poses after :func:`best_alignment`."""
    return best_alignment(estimated, true, with_scale).moved_cameras(estimated)


def best_alignment(estimated: RigidTransform, true: RigidTransform, with_scale: bool = True) -> Similarity:
    """The best similarity true_from_estimated; where that is not unique (a camera at rest or on a straight line in
    either trajectory), its rotation is the first frame's and only scale and translation are fitted."""
    try:
        return aligned(estimated, true, "sim3" if with_scale else "se3")[1]
    except ValueError:
        pass
    rotation = true[0].rotation.inv() * estimated[0].rotation
    centres, true_centres = rotation.apply(estimated.inv().translation), true.inv().translation
    spread, true_spread = (points - points.mean(axis=0) for points in (centres, true_centres))
    size = float(np.sum(spread**2))
    scale = 1.0
    if with_scale:
        scale = max(float(np.sum(spread * true_spread)) / size, 0.0) if size > _STILL_M**2 else 0.0
    shift = true_centres.mean(axis=0) - scale * centres.mean(axis=0)
    return Similarity(rotation, shift, scale)


def verdict(trajectory: Trajectory) -> Verdict:
    """What a trajectory says about itself; refused when it poses fewer than half of its frames."""
    posed = [estimate for estimate in trajectory if estimate.success]
    if 2 * len(posed) < len(trajectory):
        return "refused"
    unseen = sum(translation_unknown(estimate.covariance) for estimate in posed)
    if 2 * unseen > len(posed) - 1:
        return "unobservable"
    return "weak" if unseen or any(estimate.warnings for estimate in posed) else "motion"


def coverage(trajectory: Trajectory, true: RigidTransform) -> float:
    """Share of frames whose 95 % region holds the truth; NaN without covariances.

    Poses are taken relative to the first posed frame, which has no error then, and true translations are brought to the
    estimate's unit by the scale of least squared difference. Where translation is unknown, the region is of the
    rotation alone.
    """
    posed = np.flatnonzero(trajectory.posed).tolist()
    if len(posed) < 2 or any(trajectory[index].covariance is None for index in posed):
        return _NAN
    estimated = trajectory.cam_from_world()
    origin = estimated[0]
    truth = true[posed] * true[posed[0]].inv()
    relative = estimated * origin.inv()
    size = float(np.sum(truth.translation**2))
    unknown = [translation_unknown(trajectory[index].covariance) for index in posed]
    seen = ~np.array(unknown)
    scale = float(np.sum((relative.translation * truth.translation)[seen])) / size if size > _STILL_M**2 else 0.0
    metric = all(trajectory[index].scale.metric for index in posed)
    # A unit of length is positive: of a path that runs the wrong way round, the covariance must know that it may.
    scale = 1.0 if metric else abs(scale)
    expected = RigidTransform.from_components(scale * truth.translation, truth.rotation)
    gaps = (relative * expected.inv()).as_exp_coords()
    held = []
    for place in range(1, len(posed)):
        size_of = 3 if unknown[place] else 6
        gap, spread = gaps[place, :size_of], np.asarray(trajectory[posed[place]].covariance)[:size_of, :size_of]
        try:
            held.append(float(gap @ np.linalg.solve(spread, gap)) <= _REGION_95[size_of])
        except np.linalg.LinAlgError:
            held.append(False)
    return float(np.mean(held))


def translation_unknown(covariance: np.ndarray | None) -> bool:
    """Whether a covariance says that its translation means nothing."""
    return covariance is not None and float(np.trace(covariance[3:, 3:])) >= UNOBSERVABLE_VARIANCE
