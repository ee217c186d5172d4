from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.cli.main import main
from posesplat.datasets.open import open_frames
from posesplat.datasets.rooms import colour_noise, furnished_room, handheld_trajectory, render_sequence
from posesplat.evaluate.alignment import aligned
from posesplat.evaluate.metrics import absolute_trajectory_error
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.io.formats import read_trajectory
from posesplat.methods.track import Tracker

CAMERA = Camera(260.0, 260.0, 160.0, 120.0, 320, 240)
FRAMES = 8
POSES = handheld_trajectory(4, FRAMES, furnished_room(1).default_view, 0.05, 2.0, rate_hz=15)
FEW = ("--max-points", "500")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with a camera.json."""
    folder = tmp_path_factory.mktemp("track") / "clip"
    folder.mkdir()
    for index, frame in enumerate(render_sequence(furnished_room(1), CAMERA, POSES, supersample=1)):
        image = colour_noise(replace(frame, depth=None), index, 1.0).image
        assert image is not None
        cv2.imwrite(str(folder / f"frame{index}.png"), image[..., ::-1])
    (folder / "camera.json").write_text(json.dumps(CAMERA.to_json()))
    return folder


@pytest.fixture(scope="module")
def tracked(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tracked") / "out"
    assert main(["track", str(pictures), "--out", str(out), "--export", "npz,nerfstudio", *FEW]) == 0
    return out


def test_the_output_folder_is_the_contract(tracked: Path) -> None:
    record = json.loads((tracked / "result.json").read_text())
    assert {path.name for path in tracked.iterdir()} == {
        "trajectory.txt",
        "trajectory.npz",
        "result.json",
        "gaussians.ply",
        "report.html",
        "seen",
        "transforms.json",
        "points.ply",
        "images",
    }
    assert record["command"] == "track"
    assert record["seed"] == 0
    assert record["summary"] == {"frames": FRAMES, "posed": FRAMES, "errors": None}
    assert all(frame["scale"] == {"metric": False, "source": "unknown"} for frame in record["frames"])
    np.testing.assert_allclose(record["frames"][0]["cam_from_world"], np.eye(4))


def test_the_trajectory_is_the_true_one_up_to_a_similarity(tracked: Path) -> None:
    poses = read_trajectory(tracked / "trajectory.txt").cam_from_world()
    moved, _ = aligned(poses, POSES, "sim3")
    assert absolute_trajectory_error(moved, POSES).translation_statistics.rmse < 0.001


def test_a_nerfstudio_folder_has_the_pictures_that_it_names(pictures: Path, tracked: Path) -> None:
    frames = json.loads((tracked / "transforms.json").read_text())["frames"]
    assert [frame["file_path"] for frame in frames] == [f"images/frame{index}.png" for index in range(FRAMES)]
    for index, frame in enumerate(frames):
        written, seen = cv2.imread(str(tracked / frame["file_path"])), cv2.imread(str(pictures / f"frame{index}.png"))
        assert written is not None and seen is not None
        np.testing.assert_array_equal(written, seen)
    poses, saved = (read_trajectory(tracked / name).cam_from_world() for name in ("transforms.json", "trajectory.npz"))
    np.testing.assert_allclose(poses.as_matrix(), saved.as_matrix(), atol=1e-9)


def test_a_glob_and_a_list_give_the_trajectory_of_the_folder(pictures: Path, tracked: Path, tmp_path: Path) -> None:
    listed = [str(pictures / f"frame{index}.png") for index in range(FRAMES)]
    for name, source in (("glob", [str(pictures / "*.png")]), ("list", listed)):
        assert main(["track", *source, "--out", str(tmp_path / name), *FEW]) == 0
        poses, folder = (read_trajectory(out / "trajectory.txt") for out in (tmp_path / name, tracked))
        np.testing.assert_array_equal(poses.cam_from_world().as_matrix(), folder.cam_from_world().as_matrix())


def test_a_video_gives_nearly_the_trajectory_of_its_pictures(pictures: Path, tracked: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 15, (320, 240))
    for index in range(FRAMES):
        writer.write(cv2.imread(str(pictures / f"frame{index}.png")))
    writer.release()
    camera = str(pictures / "camera.json")
    assert main(["track", str(path), "--camera", camera, "--out", str(tmp_path / "out"), *FEW]) == 0
    poses: RigidTransform = read_trajectory(tmp_path / "out" / "trajectory.txt").cam_from_world()
    moved, _ = aligned(poses, POSES, "sim3")
    assert absolute_trajectory_error(moved, POSES).translation_statistics.rmse < 0.002


def test_an_h264_video_a_folder_a_glob_and_a_list_give_the_same_trajectory(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(FRAMES):
            image = cv2.imread(str(pictures / f"frame{index}.png"))
            assert image is not None
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    decoded = tmp_path / "decoded"
    decoded.mkdir()
    for index, frame in enumerate(open_frames(path, camera=CAMERA)):
        assert frame.image is not None
        cv2.imwrite(str(decoded / f"frame{index}.png"), frame.image[..., ::-1])
    listed = [str(decoded / f"frame{index}.png") for index in range(FRAMES)]
    found = {}
    for name, source in (
        ("video", [str(path)]),
        ("folder", [str(decoded)]),
        ("glob", [f"{decoded}/*.png"]),
        ("list", listed),
    ):
        camera = ["--camera", str(pictures / "camera.json")]
        assert main(["track", *source, *camera, "--out", str(tmp_path / name), *FEW]) == 0
        found[name] = read_trajectory(tmp_path / name / "trajectory.txt").cam_from_world()
    for name in ("folder", "glob", "list"):
        np.testing.assert_array_equal(found[name].as_matrix(), found["video"].as_matrix())
    moved, _ = aligned(found["video"], POSES, "sim3")
    assert absolute_trajectory_error(moved, POSES).translation_statistics.rmse < 0.002


def test_a_camera_that_is_not_known_is_found(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["track", str(pictures), "--camera", "auto", "--out", str(out), *FEW]) == 0
    record = json.loads((out / "result.json").read_text())
    low, high = record["estimated_camera"]["focal_interval_px"]
    assert low < CAMERA.fx < high
    assert record["camera"]["fx"] == pytest.approx(CAMERA.fx, rel=0.03)


def test_depth_maps_in_a_folder_make_it_metric(pictures: Path, tmp_path: Path) -> None:
    depths = tmp_path / "depth"
    depths.mkdir()
    for index, pose in enumerate(POSES):
        depth = furnished_room(1).cast(CAMERA, pose, colour=False).depth
        cv2.imwrite(str(depths / f"frame{index}.png"), np.rint(5000 * depth).astype(np.uint16))
    out = tmp_path / "out"
    arguments = ["track", str(pictures), "--depth", str(depths), "--depth-scale", "5000", "--out", str(out), *FEW]
    assert main(arguments) == 0
    record = json.loads((out / "result.json").read_text())
    assert all(frame["scale"] == {"metric": True, "source": "depth sensor"} for frame in record["frames"])
    poses = read_trajectory(out / "trajectory.txt").cam_from_world()
    assert absolute_trajectory_error(poses, POSES * POSES[0].inv()).translation_statistics.rmse < 0.002


def test_an_interrupted_run_is_resumed_to_the_same_end(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ["--max-segment-frames", "2", *FEW]
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert main(["track", str(pictures), "--out", str(whole), *short]) == 0
    monkeypatch.setattr("posesplat.cli.track._CHECKPOINT_S", 0.0)
    take = Tracker.take
    with monkeypatch.context() as patch:

        def interrupted(tracker: Tracker, frame: Frame) -> None:
            if frame.name == "frame5.png":
                raise KeyboardInterrupt
            take(tracker, frame)

        patch.setattr(Tracker, "take", interrupted)
        assert main(["track", str(pictures), "--out", str(part), *short]) == 130
    done = json.loads((part / "result.json").read_text())
    assert done["interrupted"]
    assert 0 < len(done["frames"]) < FRAMES
    assert main(["track", str(pictures), "--out", str(part), "--resume", *short]) == 0
    assert not (tmp_path / "part.unfinished.npz").exists()
    first, second = (read_trajectory(out / "trajectory.txt").cam_from_world().as_matrix() for out in (whole, part))
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_the_published_method_needs_depth(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", str(pictures), "--method", "smallgs", "--out", str(tmp_path / "out")]) == 2
    assert "needs depth" in capsys.readouterr().err
    assert main(["track", str(pictures), "--masks", "nonsense", "--out", str(tmp_path / "out")]) == 2
    assert "--masks" in capsys.readouterr().err


def test_json_on_stdout_is_result_json(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", str(pictures), "--out", str(tmp_path / "out"), "--json", "--count", "3", *FEW]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "result.json").read_text())


def test_statuses_say_how_many_frames_have_poses(pictures: Path, tmp_path: Path) -> None:
    dark = tmp_path / "dark.png"
    cv2.imwrite(str(dark), np.full((240, 320, 3), 2, np.uint8))
    camera = ["--camera", str(pictures / "camera.json"), *FEW]
    some = [str(pictures / "frame0.png"), str(dark), str(pictures / "frame4.png")]
    assert main(["track", *some, *camera, "--out", str(tmp_path / "some")]) == 3
    assert len(np.loadtxt(tmp_path / "some" / "trajectory.txt")) == 2
    assert main(["track", str(dark), *camera, "--out", str(tmp_path / "none")]) == 4
    assert main(["track", str(pictures / "frame0.png"), *camera, "--out", str(tmp_path / "one")]) == 0


def test_wrong_input_is_one_line_and_leaves_nothing(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    bare = tmp_path / "bare"
    bare.mkdir()
    for arguments, told in (
        ([str(tmp_path / "nothing.mp4")], "there is nothing at"),
        ([str(bare)], "found none"),
        ([], ""),
        ([str(pictures), "--export", "nonsense"], "nonsense"),
        ([str(pictures), "--max-points", "0"], "--max-points must be at least 1"),
        ([str(pictures / "frame0.png"), "--camera", "1,2"], "Expected a camera"),
    ):
        assert main(["track", *arguments, "--out", str(out)]) == 2
        assert told in capsys.readouterr().err
        assert not out.exists()


def test_a_broken_picture_in_the_middle_is_named(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((pictures / "frame1.png").read_bytes()[:2000])
    sources = [str(pictures / "frame0.png"), str(broken), str(pictures / "frame2.png")]
    camera = ["--camera", str(pictures / "camera.json")]
    assert main(["track", *sources, *camera, *FEW, "--out", str(tmp_path / "out")]) == 3
    frames = json.loads((tmp_path / "out" / "result.json").read_text())["frames"]
    assert [frame["success"] for frame in frames] == [True, False, True]
    assert "broken.png" in frames[1]["reason"]
    assert main(["track", *reversed(sources[:2]), *camera, "--out", str(tmp_path / "first")]) == 2
    assert "broken.png" in capsys.readouterr().err
    assert not (tmp_path / "first").exists()


def test_a_picture_of_another_size_is_refused_and_the_rest_is_tracked(pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    image = cv2.imread(str(pictures / "frame1.png"))
    assert image is not None
    cv2.imwrite(str(other), image[:200])
    sources = [str(pictures / "frame0.png"), str(other), str(pictures / "frame2.png")]
    camera = ["--camera", str(pictures / "camera.json")]
    assert main(["track", *sources, *camera, *FEW, "--out", str(tmp_path / "out")]) == 3
    reasons = [frame["reason"] for frame in json.loads((tmp_path / "out" / "result.json").read_text())["frames"]]
    assert reasons[0] == reasons[2] == ""
    assert "320 x 200" in reasons[1]
