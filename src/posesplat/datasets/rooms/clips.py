"""Short clips of random rooms for training and for judging: pictures in order, exact poses, and depth on request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms.room import Room
from posesplat.datasets.rooms.scenes import box_room, curved_room, furnished_room
from posesplat.datasets.rooms.trajectories import walk_trajectory
from posesplat.geometry.cameras import Camera

_STEP_M = 0.2
_TRIES = 20


@dataclass(frozen=True, eq=False)
class RoomClip:
    """A walk through one room."""

    camera: Camera
    """The pinhole of every picture."""
    images: UInt8[np.ndarray, "n h w 3"]
    """RGB pictures, in order."""
    cam_from_world: RigidTransform
    """Exact poses, stacked: for judging only, training never sees them."""
    depth: Float32[np.ndarray, "n h w"] | None
    """Exact depth in metres; None when not asked for."""


def random_room(seed: int) -> Room:
    """A furnished room, or now and then one with boxes and balls or one without planes."""
    kind = seed % 8
    return box_room(seed) if kind == 0 else curved_room(seed) if kind == 1 else furnished_room(seed)


def room_clip(seed: int, count: int, width: int, height: int, *, depth: bool = False, supersample: int = 1) -> RoomClip:
    """A clip of ``count`` pictures, about 0.2 m apart, of a room, walk and lens that all follow from the seed.

    Args:
        seed: rooms of different seeds differ in layout, textures and path.
        count: pictures.
        width: of the pictures.
        height: of the pictures.
        depth: whether to return exact depth.
        supersample: samples along each side of a pixel.

    Raises:
        ValueError: when no walk of that length fits into the room.
    """
    room = random_room(seed)
    rng = np.random.default_rng([seed, 77])
    camera = Camera.from_fov(float(rng.uniform(58.0, 78.0)), width, height)
    speed = float(rng.uniform(0.75, 1.5)) * _STEP_M * 30.0
    for attempt in range(_TRIES):
        view = room.sample_views(rng, 1)[0]
        try:
            walk = walk_trajectory(_seen_from(room, view), seed * _TRIES + attempt, count, speed)
            break
        except ValueError:
            if attempt == _TRIES - 1:
                raise
    images, depths = [], []
    for pose in walk:
        levels = room.colours(camera, pose, supersample=supersample) * np.float32(255.0)
        images.append(np.rint(levels).astype(np.uint8))
        if depth:
            depths.append(room.cast(camera, pose, colour=False).depth.astype(np.float32))
    return RoomClip(camera, np.stack(images), walk, np.stack(depths) if depth else None)


def covisible_fraction(
    depth: Float[np.ndarray, "h w"],
    other_depth: Float[np.ndarray, "h w"],
    camera: Camera,
    other_from_cam: RigidTransform,
    tolerance: float = 0.03,
) -> float:
    """Share of a view's pixels whose points another view of the same camera sees, by its depth."""
    points = (camera.rays() * depth[..., None]).reshape(-1, 3)
    there = other_from_cam.apply(points[depth.ravel() > 0])
    z = np.where(there[:, 2] > 0.05, there[:, 2], 1.0)
    u = np.floor(camera.fx * there[:, 0] / z + camera.cx).astype(int)
    v = np.floor(camera.fy * there[:, 1] / z + camera.cy).astype(int)
    inside = (there[:, 2] > 0.05) & (u >= 0) & (v >= 0) & (u < camera.width) & (v < camera.height)
    seen = other_depth[v[inside], u[inside]]
    agreeing = np.abs(seen - there[inside, 2]) < tolerance * there[inside, 2]
    return float(agreeing.sum() / depth.size)


def _seen_from(room: Room, view: RigidTransform) -> Room:
    from dataclasses import replace

    return replace(room, default_view=view)
