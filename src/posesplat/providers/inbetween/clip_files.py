"""In-between frames that any other tool made: a folder of clips, each a video or a folder of images."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from posesplat.images import VIDEO_SUFFIXES, VideoReader, images_in, naturally_sorted, read_colour
from posesplat.providers.inbetween.provider import ClipRequest, Image

_BACKWARD = "_ba"
_SAME_GREY = 4.0
"""Mean difference in grey levels up to which a clip's end frame is the image that it begins or ends with."""


class ClipFiles:
    """Clips of a folder: its videos and sub-folders in natural order, or its own images as one clip.

    A clip runs from A to B; one whose name ends in ``_ba`` runs from B to A. Frames that show A or B themselves, as the
    ends of generated clips do, are left out.
    """

    usd_per_clip = 0.0

    def __init__(self, folder: Path) -> None:
        """List the clips.

        Raises:
            OSError: when there is no such folder.
            ValueError: when nothing in it is a clip.
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"Expected a folder of clips at {folder}; there is none. Check --inbetween.")
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
        clips = [path for path in inside if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES]
        clips += [path for path in inside if path.is_dir() and images_in(path)]
        self.clips = tuple(naturally_sorted(clips)) or ((folder,) if images_in(folder) else ())
        if not self.clips:
            raise ValueError(
                f"{folder} must hold clips: videos ({' '.join(sorted(VIDEO_SUFFIXES))}), folders of images, or images; "
                "got none of them. Check --inbetween."
            )
        self.name = f"clips of {folder.name}"

    @property
    def stored_clips(self) -> int | None:
        """See :class:`posesplat.providers.inbetween.provider.InbetweenProvider`."""
        return len(self.clips)

    def identity(self) -> dict[str, Any]:
        """See :class:`posesplat.providers.inbetween.provider.InbetweenProvider`; files count by size and time."""
        digest = hashlib.sha256()
        for clip in self.clips:
            for path in images_in(clip) if clip.is_dir() else [clip]:
                status = path.stat()
                digest.update(f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}\n".encode())
        return {"provider": "clips", "files": digest.hexdigest()}

    def frames(self, request: ClipRequest) -> list[Image]:
        """See :class:`posesplat.providers.inbetween.provider.InbetweenProvider`; takes clip ``request.number``.

        Raises:
            ValueError: for a clip that is not there, or has no frame besides A and B.
        """
        if not 0 <= request.number < len(self.clips):
            raise ValueError(f"There are {len(self.clips)} clips, from 0 on; got number {request.number}.")
        clip = self.clips[request.number]
        frames = [fitted(image, request.first) for image in read_clip(clip)]
        if clip.stem.lower().endswith(_BACKWARD):
            frames.reverse()
        if frames and _alike(frames[0], request.first):
            frames = frames[1:]
        if frames and _alike(frames[-1], request.last):
            frames = frames[:-1]
        if not frames:
            raise ValueError(f"Clip {clip.name} must hold frames between A and B; got none besides them. Leave it out.")
        return frames


def read_clip(path: Path) -> list[Image]:
    """All frames of a video or of a folder of images."""
    if path.is_dir():
        return [read_colour(image) for image in images_in(path)]
    reader = VideoReader(path)
    return [reader.read(index) for index in range(len(reader.times))]


def fitted(image: Image, like: Image) -> Image:
    """The image resized to the size of another one."""
    import cv2

    height, width = like.shape[:2]
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] > height
    return np.asarray(
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8
    )


def _alike(image: Image, other: Image) -> bool:
    return float(np.abs(image.astype(np.float32) - other.astype(np.float32)).mean()) < _SAME_GREY
