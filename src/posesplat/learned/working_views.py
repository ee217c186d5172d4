"""Images at the sizes at which they are worked on: that of the network, and a larger one for exact matches."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32, UInt8

from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.learned.config import NetworkConfig

_SAME_SHAPE = 0.04
"""Relative difference of side ratios up to which an image is resized whole; beyond it its middle is cut out."""


def covering_crop(
    image: UInt8[np.ndarray, "_ _ 3"], camera: Camera, width: int, height: int
) -> tuple[UInt8[np.ndarray, "height width 3"], Camera]:
    """The middle of an image resized until it just covers width x height, and its pinhole."""
    import cv2

    rows, columns = image.shape[:2]
    scale = max(width / columns, height / rows)
    size = (max(width, round(columns * scale)), max(height, round(rows * scale)))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    whole = camera.resized(*size)
    cropped = Camera(whole.fx, whole.fy, whole.cx - left, whole.cy - top, width, height)
    return np.ascontiguousarray(resized[top : top + height, left : left + width]), cropped


def working_size(camera: Camera, side_px: int | None, config: NetworkConfig) -> tuple[int, int]:
    """Width and height, multiples of the patch, of about ``side_px`` squared pixels and the camera's side ratio.

    Without ``side_px`` the network sees as many pixels as it was trained with.
    """
    patch_px, side_px = config.patch_px, side_px or config.side_px
    ratio = math.sqrt(camera.width / camera.height)
    width, height = (max(patch_px, patch_px * round(side / patch_px)) for side in (side_px * ratio, side_px / ratio))
    return width, height


def working_frame(frame: Frame, width: int, height: int) -> Frame:
    """A frame at the network's size: resized whole where the sides' ratio allows it, else its middle.

    Raises:
        ValueError: for a frame without an image.
    """
    import cv2

    if frame.image is None:
        raise ValueError(f"Frame {frame.name!r} needs an image; it has depth only. Pass colour images.")
    camera = frame.camera
    stretch = (width / camera.width) / (height / camera.height)
    if abs(math.log(stretch)) > _SAME_SHAPE:
        image, cropped = covering_crop(frame.image, camera, width, height)
        return Frame(cropped, image, None, frame.name)
    way = cv2.INTER_AREA if width < camera.width else cv2.INTER_LINEAR
    return Frame(
        camera.resized(width, height), cv2.resize(frame.image, (width, height), interpolation=way), None, frame.name
    )


def reduced_frame(frame: Frame, longest_px: int) -> Frame:
    """A frame whose longer side has at most so many pixels; without its depth."""
    import cv2

    camera = frame.camera
    scale = longest_px / max(camera.width, camera.height)
    if scale >= 1:
        return Frame(camera, frame.image, None, frame.name)
    size = (round(camera.width * scale), round(camera.height * scale))
    image = cv2.resize(np.asarray(frame.image), size, interpolation=cv2.INTER_AREA)
    return Frame(camera.resized(*size), image, None, frame.name)


def moved_pixels(pixels: Float[np.ndarray, "n 2"], here: Camera, there: Camera) -> Float[np.ndarray, "n 2"]:
    """Places of one image of a lens told in the pixels of another image of the same lens (resized, or cut out)."""
    factor = np.array([there.fx / here.fx, there.fy / here.fy])
    return (pixels - [here.cx, here.cy]) * factor + [there.cx, there.cy]


def depth_on(depth: Float32[np.ndarray, "h w"], here: Camera, there: Camera) -> Float32[np.ndarray, "out_h out_w"]:
    """A depth map on the grid of another image of the same lens; 0 where it has no value."""
    import cv2

    columns, rows = np.meshgrid(np.arange(there.width) + 0.5, np.arange(there.height) + 0.5)
    places = moved_pixels(np.stack([columns.ravel(), rows.ravel()], axis=1), there, here).astype(np.float32) - 0.5
    maps = places.reshape(there.height, there.width, 2)
    return np.asarray(
        cv2.remap(depth, maps[..., 0], maps[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0.0)
    )
