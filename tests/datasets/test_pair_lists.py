"""Published lists of pairs, each written here in its layout with poses that are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.mapfree_pairs import mapfree_pairs
from posesplat.datasets.re10k_pairs import re10k_pairs
from posesplat.datasets.scannet_pairs import listed_pairs, scannet_pairs
from posesplat.geometry.cameras import Camera

B_FROM_A = RigidTransform.from_components([0.3, -0.1, 0.2], Rotation.from_rotvec([0.1, -0.4, 0.05]))
A_FROM_WORLD = RigidTransform.from_components([1.0, 2.0, -0.5], Rotation.from_rotvec([-0.2, 0.3, 0.7]))
B_FROM_WORLD = B_FROM_A * A_FROM_WORLD
COLOURS = ((250, 10, 20), (10, 20, 250))
"""RGB of images A and B."""


def paint(path: Path, colour: tuple[int, int, int], width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((height, width, 3), colour[::-1], dtype=np.uint8)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 100])


def same(first: RigidTransform, second: RigidTransform, tolerance: float = 1e-6) -> bool:
    return bool(np.allclose(first.as_matrix(), second.as_matrix(), atol=tolerance))


def text(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:.9f}" for value in row) for row in np.atleast_2d(matrix))


@pytest.fixture
def scannet(tmp_path: Path) -> Path:
    scene = tmp_path / "scene0707_00"
    for stem, colour, pose in (("15", COLOURS[0], A_FROM_WORLD), ("585", COLOURS[1], B_FROM_WORLD)):
        paint(scene / "color" / f"{stem}.jpg", colour, 1296, 968)
        (scene / "pose").mkdir(exist_ok=True)
        (scene / "pose" / f"{stem}.txt").write_text(text(pose.inv().as_matrix()))
    (scene / "depth").mkdir()
    cv2.imwrite(str(scene / "depth" / "15.png"), np.full((480, 640), 1500, dtype=np.uint16))
    np.savez(tmp_path / "test.npz", name=np.array([[707, 0, 15, 585]], dtype=np.uint16))
    np.savez(tmp_path / "intrinsics.npz", scene0707_00=np.array([[577.0, 0, 319.5], [0, 578.0, 239.5], [0, 0, 1]]))
    return tmp_path


def test_scannet_of_loftr(scannet: Path) -> None:
    (pair,) = scannet_pairs(scannet)
    assert pair.scene == "scene0707_00" and pair.metric
    assert same(pair.b_from_a, B_FROM_A)
    a, b = pair.read()
    # Centres of pixels at whole numbers: +0.5; images at the size that the calibration is of.
    assert a.camera == Camera(577.0, 578.0, 320.0, 240.0, 640, 480) == b.camera
    assert a.depth is not None and np.all(a.depth == 1.5) and b.depth is None
    assert a.image is not None and np.abs(a.image[5, 5].astype(int) - COLOURS[0]).max() < 12
    assert b.image is not None and np.abs(b.image[5, 5].astype(int) - COLOURS[1]).max() < 12


def test_scannet_says_what_is_missing(scannet: Path) -> None:
    (scannet / "scene0707_00" / "pose" / "585.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"585\.txt"):
        scannet_pairs(scannet)
    np.savez(scannet / "test.npz", name=np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"shape \(n, 4\)"):
        scannet_pairs(scannet)
    with pytest.raises(FileNotFoundError, match=r"test\.npz"):
        scannet_pairs(scannet / "nowhere")


def test_scannet_of_superglue(tmp_path: Path) -> None:
    names = [f"scene0711_00_frame-00{number}.jpg" for number in (1680, 1995)]
    for name, colour, size in zip(names, COLOURS, ((1296, 968), (640, 480)), strict=True):
        paint(tmp_path / name, colour, *size)
    k_a = np.array([[1160.0, 0, 647.5], [0, 1161.0, 483.5], [0, 0, 1]])
    k_b = np.array([[577.0, 0, 319.5], [0, 578.0, 239.5], [0, 0, 1]])
    numbers = np.concatenate([k_a.ravel(), k_b.ravel(), B_FROM_A.as_matrix().ravel()])
    listing = tmp_path / "pairs.txt"
    listing.write_text(f"{names[0]} {names[1]} 0 0 {' '.join(f'{value:.9f}' for value in numbers)}\n")
    (pair,) = listed_pairs(listing, tmp_path)
    assert same(pair.b_from_a, B_FROM_A)
    a, b = pair.read()
    assert a.camera == Camera(1160.0, 1161.0, 648.0, 484.0, 1296, 968)
    assert b.camera == Camera(577.0, 578.0, 320.0, 240.0, 640, 480)
    listing.write_text(listing.read_text().replace(" 0 0 ", " 1 0 ", 1))
    with pytest.raises(ValueError, match="line 1 must hold"):
        listed_pairs(listing, tmp_path)


def mapfree_scene(scene: Path) -> None:
    poses, cameras = ["# qw qx qy qz tx ty tz"], []
    for name, pose in (
        ("seq0/frame_00000.jpg", RigidTransform.identity()),
        ("seq1/frame_00010.jpg", B_FROM_WORLD),
        ("seq1/frame_00000.jpg", B_FROM_A),
    ):
        quaternion = pose.rotation.as_quat(scalar_first=True)
        poses.append(f"{name} " + " ".join(f"{value:.9f}" for value in (*quaternion, *pose.translation)))
        cameras.append(f"{name} 590.5 591.5 269.5 359.5 540 720")
        paint(scene / name, COLOURS[name.startswith("seq1")], 540, 720)
    cv2.imwrite(str(scene / "seq0" / "frame_00000.dptkitti.png"), np.full((720, 540), 2500, dtype=np.uint16))
    cv2.imwrite(str(scene / "seq1" / "frame_00000.dptkitti.png"), np.full((720, 540), 3000, dtype=np.uint16))
    (scene / "poses.txt").write_text("\n".join(poses))
    (scene / "intrinsics.txt").write_text("\n".join(cameras))


def test_mapfree(tmp_path: Path) -> None:
    mapfree_scene(tmp_path / "s00460")
    pairs = mapfree_pairs(tmp_path, every=1, depth="dptkitti")
    assert [pair.name for pair in pairs] == ["s00460 seq1/frame_00000.jpg", "s00460 seq1/frame_00010.jpg"]
    assert same(pairs[0].b_from_a, B_FROM_A) and same(pairs[1].b_from_a, B_FROM_WORLD)
    a, b = pairs[0].read()
    assert a.camera == Camera(590.5, 591.5, 270.0, 360.0, 540, 720)
    assert a.depth is not None and a.depth[0, 0] == 2.5 and b.depth is not None and b.depth[0, 0] == 3.0
    assert [pair.name for pair in mapfree_pairs(tmp_path / "s00460")] == ["s00460 seq1/frame_00000.jpg"]
    assert pairs[0].metric and mapfree_pairs(tmp_path)[0].read()[0].depth is None


def test_mapfree_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"poses\.txt"):
        mapfree_pairs(tmp_path)
    mapfree_scene(tmp_path)
    lines = (tmp_path / "intrinsics.txt").read_text().splitlines()
    (tmp_path / "intrinsics.txt").write_text("\n".join(lines[:2]))
    with pytest.raises(ValueError, match=r"row for seq1/frame_00000\.jpg"):
        mapfree_pairs(tmp_path)
    (tmp_path / "intrinsics.txt").write_text("seq0/frame_00000.jpg 590 590 270")
    with pytest.raises(ValueError, match="line 1 must hold"):
        mapfree_pairs(tmp_path)


def camera_row(pose: RigidTransform) -> list[float]:
    return [0.9, 1.6, 0.5, 0.45, 0.0, 0.0, *pose.as_matrix()[:3].ravel().tolist()]


def index_file(path: Path) -> Path:
    path.write_text(json.dumps({"abc": {"context": [0, 2], "target": [1]}, "none": None, "other": {"context": [0, 1]}}))
    return path


POSES = (A_FROM_WORLD, RigidTransform.identity(), B_FROM_WORLD)


def test_re10k_camera_files(tmp_path: Path) -> None:
    index = index_file(tmp_path / "evaluation.json")
    rows = [f"{1000 + number} " + " ".join(map(str, camera_row(pose))) for number, pose in enumerate(POSES)]
    (tmp_path / "abc.txt").write_text("https://www.youtube.com/watch?v=x\n" + "\n".join(rows))
    paint(tmp_path / "abc" / "1000.png", COLOURS[0], 640, 360)
    paint(tmp_path / "abc" / "1002.jpg", COLOURS[1], 640, 360)
    (pair,) = re10k_pairs(tmp_path, index)
    assert pair.scene == "abc" and not pair.metric
    assert same(pair.b_from_a, B_FROM_A)
    a, b = pair.read()
    # Shares of the image: corner-based pixels.
    assert a.camera == Camera(576.0, 576.0, 320.0, 162.0, 640, 360)
    assert a.image is not None and tuple(a.image[3, 3]) == COLOURS[0]
    assert b.name == "1002.jpg"
    (tmp_path / "abc" / "1002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="1002"):
        pair.read()


def test_re10k_chunks(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    index = index_file(tmp_path / "evaluation.json")
    encoded = []
    for colour in (COLOURS[0], (0, 0, 0), COLOURS[1]):
        image = np.full((36, 64, 3), colour[::-1], dtype=np.uint8)
        encoded.append(torch.from_numpy(cv2.imencode(".png", image)[1].copy()))
    cameras = torch.tensor([camera_row(pose) for pose in POSES], dtype=torch.float32)
    torch.save([{"key": "abc", "url": "", "cameras": cameras, "images": encoded}], tmp_path / "000000.torch")
    (tmp_path / "index.json").write_text(json.dumps({"abc": "000000.torch"}))
    (pair,) = re10k_pairs(tmp_path, index)
    assert same(pair.b_from_a, B_FROM_A, 1e-5)
    a, b = pair.read()
    assert a.image is not None and tuple(a.image[3, 3]) == COLOURS[0]
    assert b.image is not None and tuple(b.image[3, 3]) == COLOURS[1]
    assert a.camera.cx == pytest.approx(32.0) and a.camera.cy == pytest.approx(0.45 * 36, rel=1e-6)


def test_re10k_says_what_is_wrong(tmp_path: Path) -> None:
    index = index_file(tmp_path / "evaluation.json")
    with pytest.raises(ValueError, match="None of the 2 scenes"):
        re10k_pairs(tmp_path, index)
    (tmp_path / "abc.txt").write_text("url\n1 " + " ".join(map(str, camera_row(POSES[0]))))
    with pytest.raises(ValueError, match="must be among the 1"):
        re10k_pairs(tmp_path, index)
    index.write_text("[1, 2]")
    with pytest.raises(ValueError, match="must be JSON of"):
        re10k_pairs(tmp_path, index)
