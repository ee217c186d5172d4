from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from clips import CAMERA
from scipy.spatial.transform import RigidTransform

from posesplat.cli.main import main
from posesplat.gaussians.splat_map import SplatMap
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.formats import write_trajectory
from posesplat.methods import mapping


def test_a_map_holds_the_views_it_was_built_from(map_file: Path, cam_from_world: RigidTransform) -> None:
    scene = SplatMap.load(map_file)
    assert scene.metric
    assert [view.name for view in scene.views] == ["100.000000.png", "100.066667.png", "100.133333.png"]
    for view, pose in zip(scene.views, cam_from_world[::2], strict=True):
        np.testing.assert_allclose(view.cam_from_world.as_matrix(), pose.as_matrix(), atol=1e-6)
        assert view.camera == CAMERA


def test_every_gaussian_lies_on_a_measured_surface(map_file: Path, clip: Path) -> None:
    """Projected into the frame from which most are seen, Gaussians lie at the depth that the frame has there."""
    import cv2

    scene = SplatMap.load(map_file)
    depth = cv2.imread(str(clip / "depth" / "100.000000.png"), cv2.IMREAD_UNCHANGED) / 5000.0
    points = scene.views[0].cam_from_world.apply(scene.gaussians.means_in_world)
    pixels = np.floor(CAMERA.project(points))
    inside = np.all((pixels >= 0) & (pixels < (160, 120)), axis=1)
    columns, rows = pixels[inside].astype(int).T
    assert inside.mean() > 0.7
    assert np.median(np.abs(depth[rows, columns] - points[inside, 2])) < 0.005


def test_the_table_and_json_say_what_was_made(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "room.ply"
    arguments = ["map", str(clip), "--count", "1", "--stride", "8", "--out", str(out)]
    assert main(arguments) == 0
    assert "1 of 1" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["gaussians"] == len(SplatMap.load(out).gaussians)
    assert (record["frames"], record["frames_used"], record["poses_corrected"]) == (1, 1, 0)


def test_poses_from_a_file_replace_those_of_the_clip(
    clip: Path, tmp_path: Path, cam_from_world: RigidTransform
) -> None:
    """Frame 2 has no pose in the file and is left out; the status says so."""
    moved = cam_from_world * RigidTransform.from_translation([1.0, 2.0, 3.0])
    times = 100.0 + np.arange(6) / 30.0
    kept = [0, 1, 3, 4, 5]
    poses = Trajectory.from_poses(moved[kept], times[kept], [f"{time:.6f}.png" for time in times[kept]])
    path = write_trajectory(tmp_path / "poses.json", poses, CAMERA, "json")
    out = tmp_path / "room.ply"
    assert main(["map", str(clip), "--count", "3", "--stride", "8", "--poses", str(path), "--out", str(out)]) == 3
    views = SplatMap.load(out).views
    assert len(views) == 2
    np.testing.assert_allclose(views[1].cam_from_world.as_matrix(), moved[1].as_matrix(), atol=1e-6)


def test_an_interrupt_leaves_no_file(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mapping.MapBuilder, "add", interrupted)
    assert main(["map", str(clip), "--out", str(tmp_path / "room.ply")]) == 130
    assert list(tmp_path.iterdir()) == []
    assert "was not written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--depth-scale", "1"), "millimetres read as metres"),
        (("--camera", "130,130,80,60,1,2"), "neither a file nor a folder nor 4, 8 or 9 numbers"),
        (("--camera", "{tmp}/small.json"), "to be 80 x 60 pixels as its camera says; got 160 x 120"),
        (("--poses", "{tmp}/none.txt"), "does not exist"),
        (("--poses", "{tmp}/later.txt"), "by image name, time or order"),
        (("--first", "9"), "must leave at least one of 6 frames"),
        (("--every", "0"), "must be at least 1"),
        (("--stride", "0"), "sizes above 0"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], message: str
) -> None:
    (tmp_path / "small.json").write_text(json.dumps(CAMERA.resized(80, 60).to_json()))
    (tmp_path / "later.txt").write_text("5000 0 0 0 0 0 0 1\n")
    before = set(tmp_path.iterdir())
    option, value = change
    arguments = ["map", str(clip), option, value.format(tmp=tmp_path), "--out", str(tmp_path / "out" / "room.ply")]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "out"}
    assert not (tmp_path / "out").exists()


def test_frames_that_cannot_make_a_map(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    out = ["--out", str(tmp_path / "room.ply")]
    assert main(["map", str(tmp_path / "empty"), *out]) == 2
    assert "Expected images in the folder" in capsys.readouterr().err
    assert main(["map", str(clip / "rgb"), *out]) == 2
    assert "without depth" in capsys.readouterr().err
    assert main(["map", str(clip), "--out", str(tmp_path / "room.splat")]) == 2
    assert ".ply" in capsys.readouterr().err
    assert main(["map", str(clip), "--out", str(tmp_path)]) == 2
    assert not (tmp_path / "room.ply").exists()
