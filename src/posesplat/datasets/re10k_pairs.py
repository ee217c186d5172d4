"""RealEstate10K by an evaluation index: frames of house tours, translations up to scale.

ACID, and DL3DV as it was converted for feed-forward splatting, have the same layout.

Sources: Zhou et al., Stereo magnification, SIGGRAPH 2018 (camera files); Charatan et al., pixelSplat, CVPR 2024 (chunks
and the index). Calibrations are shares of the image's size, so that they are corner-based.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
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
OVERLAPS = {"small": (0.05, 0.3), "medium": (0.3, 0.55), "large": (0.55, 0.8)}
"""Shares of one context image that the other sees, by the word of the published protocol."""


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


@dataclass(frozen=True, eq=False)
class IndexedViews:
    """Frames of one entry of an evaluation index and the true motion between them."""

    scene: str
    """Key of the scene."""
    numbers: tuple[int, ...]
    """Of the frames within the scene: those of the context, then the targets."""
    context: int
    """How many of them are context."""
    cam_from_first: RigidTransform
    """True poses, stacked: x_in_cam = cam_from_first.apply(x_in_first), OpenCV axes, length up to scale."""
    overlap: str
    """``small``, ``medium`` or ``large``; empty where the index does not say, ``ignored`` outside of all three."""
    read: Callable[[], tuple[Frame, ...]]
    """Decodes the images, at their own size."""


def indexed_views(folder: Path, index: Path, frames: Path | None = None) -> list[IndexedViews]:
    """All frames of an evaluation index: ``{scene: {"context": [...], "target": [...], "overlap": ...} or null}``.

    Scenes are found as in :func:`re10k_pairs`. The overlap is a word, or a share that is told in the words of the
    published protocol: small 0.05 to 0.3, medium to 0.55, large to 0.8.

    Args:
        folder: chunks or camera files.
        index: the evaluation index.
        frames: images by scene; ``folder`` when None.

    Raises:
        ValueError: when the index or a camera file has another form, or none of its scenes is there.
        ModuleNotFoundError: for chunks without torch.

    Source: Ye et al., NoPoSplat, ICLR 2025; Huang and Mikolajczyk, SPFSplatV2, arXiv 2509.17246, section 4.
    """
    entries = _entries(index)
    wanted = {scene: (*entry.context, *entry.target) for scene, entry in entries.items()}
    found = []
    for scene, views, read in _scenes(folder, index, frames, wanted):
        from_world = RigidTransform.concatenate([view.cam_from_world for view in views])
        entry, relative = entries[scene], from_world * views[0].cam_from_world.inv()
        found.append(IndexedViews(scene, wanted[scene], len(entry.context), relative, entry.overlap, read))
    return found


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
    wanted = {scene: (entry.context[0], entry.context[-1]) for scene, entry in _entries(index).items()}
    pairs = []
    for scene, views, read in _scenes(folder, index, frames, wanted):
        b_from_a = views[1].cam_from_world * views[0].cam_from_world.inv()
        name = f"{scene} {wanted[scene][0]} {wanted[scene][1]}"
        pairs.append(ImagePair(name, scene, b_from_a, False, partial(_two, read)))
    return pairs


@dataclass(frozen=True)
class _Entry:
    """One scene of an index."""

    context: tuple[int, ...]
    target: tuple[int, ...]
    overlap: str


def _entries(index: Path) -> dict[str, _Entry]:
    try:
        record = json.loads(index.read_text(encoding="utf-8"))
        found = {scene: _entry(entry) for scene, entry in record.items() if entry is not None}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f'{index} must be JSON of {{scene: {{"context": [i, j]}} or null}}; got {error!r}. Take the evaluation '
            "index of pixelSplat or one of its form."
        ) from error
    return found


def _entry(entry: Mapping[str, Any]) -> _Entry:
    context = tuple(int(number) for number in entry["context"])
    if len(context) < 2:
        raise ValueError(f"a context of {len(context)} frames")
    told = entry.get("overlap", "")
    return _Entry(context, tuple(int(number) for number in entry.get("target", ())), _overlap(told))


def _overlap(told: str | float) -> str:
    if isinstance(told, str):
        return told
    return next((name for name, (low, high) in OVERLAPS.items() if low <= told <= high), "ignored")


Found = tuple[str, list[_View], Callable[[], tuple[Frame, ...]]]
"""A scene, the cameras of the wanted frames, and what decodes them."""


def _scenes(folder: Path, index: Path, frames: Path | None, wanted: Mapping[str, tuple[int, ...]]) -> Iterator[Found]:
    in_chunks = (folder / "index.json").is_file()
    found = list(_from_chunks(folder, wanted) if in_chunks else _from_camera_files(folder, frames or folder, wanted))
    if not found:
        raise ValueError(f"None of the {len(wanted)} scenes of {index} is in {folder}. Pass the split it belongs to.")
    yield from found


def _from_chunks(folder: Path, wanted: Mapping[str, tuple[int, ...]]) -> Iterator[Found]:
    chunk_of: dict[str, str] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    for scene in sorted((scene for scene in wanted if scene in chunk_of), key=lambda scene: (chunk_of[scene], scene)):
        path = folder / chunk_of[scene]
        cameras = np.asarray(_scenes_of(path)[scene]["cameras"], dtype=np.float64)
        _check_numbers(wanted[scene], len(cameras), f"scene {scene} of {path}")
        views = [_View.of(cameras[number], f"{path}, {scene}, frame {number}") for number in wanted[scene]]
        yield scene, views, partial(_chunk_frames, path, scene, wanted[scene], views)


def _from_camera_files(folder: Path, frames: Path, wanted: Mapping[str, tuple[int, ...]]) -> Iterator[Found]:
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
        yield scene, views, partial(_stored_frames, [frames / scene / rows[number][0] for number in numbers], views)


def _two(read: Callable[[], tuple[Frame, ...]]) -> tuple[Frame, Frame]:
    first, second = read()
    return first, second


def _check_numbers(numbers: tuple[int, ...], count: int, where: str) -> None:
    if not all(0 <= number < count for number in numbers):
        raise ValueError(f"Frames {numbers} of the index must be among the {count} of {where}. Take the index of it.")


def _chunk_frames(path: Path, scene: str, numbers: tuple[int, ...], views: list[_View]) -> tuple[Frame, ...]:
    images = _scenes_of(path)[scene]["images"]
    frames = []
    for number, view in zip(numbers, views, strict=True):
        image = decoded_colour(np.asarray(images[number], np.uint8), f"{path}, {scene}, frame {number}")
        frames.append(view.frame(image, str(number)))
    return tuple(frames)


def _stored_frames(names: list[Path], views: list[_View]) -> tuple[Frame, ...]:
    frames = []
    for name, view in zip(names, views, strict=True):
        choices = [Path(f"{name}{end}") for end in _SUFFIXES]
        path = next((path for path in choices if path.is_file()), None)
        if path is None:
            raise FileNotFoundError(f"Expected an image {name}.png or .jpg; there is none. Extract the frames.")
        frames.append(view.frame(read_colour(path), path.name))
    return tuple(frames)


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
