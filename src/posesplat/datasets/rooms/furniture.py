"""Pieces of furniture and wall shells, from which the rooms are put together. World axes: x right, y down, z ahead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms.shapes import Box, Cylinder, Quad, Sphere
from posesplat.datasets.rooms.surfaces import Surface, placed
from posesplat.datasets.rooms.textures import BoxFaces, Texture, TextureKind, procedural_texture

RICH_KINDS: tuple[TextureKind, ...] = ("patches", "waves", "noise", "checker", "patches")


def random_texture(rng: np.random.Generator, scale_m: float, contrast: float = 0.16) -> Texture:
    """A texture of a random kind that is rich in structure."""
    kind = RICH_KINDS[int(rng.integers(len(RICH_KINDS)))]
    return procedural_texture(kind, rng, scale_m * rng.uniform(0.8, 1.25), contrast)


def shell(
    rng: np.random.Generator,
    size_m: tuple[float, float, float],
    wall_kinds: Sequence[TextureKind] = ("patches", "waves", "noise"),
    floor_kind: TextureKind = "checker",
    scale_m: float = 0.45,
    contrast: float = 0.16,
) -> Surface:
    """Walls, floor and ceiling about the world origin: a box seen from within, with a texture of its own for each."""
    kinds = [wall_kinds[int(i)] for i in rng.integers(len(wall_kinds), size=6)]
    kinds[3] = floor_kind
    across = ((1, 2), (1, 2), (0, 2), (0, 2), (0, 1), (0, 1))
    faces = [
        procedural_texture(kind, rng, scale_m * rng.uniform(0.8, 1.25), contrast, axes)
        for kind, axes in zip(kinds, across, strict=True)
    ]
    texture = BoxFaces(size_m, (faces[0], faces[1], faces[2], faces[3], faces[4], faces[5]))
    return placed(Box(size_m, inside=True), texture, (0.0, 0.0, 0.0), name="shell")


def crate(
    rng: np.random.Generator,
    size_m: tuple[float, float, float],
    x: float,
    floor_y: float,
    z: float,
    yaw_deg: float,
    name: str = "crate",
) -> Surface:
    """A box that stands on the floor at (x, z)."""
    return placed(Box(size_m), random_texture(rng, 0.25), (x, floor_y - 0.5 * size_m[1], z), yaw_deg, name=name)


def ball(rng: np.random.Generator, radius_m: float, x: float, floor_y: float, z: float) -> Surface:
    """A sphere that lies on the floor at (x, z)."""
    return placed(Sphere.of_radius(radius_m), random_texture(rng, 0.2), (x, floor_y - radius_m, z), name="ball")


def pillar(rng: np.random.Generator, radius_m: float, height_m: float, x: float, floor_y: float, z: float) -> Surface:
    """A cylinder that stands on the floor at (x, z)."""
    centre = (x, floor_y - 0.5 * height_m, z)
    return placed(Cylinder(radius_m, height_m), random_texture(rng, 0.22), centre, name="pillar")


def table(rng: np.random.Generator, x: float, floor_y: float, z: float, yaw_deg: float) -> list[Surface]:
    """A table top on four round legs, with two things on it."""
    width, depth, height, thick = rng.uniform((0.9, 0.6, 0.65, 0.03), (1.5, 0.8, 0.78, 0.05))
    top_y = floor_y - height
    board = placed(
        Box((width, thick, depth)), random_texture(rng, 0.2), (x, top_y + 0.5 * thick, z), yaw_deg, name="table"
    )
    turn = Rotation.from_euler("y", yaw_deg, degrees=True)
    wood = procedural_texture("noise", rng, 0.12)
    leg = Cylinder(0.03, height - thick)
    pieces = [board]
    for side_x, side_z in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        offset = turn.apply(np.array([side_x * (0.5 * width - 0.06), 0.0, side_z * (0.5 * depth - 0.06)]))
        middle = (x + offset[0], 0.5 * (floor_y + top_y + thick), z + offset[2])
        pieces.append(placed(leg, wood, middle, name="table leg"))
    left = turn.apply(np.array([-0.22 * width, 0.0, rng.uniform(-0.1, 0.1) * depth]))
    right = turn.apply(np.array([0.22 * width, 0.0, rng.uniform(-0.1, 0.1) * depth]))
    pieces.append(crate(rng, _size(rng, (0.15, 0.1, 0.12), (0.3, 0.3, 0.22)), x + left[0], top_y, z + left[2], 30.0))
    pieces.append(ball(rng, rng.uniform(0.08, 0.14), x + right[0], top_y, z + right[2]))
    return pieces


def lamp(rng: np.random.Generator, x: float, floor_y: float, z: float) -> list[Surface]:
    """A ball on a pole."""
    height = rng.uniform(1.3, 1.7)
    pole = placed(Cylinder(0.03, height), random_texture(rng, 0.15), (x, floor_y - 0.5 * height, z), name="lamp")
    shade = Sphere.of_radius(0.17)
    return [pole, placed(shade, random_texture(rng, 0.15), (x, floor_y - height - 0.15, z), name="lamp shade")]


def sofa(rng: np.random.Generator, x: float, floor_y: float, z: float, yaw_deg: float) -> list[Surface]:
    """A seat with a back rest; it faces -z at yaw 0."""
    width = rng.uniform(1.3, 1.9)
    cloth = random_texture(rng, 0.22)
    behind = Rotation.from_euler("y", yaw_deg, degrees=True).apply(np.array([0.0, 0.0, 0.35]))
    seat = placed(Box((width, 0.42, 0.8)), cloth, (x, floor_y - 0.21, z), yaw_deg, name="sofa")
    rest = placed(
        Box((width, 0.85, 0.2)), cloth, (x + behind[0], floor_y - 0.425, z + behind[2]), yaw_deg, name="sofa back"
    )
    return [seat, rest]


def picture(rng: np.random.Generator, wall: str, along: float, y: float, room_m: tuple[float, float, float]) -> Surface:
    """A flat picture, 1 cm in front of the ``left``, ``right``, ``front`` or ``back`` wall."""
    out = {
        "left": (-0.5 * room_m[0] + 0.01, y, along, 90.0),
        "right": (0.5 * room_m[0] - 0.01, y, along, 90.0),
        "front": (along, y, 0.5 * room_m[2] - 0.01, 0.0),
        "back": (along, y, -0.5 * room_m[2] + 0.01, 0.0),
    }
    x, height, z, yaw = out[wall]
    width_m, height_m = rng.uniform((0.5, 0.4), (1.1, 0.8))
    return placed(Quad(width_m, height_m), random_texture(rng, 0.15, 0.2), (x, height, z), yaw, name="picture")


def rug(rng: np.random.Generator, x: float, floor_y: float, z: float, yaw_deg: float) -> Surface:
    """A thin rug, 5 mm above the floor."""
    flat = Rotation.from_euler("YX", (yaw_deg, 90.0), degrees=True)
    world_from_body = RigidTransform.from_components(np.array([x, floor_y - 0.005, z]), flat)
    width_m, height_m = rng.uniform((1.2, 0.9), (2.0, 1.4))
    return Surface(Quad(width_m, height_m), random_texture(rng, 0.18, 0.2), world_from_body, name="rug")


def _size(
    rng: np.random.Generator, low: tuple[float, float, float], high: tuple[float, float, float]
) -> tuple[float, float, float]:
    x, y, z = rng.uniform(low, high).tolist()
    return x, y, z
