"""Images as they come, with what can be known of their cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from posesplat.align.shared_focal import SharedFocal, shared_focal
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.images import read_colour
from posesplat.learned.working_views import reduced_frame
from posesplat.providers.two_view.sift import SiftMatches

ImageLike = Frame | str | PathLike[str] | UInt8[np.ndarray, "height width 3"]
"""A frame, an image file, or RGB pixels."""

_GUESSED_FOCAL = 1.2


def as_frame(image: ImageLike, camera: Camera | None, name: str) -> tuple[Frame, bool]:
    """An image with its camera, and whether the focal length is a guess."""
    if isinstance(image, Frame):
        if image.image is None:
            raise ValueError(f"reconstruct needs frames with images; {image.name!r} has depth only.")
        return (image if camera is None else replace(image, camera=camera, depth=None)), False
    pixels, path = np.asarray(image) if isinstance(image, np.ndarray) else None, None
    if pixels is None:
        assert not isinstance(image, np.ndarray)
        path = Path(image)
        pixels, name = read_colour(path), path.name
    height, width = pixels.shape[:2]
    guessed = False
    if camera is None and path is not None:
        try:
            camera = Camera.from_exif(path)
        except ValueError:
            camera = None
    if camera is None:
        focal = _GUESSED_FOCAL * max(width, height)
        camera, guessed = Camera(focal, focal, 0.5 * width, 0.5 * height, width, height), True
    elif (camera.width, camera.height) != (width, height):
        if (camera.width, camera.height) != (height, width):
            raise ValueError(
                f"The camera of {name} must be of {width} x {height} pixels; got {camera.width} x {camera.height}. "
                "Pass its own, or Camera.resized()."
            )
        # EXIF rotation: the sensor's rows are the upright image's columns; a centred pinhole turns with them.
        camera = Camera(camera.fy, camera.fx, 0.5 * width, 0.5 * height, width, height)
    return Frame(camera, pixels, None, name), guessed


def distinct_names(frames: Sequence[Frame]) -> tuple[str, ...]:
    """The frames' names, numbered where two are the same."""
    names = [frame.name or f"image {index}" for index, frame in enumerate(frames)]
    if len(set(names)) == len(names):
        return tuple(names)
    return tuple(f"{index} {name}" for index, name in enumerate(names))


def with_shared_focal(
    frames: Sequence[Frame], guessed: Sequence[bool], longest_px: int, seed: int
) -> tuple[list[Frame], SharedFocal | None]:
    """The frames with the focal length that their matches tell, where all share one that nobody knows.

    Args:
        frames: with images.
        guessed: for each, whether its focal length is a guess.
        longest_px: images are reduced to it before they are matched.
        seed: of the random samples.
    """
    first = frames[0].camera
    if not all(guessed) or any(
        (each.camera.width, each.camera.height) != (first.width, first.height) for each in frames
    ):
        return list(frames), None
    reduced = [reduced_frame(frame, longest_px) for frame in frames]
    matcher, found = SiftMatches(), []
    for other in reduced[1:]:
        found.append(shared_focal(matcher.matches(reduced[0], other), reduced[0].camera, seed=seed))
    known = [each for each in found if each.focal_px is not None]
    if not known:
        return list(frames), found[0]
    best = min(known, key=lambda each: each.interval_px[1] - each.interval_px[0])
    unit = first.width / reduced[0].camera.width
    assert best.focal_px is not None
    focal = best.focal_px * unit
    camera = replace(first, fx=focal, fy=focal)
    told = SharedFocal(focal, (best.interval_px[0] * unit, best.interval_px[1] * unit))
    return [replace(frame, camera=camera) for frame in frames], told
