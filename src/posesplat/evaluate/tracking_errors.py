"""Errors of a tracked video frame by frame, beside those of a camera at rest and of the straight line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.alignment import Similarity
from posesplat.evaluate.metrics import absolute_trajectory_error, relative_pose_error
from posesplat.evaluate.protocols.track_contenders import line_between_ends, static_camera
from posesplat.evaluate.protocols.track_scores import best_alignment, translation_unknown
from posesplat.geometry.trajectory import Trajectory

_FEWEST = 3
_NAN = float("nan")
_STILL = 1e-9


@dataclass(frozen=True)
class PathErrors:
    """RMS errors of one path; NaN where there is too little to compare."""

    label: str
    """Whose path."""
    ate: float = _NAN
    """Distance of camera centres after the best alignment, in the unit of the truth."""
    rpe: float = _NAN
    """Translation error of the motion from one compared frame to the next, after that alignment."""
    rpe_deg: float = _NAN
    """Rotation error of the motion from one compared frame to the next."""
    first_deg: float = _NAN
    """Rotation error against the first compared frame."""


@dataclass(frozen=True)
class TrackingErrors:
    """A tracked video against true poses.

    Rotations are compared in all frames with a pose and a truth; translations in those of them whose translation is
    observable, after the similarity that brings their centres closest, or the rigid motion for an answer in metres.
    """

    translation: Float[np.ndarray, " n"]
    """Distance of camera centres after alignment, in the unit of the truth; NaN where nothing is compared."""
    rotation_deg: Float[np.ndarray, " n"]
    """Rotation error against the first compared frame; NaN where nothing is compared."""
    true_from_world: Similarity | None
    """The alignment; None for fewer than three translations to compare, or when it has no positive scale."""
    with_scale: bool
    """Whether the alignment was free to change the scale: unless all compared translations are in metres."""
    paths: tuple[PathErrors, ...]
    """The answer, then a camera at rest, then the straight line between the true ends, on the same frames."""

    @staticmethod
    def of(trajectory: Trajectory, true: Sequence[RigidTransform | None]) -> TrackingErrors | None:
        """The errors of a trajectory; None when fewer than two frames have a pose and a truth.

        Args:
            trajectory: one estimate a frame.
            true: cam_from_world of each frame, None where it is not known.

        Raises:
            ValueError: when there is not one truth, or None, for each frame.
        """
        if len(trajectory) != len(true):
            raise ValueError(
                f"Errors need one true pose, or None, for each of the {len(trajectory)} frames; got {len(true)}. "
                "Leave out those of frames that were not tracked."
            )
        turned = np.flatnonzero(trajectory.posed & [pose is not None for pose in true])
        if len(turned) < 2:
            return None
        moved = np.flatnonzero(observable(trajectory) & np.isin(np.arange(len(true)), turned))
        metric = all(trajectory[int(index)].scale.metric for index in moved)
        known = [index for index, pose in enumerate(true) if pose is not None]
        truth = RigidTransform.concatenate([pose for pose in true if pose is not None])
        refused = RigidTransform.identity()
        answer = [refused if e.cam_from_world is None else e.cam_from_world for e in trajectory]
        paths = {
            "this answer": RigidTransform.concatenate([answer[index] for index in known]),
            "static camera": static_camera(truth),
            "line between true ends": line_between_ends(truth),
        }
        places, turned_places = np.searchsorted(known, moved), np.searchsorted(known, turned)
        rows: list[PathErrors] = []
        translation, rotation_deg = np.full(len(true), _NAN), np.full(len(true), _NAN)
        alignment: Similarity | None = None
        for label, path in paths.items():
            angles = _against_first(path[turned_places], truth[turned_places])
            steps = relative_pose_error(path[turned_places], truth[turned_places], 1, all_pairs=True)
            row = PathErrors(
                label, rpe_deg=steps.rotation_statistics.rmse, first_deg=float(np.sqrt(np.mean(np.square(angles))))
            )
            fit = _alignment(path[places], truth[places], metric)
            if fit is not None:
                aligned = fit.moved_cameras(path[places])
                centres = absolute_trajectory_error(aligned, truth[places])
                relative = relative_pose_error(aligned, truth[places], 1, all_pairs=True).translation_statistics
                row = PathErrors(label, centres.translation_statistics.rmse, relative.rmse, row.rpe_deg, row.first_deg)
            if not rows:
                rotation_deg[turned] = angles
                if fit is not None:
                    translation[moved] = centres.translation
                    alignment = fit if fit.scale > 0 else None
            rows.append(row)
        return TrackingErrors(translation, rotation_deg, alignment, not metric, tuple(rows))


def aligned_truth(
    trajectory: Trajectory, true: Sequence[RigidTransform | None] | None
) -> tuple[RigidTransform | None, ...]:
    """True poses in the world and unit of a trajectory, by the alignment of its errors; empty where there is none."""
    errors = None if true is None else TrackingErrors.of(trajectory, true)
    if true is None or errors is None or errors.true_from_world is None:
        return ()
    world_from_true = errors.true_from_world.inverse()
    return tuple(None if pose is None else world_from_true.moved_cameras(pose) for pose in true)


def observable(trajectory: Trajectory) -> Bool[np.ndarray, " n"]:
    """Which frames have a pose whose translation means something."""
    return np.array([e.success and not translation_unknown(e.covariance) for e in trajectory], dtype=bool)


def _against_first(estimated: RigidTransform, true: RigidTransform) -> Float[np.ndarray, " m"]:
    turned, true_turned = (poses.rotation * poses[0].rotation.inv() for poses in (estimated, true))
    return np.asarray(np.degrees((turned * true_turned.inv()).magnitude()))


def _alignment(estimated: RigidTransform, true: RigidTransform, metric: bool) -> Similarity | None:
    """The best alignment; None for too few frames, or for a free scale and a camera that never moved."""
    if len(true) < _FEWEST:
        return None
    centres = true.inv().translation
    if not metric and np.linalg.norm(centres - centres[0], axis=1).max() < _STILL:
        return None
    return best_alignment(estimated, true, with_scale=not metric)
