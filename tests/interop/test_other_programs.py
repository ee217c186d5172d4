"""nerfstudio's documented rays hit what our cameras see, and evo reads our trajectories."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.alignment import aligned
from posesplat.evaluate.metrics import absolute_trajectory_error
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import looking_at, perturbed
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.formats import read_trajectory, write_trajectory
from posesplat.testing import sample_views

# docs.nerf.studio, data conventions: "+X is right, +Y is up, and +Z is pointing back and away from the camera. -Z is
# the look-at direction"; world space: "up is +Z". The columns of transform_matrix are those axes and the position.
DOCUMENTED = {
    "at the origin, looking down": ([0, 0, 0], [0, 0, -1], [0, -1, 0], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]),
    "south of the scene, looking north": (
        [0, -5, 1],
        [0, 0, 1],
        [0, 0, -1],
        [[1, 0, 0, 0], [0, 0, -1, -5], [0, 1, 0, 1]],
    ),
    "east of the scene, looking west": ([4, 0, 2], [0, 0, 2], [0, 0, -1], [[0, 0, 1, 4], [1, 0, 0, 0], [0, 1, 0, 2]]),
}
"""Position, where it looks, down, and the matrix worked out by hand."""


@pytest.mark.parametrize("name", DOCUMENTED)
def test_matrices_are_those_of_the_documentation(name: str, tmp_path: Path) -> None:
    position, target, down, expected = DOCUMENTED[name]
    pose = looking_at(*(np.array(part, dtype=float) for part in (position, target, down)))
    path = write_trajectory(
        tmp_path / "transforms.json",
        Trajectory.from_poses([pose]),
        Camera(100.0, 100.0, 32.0, 24.0, 64, 48),
        "nerfstudio",
    )
    matrix = json.loads(path.read_text())["frames"][0]["transform_matrix"]
    np.testing.assert_allclose(matrix, [*expected, [0, 0, 0, 1]], atol=1e-12)


def nerfstudio_ray(record: dict, frame: dict, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Origin and direction as in nerfstudio's Cameras.generate_rays: pixel centres at 0.5, y up, looking at -z."""
    y, x = row + 0.5, column + 0.5
    direction = np.array([(x - record["cx"]) / record["fl_x"], -(y - record["cy"]) / record["fl_y"], -1.0])
    matrix = np.array(frame["transform_matrix"])
    return matrix[:3, 3], matrix[:3, :3] @ direction


def test_rays_of_nerfstudio_hit_what_our_pixels_see(tmp_path: Path) -> None:
    """Depth along nerfstudio's ray of a pixel gives the point that our camera projects to that pixel's centre."""
    frames, poses = sample_views(3)
    camera = frames[0].camera
    path = write_trajectory(tmp_path, Trajectory.from_poses(poses), camera, "nerfstudio")
    record = json.loads(path.read_text())
    assert (record["w"], record["h"]) == (camera.width, camera.height)
    for seen, pose, frame in zip(frames, poses, record["frames"], strict=True):
        assert seen.depth is not None
        for row, column in ((0, 0), (60, 80), (119, 3), (17, 159)):
            origin, direction = nerfstudio_ray(record, frame, row, column)
            point = origin + float(seen.depth[row, column]) * direction
            in_cam = pose.apply(point)
            np.testing.assert_allclose(in_cam[2], seen.depth[row, column], rtol=1e-6)
            place = in_cam[:2] / in_cam[2] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
            np.testing.assert_allclose(place, [column + 0.5, row + 0.5], atol=1e-6)


def estimated(poses: RigidTransform) -> RigidTransform:
    rng = np.random.default_rng(1)
    return RigidTransform.concatenate([perturbed(pose, rng.normal(0, 0.01, 6)) for pose in poses])


@pytest.mark.parametrize("format", ["tum", "kitti"])
def test_evo_reads_our_trajectories_and_finds_our_errors(format: str, tmp_path: Path) -> None:
    """evo is under the GPL, so it is no dependency: install it by hand to run this."""
    file_interface = pytest.importorskip("evo.tools.file_interface", reason="needs evo, installed by hand")
    from evo.core import metrics, sync

    _, poses = sample_views(30, 16, 12, 40.0, (0.8, 0.1, 0.2))
    times = 1305031102.175304 + np.arange(30) / 30
    paths = []
    for name, one in (("true", poses), ("found", estimated(poses))):
        paths.append(write_trajectory(tmp_path / f"{name}.txt", Trajectory.from_poses(one, times), None, format))
    read = {"tum": file_interface.read_tum_trajectory_file, "kitti": file_interface.read_kitti_poses_file}[format]
    theirs = [read(str(path)) for path in paths]
    if format == "tum":
        theirs = list(sync.associate_trajectories(*theirs, max_diff=0.001))
        np.testing.assert_allclose(theirs[0].timestamps, times, atol=1e-6)
    assert all(one.check()[0] for one in theirs)
    np.testing.assert_allclose(theirs[0].poses_se3, poses.inv().as_matrix(), atol=1e-6)
    theirs[1].align(theirs[0], correct_scale=False)
    error = metrics.APE(metrics.PoseRelation.translation_part)
    error.process_data(tuple(theirs))
    true, found = (read_trajectory(path).cam_from_world() for path in paths)
    ours = absolute_trajectory_error(aligned(found, true, "se3")[0], true).translation_statistics.rmse
    assert error.get_statistic(metrics.StatisticsType.rmse) == pytest.approx(ours, rel=1e-5)
