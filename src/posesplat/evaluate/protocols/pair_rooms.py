"""Pairs of synthetic rooms by overlap: exact poses, and depth with and without the noise of a Kinect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms import (
    Highlight,
    Room,
    box_room,
    colour_noise,
    corridor,
    curved_room,
    furnished_room,
    repeated_room,
    textured_wall,
)
from posesplat.evaluate.protocols.pair_cases import PairCase, PairSource
from posesplat.evaluate.protocols.pair_overlap import Level, level_of, overlap
from posesplat.evaluate.protocols.rooms import noisy
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame

FIRST_SEED = 9000
"""Of the rooms of seed 0. Rooms on which something was set while developing have seeds below 9000."""
_SEEDS_APART = 100
_CLEARANCE_M = 0.4
_DEPTH_RANGE_M = (1.2, 3.0)
"""The median depths of both images lie between these, where a Kinect measures well."""
_VIEWS_TRIED = 200
_MOVES_TRIED = 60
_MOTIONS: dict[Level, tuple[tuple[float, float], tuple[float, float]]] = {
    "> 70 %": ((0.08, 0.5), (0.0, 15.0)),
    "40-70 %": ((0.2, 1.0), (8.0, 35.0)),
    "15-40 %": ((0.3, 1.6), (15.0, 55.0)),
}
"""Metres and degrees of yaw between which motions are drawn; which of them are kept their overlap decides."""
_SOFT_CONTRAST, _SOFT_BLUR_PX, _SOFT_SIGMA = 0.4, 1.2, 3.0
"""Of the colour images of plain rooms, which then have as many SIFT matches as real pairs of a Kinect of equal overlap;
without that, matches alone answer nearly everything to a few millimetres."""
_TILT_DEG = 8.0
_ROLL_DEG = 6.0


def glossy_room(seed: int = 0) -> Room:
    """A furnished room with a strong lamp, whose mirror image on every surface moves with the camera."""
    rng = np.random.default_rng([seed, 13])
    x, z = rng.uniform(-1.0, 1.0, size=2)
    return replace(
        furnished_room(seed), name=f"glossy_room_{seed}", highlight=Highlight((float(x), -1.1, float(z)), 0.6, 12.0)
    )


MAKERS: dict[str, Callable[[int], Room]] = {
    "furnished": furnished_room,
    "box": box_room,
    "curved": curved_room,
    "flat wall": textured_wall,
    "corridor": corridor,
    "glossy": glossy_room,
    "repeated": repeated_room,
}
PLAIN = ("furnished", "box", "curved")
"""Rooms with enough geometry and texture for everything."""
HARD = ("flat wall", "corridor", "glossy", "repeated")
"""No geometry, hardly any texture, brightness that depends on the view, and places that look alike."""


@dataclass(frozen=True)
class RoomPair:
    """Two views of a room."""

    kind: str
    """Which kind of room; see :data:`MAKERS`."""
    seed: int
    """Of the room, and of the noise."""
    level: Level
    """Which overlap was asked for."""
    number: int
    """Of the pair among those of one room and level."""
    a_from_world: RigidTransform
    """Camera of image A."""
    b_from_a: RigidTransform
    """The true motion."""
    share: float
    """Overlap."""

    @property
    def scene(self) -> str:
        """The room's name."""
        return f"{self.kind} {self.seed}"


