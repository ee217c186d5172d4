"""Small results to look at: a coloured wall and a few cameras before it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.trajectory import Trajectory
from posesplat.viewer.shown import ShownResult

CAMERA = Camera(60.0, 60.0, 32.0, 24.0, 64, 48)
WALL_RGB = (0.1, 0.3, 0.9)
DISTANCE_M = 2.0
REASON = "Too little of the map is seen: 3 % of the frame."
MATRICES = np.diag([1e-6] * 3 + [4e-4, 1e-4, 9e-4])


def wall(step_m: float = 0.04, rgb: tuple[float, float, float] = WALL_RGB) -> Gaussians:
    """A flat wall at z = 2 m, 4 m wide and 3 m high."""
    x, y = np.meshgrid(np.arange(-2.0, 2.0, step_m), np.arange(-1.5, 1.5, step_m))
    means = np.stack([x, y, np.full_like(x, DISTANCE_M)], axis=-1).reshape(-1, 3).astype(np.float32)
    count = len(means)
    return Gaussians(
        means_in_world=means,
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        scales=np.tile(np.array([0.7 * step_m, 0.7 * step_m, 0.002], np.float32), (count, 1)),
        opacities=np.full(count, 0.95, np.float32),
        colors=np.tile(np.array(rgb, np.float32), (count, 1)),
    )


def moving_camera(count: int = 5, step_m: float = 0.2) -> list[RigidTransform]:
    """cam_from_world of a camera that goes to the right and looks ahead."""
    return [RigidTransform.from_translation([-step_m * (k - count // 2), 0.0, 0.0]) for k in range(count)]


def trajectory(refused: tuple[int, ...] = (), count: int = 5) -> Trajectory:
    """The moving camera, with a covariance, and refusals."""
    estimates = tuple(
        PoseEstimate.failure(REASON)
        if index in refused
        else PoseEstimate(True, "", pose, covariance=MATRICES, scale=Scale(True, "map"))
        for index, pose in enumerate(moving_camera(count))
    )
    return Trajectory(estimates, np.arange(count, dtype=float), tuple(f"{index:02d}.png" for index in range(count)))


def shown(refused: tuple[int, ...] = (), label: str = "wall", gaussians: Gaussians | None = None) -> ShownResult:
    """The wall seen by the moving camera; every frame has a green picture, and a truth 5 cm above the answer."""
    answer = trajectory(refused)
    up = RigidTransform.from_translation([0.0, 0.05, 0.0])
    picture = np.full((48, 64, 3), (30, 180, 60), np.uint8)
    return ShownResult(
        label,
        answer,
        (CAMERA,) * len(answer),
        wall() if gaussians is None else gaussians,
        tuple(up * pose for pose in moving_camera(len(answer))),
        dict.fromkeys(range(len(answer)), picture),
    )


def moved(result: ShownResult, b_from_a: RigidTransform) -> ShownResult:
    """The same result in another world."""
    estimates = tuple(
        estimate
        if estimate.cam_from_world is None
        else estimate.replace(cam_from_world=estimate.cam_from_world * b_from_a.inv())
        for estimate in result.trajectory
    )
    answer = Trajectory(estimates, result.trajectory.timestamps, result.trajectory.names)
    assert result.gaussians is not None
    return ShownResult(result.label, answer, result.cameras, result.gaussians.transformed(b_from_a))


TURNED = RigidTransform.from_components([3.0, -1.0, 0.5], Rotation.from_rotvec([0.4, -1.1, 0.8]))
