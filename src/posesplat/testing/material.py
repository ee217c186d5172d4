"""What the checks show to plug-ins: views of a synthetic room with exact depth and poses, and views of nothing."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms import furnished_room
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import interpolated

WIDTH, HEIGHT = 160, 120
FIELD_OF_VIEW_DEG = 65.0


@functools.cache
def _views(
    count: int, width: int, height: int, turn_deg: float, shift: tuple[float, float, float], seed: int
) -> tuple[tuple[Frame, ...], RigidTransform]:
    room = furnished_room(seed)
    camera = Camera.from_fov(FIELD_OF_VIEW_DEG, width, height)
    first = room.default_view
    last = RigidTransform.from_components(np.array(shift), Rotation.from_euler("y", turn_deg, degrees=True)) * first
    poses = [interpolated(first, last, float(t)) for t in np.linspace(0.0, 1.0, count)]
    frames = [
        replace(room.render(camera, pose, supersample=1), name=f"view-{index}.png", timestamp=float(index))
        for index, pose in enumerate(poses)
    ]
    return tuple(frames), RigidTransform.concatenate(poses)


def fresh(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """The same frames with arrays of their own, which a plug-in could spoil."""
    return tuple(
        replace(
            frame,
            image=None if frame.image is None else frame.image.copy(),
            depth=None if frame.depth is None else frame.depth.copy(),
        )
        for frame in frames
    )


def sample_views(
    count: int = 3,
    width: int = WIDTH,
    height: int = HEIGHT,
    turn_deg: float = 8.0,
    shift_m: tuple[float, float, float] = (0.15, 0.02, 0.05),
    seed: int = 3,
) -> tuple[tuple[Frame, ...], RigidTransform]:
    """RGB-D frames of a furnished room, and their exact poses.

    Args:
        count: frames, named ``view-0.png`` and so on.
        width: in pixels.
        height: in pixels.
        turn_deg: rotation from the first frame to the last, about the camera's y axis.
        shift_m: last_from_first translation, in metres.
        seed: of the room.

    Returns:
        frames with exact depth in metres, and cam_from_world, shape (count,).
    """
    frames, poses = _views(count, width, height, turn_deg, shift_m, seed)
    return fresh(frames), poses


def sample_frames(count: int = 3, width: int = WIDTH, height: int = HEIGHT) -> tuple[Frame, ...]:
    """The frames that the provider checks use unless told otherwise; see :func:`sample_views`.

    Providers that read files by the frames' names need files of just these.
    """
    return sample_views(count, width, height)[0]


def blank(frame: Frame) -> Frame:
    """The frame as a covered lens sees it: one grey, and no depth measured."""
    image = None if frame.image is None else np.full_like(frame.image, 90)
    return replace(frame, image=image, depth=None if frame.depth is None else np.zeros_like(frame.depth))


def noise(frame: Frame, seed: int = 0) -> Frame:
    """A frame of the same kind that shows nothing: random colours, random depths from 1 to 4 m."""
    rng = np.random.default_rng(seed)
    image = None if frame.image is None else rng.integers(0, 256, frame.image.shape).astype(np.uint8)
    depth = None if frame.depth is None else rng.uniform(1.0, 4.0, frame.depth.shape).astype(np.float32)
    return replace(frame, image=image, depth=depth)


def rescaled_frame(frame: Frame, factor: float) -> Frame:
    """What the same camera sees in a world whose lengths are all multiplied: the same image, other depths."""
    return frame if frame.depth is None else replace(frame, depth=frame.depth * np.float32(factor))


def halved(frame: Frame) -> Frame:
    """The frame at half the size, by the mean of four pixels; depth of the first of the four."""
    camera = frame.camera
    width, height = camera.width // 2, camera.height // 2
    small = Camera(camera.fx / 2, camera.fy / 2, camera.cx / 2, camera.cy / 2, width, height)
    image = depth = None
    if frame.image is not None:
        four = frame.image[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).astype(np.float64)
        image = np.rint(four.mean(axis=(1, 3))).astype(np.uint8)
    if frame.depth is not None:
        depth = np.ascontiguousarray(frame.depth[: 2 * height : 2, : 2 * width : 2])
    return replace(frame, camera=small, image=image, depth=depth)


def without_image(frame: Frame) -> Frame | None:
    """The frame's depth alone; None where it has none."""
    return None if frame.depth is None else replace(frame, image=None)


def without_depth(frame: Frame) -> Frame | None:
    """The frame's image alone; None where it has none."""
    return None if frame.image is None else replace(frame, depth=None)
