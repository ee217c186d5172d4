"""KITTI files: a matrix worked out by hand, numpy's reader on a real file, and malformed rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.kitti import read_kitti, write_kitti


def test_a_camera_that_looks_along_world_x(tmp_path: Path) -> None:
    """Columns of the matrix are the camera's axes in the world: x to -y, y to -z, z to x; its centre is (4, 5, 6)."""
    path = tmp_path / "poses.txt"
    path.write_text("0 0 1 4 -1 0 0 5 0 -1 0 6\n1 0 0 0 0 1 0 0 0 0 1 0\n")
    trajectory = read_kitti(path)
    assert trajectory.names == ("000000", "000001")
    first = trajectory[0].cam_from_world
    assert first is not None
    np.testing.assert_allclose(first.apply(np.array([4.0, 5.0, 6.0])), [0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(first.apply(np.array([7.0, 5.0, 6.0])), [0, 0, 3], atol=1e-12)
    write_kitti(tmp_path / "again.txt", trajectory)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "again.txt"), np.loadtxt(path), atol=1e-12)


def test_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    poses = RigidTransform.from_components(100 * rng.normal(size=(20, 3)), Rotation.random(20, rng=rng))
    write_kitti(tmp_path / "t.txt", Trajectory.from_poses(poses))
    np.testing.assert_allclose(
        read_kitti(tmp_path / "t.txt").cam_from_world().as_matrix(), poses.as_matrix(), atol=1e-8
    )


def test_missing_poses_are_refused(tmp_path: Path) -> None:
    estimates = (PoseEstimate(True, "", RigidTransform.identity()), PoseEstimate.failure("blank"))
    with pytest.raises(ValueError, match=r"1 of 2 without one \(first: b\).*TUM"):
        write_kitti(tmp_path / "t.txt", Trajectory(estimates, np.arange(2.0), ("a", "b")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1 2 3", "line 2: expected 12 numbers.*got 3 values"),
        ("1 0 0 0 0 1 0 0 0 0 1 x", "line 2: .*'x'"),
        ("2 0 0 0 0 1 0 0 0 0 1 0", "line 2: .*off the identity by 3"),
        ("-1 0 0 0 0 1 0 0 0 0 1 0", "line 2: .*with a rotation"),
    ],
)
def test_malformed_rows(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(f"1 0 0 0 0 1 0 0 0 0 1 0\n{row}\n")
    with pytest.raises(ValueError, match=rf"bad\.txt, {message}"):
        read_kitti(path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("")
    with pytest.raises(ValueError, match="got none"):
        read_kitti(tmp_path / "bad.txt")


def test_a_real_file_as_numpy_reads_it(data_root: Path) -> None:
    path = data_root / "evo_reference_trajectories" / "KITTI_00_SPTAM.txt"
    table = np.loadtxt(path).reshape(-1, 3, 4)
    world_from_cam = read_kitti(path).world_from_cam()
    np.testing.assert_allclose(world_from_cam.translation, table[:, :, 3], atol=1e-9)
    np.testing.assert_allclose(world_from_cam.rotation.as_matrix(), table[:, :, :3], atol=1e-5)
