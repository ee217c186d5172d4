from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import CAMERA, write_clip
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.cli.main import main
from posesplat.datasets.rooms import corridor, handheld_trajectory
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.formats import read_trajectory, write_trajectory
from posesplat.methods.localize import Localizer

BETWEEN = ("--first", "1", "--every", "2", "--threads", "1")
"""The three frames of the clip that are not in the map."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, map_file: Path, clip: Path) -> Path:
    """The output folder of a run over the frames between those of the map."""
    out = tmp_path_factory.mktemp("found") / "out"
    arguments = ["localize", str(map_file), str(clip), *BETWEEN, "--out", str(out)]
    assert main([*arguments, "--start", "none", "--export", "colmap,nerfstudio,kitti,npz"]) == 0
    return out


def record_of(out: Path) -> dict:
    return json.loads((out / "result.json").read_text())


def test_the_output_folder_is_the_contract(found: Path) -> None:
    files = {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
    assert files == {
        "trajectory.txt",
        "result.json",
        "report.html",
        "transforms.json",
        "trajectory_kitti.txt",
        "trajectory.npz",
        "colmap/cameras.txt",
        "colmap/images.txt",
        "colmap/points3D.txt",
        "points.ply",
        *(f"seen/{index:06d}.jpg" for index in range(3)),
    } | {f"images/{frame['name']}" for frame in record_of(found)["frames"]}
    record = record_of(found)
    assert set(record["files"]) == files
    assert record["options"]["start"] == "none"
    assert [frame["name"] for frame in record["frames"]] == [f"{100 + k / 30:.6f}.png" for k in (1, 3, 5)]
    assert all(frame["scale"] == {"metric": True, "source": "map"} for frame in record["frames"])
    assert Path(record["map"]["file"]).is_absolute() and record["map"]["metric"]


def test_frames_are_found_where_they_were_taken(found: Path, cam_from_world: RigidTransform) -> None:
    for frame, true in zip(record_of(found)["frames"], cam_from_world[1::2], strict=True):
        centre = np.linalg.inv(frame["cam_from_world"])[:3, 3]
        error = float(np.linalg.norm(centre - true.inv().translation))
        assert error < 0.003
        assert np.allclose(frame["true_cam_from_world"], true.as_matrix(), atol=1e-6)
        assert frame["error"]["translation"] == pytest.approx(error, abs=1e-6)


def test_every_file_holds_the_same_poses(found: Path) -> None:
    frames = record_of(found)["frames"]
    rows = np.loadtxt(found / "trajectory.txt")
    for frame, row in zip(frames, rows, strict=True):
        world_from_cam = np.linalg.inv(frame["cam_from_world"])
        assert row[0] == pytest.approx(frame["timestamp"], abs=1e-6)
        np.testing.assert_allclose(row[1:4], world_from_cam[:3, 3], atol=1e-9)
        np.testing.assert_allclose(Rotation.from_quat(row[4:]).as_matrix(), world_from_cam[:3, :3], atol=1e-9)
    stacked = np.array([frame["cam_from_world"] for frame in frames])
    for name in ("colmap", "transforms.json", "trajectory_kitti.txt", "trajectory.npz"):
        np.testing.assert_allclose(read_trajectory(found / name).cam_from_world().as_matrix(), stacked, atol=1e-6)


def test_json_on_stdout_is_result_json(
    map_file: Path, clip: Path, tmp_path: Path, cam_from_world: RigidTransform, capsys: pytest.CaptureFixture[str]
) -> None:
    near = RigidTransform.from_translation([0.02, 0.0, 0.0]) * cam_from_world
    starts = write_trajectory(tmp_path / "starts.txt", Trajectory.from_poses(near, 100 + np.arange(6) / 30))
    arguments = ["localize", str(map_file), str(clip), *BETWEEN, "--out", str(tmp_path / "out"), "--json"]
    assert main([*arguments, "--start", str(starts), "--objective", "plane", "--pictures", "0"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == record_of(tmp_path / "out")
    assert [frame["source"] for frame in printed["frames"]] == ["start"] * 3
    assert "data:image" not in (tmp_path / "out" / "report.html").read_text()


def test_the_colour_objective_needs_no_depth(map_file: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rgb = [str(path) for path in sorted((clip / "rgb").iterdir())[1::2]]
    camera = ["--camera", str(clip / "camera.json"), "--ground-truth", str(clip / "groundtruth.txt")]
    assert main(["localize", str(map_file), *rgb, *camera, "--out", str(out), "--no-report", "--threads", "1"]) == 0
    assert not (out / "report.html").exists()
    errors = [frame["error"] for frame in record_of(out)["frames"]]
    assert len(errors) == 3
    # At 160 pixels width and 4 m distance a tenth of a pixel is 3 mm to the side, and far more along the view.
    assert max(error["translation"] for error in errors) < 0.1
    assert max(error["rotation_deg"] for error in errors) < 1.2


def test_another_room_is_refused_with_a_reason(
    map_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = corridor(3)
    other = write_clip(tmp_path / "other", room, handheld_trajectory(0, 1, room.default_view), truth=False)
    out = tmp_path / "out"
    arguments = ["localize", str(map_file), str(other), "--start", "none", "--threads", "1", "--out", str(out)]
    assert main([*arguments, "--export", "kitti"]) == 4
    frame = record_of(out)["frames"][0]
    assert frame["success"] is False
    assert frame["cam_from_world"] is None
    assert len(frame["reason"]) > 20
    assert frame["reason"] in " ".join(capsys.readouterr().out.split())
    assert "0 of 1 frames found" in (out / "report.html").read_text()
    assert set(record_of(out)["exports_left_out"]) == {"kitti"}
    assert all(line.startswith("#") for line in (out / "trajectory.txt").read_text().splitlines())


def test_a_blank_frame_among_good_ones_is_status_3(map_file: Path, clip: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(clip, tmp_path / "clip")
    cv2.imwrite(str(copy / "depth" / "100.100000.png"), np.zeros((120, 160), np.uint16))
    out = tmp_path / "out"
    arguments = ["localize", str(map_file), str(copy), *BETWEEN, "--objective", "plane", "--start", "previous"]
    assert main([*arguments, "--out", str(out), "--no-report"]) == 3
    frames = record_of(out)["frames"]
    assert [frame["success"] for frame in frames] == [True, False, True]
    assert "blank" in frames[1]["reason"]
    assert len(np.loadtxt(out / "trajectory.txt")) == 2


def test_an_interrupted_run_keeps_the_frames_done(
    map_file: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    localize = Localizer.localize
    calls = []

    def interrupted_at_the_second(self: Localizer, frame: object, start: object) -> object:
        calls.append(frame)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return localize(self, frame, start)  # type: ignore[arg-type]

    monkeypatch.setattr(Localizer, "localize", interrupted_at_the_second)
    arguments = ["localize", str(map_file), str(clip), *BETWEEN]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 130
    record = record_of(tmp_path / "out")
    assert record["interrupted"] is True
    assert len(record["frames"]) == 1
    assert "interrupted" in (tmp_path / "out" / "report.html").read_text()
    assert "holds the 1 frames done" in capsys.readouterr().err
    calls[:] = [None]
    assert main([*arguments, "--out", str(tmp_path / "none")]) == 130
    assert not (tmp_path / "none").exists()
    assert "nothing was written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"map": "none.ply"}, "there is none"),
        ({"map": "cut.ply"}, "cut.ply"),
        ({"map": "text.ply"}, "text.ply"),
        ({"frames": "nowhere"}, "there is nothing at"),
        ({"frames": "empty"}, "Expected images in the folder"),
        ({"frames": "cut_image"}, "breaks off"),
        ({"options": ("--camera", "{tmp}/small.json")}, "to be 80 x 60 pixels as its camera says; got 160 x 120"),
        ({"options": ("--depth-scale", "1")}, "millimetres read as metres"),
        ({"options": ("--start", "yesterday")}, "got 'yesterday'"),
        ({"options": ("--ground-truth", "{tmp}/none.txt")}, "does not exist"),
        ({"options": ("--export", "colmap,pdf")}, "got 'pdf'"),
        ({"options": ("--threads", "0")}, "between 1 and 1024"),
        ({"out": "file"}, "must be a folder"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    map_file: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict, message: str
) -> None:
    content = map_file.read_bytes()
    (tmp_path / "cut.ply").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.ply").write_text("not a ply")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "small.json").write_text(json.dumps(CAMERA.resized(80, 60).to_json()))
    cut = shutil.copytree(clip, tmp_path / "cut_image")
    image = cut / "rgb" / "100.033333.png"
    image.write_bytes(image.read_bytes()[:1000])
    before = sorted(tmp_path.rglob("*"))
    arguments = [
        str(tmp_path / change["map"]) if "map" in change else str(map_file),
        str(tmp_path / change["frames"]) if "frames" in change else str(clip),
        *(part.format(tmp=tmp_path) for part in change.get("options", ())),
    ]
    assert main(["localize", *arguments, *BETWEEN[:4], "--out", str(tmp_path / change.get("out", "out"))]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_depth_that_is_not_a_number_counts_as_missing(map_file: Path, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    shutil.copy(clip / "camera.json", folder)
    shutil.copy(clip / "rgb" / "100.033333.png", folder / "rgb" / "a.png")
    depth = cv2.imread(str(clip / "depth" / "100.033333.png"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 5000
    depth[::3] = np.nan
    np.save(folder / "depth" / "a.npy", depth)
    out = tmp_path / "out"
    assert main(["localize", str(map_file), str(folder), "--objective", "plane", "--out", str(out), "--no-report"]) == 0


def test_starts_far_off_are_saved_by_a_search_without_one(
    map_file: Path, clip: Path, tmp_path: Path, cam_from_world: RigidTransform
) -> None:
    away = cam_from_world[1:2] * RigidTransform.from_translation([30.0, 0.0, 0.0])
    start = write_trajectory(tmp_path / "start.txt", Trajectory.from_poses(away, [100 + 1 / 30]))
    out = tmp_path / "out"
    arguments = ["localize", str(map_file), str(clip), "--first", "1", "--count", "1", "--start", str(start)]
    assert main([*arguments, "--out", str(out), "--no-report", "--threads", "1"]) == 0
    frame = record_of(out)["frames"][0]
    assert frame["source"] == "keypoints"
    assert frame["error"]["translation"] < 0.003
