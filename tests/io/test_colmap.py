"""COLMAP models: pycolmap reads ours and we read pycolmap's, as text and binary; damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.colmap import is_colmap_model, read_colmap, write_colmap
from posesplat.io.tum import read_tum

pycolmap = pytest.importorskip("pycolmap", reason="needs pycolmap: pip install posesplat[sfm]")

CAMERAS = {
    "PINHOLE": Camera(500.0, 510.0, 320.0, 240.0, 640, 480),
    "OPENCV": Camera(500.0, 510.0, 321.25, 240.0, 640, 480, (0.1, -0.02, 0.001, 0.002)),
    "FULL_OPENCV": Camera(500.0, 510.0, 320.0, 240.0, 640, 480, (0.1, -0.02, 0.001, 0.002, 0.3, 0.1, 0.2, 0.4)),
}


def poses(count: int) -> RigidTransform:
    rng = np.random.default_rng(count)
    return RigidTransform.from_components(rng.normal(size=(count, 3)), Rotation.random(count, rng=rng))


@pytest.mark.parametrize("binary", [False, True])
def test_pycolmap_reads_our_models(tmp_path: Path, binary: bool) -> None:
    cam_from_world = poses(4)
    estimates = [PoseEstimate(True, "", pose) for pose in cam_from_world]
    estimates[1] = PoseEstimate.failure("blank")
    names = ("a.png", "b.png", "sub folder/c d.png" if binary else "sub/c.png", "é.png")
    cameras = [CAMERAS["PINHOLE"], CAMERAS["OPENCV"], CAMERAS["OPENCV"], CAMERAS["FULL_OPENCV"]]
    points = Gaussians(
        np.float32([[1, 2, 3], [-0.5, 0.25, 8]]),
        np.float32([[1, 0, 0, 0]] * 2),
        np.ones((2, 3), np.float32),
        np.ones(2, np.float32),
        colors=np.float32([[1, 0, 0.2], [0, 1, 1]]),
    )
    write_colmap(tmp_path, Trajectory(tuple(estimates), np.arange(4.0), names), cameras, points, binary)
    assert is_colmap_model(tmp_path)
    model = pycolmap.Reconstruction(str(tmp_path))
    assert sorted(model.images) == [1, 3, 4]
    for number, image in model.images.items():
        assert image.name == names[number - 1]
        matrix = image.cam_from_world().matrix()
        np.testing.assert_allclose(matrix, cam_from_world[number - 1].as_matrix()[:3], atol=1e-12)
        camera, ours = model.cameras[image.camera_id], cameras[number - 1]
        assert CAMERAS[camera.model.name] == ours
        np.testing.assert_array_equal(camera.params, [ours.fx, ours.fy, ours.cx, ours.cy, *ours.distortion])
        assert (camera.width, camera.height) == (640, 480)
    found = sorted((point.xyz.tolist(), point.color.tolist()) for point in model.points3D.values())
    assert found == [([-0.5, 0.25, 8], [0, 255, 255]), ([1, 2, 3], [255, 0, 51])]


@pytest.mark.parametrize("binary", [False, True])
def test_we_read_pycolmaps_models(tmp_path: Path, binary: bool) -> None:
    cam_from_world = poses(3)
    model = pycolmap.Reconstruction()
    kinds = {"SIMPLE_RADIAL": [500, 320, 240, 0.1], "FULL_OPENCV": [500, 510, 320, 240, *np.arange(8) / 10]}
    for number, (kind, params) in enumerate(kinds.items(), start=1):
        camera = pycolmap.Camera(camera_id=number, model=kind, width=640, height=480, params=params)
        model.add_camera_with_trivial_rig(camera)
    for number, pose in enumerate(cam_from_world, start=1):
        keypoints = pycolmap.Point2DList([pycolmap.Point2D(np.array([3.5, 4.5]))] * number)
        image = pycolmap.Image(
            name=f"frame {number}.png", camera_id=1 + number % 2, image_id=7 * number, points2D=keypoints
        )
        rigid = pycolmap.Rigid3d(pycolmap.Rotation3d(pose.rotation.as_quat()), pose.translation)
        model.add_image_with_trivial_frame(image, rigid)
    (model.write_binary if binary else model.write_text)(str(tmp_path))
    ours = read_colmap(tmp_path)
    assert ours.trajectory.names == ("frame 1.png", "frame 2.png", "frame 3.png")
    np.testing.assert_allclose(ours.trajectory.cam_from_world().as_matrix(), cam_from_world.as_matrix(), atol=1e-9)
    full = Camera(500.0, 510.0, 320.0, 240.0, 640, 480, tuple(np.arange(8) / 10))
    radial = Camera(500.0, 500.0, 320.0, 240.0, 640, 480, (0.1, 0.0, 0.0, 0.0))
    assert ours.cameras == (full, radial, full)


@pytest.mark.parametrize("binary", [False, True])
def test_round_trip_with_five_lens_terms(tmp_path: Path, binary: bool) -> None:
    """Five terms become the eight of FULL_OPENCV with zeros."""
    camera = Camera(500.0, 510.0, 320.0, 240.0, 640, 480, (0.1, 0.2, 0.3, 0.4, 0.5))
    write_colmap(tmp_path, Trajectory.from_poses(poses(2), names=["a", "b"]), camera, binary=binary)
    again = read_colmap(tmp_path)
    assert again.cameras[0].distortion == (*camera.distortion, 0, 0, 0)
    np.testing.assert_allclose(again.trajectory.cam_from_world().as_matrix(), poses(2).as_matrix(), atol=1e-14)


def test_blanks_in_names_need_a_binary_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got 'a b\.png'\. Write a binary model"):
        write_colmap(tmp_path, Trajectory.from_poses(poses(1), names=["a b.png"]), CAMERAS["PINHOLE"])
    assert not list(tmp_path.iterdir())


def test_text_states_direction_and_axes(tmp_path: Path) -> None:
    write_colmap(tmp_path, Trajectory.from_poses(poses(1)), CAMERAS["PINHOLE"])
    text = (tmp_path / "images.txt").read_text()
    assert "cam_from_world" in text and "OpenCV camera axes" in text


def test_parts_of_another_model_are_not_mixed_in(tmp_path: Path) -> None:
    trajectory = Trajectory.from_poses(poses(1))
    write_colmap(tmp_path, trajectory, CAMERAS["PINHOLE"], binary=True)
    write_colmap(tmp_path, trajectory, CAMERAS["PINHOLE"], binary=True)
    with pytest.raises(ValueError, match=r"got cameras\.bin, images\.bin, points3D\.bin"):
        write_colmap(tmp_path, trajectory, CAMERAS["PINHOLE"])


def test_truncated_binary_models(tmp_path: Path) -> None:
    write_colmap(tmp_path, Trajectory.from_poses(poses(2), names=["a.png", "b.png"]), CAMERAS["OPENCV"], binary=True)
    for name in ("images.bin", "cameras.bin"):
        whole = (tmp_path / name).read_bytes()
        for size in (0, 5, 20, len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:size])
            with pytest.raises(ValueError, match=rf"{name}, byte \d+: expected at least .* got {size}"):
                read_colmap(tmp_path)
        (tmp_path / name).write_bytes(whole)


def test_unknown_model_and_missing_camera(tmp_path: Path) -> None:
    write_colmap(tmp_path, Trajectory.from_poses(poses(1), names=["a"]), CAMERAS["PINHOLE"], binary=True)
    content = bytearray((tmp_path / "cameras.bin").read_bytes())
    content[12] = 99
    (tmp_path / "cameras.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"expected a camera model 0 \.\. 17; got 99"):
        read_colmap(tmp_path)
    content[12], content[8] = 1, 5
    (tmp_path / "cameras.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"must hold the camera of image a; got cameras \[5\], not 1"):
        read_colmap(tmp_path)


IMAGE = "1 1 0 0 0 0 0 0 1 a.png\n\n"


@pytest.mark.parametrize(
    ("cameras", "images", "message"),
    [
        ("1 PINHOLE 640 480 500 500 320\n", IMAGE, r"cameras\.txt, line 1: expected CAMERA_ID MODEL"),
        ("# c\n1 MAGIC 640 480 500\n", IMAGE, r"cameras\.txt, line 2: .*'1 MAGIC"),
        ("1 PINHOLE 640 4x 500 500 320 240\n", IMAGE, r"cameras\.txt, line 1: expected whole numbers"),
        ("1 PINHOLE 640 480 500 500 320 240\n", IMAGE + "2 1 0 0 0 0\n\n", r"images\.txt, line 3: .*got 6 values"),
        ("1 PINHOLE 640 480 500 500 320 240\n", "1 2 0 0 0 0 0 0 1 a\n\n", r"images\.txt, line 1: .*length 2"),
        ("1 PINHOLE 640 480 500 500 320 240\n", "1 1 0 0 0 x 0 0 1 a\n\n", r"images\.txt, line 1: .*'x'"),
        ("1 OPENCV_FISHEYE 640 480 5 5 3 2 0 0 0 0\n", IMAGE, "got OPENCV_FISHEYE.*Undistort"),
    ],
)
def test_malformed_text_models(tmp_path: Path, cameras: str, images: str, message: str) -> None:
    (tmp_path / "cameras.txt").write_text(cameras)
    (tmp_path / "images.txt").write_text(images)
    with pytest.raises(ValueError, match=message):
        read_colmap(tmp_path)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a COLMAP model"):
        read_colmap(tmp_path)


def test_a_real_model_against_its_exported_poses(data_root: Path) -> None:
    """The set gives the same poses as a COLMAP model and, exported by its authors' tool, as TUM rows."""
    model = read_colmap(data_root / "lund_door12" / "colmap_ground_truth")
    rows = read_tum(data_root / "lund_door12" / "poses.txt")
    expected = dict(zip(rows.names, rows.cam_from_world(), strict=True))
    assert set(model.trajectory.names) == set(expected) and len(expected) == 12
    for name, estimate in zip(model.trajectory.names, model.trajectory, strict=True):
        assert estimate.cam_from_world is not None
        np.testing.assert_allclose(estimate.cam_from_world.as_matrix(), expected[name].as_matrix(), atol=1e-5)
    reference = pycolmap.Reconstruction(str(data_root / "lund_door12" / "colmap_ground_truth"))
    matrices = [image.cam_from_world().matrix() for _, image in sorted(reference.images.items())]
    np.testing.assert_allclose(model.trajectory.cam_from_world().as_matrix()[:, :3], matrices, atol=1e-6)
