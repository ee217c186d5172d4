"""``posesplat reconstruct`` from image files to splats, poses and exports, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from posesplat.cli.main import main
from posesplat.datasets.nerfstudio import read_nerfstudio
from posesplat.datasets.rooms.clips import RoomClip, room_clip
from posesplat.gaussians.splat_map import SplatMap
from posesplat.io.colmap import read_colmap
from posesplat.io.formats import read_trajectory
from posesplat.learned.two_view import folded_errors_deg


@pytest.fixture(scope="module")
def clip() -> RoomClip:
    return room_clip(5_000_031, 4, 192, 144)


@pytest.fixture
def photos(clip: RoomClip, tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{index}.png" for index in range(4)]
    for path, image in zip(paths, clip.images, strict=True):
        cv2.imwrite(str(path), image[..., ::-1])
    # One image of another size: the same view, enlarged.
    cv2.imwrite(str(paths[2]), cv2.resize(clip.images[2][..., ::-1], (384, 288), interpolation=cv2.INTER_CUBIC))
    return paths


def test_images_of_two_sizes_become_a_scene(clip: RoomClip, photos: list[Path], tmp_path: Path) -> None:
    out, camera = tmp_path / "out", clip.camera
    focal = 2 * camera.fx
    for path, scale in zip(photos, (1, 1, 2, 1), strict=True):
        record = camera.resized(camera.width * scale, camera.height * scale).to_json()
        folder = path.parent / path.stem
        folder.mkdir()
        (folder / "camera.json").write_text(json.dumps(record))
        path.rename(folder / path.name)
    images = [str(path.parent / path.stem / path.name) for path in photos]
    command = ["reconstruct", images[0], images[2], "--query", images[1], "--out", str(out)]
    assert main([*command, "--export", "colmap,nerfstudio,npz"]) == 0
    true = clip.cam_from_world[2] * clip.cam_from_world[0].inv()
    trajectory = read_trajectory(out / "trajectory.npz")
    assert trajectory.names == ("0.png", "2.png", "1.png") and trajectory.posed.all()
    pose = trajectory[1].cam_from_world
    assert pose is not None and max(folded_errors_deg(pose, true)) < 5.0  # sigma of the direction is 5
    scene = SplatMap.load(out / "gaussians.ply")
    assert not scene.metric and [view.name for view in scene.views] == ["0.png", "2.png"]
    for model in (read_colmap(out / "colmap"), read_nerfstudio(out / "transforms.json")):
        assert [each.fx for each in model.cameras] == pytest.approx([focal / 2, focal, focal / 2])
        assert [each.width for each in model.cameras] == [192, 384, 192]
    page = (out / "report.html").read_text()
    assert "Views that nobody took" in page and "2.png" in page
    record = json.loads((out / "result.json").read_text())
    assert record["reconstruction"]["gaussians"] == len(scene.gaussians)


def test_too_few_images_and_no_scene(photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["reconstruct", str(photos[0]), "--out", str(out)]) == 2
    assert "2 to 10 images" in capsys.readouterr().err and not out.exists()
    copy = tmp_path / "copy.png"
    copy.write_bytes(photos[0].read_bytes())
    assert main(["reconstruct", str(photos[0]), str(copy), "--out", str(out), "--camera", "auto"]) == 4
    assert json.loads((out / "result.json").read_text())["reconstruction"]["success"] is False
    assert not (out / "gaussians.ply").exists() and "No parallax" in (out / "report.html").read_text()
