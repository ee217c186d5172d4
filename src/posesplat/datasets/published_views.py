"""Cambridge Landmarks, ScanNet, DL3DV-10K and NAVI in the layouts in which they are published, as posed photographs.

Sources: Kendall et al., PoseNet, ICCV 2015; Dai et al., ScanNet, CVPR 2017; Ling et al., DL3DV-10K, CVPR 2024;
Jampani et al., NAVI, NeurIPS 2023.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.nerfstudio import read_nerfstudio
from posesplat.datasets.pose_files import pose_from_matrix
from posesplat.datasets.view_sets import PosedView, ViewSet
from posesplat.geometry.cameras import Camera
from posesplat.images import naturally_sorted, read_colour

_CAMBRIDGE_SIZE = (1920, 1080)
_CAMBRIDGE_LISTS = ("dataset_train.txt", "dataset_test.txt")
_DL3DV_FOLDERS = ("images_8", "images_4", "images_2", "images")
"""Smallest first: pairs are reduced to a few hundred pixels anyway."""


def cambridge_views(folder: Path) -> list[ViewSet]:
    """Cambridge Landmarks: ``SCENE/dataset_train.txt``, ``dataset_test.txt``, ``reconstruction.nvm``, images.

    Rows of the lists are ``image X Y Z W P Q R``: the camera's centre in metres, and the quaternion (w first) of
    cam_from_world. Focal lengths come from the NVM file, of images of 1920 x 1080; its radial terms, as customary,
    are left out.

    Raises:
        ValueError: when there is no scene, or a file has another form.
    """
    scenes = sorted({path.parent for name in _CAMBRIDGE_LISTS for path in folder.glob(f"*/{name}")})
    return _found("Cambridge Landmarks", "SCENE/dataset_train.txt", folder, [_cambridge(folder, s) for s in scenes])


def scannet_views(folder: Path) -> list[ViewSet]:
    """ScanNet as its reader exports it, in ``sceneXXXX_YY/``: ``color/N.jpg``, ``pose/N.txt``,
    ``intrinsic/intrinsic_color.txt``.

    Poses are 4x4 world_from_cam in metres, lost ones infinite; the calibration, of the images as they are, counts pixel
    centres as whole numbers.

    Raises:
        ValueError: when there is no scene, or a file has another form.
    """
    sets = []
    for scene in sorted(path.parent for path in folder.glob("scene*/color")):
        images = naturally_sorted((scene / "color").glob("*.jpg"))
        poses = [(path, _scannet_pose(scene / "pose" / f"{path.stem}.txt")) for path in images]
        known = [(path, pose) for path, pose in poses if pose is not None]
        if not known:
            continue
        matrix = _numbers(scene / "intrinsic" / "intrinsic_color.txt", 16).reshape(4, 4)
        height, width = read_colour(known[0][0]).shape[:2]
        fx, fy, cx, cy = (float(matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
        lens = Camera.from_opencv(fx, fy, cx, cy, width, height)
        views = tuple(PosedView(_within(folder, path), path, lens, pose) for path, pose in known)
        sets.append(ViewSet(scene.name, views))
    return _found("ScanNet", "sceneXXXX_YY/color", folder, sets)


def dl3dv_views(folder: Path) -> list[ViewSet]:
    """DL3DV-10K: ``HASH/transforms.json`` or ``HASH/nerfstudio/transforms.json``, beside ``images_8``, ``images_4``.

    The file is nerfstudio's; it names images in ``images``, of which any reduced copy will do. Lengths are arbitrary.

    Raises:
        ValueError: when there is no scene, a file has another form, or the images are missing.
    """
    sets = []
    for path in sorted([*folder.glob("*/transforms.json"), *folder.glob("*/nerfstudio/transforms.json")]):
        scene = read_nerfstudio(path)
        copy = next((name for name in _DL3DV_FOLDERS if (path.parent / name).is_dir()), None)
        if copy is None:
            raise ValueError(f"{path.parent} must hold one of {', '.join(_DL3DV_FOLDERS)}; it holds none. Unpack them.")
        views = []
        for name, estimate, lens in zip(scene.trajectory.names, scene.trajectory, scene.cameras, strict=True):
            image = path.parent / copy / Path(name).name
            if estimate.cam_from_world is not None and image.is_file():
                views.append(PosedView(_within(folder, image), image, lens, estimate.cam_from_world))
        sets.append(ViewSet(path.relative_to(folder).parts[0], tuple(views)))
    return _found("DL3DV-10K", "HASH/transforms.json", folder, sets)


def navi_views(folder: Path) -> list[ViewSet]:
    """NAVI: ``OBJECT/{multiview,video}-*/annotations.json`` and ``images/``; collections in the wild show no one scene.

    ``camera.q`` (w first) and ``camera.t`` take the object to the camera, OpenCV axes, in millimetres; the principal
    point is the middle of the image, ``image_size`` is (height, width) upright.

    Raises:
        ValueError: when there is no scene, or a file has another form.
    """
    sets = []
    for path in sorted([*folder.glob("*/multiview*/annotations.json"), *folder.glob("*/video*/annotations.json")]):
        place = path.parent
        views = tuple(_navi_view(folder, place, row, path) for row in _navi_rows(path))
        sets.append(ViewSet(f"{place.parent.name}/{place.name}", views))
    return _found("NAVI", "OBJECT/multiview-*/annotations.json", folder, sets)


def _found(what: str, layout: str, folder: Path, sets: list[ViewSet]) -> list[ViewSet]:
    if not any(len(one.views) for one in sets):
        raise ValueError(f"Expected {what} with {layout} in {folder}; found no scene. Pass the folder that holds them.")
    return [one for one in sets if one.views]


def _within(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _numbers(path: Path, count: int) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"Expected {count} numbers at {path}; there is no such file. Copy it.")
    try:
        values = np.array(path.read_text().split(), dtype=np.float64)
    except ValueError:
        values = np.zeros(0)
    if values.size != count:
        raise ValueError(f"{path} must hold {count} numbers; got {values.size}. Copy the file again.")
    return values


def _scannet_pose(path: Path) -> RigidTransform | None:
    return pose_from_matrix(_numbers(path, 16), str(path)) if path.is_file() else None


def _cambridge(folder: Path, scene: Path) -> ViewSet:
    focal_of = dict(_nvm_focals(scene / "reconstruction.nvm"))
    width, height = _CAMBRIDGE_SIZE
    views = []
    for name in _CAMBRIDGE_LISTS:
        path = scene / name
        for number, line in enumerate(path.read_text().splitlines() if path.is_file() else (), start=1):
            columns = line.split()
            if number <= 2 or not columns:
                continue
            try:
                values = np.array([float(value) for value in columns[1:]])
            except ValueError:
                values = np.zeros(0)
            if values.size != 7 or not np.isfinite(values).all() or not np.linalg.norm(values[3:]):
                raise ValueError(f"{path} line {number} must hold an image and X Y Z W P Q R; got {line!r}. Copy it.")
            focal = focal_of.get(Path(columns[0]).with_suffix("").as_posix())
            image = scene / columns[0]
            if focal is None or not image.is_file():
                continue
            turn = Rotation.from_quat(values[3:], scalar_first=True)
            pose = RigidTransform.from_components(-turn.apply(values[:3]), turn)
            lens = Camera(focal, focal, 0.5 * width, 0.5 * height, width, height)
            views.append(PosedView(_within(folder, image), image, lens, pose))
    return ViewSet(scene.name, tuple(views))


def _nvm_focals(path: Path) -> Iterator[tuple[str, float]]:
    """Focal lengths in pixels by image without its ending, of the first model of an NVM_V3 file."""
    if not path.is_file():
        raise FileNotFoundError(f"Expected the focal lengths of a Cambridge scene at {path}; there is none. Copy it.")
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    try:
        if not lines[0].startswith("NVM_V3"):
            raise ValueError(f"first line {lines[0]!r}")
        for line in lines[2 : 2 + int(lines[1])]:
            name, focal, *_ = line.split()
            yield Path(name).with_suffix("").as_posix(), float(focal)
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"{path} must be an NVM_V3 file with a count and its cameras; got {error}. Copy it."
        ) from error


def _navi_rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be a JSON list of annotations; got {error}. Copy the file again.") from error
    return list(rows)


def _navi_view(folder: Path, place: Path, row: dict[str, Any], path: Path) -> PosedView:
    try:
        camera, (height, width) = row["camera"], row["image_size"]
        turn = Rotation.from_quat(np.array(camera["q"], dtype=np.float64), scalar_first=True)
        pose = RigidTransform.from_components(np.array(camera["t"], dtype=np.float64), turn)
        focal = float(camera["focal_length"])
        image = place / "images" / str(row["filename"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must list camera (q, t, focal_length), image_size and filename; got {error!r}. Copy it again."
        ) from error
    lens = Camera(focal, focal, width // 2, height // 2, width, height)
    return PosedView(_within(folder, image), image, lens, pose)
