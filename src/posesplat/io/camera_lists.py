"""Which camera belongs to which frame."""

from __future__ import annotations

from collections.abc import Sequence

from posesplat.geometry.cameras import Camera
from posesplat.geometry.trajectory import Trajectory


def camera_of_each_frame(trajectory: Trajectory, camera: Camera | Sequence[Camera]) -> tuple[Camera, ...]:
    """One camera for each frame, from one for all or a list.

    Raises:
        ValueError: when the list has another length than the trajectory.
    """
    if isinstance(camera, Camera):
        return (camera,) * len(trajectory)
    cameras = tuple(camera)
    if len(cameras) != len(trajectory):
        raise ValueError(
            f"Cameras must be one for all frames or one for each of {len(trajectory)}; got {len(cameras)}. "
            "Pass the camera of every frame, failed ones included."
        )
    return cameras
