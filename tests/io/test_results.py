from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate.frame_errors import FrameErrors
from posesplat.evaluate.run_record import RunRecord
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.poses import exp
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.formats import read_trajectory
from posesplat.io.results import check_output_folder, output_folder, parse_exports, write_results

CAMERA = Camera(100.0, 100.0, 32.0, 24.0, 64, 48)


def run_record() -> RunRecord:
    return RunRecord.begin("localize", {"start": "none", "out": Path("found")}, seed=3, threads=1)


def a_trajectory(refused: bool = True) -> Trajectory:
    random = np.random.default_rng(1)
    poses = RigidTransform.from_components(random.normal(size=(4, 3)), Rotation.random(4, rng=random))
    estimates = [PoseEstimate(True, "", pose, covariance=np.diag([1e-6] * 3 + [1e-4] * 3)) for pose in poses]
    if refused:
        estimates[2] = PoseEstimate.failure("The map covers 3 % of the frame.", overlap=0.03)
    return Trajectory(tuple(estimates), np.array([0.5, 0.6, 0.7, 0.8]), ("a.png", "b.png", "c.png", "d.png"))


def written(out: Path, **options: object) -> dict:
    with output_folder(out) as folder:
        write_results(folder, run_record(), options.pop("trajectory", a_trajectory()), CAMERA, **options)
    return json.loads((out / "result.json").read_text())


def entries(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_the_contract_of_result_json(tmp_path: Path) -> None:
    record = written(tmp_path / "out", report="<!doctype html>")
    assert {"command", "options", "version", "seed", "host", "threads"} <= set(record)
    assert (record["command"], record["seed"], record["threads"], record["interrupted"]) == ("localize", 3, 1, False)
    assert record["options"] == {"start": "none", "out": "found"}
    wanted = {"success", "reason", "cam_from_world", "covariance", "scale", "inlier_fraction", "overlap", "runtime_s"}
    assert all(wanted | {"warnings", "name", "timestamp"} <= set(frame) for frame in record["frames"])
    assert record["frames"][2]["cam_from_world"] is None
    assert record["frames"][2]["reason"] == "The map covers 3 % of the frame."
    assert np.shape(record["frames"][0]["covariance"]) == (6, 6)
    assert record["files"] == ["report.html", "result.json", "trajectory.txt"]
    assert (record["summary"]["frames"], record["summary"]["posed"]) == (4, 3)


def test_trajectory_txt_holds_the_inverse_of_the_matrices_in_result_json(tmp_path: Path) -> None:
    record = written(tmp_path / "out")
    rows = np.loadtxt(tmp_path / "out" / "trajectory.txt")
    matrices = [np.linalg.inv(frame["cam_from_world"]) for frame in record["frames"] if frame["success"]]
    assert len(rows) == len(matrices) == 3
    for row, world_from_cam in zip(rows, matrices, strict=True):
        np.testing.assert_allclose(row[1:4], world_from_cam[:3, 3], atol=1e-9)
        np.testing.assert_allclose(Rotation.from_quat(row[4:]).as_matrix(), world_from_cam[:3, :3], atol=1e-9)
    np.testing.assert_allclose(rows[:, 0], [0.5, 0.6, 0.8])


def test_result_json_is_a_trajectory_itself(tmp_path: Path) -> None:
    trajectory = a_trajectory()
    written(tmp_path / "out", trajectory=trajectory)
    read = read_trajectory(tmp_path / "out" / "result.json")
    assert read.names == trajectory.names
    assert read.posed.tolist() == [True, True, False, True]
    np.testing.assert_allclose(read.cam_from_world().as_matrix(), trajectory.cam_from_world().as_matrix(), atol=1e-12)


def test_errors_stand_beside_their_frames(tmp_path: Path) -> None:
    trajectory = a_trajectory()
    shift = exp(np.array([0.0, 0.0, np.radians(2.0), 0.0, 0.0, 0.0]))
    true = [None if pose is None else shift * pose for pose in (estimate.cam_from_world for estimate in trajectory)]
    record = written(tmp_path / "out", trajectory=trajectory, errors=FrameErrors.of(trajectory, true))
    assert record["frames"][2]["error"] is None
    assert record["frames"][0]["error"]["rotation_deg"] == pytest.approx(2.0)
    assert record["summary"]["errors"]["translation"]["max"] == pytest.approx(0.0, abs=1e-12)
    assert record["summary"]["errors"]["rotation_deg"]["count"] == 3


def test_exports_are_written_and_one_that_cannot_be_costs_nothing(tmp_path: Path) -> None:
    record = written(tmp_path / "out", exports=("colmap", "kitti", "npz", "nerfstudio"))
    assert {"colmap/images.txt", "trajectory.npz", "transforms.json"} <= set(record["files"])
    assert set(record["exports_left_out"]) == {"kitti"}
    whole = written(tmp_path / "whole", trajectory=a_trajectory(refused=False), exports=("kitti",))
    assert whole["exports_left_out"] == {}
    assert np.loadtxt(tmp_path / "whole" / "trajectory_kitti.txt").shape == (4, 12)


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), output_folder(tmp_path / "deep" / "out") as folder:
        write_results(folder, run_record(), a_trajectory(), CAMERA)
        raise KeyboardInterrupt
    assert entries(tmp_path / "deep") == set()


def test_a_second_run_replaces_the_first_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    written(out, exports=("colmap",), report="old")
    (out / "notes.txt").write_text("mine")
    (out / "colmap" / "mine.txt").write_text("mine")
    written(out, report="new")
    assert entries(out) == {"trajectory.txt", "result.json", "report.html", "notes.txt", "colmap", "colmap/mine.txt"}
    assert (out / "report.html").read_text() == "new"
    with pytest.raises(RuntimeError), output_folder(out) as folder:
        (folder / "report.html").write_text("half")
        raise RuntimeError
    assert (out / "report.html").read_text() == "new"
    assert entries(tmp_path) == {"out"} | {f"out/{name}" for name in entries(out)}


def test_files_of_others_are_never_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "trajectory.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"trajectory\.txt"):
        written(out)
    assert (out / "trajectory.txt").read_text() == "mine"
    assert entries(out) == {"trajectory.txt"}


@pytest.mark.parametrize("content", ['{"a": 1}', "no json", '{"command": "x", "files": ["../victim.txt"]}'])
def test_a_result_json_that_is_not_ours_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "victim.txt").write_text("safe")
    out = tmp_path / "out"
    out.mkdir()
    (out / "result.json").write_text(content)
    with pytest.raises(ValueError, match="must be a result of posesplat"):
        check_output_folder(out)
    assert (tmp_path / "victim.txt").read_text() == "safe"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("file")
    for path in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(ValueError, match="must be a folder"):
            check_output_folder(path)


def test_names_of_exports() -> None:
    assert parse_exports("colmap, npz,colmap") == ("colmap", "npz")
    assert parse_exports("") == ()
    with pytest.raises(ValueError, match="got 'glb'"):
        parse_exports("colmap,glb")
