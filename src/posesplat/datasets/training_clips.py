"""Clips to train the network on: synthetic rooms, folders of videos or images without poses, RealEstate10K chunks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from posesplat.datasets.rooms.clips import room_clip
from posesplat.geometry.cameras import Camera
from posesplat.images import VIDEO_SUFFIXES, VideoReader, images_in, naturally_sorted, read_colour
from posesplat.learned.clips import Clip
from posesplat.learned.working_views import covering_crop

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoomClips:
    """Synthetic rooms, drawn when they are asked for; the exact poses they are drawn from are thrown away."""

    count: int
    """How many clips there are."""
    frames: int = 10
    """Pictures a clip."""
    width: int = 128
    """Of the pictures."""
    height: int = 128
    """Of the pictures."""
    seed: int = 0
    """The first room's seed; rooms have consecutive seeds."""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Clip:
        for again in range(100):
            try:
                found = room_clip(self.seed + index + 10_000_000 * again, self.frames, self.width, self.height)
            except ValueError:  # a room so full that no walk fits: another room takes its place
                continue
            lens = found.camera.resized(1, 1).matrix.astype(np.float32)
            return Clip(found.images, np.repeat(lens[None], self.frames, axis=0))
        raise ValueError(
            f"No walk of {self.frames} pictures fits into room {self.seed + index}. Ask for fewer pictures."
        )


@dataclass(frozen=True, eq=False)
class HeldClips:
    """Clips of equal length held in memory."""

    images: UInt8[np.ndarray, "clips n h w 3"]
    """RGB."""
    intrinsics: Float32[np.ndarray, "clips n 3 3"]
    """Normalised pinholes."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Clip:
        return Clip(self.images[index], self.intrinsics[index])

    @staticmethod
    def of(source: RoomClips, workers: int = 0) -> HeldClips:
        """All clips of a source, made by some processes (0: in this one)."""
        if workers == 0:
            clips = [source[index] for index in range(len(source))]
        else:
            with ProcessPoolExecutor(workers) as pool:
                clips = list(pool.map(source.__getitem__, range(len(source)), chunksize=4))
        return HeldClips(np.stack([clip.images for clip in clips]), np.stack([clip.intrinsics for clip in clips]))


@dataclass(frozen=True, eq=False)
class ListedClips:
    """Clips of any length held in memory."""

    clips: tuple[Clip, ...]
    """The clips."""

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        return self.clips[index]


def check_training_folder(folder: Path) -> None:
    """Refuse a folder that is not there.

    Raises:
        FileNotFoundError: naming it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Expected a folder of training data at {folder} (videos, folders of images, *.torch chunks), or the word "
            "rooms; there is no such folder. Check the path."
        )


def open_clips(folder: Path, width: int, height: int, field_of_view_deg: float, every: int = 1) -> ListedClips:
    """Clips of a folder: RealEstate10K chunks, videos, or folders of images; no pose is read.

    Args:
        folder: holds ``*.torch`` chunks, videos, or folders of images (or images themselves), in natural order.
        width: to which pictures are resized and cropped in the middle.
        height: likewise.
        field_of_view_deg: horizontal field of view of whole pictures whose lens is not known.
        every: takes one frame in so many of videos and images.

    Raises:
        FileNotFoundError: when there is no such folder.
        ValueError: when no clip of at least three pictures is found in it.
    """
    check_training_folder(folder)
    clips: list[Clip] = []
    for path in naturally_sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix == ".torch":
            clips += re10k_clips(path, width, height)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            clips.append(_clip_of(_video_frames(path, every), width, height, field_of_view_deg))
    for place in [folder, *naturally_sorted(p for p in folder.rglob("*") if p.is_dir())]:
        images = images_in(place)
        if images:
            clips.append(_clip_of((read_colour(p) for p in images[::every]), width, height, field_of_view_deg))
    kept = tuple(clip for clip in clips if len(clip.images) >= 3)
    if not kept:
        raise ValueError(
            f"{folder} must hold clips of at least 3 pictures (videos, folders of images, *.torch chunks); "
            f"found {len(clips)} shorter ones. Name another folder."
        )
    if len(kept) < len(clips):
        LOG.warning("%d clips of %s have fewer than 3 pictures and are left out", len(clips) - len(kept), folder)
    return ListedClips(kept)


def re10k_clips(chunk: Path, width: int, height: int) -> list[Clip]:
    """Clips of a RealEstate10K chunk in pixelSplat's layout; of its cameras only the lens is read, never the pose.

    The chunk is a list of {key, cameras (n, 18): fx, fy, cx, cy over the image's size, two zeros, 3x4 pose; images:
    encoded JPEG bytes}.
    """
    import torch

    clips = []
    for scene in torch.load(chunk, map_location="cpu", weights_only=True):
        lenses = scene["cameras"][:, :4].numpy().astype(np.float64)
        pictures, intrinsics = [], []
        for data, (fx, fy, cx, cy) in zip(scene["images"], lenses, strict=True):
            image = _decoded(data.numpy())
            whole = Camera(
                fx * image.shape[1], fy * image.shape[0], cx * image.shape[1], cy * image.shape[0], *_size(image)
            )
            picture, camera = covering_crop(image, whole, width, height)
            pictures.append(picture)
            intrinsics.append(camera.resized(1, 1).matrix)
        clips.append(Clip(np.stack(pictures), np.stack(intrinsics).astype(np.float32)))
    return clips


def _clip_of(images: Iterable[UInt8[np.ndarray, "_ _ 3"]], width: int, height: int, field_of_view_deg: float) -> Clip:
    pictures, intrinsics = [], []
    for image in images:
        picture, camera = covering_crop(image, Camera.from_fov(field_of_view_deg, *_size(image)), width, height)
        pictures.append(picture)
        intrinsics.append(camera.resized(1, 1).matrix)
    return Clip(np.stack(pictures), np.stack(intrinsics).astype(np.float32))


def _size(image: UInt8[np.ndarray, "_ _ 3"]) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _decoded(data: UInt8[np.ndarray, " n"]) -> UInt8[np.ndarray, "_ _ 3"]:
    import cv2

    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def _video_frames(path: Path, every: int) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
    reader = VideoReader(path)
    for index in range(0, len(reader.times), every):
        yield reader.read(index)
