"""TUM files: rows worked out by hand, numpy's reader on real files, and malformed rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.tum import read_tum, write_tum

HALF = 0.7071067811865476


def test_a_camera_turned_about_the_vertical(tmp_path: Path) -> None:
    """Camera at (1, 2, 3), its x axis along world y and its y axis against world x: a quarter turn about z."""
    path = tmp_path / "trajectory.txt"
    path.write_text(f"# a comment\n\n1305031102.160407 1 2 3 0 0 {HALF} {HALF}\n1305031102.2 0 0 0 0 0 0 -1\n")
    trajectory = read_tum(path)
    np.testing.assert_allclose(trajectory.timestamps, [1305031102.160407, 1305031102.2], rtol=0, atol=1e-7)
    assert trajectory.names == ("1305031102.160407", "1305031102.2")
    first = trajectory[0].cam_from_world
    assert first is not None
    points = np.array([[1.0, 3.0, 3.0], [0.0, 2.0, 3.0], [1.0, 2.0, 4.0]])
    np.testing.assert_allclose(first.apply(points), np.eye(3), atol=1e-12)


def test_written_rows_are_world_from_cam(tmp_path: Path) -> None:
    """A camera one metre behind the origin on the z axis: cam_from_world moves the origin to z = +1."""
    path = tmp_path / "trajectory.txt"
    pose = RigidTransform.from_components([0.0, 0.0, 1.0], Rotation.from_euler("z", -90, degrees=True))
    metric = Scale(True, "depth sensor")
    estimates = (PoseEstimate(True, "", pose, scale=metric), PoseEstimate.failure("blank"))
    write_tum(path, Trajectory(estimates, np.array([0.1, 0.2]), ("a", "b")))
    lines = path.read_text().splitlines()
    rows = [line for line in lines if not line.startswith("#")]
    assert len(rows) == 1 and rows[0].startswith("0.1 ")
    np.testing.assert_allclose([float(word) for word in rows[0].split()], [0.1, 0, 0, -1, 0, 0, HALF, HALF], atol=1e-12)
    header = "\n".join(line for line in lines if line.startswith("#"))
    for fact in ("world_from_cam", "OpenCV", "metre", "1 without a pose left out", "timestamp tx ty tz qx qy qz qw"):
        assert fact in header


def test_round_trip_keeps_ten_digits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    poses = RigidTransform.from_components(100 * rng.normal(size=(50, 3)), Rotation.random(50, rng=rng))
    times = 1.4e9 + np.sort(rng.uniform(size=50))
    write_tum(tmp_path / "t.txt", Trajectory.from_poses(poses, times))
    again = read_tum(tmp_path / "t.txt")
    np.testing.assert_array_equal(again.timestamps, times)
    np.testing.assert_allclose(again.cam_from_world().as_matrix(), poses.as_matrix(), rtol=0, atol=1e-8)


def test_names_instead_of_timestamps(tmp_path: Path) -> None:
    path = tmp_path / "poses.txt"
    path.write_text("a.jpg 0 0 0 0 0 0 1\nb.jpg 1 0 0 0 0 0 1\n")
    trajectory = read_tum(path)
    assert trajectory.names == ("a.jpg", "b.jpg")
    np.testing.assert_array_equal(trajectory.timestamps, [0, 1])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1 2 3", "line 3: expected timestamp tx ty tz qx qy qz qw; got 3 values"),
        ("1 0 0 0 0 0 0 1 9", "line 3: .*got 9 values"),
        ("1 0 zero 0 0 0 0 1", "line 3: .*'zero', which is not a finite number"),
        ("1 0 nan 0 0 0 0 1", "line 3: .*'nan'"),
        ("1 0 0 0 0 0 0 0", "line 3: .*unit quaternion; got a quaternion of length 0"),
        ("1 0 0 0 5 0 0 1", "line 3: .*length 5"),
        ("b.jpg 0 0 0 0 0 0 1", "line 3: expected a timestamp .*'b.jpg'"),
    ],
)
def test_malformed_rows(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(f"# header\n0 0 0 0 0 0 0 1\n{row}\n")
    with pytest.raises(ValueError, match=rf"bad\.txt.*{message}"):
        read_tum(path)


def test_empty_and_binary_files(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"bad\.txt must hold rows .*; got none"):
        read_tum(path)
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="binary data"):
        read_tum(path)


def test_no_frame_posed(tmp_path: Path) -> None:
    write_tum(tmp_path / "t.txt", Trajectory((PoseEstimate.failure("blank"),), np.zeros(1), ("a",)))
    assert "0 posed, 1 without a pose" in (tmp_path / "t.txt").read_text()


@pytest.mark.parametrize("name", ["freiburg1_xyz-groundtruth.txt", "freiburg1_xyz-rgbdslam.txt", "fr2_desk_ORB.txt"])
def test_real_files_as_numpy_reads_them(data_root: Path, name: str) -> None:
    path = data_root / "evo_reference_trajectories" / name
    table = np.loadtxt(path)
    trajectory = read_tum(path)
    np.testing.assert_array_equal(trajectory.timestamps, table[:, 0])
    world_from_cam = trajectory.world_from_cam()
    np.testing.assert_allclose(world_from_cam.translation, table[:, 1:4], atol=1e-12)
    unit = table[:, 4:] / np.linalg.norm(table[:, 4:], axis=1, keepdims=True)
    dots = np.abs((world_from_cam.rotation.as_quat() * unit).sum(axis=1))
    np.testing.assert_allclose(dots, 1, atol=1e-12)