def camera_of(width: int) -> Camera:
    """The pinhole with the field of view of a Kinect."""
    scale = width / 640
    return Camera(525 * scale, 525 * scale, 320 * scale, 240 * scale, width, width * 3 // 4)


_PROBE = camera_of(64)


def room_pairs(kind: str, seed: int, count: int) -> Iterator[RoomPair]:
    """So many random pairs of each overlap level in one room.

    Raises:
        ValueError: when the room has no such views.
    """
    room = MAKERS[kind](seed)
    for place, level in enumerate(_MOTIONS):
        for number in range(count):
            rng = np.random.default_rng([seed, place, number, 17])
            yield _pair(room, kind, seed, level, number, rng)


def sources(kinds: tuple[str, ...], seed: int, rooms: int, count: int, width: int) -> list[PairSource]:
    """Pairs of all levels in several rooms of several kinds.

    Args:
        kinds: see :data:`MAKERS`.
        seed: of the whole set; equal seeds give equal pairs.
        rooms: of each kind.
        count: pairs of each level in each room.
        width: of the images, pixels.
    """
    found = []
    for kind in kinds:
        for number in range(rooms):
            for pair in room_pairs(kind, FIRST_SEED + _SEEDS_APART * seed + number, count):
                name = f"{pair.scene}, {pair.level}, {pair.number}"
                found.append(PairSource(name, pair.scene, pair.level, partial(room_case, pair, width)))
    return found


def room_case(pair: RoomPair, width: int = 640, draw: int = 0) -> PairCase:
    """Both views as a sensor would see them, each with noise and an exposure of its own; ``draw`` is which noise.

    The colour images of plain rooms are soft and flat, as those of a Kinect.
    """
    room = MAKERS[pair.kind](pair.seed)
    camera = camera_of(width)
    clean = [
        room.render(camera, pose, supersample=1) for pose in (pair.a_from_world, pair.b_from_a * pair.a_from_world)
    ]
    number = int(np.random.default_rng([pair.seed, list(_MOTIONS).index(pair.level), pair.number]).integers(10**6))
    taken = [_softened(frame, number + side) for side, frame in enumerate(clean)] if pair.kind in PLAIN else clean
    frames = [noisy(frame, 4 * number + side + 4 * 10**6 * draw) for side, frame in enumerate(taken)]
    depths = [frame.depth for frame in clean]
    assert depths[0] is not None and depths[1] is not None
    return PairCase(
        f"{pair.scene}, {pair.level}, {pair.number}",
        pair.scene,
        pair.kind,
        pair.level,
        pair.share,
        replace(frames[0], name="a"),
        replace(frames[1], name="b"),
        pair.b_from_a,
        number,
        exact_cameras=True,
        clean_depths=(depths[0], depths[1]),
    )


def _softened(frame: Frame, seed: int) -> Frame:
    """The frame through a soft lens, with little contrast and more noise."""
    assert frame.image is not None
    scale = frame.camera.width / 640
    blurred = gaussian_filter(frame.image.astype(np.float32), (_SOFT_BLUR_PX * scale, _SOFT_BLUR_PX * scale, 0))
    flat = np.rint(128 + _SOFT_CONTRAST * (blurred - 128)).astype(np.uint8)
    return colour_noise(replace(frame, image=flat), seed, _SOFT_SIGMA)


def _pair(room: Room, kind: str, seed: int, level: Level, number: int, rng: np.random.Generator) -> RoomPair:
    (nearest, farthest), (least, most) = _MOTIONS[level]
    for _ in range(_VIEWS_TRIED):
        view = room.sample_views(rng, 1, _CLEARANCE_M, _DEPTH_RANGE_M[0])[0]
        depth = room.cast(_PROBE, view, colour=False).depth
        if not _in_range(depth):
            continue
        for _ in range(_MOVES_TRIED):
            moved = _motion(rng, rng.uniform(nearest, farthest), rng.uniform(least, most))
            there = moved * view
            if room.clearance(there.inv().translation[None])[0] < _CLEARANCE_M:
                continue
            depth_there = room.cast(_PROBE, there, colour=False).depth
            if not _in_range(depth_there):
                continue
            share = overlap(depth, _PROBE, depth_there, _PROBE, moved, step=1)
            if level_of(share) == level:
                return RoomPair(kind, seed, level, number, view, moved, share)
    raise ValueError(
        f"Room {room.name!r} must have pairs of views with an overlap of {level}; found none in "
        f"{_VIEWS_TRIED * _MOVES_TRIED} tries. Take another seed."
    )


def _in_range(depth: np.ndarray) -> bool:
    known = depth[depth > 0]
    return len(known) > 0 and _DEPTH_RANGE_M[0] <= float(np.median(known)) <= _DEPTH_RANGE_M[1]


def _motion(rng: np.random.Generator, metres: float, yaw_deg: float) -> RigidTransform:
    """b_from_a of a camera that is carried some way, mostly not upwards, and turned to one side."""
    direction = rng.normal(size=3) * (1.0, 0.4, 1.0)
    centre = metres * direction / np.linalg.norm(direction)
    angles = [
        yaw_deg * float(rng.choice([-1.0, 1.0])),
        float(rng.uniform(-_TILT_DEG, _TILT_DEG)),
        float(rng.uniform(-_ROLL_DEG, _ROLL_DEG)),
    ]
    a_from_b = RigidTransform.from_components(centre, Rotation.from_euler("YXZ", angles, degrees=True))
    return a_from_b.inv()
