from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shown_results import CAMERA, moving_camera, shown, trajectory, wall

from posesplat.evaluate.run_record import RunRecord
from posesplat.gaussians.ply import write_ply
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.io.results import output_folder, write_results
from posesplat.viewer.shown import open_shown


@pytest.fixture
def result_folder(tmp_path: Path) -> Path:
    """What ``localize`` leaves: the map lies elsewhere."""
    result = shown(refused=(1,))
    scene = SplatMap(wall(), (MapView(CAMERA, moving_camera()[0], "view"),))
    scene.save(tmp_path / "maps" / "wall.ply")
    other = replace(CAMERA, fx=80.0)
    with output_folder(tmp_path / "found") as folder:
        write_results(
            folder,
            RunRecord.begin("localize", {}),
            result.trajectory,
            CAMERA,
            extra={
                "map": {"file": str(tmp_path / "maps" / "wall.ply"), "metric": True},
                "cameras": [camera.to_json() for camera in (other, *[CAMERA] * 4)],
            },
            true=(None, *result.true[1:]),
            seen={0: result.seen[0], 3: result.seen[3]},
        )
    return tmp_path / "found"


def test_a_folder_gives_back_what_was_written(result_folder: Path) -> None:
    (read,) = open_shown([result_folder])
    expected = shown(refused=(1,))
    assert read.label == "found"
    assert read.trajectory.names == expected.trajectory.names
    assert list(read.trajectory.posed) == [True, False, True, True, True]
    assert read.trajectory[1].reason == expected.trajectory[1].reason
    assert [camera.fx for camera in read.cameras] == [80.0, 60.0, 60.0, 60.0, 60.0]
    assert read.true[0] is None
    assert len(read.true_poses()) == 4
    given, back = expected.true[4], read.true[4]
    assert given is not None and back is not None
    assert back.as_matrix() == pytest.approx(given.as_matrix())
    assert sorted(read.seen) == [0, 3]
    assert np.abs(read.seen[3].astype(int) - expected.seen[3]).max() <= 3, "JPEG"
    assert read.gaussians is not None
    assert len(read.gaussians) == len(wall())
    assert [view.name for view in read.views] == ["view"]
    assert read.metric


def test_a_folder_that_was_written_again_has_no_old_pictures(result_folder: Path) -> None:
    with output_folder(result_folder) as folder:
        write_results(folder, RunRecord.begin("localize", {}), trajectory(), CAMERA, seen={2: shown().seen[2]})
    assert [path.name for path in sorted((result_folder / "seen").iterdir())] == ["000002.jpg"]


def test_a_map_that_has_moved_is_named_or_left_out(result_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    moved_map = result_folder.parent / "moved.ply"
    (result_folder.parent / "maps" / "wall.ply").rename(moved_map)
    (without,) = open_shown([result_folder])
    assert without.gaussians is None
    assert "--map FILE" in without.notes[0]
    assert "wall.ply" in caplog.text
    (named,) = open_shown([result_folder], moved_map)
    assert named.gaussians is not None


def test_a_scene_in_the_folder_is_found(result_folder: Path) -> None:
    write_ply(result_folder / "gaussians.ply", wall(0.2))
    (read,) = open_shown([result_folder])
    assert read.gaussians is not None
    assert len(read.gaussians) == len(wall(0.2))


def test_maps_and_folders_of_results_open_too(result_folder: Path) -> None:
    top = result_folder.parent / "demo"
    shutil.copytree(result_folder, top / "one")
    shutil.copytree(result_folder, top / "two")
    (top / "result.json").write_text(json.dumps({"command": "demo", "clips": [{"name": "two"}, {"name": "one"}]}))
    shown_all = open_shown([top, result_folder.parent / "maps" / "wall.ply", result_folder, result_folder])
    assert [result.label for result in shown_all] == ["two", "one", "wall", "found", "found 2"]
    assert len(shown_all[2].trajectory) == 0
    assert shown_all[2].gaussians is shown_all[3].gaussians, "a map is read once"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist; expected an output folder"),
        (lambda path: path.mkdir(), r"must hold result.json.*Pass the --out folder"),
        (
            lambda path: (path / "run").mkdir(parents=True) or (path / "run" / "result.json").write_text("{}"),
            "pass those",
        ),
        (lambda path: path.mkdir() or (path / "room.ply").write_text("ply"), "pass its file"),
        (lambda path: path.write_text("hello"), "another kind"),
        (lambda path: path.mkdir() or (path / "result.json").write_text("{"), "must be a JSON object"),
        (lambda path: path.mkdir() or (path / "result.json").write_text('{"frames": []}'), "'posesplat trajectory'"),
    ],
)
def test_what_cannot_be_viewed_is_refused_with_a_cure(tmp_path: Path, make, message: str) -> None:
    make(tmp_path / "thing")
    with pytest.raises((ValueError, OSError), match=message):
        open_shown([tmp_path / "thing"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"camera": None, "cameras": None}, "must tell the camera"),
        ({"cameras": [CAMERA.to_json()]}, "one camera for each of 5 frames; got 1"),
    ],
)
def test_a_result_without_its_cameras_is_refused(result_folder: Path, change: dict, message: str) -> None:
    file = result_folder / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        open_shown([result_folder])


def test_drawn_frames_are_posed_and_have_pictures_where_there_are_any() -> None:
    result = shown(refused=(0, 3))
    assert result.drawn_frames(10) == [1, 2, 4]
    assert result.drawn_frames(2) == [1, 4]
    assert replace(result, seen={0: result.seen[0], 2: result.seen[2]}).drawn_frames(10) == [2]
    assert replace(result, seen={}).drawn_frames(10) == [1, 2, 4]
