"""Each RGB-D layout, written by the test with literal poses, opens as the frames that were written."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posesplat.datasets.open import open_frames
from posesplat.datasets.pose_files import PoseRows, poses_at_times, read_pose_rows
from posesplat.datasets.sequences import FrameSequence
from posesplat.datasets.tum import associate
from posesplat.geometry.cameras import Camera

CAMERA = Camera(40, 41, 32, 24, 64, 48)
# The camera stands at (1, 2, 3) and is turned by 90 degrees about z: its x axis is the world's y axis.
TURNED = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], float)
TURNED_TUM = "1 2 3 0 0 0.70710678118 0.70710678118"
IDENTITY_TUM = "0 0 0 0 0 0 1"


def write_pair(colour: Path, depth: Path, index: int, depth_value: int = 2000) -> None:
    for path, image in (
        (colour, np.full((48, 64, 3), 10 * index, np.uint8)),
        (depth, np.full((48, 64), depth_value, np.uint16)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)


def check_turned(sequence: FrameSequence, index: int) -> None:
    """A point one metre along the camera's x axis lies at (1, 3, 3) in the world."""
    np.testing.assert_allclose(sequence.cam_from_world[index].apply([1.0, 3.0, 3.0]), [1, 0, 0], atol=1e-9)


def shades(sequence: FrameSequence) -> list[int]:
    return [int(frame.image[0, 0, 0]) for frame in sequence]


