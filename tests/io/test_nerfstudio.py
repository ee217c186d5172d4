"""nerfstudio files: OpenGL axes by hand-made matrices, and what the format cannot hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.nerfstudio import read_nerfstudio
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.nerfstudio import write_nerfstudio

CAMERA = Camera(500.0, 510.0, 320.0, 240.0, 640, 480, (0.1, -0.02, 0.001, 0.002))
IDENTITY = np.eye(4).tolist()


def save(folder: Path, record: Any) -> Path:
    path = folder / "transforms.json"
    path.write_text(json.dumps(record))
    return path


def intrinsics(**changes: Any) -> dict[str, Any]:
    return {"fl_x": 500, "fl_y": 510, "cx": 320, "cy": 240, "w": 640, "h": 480} | changes


def test_identity_matrix_looks_along_minus_z_with_y_up(tmp_path: Path) -> None:
    """The documented convention: +X right, +Y up, +Z back; -Z is the look-at direction."""
    frame = {"file_path": "images/a.png", "transform_matrix": IDENTITY}
    scene = read_nerfstudio(save(tmp_path, intrinsics() | {"frames": [frame], "ply_file_path": "splat.ply"}))
    pose = scene.trajectory[0].cam_from_world
    assert pose is not None
    np.testing.assert_allclose(pose.apply(np.array([0.0, 0.0, -2.0])), [0, 0, 2], atol=1e-12)
    np.testing.assert_allclose(pose.apply(np.array([0.0, 1.0, -2.0])), [0, -1, 2], atol=1e-12)
    np.testing.assert_allclose(pose.apply(np.array([1.0, 0.0, -2.0])), [1, 0, 2], atol=1e-12)
    assert scene.trajectory.names == ("images/a.png",) and scene.ply_file_path == "splat.ply"
    assert scene.cameras == (Camera(500, 510, 320, 240, 640, 480),)


def test_a_written_camera_on_the_ground_looking_north(tmp_path: Path) -> None:
    """World z up; camera at (0, -5, 1) looking along +y: OpenGL axes are x = +x, y = +z, z = -y, as matrix columns."""
    world_from_cam = np.array([[1, 0, 0, 0], [0, 0, 1, -5], [0, -1, 0, 1], [0, 0, 0, 1.0]])
    pose = RigidTransform.from_matrix(world_from_cam).inv()
    estimates = (PoseEstimate.failure("blank"), PoseEstimate(True, "", pose))
    path = tmp_path / "transforms.json"
    write_nerfstudio(path, Trajectory(estimates, np.arange(2.0), ("a.png", "b.png")), CAMERA, "splat.ply")
    record = json.loads(path.read_text())
    assert [frame["file_path"] for frame in record["frames"]] == ["b.png"]
    expected = [[1, 0, 0, 0], [0, 0, -1, -5], [0, 1, 0, 1], [0, 0, 0, 1]]
    np.testing.assert_allclose(record["frames"][0]["transform_matrix"], expected, atol=1e-12)
    assert {name: record[name] for name in intrinsics()} == intrinsics()
    assert [record[name] for name in ("k1", "k2", "p1", "p2")] == [0.1, -0.02, 0.001, 0.002]
    assert record["camera_model"] == "OPENCV" and record["ply_file_path"] == "splat.ply"
    assert "OpenGL" in record["axes"] and "world_from_cam" in record["axes"]


def test_round_trip_with_one_camera_a_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    poses = RigidTransform.from_components(rng.normal(size=(3, 3)), Rotation.random(3, rng=rng))
    cameras = (CAMERA, CAMERA.pinhole, Camera(1.0, 2.0, 3.0, 4.0, 5, 6, (0.1, 0.2, 0.3, 0.4, 0.5)))
    write_nerfstudio(tmp_path / "transforms.json", Trajectory.from_poses(poses), cameras)
    scene = read_nerfstudio(tmp_path)
    assert scene.cameras == cameras
    np.testing.assert_allclose(scene.trajectory.cam_from_world().as_matrix(), poses.as_matrix(), atol=1e-12)


def test_instant_ngp_field_of_view(tmp_path: Path) -> None:
    """A 90 degree view of 640 pixels has a focal length of 320 pixels."""
    frame = {"file_path": "a", "transform_matrix": IDENTITY}
    record = {"camera_angle_x": np.pi / 2, "w": 640, "h": 480, "frames": [frame]}
    camera = read_nerfstudio(save(tmp_path, record)).cameras[0]
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == pytest.approx((320, 320, 320, 240))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "must be a JSON object; got list"),
        (intrinsics(), "list 'frames'"),
        (intrinsics() | {"frames": [{"file_path": "a"}]}, "frame 0: expected file_path and transform_matrix"),
        (intrinsics() | {"frames": [{"file_path": "a", "transform_matrix": [[1, 2], [3]]}]}, "frame 0: .*4x4"),
        (intrinsics() | {"frames": [{"file_path": "a", "transform_matrix": (2 * np.eye(4)).tolist()}]}, "rotation"),
        ({"frames": [{"file_path": "a", "transform_matrix": IDENTITY}]}, "numbers w, h and fl_x"),
        (intrinsics(fl_x=-5) | {"frames": [{"file_path": "a", "transform_matrix": IDENTITY}]}, "frame 0: .*positive"),
        (intrinsics(k4=0.1) | {"frames": [{"file_path": "a", "transform_matrix": IDENTITY}]}, "Undistort"),
        (
            intrinsics(camera_model="OPENCV_FISHEYE") | {"frames": [{"file_path": "a", "transform_matrix": IDENTITY}]},
            "OPENCV_FISHEYE",
        ),
    ],
)
def test_malformed_files(tmp_path: Path, record: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"transforms\.json.*{message}"):
        read_nerfstudio(save(tmp_path, record))


def test_broken_json(tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text('{"frames": [')
    with pytest.raises(ValueError, match=r"transforms\.json must be a JSON object; got: .*line 1"):
        read_nerfstudio(tmp_path)


def test_rational_lenses_and_wrong_numbers_of_cameras_are_refused(tmp_path: Path) -> None:
    trajectory = Trajectory.from_poses([RigidTransform.identity()] * 3)
    rational = Camera(500.0, 500.0, 320.0, 240.0, 640, 480, (0.1, 0, 0, 0, 0, 0.2, 0, 0))
    with pytest.raises(ValueError, match="rational lens"):
        write_nerfstudio(tmp_path / "t.json", trajectory, rational)
    with pytest.raises(ValueError, match="one for each of 3; got 2"):
        write_nerfstudio(tmp_path / "t.json", trajectory, [CAMERA, CAMERA])
    assert not list(tmp_path.iterdir())
