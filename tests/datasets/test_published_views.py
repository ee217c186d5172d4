"""Cambridge, ScanNet, DL3DV and NAVI, each written here in its layout with poses that are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.published_views import cambridge_views, dl3dv_views, navi_views, scannet_views
from posesplat.datasets.view_sets import ViewSet, listed_names
from posesplat.geometry.cameras import Camera

POSES = [
    RigidTransform.from_components([1.0, 2.0, -0.5], Rotation.from_rotvec([-0.2, 0.3, 0.7])),
    RigidTransform.from_components([0.3, -0.1, 0.2], Rotation.from_rotvec([0.1, -0.4, 0.05])),
]
"""cam_from_world."""


def paint(path: Path, width: int, height: int, grey: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), grey, dtype=np.uint8))


def words(values: np.ndarray) -> str:
    return " ".join(f"{value:.12f}" for value in np.ravel(values))


def cambridge(root: Path) -> None:
    scene = root / "KingsCollege"
    rows = []
    for number, pose in enumerate(POSES):
        name = f"seq1/frame{number:05d}.png"
        paint(scene / name, 96, 54)
        centre, turn = pose.inv().translation, pose.rotation.as_quat(scalar_first=True)
        rows.append(f"{name} {words(centre)} {words(turn)}")
    head = "Visual Landmark Dataset V1\nImageFile, Camera Position [X Y Z W P Q R]\n\n"
    (scene / "dataset_train.txt").write_text(head + rows[0] + "\n")
    (scene / "dataset_test.txt").write_text(head + rows[1] + "\n")
    cameras = [f"seq1/frame{k:05d}.jpg {1600 + k} 1 0 0 0 0 0 0 -0.01 0" for k in range(2)]
    (scene / "reconstruction.nvm").write_text("NVM_V3 \n\n2\n" + "\n".join(cameras) + "\n\n0\n")


def scannet(root: Path) -> None:
    scene = root / "scene0707_00"
    for number, pose in enumerate([*POSES, None]):
        paint(scene / "color" / f"{10 * number}.jpg", 64, 48)
        matrix = np.full((4, 4), -np.inf) if pose is None else pose.inv().as_matrix()
        (scene / "pose").mkdir(exist_ok=True)
        (scene / "pose" / f"{10 * number}.txt").write_text("\n".join(words(row) for row in matrix))
    (scene / "intrinsic").mkdir()
    matrix = np.array([[58.0, 0, 31.5, 0], [0, 59.0, 23.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    (scene / "intrinsic" / "intrinsic_color.txt").write_text("\n".join(words(row) for row in matrix))


def dl3dv(root: Path) -> None:
    scene = root / "0a1b"
    frames = []
    for number, pose in enumerate(POSES):
        paint(scene / "images_4" / f"frame_{number:05d}.png", 96, 54)
        matrix = pose.inv().as_matrix() @ np.diag([1.0, -1.0, -1.0, 1.0])
        frames.append({"file_path": f"images/frame_{number:05d}.png", "transform_matrix": matrix.tolist()})
    record = {"w": 384, "h": 216, "fl_x": 300.0, "fl_y": 302.0, "cx": 192.0, "cy": 108.0, "k1": 0.02}
    (scene / "transforms.json").write_text(json.dumps({"camera_model": "OPENCV", **record, "frames": frames}))


def navi(root: Path) -> None:
    scene = root / "3d_dollhouse_sink" / "multiview-00-pixel_5"
    rows = []
    for number, pose in enumerate(POSES):
        paint(scene / "images" / f"{number:03d}.jpg", 40, 30)
        camera = {
            "q": pose.rotation.as_quat(scalar_first=True).tolist(),
            "t": pose.translation.tolist(),
            "focal_length": 3000.0,
            "camera_model": "pixel_5",
        }
        rows.append({"camera": camera, "filename": f"{number:03d}.jpg", "image_size": [3000, 4000], "split": "train"})
    (scene / "annotations.json").write_text(json.dumps(rows))
    (root / "3d_dollhouse_sink" / "wild_set").mkdir()


LAYOUTS: dict[str, tuple[Callable[[Path], None], Callable[[Path], list[ViewSet]], Camera]] = {
    "cambridge": (cambridge, cambridge_views, Camera(80.0, 80.0, 48.0, 27.0, 96, 54)),
    # Centres of pixels at whole numbers: + 0.5.
    "scannet": (scannet, scannet_views, Camera(58.0, 59.0, 32.0, 24.0, 64, 48)),
    "dl3dv": (dl3dv, dl3dv_views, Camera(75.0, 75.5, 48.0, 27.0, 96, 54)),
    "navi": (navi, navi_views, Camera(30.0, 30.0, 20.0, 15.0, 40, 30)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_layout_gives_poses_and_cameras(name: str, tmp_path: Path) -> None:
    write, load, camera = LAYOUTS[name]
    write(tmp_path)
    (scene,) = load(tmp_path)
    assert len(scene.views) == 2
    for view, pose in zip(scene.views, POSES, strict=True):
        assert np.allclose(view.cam_from_world.as_matrix(), pose.as_matrix(), atol=1e-9)
        assert (tmp_path / view.name) == view.path
    frame = scene.views[0].read()
    assert frame.camera == camera and frame.name == scene.views[0].name
    assert frame.image is not None and np.abs(frame.image.astype(int) - 90).max() < 4
    with pytest.raises(ValueError, match="found no scene"):
        load(tmp_path / "nowhere")


def test_pairs_are_listed_by_the_paths_of_their_images(tmp_path: Path) -> None:
    navi(tmp_path)
    sets = navi_views(tmp_path)
    first, second = (view.name for view in sets[0].views)
    (tmp_path / "pairs.txt").write_text(f"# a pair\n{first} {second} 61.5\n{second} {first}\n")
    assert [(one.scene, i, j) for one, i, j in listed_names(tmp_path / "pairs.txt", sets)] == [
        ("3d_dollhouse_sink/multiview-00-pixel_5", 0, 1),
        ("3d_dollhouse_sink/multiview-00-pixel_5", 1, 0),
    ]
    for row in (f"{first} elsewhere.jpg", first):
        (tmp_path / "pairs.txt").write_text(row + "\n")
        with pytest.raises(ValueError, match=r"pairs\.txt line 1 must name two images"):
            listed_names(tmp_path / "pairs.txt", sets)


def test_files_of_another_form_are_told(tmp_path: Path) -> None:
    for write in (cambridge, dl3dv, navi, scannet):
        write(tmp_path)
    scene = tmp_path / "KingsCollege"
    (scene / "dataset_test.txt").write_text("a\nb\n\nseq1/frame00001.png 0 0 0 1 0 0\n")
    with pytest.raises(ValueError, match="X Y Z W P Q R"):
        cambridge_views(tmp_path)
    (scene / "reconstruction.nvm").write_text("ply\n")
    with pytest.raises(ValueError, match="NVM_V3"):
        cambridge_views(tmp_path)
    (scene / "reconstruction.nvm").unlink()
    with pytest.raises(FileNotFoundError, match=r"reconstruction\.nvm"):
        cambridge_views(tmp_path)
    (tmp_path / "scene0707_00" / "intrinsic" / "intrinsic_color.txt").write_text("1 2 3")
    with pytest.raises(ValueError, match="16 numbers; got 3"):
        scannet_views(tmp_path)
    (tmp_path / "3d_dollhouse_sink" / "multiview-00-pixel_5" / "annotations.json").write_text('[{"camera": {}}]')
    with pytest.raises(ValueError, match="focal_length"):
        navi_views(tmp_path)
    (tmp_path / "0a1b" / "images_4").rename(tmp_path / "0a1b" / "elsewhere")
    with pytest.raises(ValueError, match="images_8"):
        dl3dv_views(tmp_path)


def test_an_image_of_another_shape_than_its_camera_is_refused(tmp_path: Path) -> None:
    navi(tmp_path)
    (scene,) = navi_views(tmp_path)
    paint(scene.views[0].path, 30, 40)
    with pytest.raises(ValueError, match="the shape of its camera"):
        scene.views[0].read()
