from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.cli.main import main
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.archive import write_json
from posesplat.io.tum import write_tum

OFFSET = np.array([0.0, 0.3, 0.4])


def true_trajectory() -> Trajectory:
    random = np.random.default_rng(0)
    world_from_cam = RigidTransform.from_components(random.normal(size=(12, 3)), Rotation.random(12, rng=random))
    return Trajectory.from_poses(world_from_cam.inv(), 1e9 + 0.1 * np.arange(12))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The truth, and the same trajectory half a unit away, as TUM files."""
    true = true_trajectory()
    moved = Trajectory.from_poses(true.cam_from_world() * RigidTransform.from_translation(-OFFSET), true.timestamps)
    write_tum(tmp_path / "est.txt", moved)
    write_tum(tmp_path / "gt.txt", true)
    return tmp_path / "est.txt", tmp_path / "gt.txt"


def evaluate_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def test_an_offset_is_seen_without_alignment_and_gone_with_it(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    record = evaluate_json(capsys, *files, "--align", "none")
    assert record["compared"] == record["posed"] == record["frames"] == 12
    assert record["ate_translation"]["rmse"] == pytest.approx(0.5, abs=1e-5)
    assert record["ate_translation"]["std"] == pytest.approx(0.0, abs=1e-5)
    assert record["ate_rotation_deg"]["max"] == pytest.approx(0.0, abs=1e-3)
    assert record["rpe_translation"]["rmse"] == pytest.approx(0.0, abs=1e-5)
    record = evaluate_json(capsys, *files)
    assert record["ate_translation"]["rmse"] == pytest.approx(0.0, abs=1e-5)
    np.testing.assert_allclose(np.array(record["true_from_estimated"]["matrix"])[:3, 3], -OFFSET, atol=1e-5)


def test_scale_and_speed_of_a_trajectory_of_half_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    true = true_trajectory()
    world_from_cam = true.world_from_cam()
    half = RigidTransform.from_components(0.5 * world_from_cam.translation, world_from_cam.rotation)
    write_tum(tmp_path / "est.txt", Trajectory.from_poses(half.inv(), true.timestamps))
    write_tum(tmp_path / "gt.txt", true)
    paths = (tmp_path / "est.txt", tmp_path / "gt.txt")
    record = evaluate_json(capsys, *paths, "--align", "sim3")
    assert record["true_from_estimated"]["scale"] == pytest.approx(2.0, rel=1e-6)
    assert record["ate_translation"]["rmse"] == pytest.approx(0.0, abs=1e-5)
    record = evaluate_json(capsys, *paths, "--align", "none")
    step = np.linalg.norm(np.diff(world_from_cam.translation, axis=0), axis=1).mean()
    assert record["speed_difference"] == pytest.approx(0.5 * step / 0.1, rel=1e-5)


def test_the_table_shows_the_same_numbers(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *map(str, files), "--align", "none", "--delta", "2", "--all-pairs"]) == 0
    text = capsys.readouterr().out
    assert "12 frames compared, alignment none" in text
    ate = next(line for line in text.splitlines() if "ATE (m)" in line)
    assert ate.count("0.500000") == 5
    assert "RPE over 2 frame(s), all pairs" in text


def test_frames_without_a_pose_show_in_the_status(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    true = true_trajectory()
    some = (PoseEstimate.failure("blank depth"), *true.estimates[1:])
    write_json(tmp_path / "some.json", Trajectory(some, true.timestamps, true.names))
    assert main(["evaluate", str(tmp_path / "some.json"), str(files[1])]) == 3
    assert "1 of 12 frames have no pose" in capsys.readouterr().out
    none = tuple(PoseEstimate.failure("blank depth") for _ in range(12))
    write_json(tmp_path / "none.json", Trajectory(none, true.timestamps, true.names))
    assert main(["evaluate", str(tmp_path / "none.json"), str(files[1]), "--json"]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no posed frame" in captured.err


def test_a_trajectory_too_short_for_the_step_has_no_relative_error(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    record = evaluate_json(capsys, *files, "--delta", "12")
    assert record["rpe_translation"] is None
    assert record["ate_translation"]["count"] == 12


@pytest.mark.parametrize(
    ("estimate", "message"),
    [
        (None, "est.txt does not exist"),
        ("", "est.txt"),
        ("hello world\n", "est.txt"),
        ("1e9 0 0 0 0 0 0 1\n" * 2, "at least 3 pairs of poses"),
        ("5 0 0 0 0 0 0 1\n6 1 0 0 0 0 0 1\n7 0 1 0 0 0 0 1\n", "No timestamps within 0.01 s"),
    ],
)
def test_wrong_files_are_one_line_without_traceback(
    files: tuple[Path, Path], tmp_path: Path, estimate: str | None, message: str
) -> None:
    path = tmp_path / "wrong" / "est.txt"
    path.parent.mkdir()
    if estimate is not None:
        path.write_text(estimate)
    done = subprocess.run(
        [sys.executable, "-m", "posesplat", "evaluate", str(path), str(files[1])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("posesplat: error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_kitti_files_give_the_published_error(data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # evo_ape kitti KITTI_00_gt.txt KITTI_00_ORB.txt -a -s (evo 1.38.1)
    folder = data_root / "evo_reference_trajectories"
    record = evaluate_json(capsys, folder / "KITTI_00_ORB.txt", folder / "KITTI_00_gt.txt", "--align", "sim3")
    assert record["ate_translation"]["rmse"] == pytest.approx(0.937709, abs=2e-6)
    assert record["compared"] == 4541


def test_tum_files_give_the_published_error(data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # evo_ape tum freiburg1_xyz-groundtruth.txt freiburg1_xyz-rgbdslam.txt -a (evo 1.38.1)
    folder = data_root / "evo_reference_trajectories"
    names = ("freiburg1_xyz-rgbdslam.txt", "freiburg1_xyz-groundtruth.txt")
    record = evaluate_json(capsys, *(folder / name for name in names))
    assert record["ate_translation"]["rmse"] == pytest.approx(0.013470, abs=2e-6)
