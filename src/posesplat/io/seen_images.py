"""Small pictures of what the camera saw, beside a result: ``seen/000012.jpg`` for the frame at index 12."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from posesplat.align.tracks import evenly_spread
from posesplat.images import read_colour, reduced_image

SmallImages = dict[int, UInt8[np.ndarray, "_ _ 3"]]
"""RGB images of some frames by the frame's index."""

FOLDER = "seen"
_MOST = 100
_LONGEST_PX = 320
_JPEG_QUALITY = 80


def small_images(frames: Sequence, most: int = _MOST, longest_px: int = _LONGEST_PX) -> SmallImages:
    """Small RGB images of at most so many frames, evenly spread, by index; unreadable ones and those of depth less.

    Args:
        frames: a :class:`~posesplat.datasets.sequences.FrameSequence`, or frames in a list; only those that are kept
            are read.
        most: frames.
        longest_px: of the longer side.
    """
    found = {}
    for index in evenly_spread(len(frames), most) if len(frames) else ():
        try:
            image = frames[int(index)].image
        except ValueError:
            continue
        if image is not None:
            found[int(index)] = reduced_image(image, longest_px)
    return found


def write_seen(folder: Path, images: SmallImages) -> None:
    """Write images as JPEG into ``folder/seen``; the folder of :func:`posesplat.io.results.output_folder`."""
    import cv2

    if images:
        (folder / FOLDER).mkdir()
    for index, image in images.items():
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        (folder / FOLDER / f"{index:06d}.jpg").write_bytes(bytes(data))


def read_seen(folder: Path, count: int) -> SmallImages:
    """Read what :func:`write_seen` wrote, for frames below ``count``; empty where nothing was written.

    Raises:
        ValueError: for a damaged picture.
    """
    places = {int(path.stem): path for path in sorted((folder / FOLDER).glob("*.jpg")) if path.stem.isdigit()}
    return {index: read_colour(path) for index, path in places.items() if index < count}
