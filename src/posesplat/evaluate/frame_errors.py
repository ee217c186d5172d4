"""The error of each frame of a trajectory whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.metrics import ErrorStatistics
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.poses import pose_errors
from posesplat.geometry.trajectory import Trajectory


@dataclass(frozen=True)
class FrameErrors:
    """Errors frame by frame, in the world of the truth and without alignment; NaN where there is nothing to compare."""

    translation: Float[np.ndarray, " n"]
    """Distance of the camera centres in the unit of the world."""
    rotation_deg: Float[np.ndarray, " n"]
    """Angle between the orientations in degrees."""

    @staticmethod
    def of(trajectory: Trajectory, true: Sequence[RigidTransform | None]) -> FrameErrors:
        """The errors of a trajectory; ``true`` holds cam_from_world of each frame, None where it is not known."""
        pairs = [_error(estimate, pose) for estimate, pose in zip(trajectory, true, strict=True)]
        table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        return FrameErrors(table[:, 0], table[:, 1])

    @property
    def known(self) -> Bool[np.ndarray, " n"]:
        """Which frames have both an estimate and a truth."""
        return np.asarray(np.isfinite(self.translation))

    def statistics(self) -> tuple[ErrorStatistics, ErrorStatistics] | None:
        """Summaries of translation and rotation; None when no frame can be compared."""
        known = self.known
        if not known.any():
            return None
        return ErrorStatistics.of(self.translation[known]), ErrorStatistics.of(self.rotation_deg[known])

    def to_json(self, index: int) -> dict[str, float] | None:
        """A JSON-ready record of one frame; None where there is nothing to compare."""
        if not self.known[index]:
            return None
        return {"translation": float(self.translation[index]), "rotation_deg": float(self.rotation_deg[index])}


def standard_deviations(estimate: PoseEstimate) -> tuple[float, float]:
    """Root-mean-square length that the covariance expects of the error: centre (world's unit), rotation (degrees).

    NaN without a covariance.
    """
    if estimate.covariance is None:
        return float("nan"), float("nan")
    rotation, translation = np.trace(estimate.covariance[:3, :3]), np.trace(estimate.covariance[3:, 3:])
    return float(np.sqrt(translation)), float(np.degrees(np.sqrt(rotation)))


def errors_json(errors: FrameErrors) -> dict[str, Any] | None:
    """A JSON-ready summary of all frames."""
    statistics = errors.statistics()
    if statistics is None:
        return None
    return {"translation": statistics[0].to_json(), "rotation_deg": statistics[1].to_json()}


def _error(estimate: PoseEstimate, true: RigidTransform | None) -> tuple[float, float]:
    if estimate.cam_from_world is None or true is None:
        return float("nan"), float("nan")
    translation, rotation_deg = pose_errors(estimate.cam_from_world, true)
    return float(translation), float(rotation_deg)
