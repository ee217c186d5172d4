"""Cameras that move while they expose: motion blur, and shutters that read one row after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms.room import Room
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame

CameraPath = Callable[[np.ndarray], RigidTransform]
"""cam_from_world, shape (n,), at n times in seconds; such as :meth:`HandheldMotion.at`."""


def exposure_times(time_s: float, exposure_s: float, samples: int) -> Float[np.ndarray, " samples"]:
    """The middles of equal parts of an exposure about ``time_s``."""
    return time_s + exposure_s * ((np.arange(samples) + 0.5) / samples - 0.5)


def row_times(time_s: float, readout_s: float, height: int) -> Float[np.ndarray, " height"]:
    """When each row is read by a rolling shutter that passes the middle of the image at ``time_s``."""
    return exposure_times(time_s, readout_s, height)


def blurred_frame(
    room: Room,
    camera: Camera,
    path: CameraPath,
    time_s: float,
    exposure_s: float,
    samples: int = 5,
    supersample: int = 1,
) -> Frame:
    """What a camera sees that moves, and things that move, while it exposes: the mean of several renderings.

    Args:
        room: the scene.
        camera: a pinhole without distortion.
        path: the camera's motion.
        time_s: the middle of the exposure; the frame's depth and timestamp are of this time.
        exposure_s: how long the shutter is open.
        samples: how many renderings are averaged.
        supersample: of each rendering; see :meth:`Room.render`.
    """
    if samples < 1 or exposure_s < 0:
        raise ValueError(f"An exposure needs at least 1 sample and 0 seconds; got {samples} and {exposure_s} s.")
    times = exposure_times(time_s, exposure_s, samples)
    total = np.zeros((camera.height, camera.width, 3), dtype=np.float32)
    for moment, pose in zip(times, path(times), strict=True):
        total += room.colours(camera, pose, float(moment), supersample)
    depth = room.cast(camera, path(np.array([time_s]))[0], time_s, colour=False).depth.astype(np.float32)
    return Frame(camera, np.rint(total * np.float32(255.0 / samples)).astype(np.uint8), depth, room.name, time_s)


def rolling_frame(
    room: Room, camera: Camera, path: CameraPath, time_s: float, readout_s: float, supersample: int = 1
) -> Frame:
    """What a rolling shutter sees: every row, image and depth, at its own time and from the camera's pose then.

    Args:
        room: the scene.
        camera: a pinhole without distortion.
        path: the camera's motion.
        time_s: when the middle of the image is read; the frame's timestamp.
        readout_s: time from the first row to the last, negative for a shutter that runs upwards.
        supersample: see :meth:`Room.render`.
    """
    times = row_times(time_s, readout_s, camera.height)
    image = np.empty((camera.height, camera.width, 3), dtype=np.uint8)
    depth = np.empty((camera.height, camera.width), dtype=np.float32)
    for row, (moment, pose) in enumerate(zip(times, path(times), strict=True)):
        line = Camera(camera.fx, camera.fy, camera.cx, camera.cy - row, camera.width, 1)
        frame = room.render(line, pose, float(moment), supersample)
        assert frame.image is not None and frame.depth is not None
        image[row], depth[row] = frame.image[0], frame.depth[0]
    return Frame(camera, image, depth, room.name, time_s)
