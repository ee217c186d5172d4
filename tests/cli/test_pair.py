from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.cli.main import main
from posesplat.datasets.samples import sample_folder, sample_sequence
from posesplat.gaussians.ply import read_ply

DESK = sample_folder("tum_fr1_desk")
IMAGES = sorted((DESK / "rgb").glob("*.jpg"))
DEPTHS = sorted((DESK / "depth").glob("*.png"))
COMMON = ("--camera", str(DESK), "--threads", "1")


def with_depth(a: int, b: int) -> list[str]:
    depths = ["--depth-a", str(DEPTHS[a]), "--depth-b", str(DEPTHS[b])]
    return ["pair", str(IMAGES[a]), str(IMAGES[b]), *COMMON, *depths]


def true_pose(a: int, b: int) -> RigidTransform:
    poses = sample_sequence("tum_fr1_desk").cam_from_world
    assert poses is not None
    first, second = poses[a], poses[b]
    assert first is not None
    assert second is not None
    return second * first.inv()


def record_of(out: Path) -> dict:
    return json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pair") / "out"
    assert main([*with_depth(0, 8), "--out", str(out), "--export", "colmap,npz"]) == 0
    return out


def test_the_pose_of_a_kinect_pair_is_that_of_motion_capture(found: Path) -> None:
    pair = record_of(found)["pair"]
    pose, true = RigidTransform.from_matrix(np.array(pair["b_from_a"])), true_pose(0, 8)
    # Rows and depth of a Kinect that turns by 40 degrees a second are not of the moment that motion capture tells.
    assert np.degrees((pose.rotation * true.rotation.inv()).magnitude()) < 2.0
    assert np.linalg.norm(pose.translation - true.translation) < 0.025
    low, high = pair["baseline_interval_m"]
    assert low < pair["baseline_m"] == pytest.approx(np.linalg.norm(true.translation), abs=0.008)
    assert pair["baseline_m"] < high


def test_the_folder_holds_what_every_command_writes(found: Path) -> None:
    files = {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
    assert {"trajectory.txt", "result.json", "report.html", "gaussians.ply", "trajectory.npz"} <= files
    frames = record_of(found)["frames"]
    assert [frame["name"] for frame in frames] == [IMAGES[0].name, IMAGES[8].name]
    np.testing.assert_array_equal(frames[0]["cam_from_world"], np.eye(4))
    assert frames[1]["scale"] == {"metric": True, "source": "depth sensor"}
    assert len(read_ply(found / "gaussians.ply")) > 20_000
    page = (found / "report.html").read_text()
    assert page.count("data:image/jpeg;base64") == 6
    assert "between" in page
    outside = re.sub(r'data-page="[^"]*"', "", page)
    assert len(outside) < 0.5 * len(page)
    assert "http" not in outside.replace("http-equiv", "")


def test_swapped_images_give_the_inverse_pose(found: Path, tmp_path: Path) -> None:
    assert main([*with_depth(8, 0), "--out", str(tmp_path / "out"), "--no-report"]) == 0
    there, back = record_of(found)["frames"][1], record_of(tmp_path / "out")["frames"][1]
    pose, other = (RigidTransform.from_matrix(np.array(frame["cam_from_world"])) for frame in (there, back))
    gap = (other.inv() * pose.inv()).inv().as_exp_coords()
    deviations = np.sqrt(np.diag(there["covariance"]))
    assert (np.abs(gap) < 3.0 * deviations).all()


def test_without_depth_there_is_a_direction_and_no_metre(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["pair", str(IMAGES[0]), str(IMAGES[8]), *COMMON, "--out", str(out)]) == 0
    record = record_of(out)
    assert record["pair"]["baseline_m"] is None
    assert record["frames"][1]["scale"] == {"metric": False, "source": "unknown"}
    assert "direction" in capsys.readouterr().out
    pose = np.array(record["pair"]["b_from_a"])
    assert np.linalg.norm(pose[:3, 3]) == pytest.approx(1.0)
    assert not (out / "gaussians.ply").exists()


def test_a_black_image_is_refused_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    black = tmp_path / "black.png"
    cv2.imwrite(str(black), np.zeros((480, 640, 3), np.uint8))
    out = tmp_path / "out"
    assert main(["pair", str(IMAGES[0]), str(black), *COMMON, "--out", str(out)]) == 4
    assert record_of(out)["frames"][1]["cam_from_world"] is None
    assert "Image B is blank" in capsys.readouterr().out
    assert "Image B is blank" in (out / "report.html").read_text()


def test_a_missing_image_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pair", str(IMAGES[0]), str(tmp_path / "no.png"), *COMMON, "--out", str(tmp_path / "out")]) == 2
    assert "no.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_camera_the_focal_length_comes_from_the_matches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, path in (("a.png", IMAGES[0]), ("b.png", IMAGES[8])):
        cv2.imwrite(str(tmp_path / name), cv2.imread(str(path)))
    out = tmp_path / "out"
    status = main(["pair", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--out", str(out), "--no-report"])
    pair = record_of(out)["pair"]
    told = capsys.readouterr().err
    if pair["focal_interval_px"] is None:
        assert "the guessed focal length stays" in told
    else:
        low, high = pair["focal_interval_px"]
        assert low <= pair["focal_px"][0] <= high
        assert "focal length found" in told
    assert status in (0, 4)


def test_garps_begins_at_the_matches_and_ends_near_them(found: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([*with_depth(0, 8), "--out", str(out), "--method", "garps", "--no-report"]) == 0
    pose, other = (RigidTransform.from_matrix(np.array(record_of(path)["pair"]["b_from_a"])) for path in (out, found))
    assert record_of(out)["frames"][1]["source"] == "garps"
    assert np.linalg.norm((pose * other.inv()).translation) < 0.04
    assert np.degrees((pose * other.inv()).rotation.magnitude()) < 2.0


def test_patches_without_keypoints_are_matches_too(found: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([*with_depth(0, 8), "--out", str(out), "--matcher", "descriptor", "--no-report"]) == 0
    pose, other = (RigidTransform.from_matrix(np.array(record_of(path)["pair"]["b_from_a"])) for path in (out, found))
    assert np.linalg.norm((pose * other.inv()).translation) < 0.01
    assert main(["pair", str(IMAGES[0]), str(IMAGES[8]), *COMMON, "--matcher", "descriptor", "--out", str(out)]) == 2
