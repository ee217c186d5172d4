from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.sequences import FrameSequence
from posesplat.geometry.cameras import Camera
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.formats import write_trajectory
from posesplat.io.frame_poses import read_frame_poses

CAMERA = Camera(100.0, 100.0, 32.0, 24.0, 64, 48)


def turning(times: np.ndarray) -> RigidTransform:
    """cam_from_world of a camera that moves along x by 1 m/s and turns about z by 10 degrees a second."""
    centres = np.stack([times, np.zeros_like(times), np.zeros_like(times)], axis=-1)
    rotations = Rotation.from_euler("z", 10.0 * times[:, None], degrees=True)
    return RigidTransform.from_components(centres, rotations).inv()


def frames(names: list[str], times: list[float]) -> FrameSequence:
    return FrameSequence(CAMERA, names, times, lambda index: (None, None), has_depth=False)


def centres_x(poses: tuple[RigidTransform | None, ...]) -> list[float | None]:
    return [None if pose is None else round(float(pose.inv().translation[0]), 6) for pose in poses]


@pytest.mark.parametrize("format", ["colmap", "nerfstudio", "npz", "json"])
def test_names_come_first(tmp_path: Path, format: str) -> None:
    trajectory = Trajectory.from_poses(turning(np.arange(3.0)), names=["c.png", "a.png", "b.png"])
    path = write_trajectory(tmp_path / "poses", trajectory, CAMERA, format)
    path = path.rename(path.with_suffix({"npz": ".npz", "colmap": ""}.get(format, ".json")))
    assert centres_x(read_frame_poses(path, frames(["a.png", "b.png", "x.png"], [7.0, 8.0, 9.0]))) == [1.0, 2.0, None]


def test_times_are_interpolated(tmp_path: Path) -> None:
    times = 100.0 + np.arange(0.0, 1.0, 0.05)
    path = write_trajectory(tmp_path / "gt.txt", Trajectory.from_poses(turning(times), times))
    wanted = np.array([100.012, 100.4, 100.9499, 102.0])
    poses = read_frame_poses(path, frames(list("abcd"), list(wanted)))
    assert poses[3] is None
    for time, pose in zip(wanted[:3], poses[:3], strict=True):
        expected = turning(np.array([time]))[0]
        assert pose is not None
        np.testing.assert_allclose(pose.as_matrix(), expected.as_matrix(), atol=1e-6)


def test_row_numbers_are_frame_numbers_where_there_is_no_clock(tmp_path: Path) -> None:
    path = write_trajectory(tmp_path / "kitti.txt", Trajectory.from_poses(turning(np.arange(6.0))), format="kitti")
    every_second = frames(["00010.png", "00012.png", "00014.png"], [0.0, 2.0, 4.0])
    assert centres_x(read_frame_poses(path, every_second)) == [0.0, 2.0, 4.0]


def test_row_numbers_go_by_order_where_there_is_a_clock(tmp_path: Path) -> None:
    path = write_trajectory(tmp_path / "kitti.txt", Trajectory.from_poses(turning(np.arange(3.0))), format="kitti")
    assert centres_x(read_frame_poses(path, frames(list("abc"), [0.5, 1.1, 1.7]))) == [0.0, 1.0, 2.0]


def test_our_own_answer_of_a_clip_without_a_clock_is_read_by_frame_number(tmp_path: Path) -> None:
    """Images are numbered from 1, times from 0: rows must not be taken for image numbers."""
    trajectory = Trajectory.from_poses(turning(np.arange(3.0)), names=["1.png", "2.png", "3.png"])
    path = write_trajectory(tmp_path / "trajectory.txt", trajectory)
    assert centres_x(read_frame_poses(path, frames(["1.png", "2.png", "3.png"], [0.0, 1.0, 2.0]))) == [0.0, 1.0, 2.0]


def test_files_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    times = np.arange(5.0)
    path = write_trajectory(tmp_path / "gt.txt", Trajectory.from_poses(turning(times), 1000.5 + times))
    with pytest.raises(ValueError, match="by image name, time or order"):
        read_frame_poses(path, frames(["a.png", "b.png"], [0.25, 0.75]))
    with pytest.raises(FileNotFoundError):
        read_frame_poses(tmp_path / "none.txt", frames(["a.png"], [0.0]))
