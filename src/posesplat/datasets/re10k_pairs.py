"""RealEstate10K by an evaluation index: pairs of frames of house tours, translations up to scale.

Sources: Zhou et al., Stereo magnification, SIGGRAPH 2018 (camera files); Charatan et al., pixelSplat, CVPR 2024 (chunks
and the index). Calibrations are shares of the image's size, so that they are corner-based.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.pairs import ImagePair
from posesplat.datasets.pose_files import rigid_matrix
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.images import decoded_colour, read_colour

_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class _View:
    """One frame's camera: fx, fy, cx, cy as shares of the image's size, and its pose."""

    shares: Float[np.ndarray, " 4"]
    cam_from_world: RigidTransform

    @staticmethod
    def of(row: Float[np.ndarray, " 18"], source: str) -> _View:
        """From the 18 numbers after the time: shares, two unused, 3x4 cam_from_world."""
        matrix = np.vstack([row[6:].reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
        return _View(row[:4], rigid_matrix(matrix.ravel(), source, "cam_from_world"))

    def frame(self, image: UInt8[np.ndarray, "height width 3"], name: str) -> Frame:
        """The frame of a decoded image."""
        height, width = image.shape[:2]
        fx, fy, cx, cy = (self.shares * (width, height, width, height)).tolist()
        return Frame(Camera(fx, fy, cx, cy, width, height), image, None, name)


def re10k_pairs(folder: Path, index: Path, frames: Path | None = None) -> list[ImagePair]:
    """The pairs of an evaluation index: JSON of ``{scene: {"context": [i, j], ...} or null}``, frame numbers.

    Scenes come from chunks (``folder/index.json`` names a ``.torch`` file for each scene; needs torch) or, without that
    file, from the data set's own camera files ``folder/SCENE.txt`` and images ``frames/SCENE/TIMESTAMP.png``. Scenes
    that are null, or not there, are left out; of more than two context frames the first and the last are taken.

    Args:
        folder: chunks or camera files.
        index: the evaluation index.
        frames: images by scene; ``folder`` when None.

    Raises:
        ValueError: when the index or a camera file has another form, or none of its scenes is there.
        ModuleNotFoundError: for chunks without torch.
    """
    wanted = _wanted(index)
    if (folder / "index.json").is_file():
        pairs = _from_chunks(folder, wanted)
    else:
        pairs = _from_camera_files(folder, frames or folder, wanted)
    if not pairs:
        raise ValueError(f"None of the {len(wanted)} scenes of {index} is in {folder}. Pass the split it belongs to.")
    return pairs


def _wanted(index: Path) -> dict[str, tuple[int, int]]:
    try:
        record = json.loads(index.read_text(encoding="utf-8"))
        return {
            scene: (int(entry["context"][0]), int(entry["context"][-1]))
            for scene, entry in record.items()
            if entry is not None
        }
    except (ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise ValueError(
            f'{index} must be JSON of {{scene: {{"context": [i, j]}} or null}}; got {error!r}. Take the evaluation '
            "index of pixelSplat or one of its form."
        ) from error


def _from_chunks(folder: Path, wanted: Mapping[str, tuple[int, int]]) -> list[ImagePair]:
    chunk_of: dict[str, str] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    scenes = sorted((scene for scene in wanted if scene in chunk_of), key=lambda scene: (chunk_of[scene], scene))
    pairs = []
    for scene in scenes:
        path = folder / chunk_of[scene]
        cameras = np.asarray(_scenes_of(path)[scene]["cameras"], dtype=np.float64)
        _check_numbers(wanted[scene], len(cameras), f"scene {scene} of {path}")
        views = [_View.of(cameras[number], f"{path}, {scene}, frame {number}") for number in wanted[scene]]
        read = partial(_chunk_frames, path, scene, wanted[scene], views)
        pairs.append(_pair(scene, wanted[scene], views, read))
    return pairs


def _from_camera_files(folder: Path, frames: Path, wanted: Mapping[str, tuple[int, int]]) -> list[ImagePair]:
    pairs = []
    for scene, numbers in wanted.items():
        path = folder / f"{scene}.txt"
        if not path.is_file():
            continue
        rows = [line.split() for line in path.read_text().splitlines()[1:] if line.strip()]
        _check_numbers(numbers, len(rows), str(path))
        views = []
        for number in numbers:
            if len(rows[number]) != 19:
                raise ValueError(
                    f"{path} must have rows of a time and 18 numbers after its first line; got {len(rows[number])} "
                    f"columns for frame {number}. Copy the file again."
                )
            values = np.array([float(value) for value in rows[number][1:]])
            views.append(_View.of(values, f"{path}, frame {number}"))
        names = [frames / scene / rows[number][0] for number in numbers]
        pairs.append(_pair(scene, numbers, views, partial(_stored_frames, names, views)))
    return pairs


def _pair(scene: str, numbers: tuple[int, int], views: list[_View], read: Any) -> ImagePair:
    b_from_a = views[1].cam_from_world * views[0].cam_from_world.inv()
    return ImagePair(f"{scene} {numbers[0]} {numbers[1]}", scene, b_from_a, False, read)


def _check_numbers(numbers: tuple[int, int], count: int, where: str) -> None:
    if not all(0 <= number < count for number in numbers):
        raise ValueError(f"Frames {numbers} of the index must be among the {count} of {where}. Take the index of it.")


def _chunk_frames(path: Path, scene: str, numbers: tuple[int, int], views: list[_View]) -> tuple[Frame, Frame]:
    images = _scenes_of(path)[scene]["images"]

    def frame(side: int) -> Frame:
        number = numbers[side]
        image = decoded_colour(np.asarray(images[number], np.uint8), f"{path}, {scene}, frame {number}")
        return views[side].frame(image, str(number))

    return frame(0), frame(1)


def _stored_frames(names: list[Path], views: list[_View]) -> tuple[Frame, Frame]:
    def frame(side: int) -> Frame:
        choices = [Path(f"{names[side]}{end}") for end in _SUFFIXES]
        path = next((path for path in choices if path.is_file()), None)
        if path is None:
            raise FileNotFoundError(f"Expected an image {names[side]}.png or .jpg; there is none. Extract the frames.")
        return views[side].frame(read_colour(path), path.name)

    return frame(0), frame(1)


@lru_cache(maxsize=1)
def _scenes_of(path: Path) -> dict[str, dict[str, Any]]:
    """The scenes of a chunk; the last chunk is kept."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "RealEstate10K chunks need torch, which is not installed. pip install 'posesplat[learned]' adds it."
        ) from error
    return {str(example["key"]): example for example in torch.load(path, map_location="cpu", weights_only=True)}
