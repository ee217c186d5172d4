"""ScanNet-1500, the pairs on which matchers are compared, in both layouts in which they are passed around.

Sources: Sarlin et al., SuperGlue, CVPR 2020 (``scannet_test_pairs_with_gt.txt``); Sun et al., LoFTR, CVPR 2021
(``test.npz``, ``intrinsics.npz`` and scene folders). Calibrations count pixel centres as whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.pairs import ImagePair
from posesplat.datasets.pose_files import pose_from_matrix, rigid_matrix
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.images import DepthUnits, read_colour, read_depth

_SIZE = (640, 480)
_MILLIMETRES = DepthUnits(1000.0)
_COLUMNS = 38


@dataclass(frozen=True)
class _Side:
    """One image of a pair."""

    colour: Path
    depth: Path | None
    intrinsics: Float[np.ndarray, "3 3"]
    resized: bool
    """Whether the calibration is that of the image at 640 x 480, whatever its size on disk."""

    def read(self) -> Frame:
        image = read_colour(self.colour)
        if self.resized and image.shape[:2] != _SIZE[::-1]:
            import cv2

            image = np.asarray(cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = image.shape[:2]
        k = self.intrinsics
        camera = Camera.from_opencv(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), width, height)
        return Frame(camera, image, self._depth(), self.colour.name)

    def _depth(self) -> Float32[np.ndarray, "height width"] | None:
        return read_depth(self.depth, _MILLIMETRES) if self.depth is not None and self.depth.is_file() else None


def scannet_pairs(folder: Path, index: Path | None = None) -> list[ImagePair]:
    """The pairs of LoFTR's ``test.npz``; depth comes with them where ``depth/STEM.png`` (millimetres) exists.

    Layout: ``sceneXXXX_YY/color/STEM.jpg``, ``sceneXXXX_YY/pose/STEM.txt`` (4x4, world_from_cam), ``test.npz`` with
    ``name`` of shape (n, 4): scene, part, both stems; ``intrinsics.npz`` with a 3x3 matrix a scene, at 640 x 480.

    Args:
        folder: holds the scene folders.
        index: holds ``test.npz`` and ``intrinsics.npz``; ``folder`` when None.

    Raises:
        FileNotFoundError: when a listed file is missing.
        ValueError: when the lists have another form, or a pose is not rigid.
    """
    index = index or folder
    names = _archive(index / "test.npz").get("name")
    intrinsics = _archive(index / "intrinsics.npz")
    if names is None or names.ndim != 2 or names.shape[1] != 4:
        raise ValueError(
            f"{index / 'test.npz'} must hold 'name' of shape (n, 4): scene, part, two stems; got "
            f"{None if names is None else names.shape}. Take the list that LoFTR is evaluated on."
        )
    pairs = []
    for scene_number, part, *stems in names.tolist():
        scene = f"scene{int(scene_number):04d}_{int(part):02d}"
        if scene not in intrinsics:
            raise ValueError(f"{index / 'intrinsics.npz'} must hold a matrix for {scene}; it does not. Add it.")
        place, matrix = folder / scene, np.asarray(intrinsics[scene], dtype=np.float64).reshape(3, 3)
        poses = [_pose(place / "pose" / f"{stem}.txt") for stem in stems]
        sides = [
            _Side(place / "color" / f"{stem}.jpg", place / "depth" / f"{stem}.png", matrix, True) for stem in stems
        ]
        name = f"{scene} {stems[0]} {stems[1]}"
        pairs.append(ImagePair(name, scene, poses[1] * poses[0].inv(), True, partial(_both, *sides)))
    return pairs


def listed_pairs(listing: Path, images: Path) -> list[ImagePair]:
    """The pairs of a text file as SuperGlue is evaluated on: two images, two EXIF turns, K_A, K_B, 4x4 B_from_A.

    Args:
        listing: rows of 38 columns; calibrations belong to the images as they are stored.
        images: the folder that names are relative to.

    Raises:
        ValueError: when a row has another form, an image would have to be turned, or a pose is not rigid.
    """
    pairs = []
    for number, line in enumerate(listing.read_text().splitlines(), start=1):
        columns = line.split()
        if not columns:
            continue
        try:
            values = np.array([float(value) for value in columns[2:]])
        except ValueError:
            values = np.zeros(0)
        if len(columns) != _COLUMNS or len(values) != _COLUMNS - 2 or values[:2].any():
            raise ValueError(
                f"{listing} line {number} must hold two image names, two EXIF turns of 0, two 3x3 calibrations and a "
                f"4x4 pose, {_COLUMNS} columns in all; got {len(columns)} columns. Turn the images upright first."
            )
        b_from_a = rigid_matrix(values[20:], f"{listing} line {number}")
        sides = [
            _Side(images / name, None, matrix.reshape(3, 3), False)
            for name, matrix in zip(columns[:2], (values[2:11], values[11:20]), strict=True)
        ]
        scene = next((part for part in Path(columns[0]).parts if part.startswith("scene")), Path(columns[0]).parts[0])
        pairs.append(ImagePair(f"{columns[0]} {columns[1]}", scene, b_from_a, True, partial(_both, *sides)))
    return pairs


def _both(a: _Side, b: _Side) -> tuple[Frame, Frame]:
    return a.read(), b.read()


def _pose(path: Path) -> RigidTransform:
    """cam_from_world of a file that holds world_from_cam."""
    if not path.is_file():
        raise FileNotFoundError(f"Expected a 4x4 pose at {path}; there is none. Unpack the poses of ScanNet-1500.")
    pose = pose_from_matrix(np.array(path.read_text().split(), dtype=np.float64), str(path))
    if pose is None:
        raise ValueError(f"{path} must hold a finite pose; got NaN or infinity. Leave this pair out of the list.")
    return pose


def _archive(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"Expected the list of pairs at {path}; there is none. Pass the folder that holds it.")
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