@pytest.fixture
def tum(tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    for index in range(3):
        write_pair(folder / f"rgb/{index}.png", folder / f"depth/{index}.png", index, 5000 + 500 * index)
    (folder / "rgb.txt").write_text("# time file\n1.00 rgb/0.png\n1.10 rgb/1.png\n1.20 rgb/2.png\n")
    (folder / "depth.txt").write_text("0.985 depth/0.png\n1.115 depth/1.png\n1.205 depth/2.png\n")
    (folder / "groundtruth.txt").write_text(f"# t\n1.05 {IDENTITY_TUM}\n1.15 {TURNED_TUM}\n1.21 {TURNED_TUM}\n")
    return folder


def test_tum_lists_are_associated_and_depth_is_a_five_thousandth_of_a_metre(tum: Path) -> None:
    sequence = open_frames(tum, camera=CAMERA)
    assert shades(sequence) == [0, 10, 20]
    assert [float(frame.depth[5, 5]) for frame in sequence] == pytest.approx([1.0, 1.1, 1.2])
    np.testing.assert_array_equal(sequence.timestamps, [1.0, 1.1, 1.2])
    assert sequence.names == ("0.png", "1.png", "2.png") and sequence.has_depth


def test_tum_ground_truth_is_interpolated_at_the_colour_time(tum: Path) -> None:
    poses = open_frames(tum, camera=CAMERA).cam_from_world
    assert poses[0] is None
    half = poses[1].inv()
    np.testing.assert_allclose(half.translation, [0.5, 1.0, 1.5], atol=1e-9)
    np.testing.assert_allclose(half.rotation.as_rotvec(degrees=True), [0, 0, 45], atol=1e-6)
    check_turned(open_frames(tum, camera=CAMERA), 2)


def test_ground_truth_outside_its_rows_is_the_nearest_within_20_ms(tmp_path: Path) -> None:
    path = tmp_path / "groundtruth.txt"
    path.write_text(f"1.0 {IDENTITY_TUM}\n2.0 {TURNED_TUM}\n2.0 {TURNED_TUM}\n")
    rows = read_pose_rows(path)
    poses = poses_at_times(rows, np.array([0.97, 0.985, 1.019, 1.5, 1.985, 2.03]))
    assert [pose is None for pose in poses] == [True, False, False, True, False, True]
    np.testing.assert_allclose(poses[4].inv().as_matrix(), TURNED, atol=1e-9)
    single = PoseRows(rows.ids[:1], rows.world_from_cam[:1])
    assert [pose is None for pose in poses_at_times(single, np.array([1.01, 1.03]))] == [False, True]


def test_tum_association_takes_the_closest_pairs_first_and_each_image_once() -> None:
    # By hand: |1.016-1.015|, then |1.05-1.04|, and 1.00 may still have 0.99; 2.0 is 30 ms from everything.
    colour = np.array([1.00, 1.016, 1.05, 2.0])
    depth = np.array([1.015, 0.99, 2.03, 1.04])
    assert associate(colour, depth) == [(0, 1), (1, 0), (2, 3)]
    assert associate(colour, np.array([5.0])) == []


@pytest.mark.parametrize("columns", [(0, 1, 2, 3), (2, 3, 0, 1)])
def test_tum_associations_may_have_either_order(tum: Path, columns: tuple[int, ...]) -> None:
    rows = [["1.0", "rgb/2.png", "1.01", "depth/2.png"], ["1.2", "rgb/1.png", "1.21", "depth/0.png"]]
    (tum / "associations.txt").write_text("\n".join(" ".join(row[column] for column in columns) for row in rows))
    sequence = open_frames(tum, camera=CAMERA)
    assert shades(sequence) == [20, 10]
    assert [float(frame.depth[0, 0]) for frame in sequence] == pytest.approx([1.2, 1.0])
    np.testing.assert_array_equal(sequence.timestamps, [1.0, 1.2])


@pytest.mark.parametrize(
    ("name", "numbers", "lens"),
    [
        ("rgbd_dataset_freiburg1_desk", (517.306408, 516.469215, 318.643040, 255.313989), 0.262383),
        ("rgbd_dataset_freiburg2_xyz", (520.908620, 521.007327, 325.141442, 249.701764), 0.231222),
        ("rgbd_dataset_freiburg3_office", (535.4, 539.2, 320.1, 247.6), None),
    ],
)
def test_tum_calibrations_follow_from_the_folder_name(tum: Path, name: str, numbers: tuple, lens: float | None) -> None:
    camera = open_frames(tum.rename(tum.with_name(name))).lens_camera
    np.testing.assert_allclose(camera.opencv_matrix[[0, 1, 0, 1], [0, 1, 2, 2]], numbers, rtol=1e-12)
    assert (camera.distortion[0] if lens else camera.distortion) == (lens or ())


def test_tum_without_partners_or_camera_is_an_error(tum: Path) -> None:
    with pytest.raises(ValueError, match="no camera"):
        open_frames(tum)
    (tum / "depth.txt").write_text("9.0 depth/0.png\n")
    with pytest.raises(ValueError, match=r"within 0\.02 s.*associations\.txt"):
        open_frames(tum, camera=CAMERA)
    (tum / "depth.txt").write_text("depth/0.png\n")
    with pytest.raises(ValueError, match=r"depth\.txt must have rows"):
        open_frames(tum, camera=CAMERA)
    (tum / "depth.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match="at least one"):
        open_frames(tum, camera=CAMERA)


def test_replica_frames_poses_and_camera(tmp_path: Path) -> None:
    room = tmp_path / "room0"
    for index in (0, 1, 10):
        write_pair(room / f"results/frame{index:06d}.jpg", room / f"results/depth{index:06d}.png", index, 13107)
    record = {"w": 64, "h": 48, "fx": 40.0, "fy": 41.0, "cx": 31.5, "cy": 23.5, "scale": 6553.5}
    (tmp_path / "cam_params.json").write_text(json.dumps({"camera": record}))
    rows = [np.eye(4), TURNED, np.eye(4)]
    (room / "traj.txt").write_text("\n".join(" ".join(map(str, row.ravel())) for row in rows) + "\n")
    sequence = open_frames(room)
    assert sequence.camera == CAMERA
    assert sequence.names[-1] == "frame000010.jpg"
    assert float(sequence[1].depth[3, 3]) == pytest.approx(2.0)
    check_turned(sequence, 1)
    (room / "traj.txt").write_text(" ".join(map(str, np.eye(4).ravel())))
    with pytest.raises(ValueError, match="3 frames; got 1"):
        open_frames(room)
    (room / "results/depth000001.png").unlink()
    with pytest.raises(ValueError, match="3 colour and 2 depth"):
        open_frames(room)


def test_seven_scenes_frames_poses_and_missing_depth(tmp_path: Path) -> None:
    folder = tmp_path / "seq-01"
    for index in range(2):
        stem = folder / f"frame-{index:06d}"
        write_pair(Path(f"{stem}.color.png"), Path(f"{stem}.depth.png"), index, 1500)
    depth = np.full((48, 64), 1500, np.uint16)
    depth[0, :2] = (65535, 0)
    cv2.imwrite(str(folder / "frame-000001.depth.png"), depth)
    (folder / "frame-000001.pose.txt").write_text("\n".join("\t".join(map(str, row)) for row in TURNED))
    sequence = open_frames(folder, camera=CAMERA)
    assert shades(sequence) == [0, 10]
    np.testing.assert_allclose(sequence[1].depth[0, :3], [0, 0, 1.5])
    assert sequence.cam_from_world[0] is None
    check_turned(sequence, 1)
    assert open_frames(folder).camera == Camera(585, 585, 320, 240, 640, 480)
    (folder / "frame-000000.pose.txt").write_text("nan " * 16)
    assert open_frames(folder, camera=CAMERA).cam_from_world[0] is None
    (folder / "frame-000000.pose.txt").write_text(" ".join(map(str, (2 * np.eye(4)).ravel())))
    with pytest.raises(ValueError, match="rigid"):
        open_frames(folder, camera=CAMERA)
    (folder / "frame-000000.depth.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 have none.*frame-000000"):
        open_frames(folder, camera=CAMERA)


@pytest.mark.parametrize("name", ["rgb", "color", "image", "images"])
def test_folders_with_equal_stems(tmp_path: Path, name: str) -> None:
    for index in (2, 10):
        write_pair(tmp_path / name / f"frame{index}.jpg", tmp_path / "depth" / f"frame{index}.png", index)
    record = {"fx": 40, "fy": 41, "cx": 31.5, "cy": 23.5, "width": 64, "height": 48}
    (tmp_path / "camera.json").write_text(json.dumps({**record, "pixel_centre": "integer", "depth_scale": 4000}))
    sequence = open_frames(tmp_path)
    assert sequence.camera == CAMERA and sequence.cam_from_world is None
    assert sequence.names == ("frame2.jpg", "frame10.jpg") and shades(sequence) == [20, 100]
    assert float(sequence[0].depth[0, 0]) == 0.5
    assert float(open_frames(tmp_path, depth_scale=500)[0].depth[0, 0]) == 4.0
    assert float(open_frames(tmp_path, camera=CAMERA)[0].depth[0, 0]) == 0.5


@pytest.mark.parametrize("ids", [("00002", "00010"), ("2.png", "10.png"), ("2", "10"), ("2.0", "10"), ("a", "b")])
def test_folder_poses_match_by_name_number_or_order(tmp_path: Path, ids: tuple[str, str]) -> None:
    for index in (2, 10):
        write_pair(tmp_path / f"rgb/{index}.png", tmp_path / f"depth/{index}.png", index)
    (tmp_path / "poses.txt").write_text(f"# id\n{ids[0]} {IDENTITY_TUM}\n{ids[1]} {TURNED_TUM}\n")
    sequence = open_frames(tmp_path, camera=CAMERA)
    check_turned(sequence, 1)
    np.testing.assert_allclose(sequence.cam_from_world[0].as_matrix(), np.eye(4), atol=1e-12)


def test_poses_of_some_images_leave_the_others_without(tmp_path: Path) -> None:
    for index in range(3):
        write_pair(tmp_path / f"rgb/{index}.png", tmp_path / f"depth/{index}.png", index)
    (tmp_path / "poses.txt").write_text(f"2 {TURNED_TUM}\n")
    sequence = open_frames(tmp_path, camera=CAMERA)
    assert sequence.cam_from_world[:2] == (None, None)
    check_turned(sequence, 2)
    assert sequence.subset([0, 1]).cam_from_world is None
    (tmp_path / "poses.txt").write_text(f"x {TURNED_TUM}\n")
    with pytest.raises(ValueError, match="1 rows such as 'x'"):
        open_frames(tmp_path, camera=CAMERA)


@pytest.mark.parametrize("row", ["0 1 2 3 0 0 0", "0 1 2 3 0 0 0 x", "0 1 2 3 0 0 0 2", "1 " * 17])
def test_a_broken_pose_row_is_named(tmp_path: Path, row: str) -> None:
    path = tmp_path / "poses.txt"
    path.write_text(f"# ok\n5 {IDENTITY_TUM}\n{row}\n")
    with pytest.raises(ValueError, match=r"poses\.txt line 3"):
        read_pose_rows(path)


def test_pose_rows_are_scipy_quaternions_and_nan_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "poses.txt"
    path.write_text("1 4 5 6 0.1825742 0.3651484 0.5477226 0.7302967\n2 nan nan nan nan nan nan nan\n")
    rows = read_pose_rows(path)
    assert rows.ids == ("1",)
    expected = Rotation.from_quat([1, 2, 3, 4]).as_matrix()
    np.testing.assert_allclose(rows.world_from_cam[0].as_matrix()[:3], np.c_[expected, [4, 5, 6]], atol=1e-6)


def test_colour_without_depth_and_depth_of_another_size_are_errors(tmp_path: Path) -> None:
    for index in range(2):
        write_pair(tmp_path / f"rgb/{index}.png", tmp_path / f"depth/{index}.png", index)
    cv2.imwrite(str(tmp_path / "depth/0.png"), np.full((24, 32), 2000, np.uint16))
    sequence = open_frames(tmp_path, camera=CAMERA)
    with pytest.raises(ValueError, match=r"depth of frame '0\.png' to be 64 x 48.*32 x 24"):
        sequence[0]
    (tmp_path / "depth/1.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 have none, the first is 1\.png"):
        open_frames(tmp_path, camera=CAMERA)


def test_depth_arrays_in_metres(tmp_path: Path) -> None:
    write_pair(tmp_path / "rgb/0.png", tmp_path / "depth/0.png", 0)
    (tmp_path / "depth/0.png").unlink()
    np.save(tmp_path / "depth/0.npy", np.full((48, 64), 1.75))
    assert float(open_frames(tmp_path, camera=CAMERA)[0].depth[0, 0]) == 1.75
    np.save(tmp_path / "depth/0.npy", np.full((48, 64), 1750.0))
    with pytest.raises(ValueError, match=r"looks like millimetres.*depth_scale"):
        open_frames(tmp_path, camera=CAMERA)[0]
    assert float(open_frames(tmp_path, camera=CAMERA, depth_scale=1000)[0].depth[0, 0]) == 1.75
    with pytest.raises(ValueError, match="looks like millimetres"):
        open_frames(tmp_path, camera=CAMERA, depth_scale=1.0)[0]
    assert open_frames(tmp_path, camera=CAMERA, depth_scale=1.0, plausible_depth_m=None)[0].depth[0, 0] == 1750
