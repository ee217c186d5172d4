"""A sequence of pose estimates with their times and names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.estimate import PoseEstimate


@dataclass(frozen=True)
class Trajectory:
    """Pose estimates in order, one for each frame; refused frames stay in their place."""

    estimates: tuple[PoseEstimate, ...]
    """One answer a frame."""
    timestamps: Float[np.ndarray, " n"]
    """Seconds; the frame's number where no clock is known."""
    names: tuple[str, ...]
    """Frame names, usually the image's file name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "estimates", tuple(self.estimates))
        object.__setattr__(self, "names", tuple(self.names))
        timestamps = np.array(self.timestamps, dtype=np.float64)
        timestamps.setflags(write=False)
        object.__setattr__(self, "timestamps", timestamps)
        count = len(self.estimates)
        if timestamps.shape != (count,) or len(self.names) != count:
            raise ValueError(
                f"Trajectory needs one timestamp and one name for each of its {count} estimates; "
                f"got {timestamps.shape} timestamps and {len(self.names)} names."
            )

    @staticmethod
    def from_poses(
        cam_from_world: Sequence[RigidTransform] | RigidTransform,
        timestamps: Sequence[float] | Float[np.ndarray, " n"] | None = None,
        names: Sequence[str] | None = None,
    ) -> Trajectory:
        """A trajectory of known poses (ground truth, or another program's answer)."""
        poses = list(cam_from_world)
        times = np.arange(len(poses), dtype=np.float64) if timestamps is None else np.asarray(timestamps, np.float64)
        labels = [f"{index:06d}" for index in range(len(poses))] if names is None else list(names)
        return Trajectory(tuple(PoseEstimate(True, "", pose) for pose in poses), times, tuple(labels))

    def __len__(self) -> int:
        return len(self.estimates)

    def __iter__(self) -> Iterator[PoseEstimate]:
        return iter(self.estimates)

    def __getitem__(self, index: int) -> PoseEstimate:
        return self.estimates[index]

    @property
    def posed(self) -> Bool[np.ndarray, " n"]:
        """Which frames have a pose."""
        return np.array([estimate.success for estimate in self.estimates], dtype=bool)

    def select(self, index: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> Trajectory:
        """The frames at ``index`` (positions, or a mask), in that order."""
        chosen = np.arange(len(self))[index]
        return Trajectory(
            tuple(self.estimates[i] for i in chosen), self.timestamps[chosen], tuple(self.names[i] for i in chosen)
        )

    def successes(self) -> Trajectory:
        """The frames that have a pose, in order."""
        return self.select(self.posed)

    def cam_from_world(self) -> RigidTransform:
        """The poses of the posed frames, stacked, shape (m,).

        Raises:
            ValueError: when no frame has a pose.
        """
        poses = [estimate.cam_from_world for estimate in self.estimates if estimate.cam_from_world is not None]
        if not poses:
            raise ValueError(f"No frame has a pose; got {len(self)} refusals. Look at each estimate's reason.")
        return RigidTransform.concatenate(poses)

    def world_from_cam(self) -> RigidTransform:
        """The inverse poses of the posed frames, stacked, shape (m,): rotation of the camera and its centre."""
        return self.cam_from_world().inv()
