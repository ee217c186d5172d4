"""One estimated trajectory judged against the true one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from posesplat.evaluate.alignment import Alignment, Similarity, aligned
from posesplat.evaluate.association import Matching, associate
from posesplat.evaluate.metrics import (
    ErrorStatistics,
    absolute_trajectory_error,
    relative_pose_error,
    speed_difference,
)
from posesplat.geometry.trajectory import Trajectory


@dataclass(frozen=True)
class Evaluation:
    """Errors of an estimated trajectory; translations in the unit of the truth, usually metres."""

    align: Alignment
    """How the estimate was brought into the true world first."""
    true_from_estimated: Similarity
    """The alignment that was found."""
    frames: int
    """Frames of the estimate, with or without a pose."""
    posed: int
    """Frames of the estimate that have a pose."""
    compared: int
    """Posed frames that have a counterpart in the truth: what all errors are about."""
    ate_translation: ErrorStatistics
    """Distances between camera centres."""
    ate_rotation_deg: ErrorStatistics
    """Angles between orientations in degrees."""
    delta: int
    """Frames between the two poses of a relative error."""
    all_pairs: bool
    """True when relative errors overlap."""
    rpe_translation: ErrorStatistics | None
    """Translation of the motion error over ``delta`` frames; None when too few frames are compared."""
    rpe_rotation_deg: ErrorStatistics | None
    """Rotation of the motion error over ``delta`` frames, degrees; None when too few frames are compared."""
    speed_difference: float | None
    """Difference of mean speeds, unit per second; None when time stands still or fewer than 2 frames are compared."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record; what could not be computed is null."""

        def record(statistics: ErrorStatistics | None) -> dict[str, float | int] | None:
            return None if statistics is None else statistics.to_json()

        return {
            "align": self.align,
            "true_from_estimated": self.true_from_estimated.to_json(),
            "frames": self.frames,
            "posed": self.posed,
            "compared": self.compared,
            "ate_translation": record(self.ate_translation),
            "ate_rotation_deg": record(self.ate_rotation_deg),
            "delta": self.delta,
            "all_pairs": self.all_pairs,
            "rpe_translation": record(self.rpe_translation),
            "rpe_rotation_deg": record(self.rpe_rotation_deg),
            "speed_difference": self.speed_difference,
        }


def evaluate(
    estimated: Trajectory,
    true: Trajectory,
    align: Alignment = "se3",
    match: Matching = "timestamp",
    max_time_difference_s: float = 0.01,
    delta: int = 1,
    all_pairs: bool = False,
) -> Evaluation:
    """Pair two trajectories, align them, and measure absolute and relative errors and the speed difference.

    Args:
        estimated: the trajectory to judge.
        true: the trajectory to judge against.
        align: ``se3`` (rotation and translation), ``sim3`` (and scale, for answers without one) or ``none``.
        match: how frames are paired, see :func:`posesplat.evaluate.association.associate`.
        max_time_difference_s: largest gap of a pair in seconds, for ``timestamp``.
        delta: frames between the two poses of a relative error.
        all_pairs: True to take relative errors from every frame on, False for pairs that do not overlap.

    Raises:
        ValueError: when nothing pairs, or the alignment is undetermined.
    """
    if delta < 1:
        raise ValueError(f"The step of the relative error must be at least 1 frame; got {delta}.")
    mine, theirs = associate(estimated, true, match, max_time_difference_s)
    true_poses = theirs.cam_from_world()
    moved, similarity = aligned(mine.cam_from_world(), true_poses, align)
    absolute = absolute_trajectory_error(moved, true_poses)
    relative = relative_pose_error(moved, true_poses, delta, all_pairs) if delta < len(mine) else None
    frame_time_s = float(np.median(np.diff(theirs.timestamps))) if len(theirs) > 1 else 0.0
    return Evaluation(
        align=align,
        true_from_estimated=similarity,
        frames=len(estimated),
        posed=int(np.count_nonzero(estimated.posed)),
        compared=len(mine),
        ate_translation=absolute.translation_statistics,
        ate_rotation_deg=absolute.rotation_statistics,
        delta=delta,
        all_pairs=all_pairs,
        rpe_translation=None if relative is None else relative.translation_statistics,
        rpe_rotation_deg=None if relative is None else relative.rotation_statistics,
        speed_difference=speed_difference(moved, true_poses, 1 / frame_time_s) if frame_time_s > 0 else None,
    )
