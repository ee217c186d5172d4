"""Ready-made rooms. World axes: x right, y down, z ahead; metres; the origin is the middle of the room."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms import furniture
from posesplat.datasets.rooms.room import Room, ViewingVolume
from posesplat.datasets.rooms.shapes import Box, Ellipsoid, Quad, Sphere
from posesplat.datasets.rooms.surfaces import Motion, Surface, placed
from posesplat.datasets.rooms.textures import BoxFaces, Checker, Layered, Texture, procedural_texture
from posesplat.geometry.poses import looking_at

_DOWN = np.array([0.0, 1.0, 0.0])


def box_room(seed: int = 0) -> Room:
    """A room of 5.5 x 2.7 x 6 m with five boxes, four balls and two pillars.

    From the default view, at 640 x 480 and f = 525 px, depth lies between about 2 and 4.5 m.
    """
    rng = np.random.default_rng(seed)
    size = (5.5, 2.7, 6.0)
    floor_y = 0.5 * size[1]
    surfaces = [furniture.shell(rng, size)]
    box_places = ((-1.7, 2.3), (-0.75, 1.65), (0.45, 2.45), (1.25, 1.6), (2.0, 2.4))
    for x, z in box_places:
        edges = _triple(rng.uniform((0.4, 0.35, 0.4), (0.65, 1.05, 0.65)))
        surfaces.append(furniture.crate(rng, edges, *_near(rng, x, z, floor_y), float(rng.uniform(0, 90))))
    for x, z in ((-1.35, 1.35), (-0.1, 1.2), (0.65, 1.3), (1.9, 1.25)):
        surfaces.append(furniture.ball(rng, float(rng.uniform(0.17, 0.28)), *_near(rng, x, z, floor_y, 0.05)))
    for x, z in ((-0.45, 2.6), (1.6, 2.75)):
        height = float(rng.uniform(1.3, 1.9))
        surfaces.append(furniture.pillar(rng, float(rng.uniform(0.1, 0.16)), height, *_near(rng, x, z, floor_y, 0.05)))
    view = looking_at(np.array([-0.1, -0.4, -1.0]), np.array([0.15, 0.4, 2.0]), _DOWN)
    return Room("box_room", tuple(surfaces), view, _volume((0.0, -0.25, -0.6), (4.2, 1.2, 3.8)))


def curved_room(seed: int = 0) -> Room:
    """The inside of an ellipsoid with balls and ellipsoids in it: no plane and no edge but silhouettes."""
    rng = np.random.default_rng(seed)
    semi_axes = (3.0, 1.9, 3.4)
    surfaces = [
        placed(Ellipsoid(semi_axes, inside=True), furniture.random_texture(rng, 0.45), (0.0, 0.0, 0.0), name="shell")
    ]
    for x, y, z in ((-1.3, 0.5, 1.4), (0.5, 0.75, 1.2), (1.5, 0.0, 1.5), (-0.3, -0.7, 1.9)):
        centre = _triple(np.array([x, y, z]) + rng.uniform(-0.15, 0.15, size=3))
        radius = float(rng.uniform(0.25, 0.42))
        surfaces.append(placed(Sphere.of_radius(radius), furniture.random_texture(rng, 0.22), centre, name="ball"))
    for x, y, z in ((-0.5, 0.9, 1.9), (1.0, -0.6, 2.1), (-1.7, -0.3, 1.9)):
        middle = np.array([x, y, z]) + rng.uniform(-0.15, 0.15, size=3)
        shape = Ellipsoid(_triple(rng.uniform((0.25, 0.2, 0.25), (0.6, 0.4, 0.5))))
        pose = RigidTransform.from_components(middle, Rotation.random(rng=rng))
        surfaces.append(Surface(shape, furniture.random_texture(rng, 0.22), pose, name="ellipsoid"))
    view = looking_at(np.array([0.0, -0.1, -1.1]), np.array([0.05, 0.1, 2.0]), _DOWN)
    return Room("curved_room", tuple(surfaces), view, _volume((0.0, 0.0, -0.8), (2.4, 1.2, 2.4)))


def textured_wall(seed: int = 0) -> Room:
    """One flat wall 2.5 m ahead, rich in texture and without geometry: depth alone cannot say where one is along it."""
    rng = np.random.default_rng(seed)
    texture = procedural_texture("patches", rng, 0.35)
    wall = placed(Quad(40.0, 24.0), texture, (0.0, 0.0, 2.5), name="wall")
    volume = _volume((0.0, 0.0, -0.25), (3.0, 1.2, 2.0), max_yaw_deg=20.0, max_pitch_deg=15.0)
    return Room("textured_wall", (wall,), RigidTransform.identity(), volume)


def corridor(seed: int = 0) -> Room:
    """A corridor of 2 x 2.5 x 12 m with bare, faintly textured walls, and a few door panels."""
    rng = np.random.default_rng(seed)
    size = (2.0, 2.5, 12.0)
    floor_y = 0.5 * size[1]
    surfaces = [furniture.shell(rng, size, ("noise", "waves"), "noise", scale_m=0.5, contrast=0.014)]
    for index in range(4):
        side = -1.0 if index % 2 else 1.0
        along = -2.5 + 2.2 * index + float(rng.uniform(-0.4, 0.4))
        panel = procedural_texture("noise", rng, 0.3, 0.02)
        centre = (side * (0.5 * size[0] - 0.02), floor_y - 1.0, along)
        surfaces.append(placed(Quad(0.9, 2.0), panel, centre, 90.0, name="door"))
    view = looking_at(np.array([0.15, -0.2, -4.5]), np.array([-0.05, 0.05, 0.0]), _DOWN)
    volume = _volume((0.0, -0.2, -1.5), (1.0, 0.7, 7.0), max_yaw_deg=25.0, max_pitch_deg=10.0)
    return Room("corridor", tuple(surfaces), view, volume)


def repeated_room(seed: int = 0) -> Room:
    """A room of 5 x 2.6 x 5 m that looks the same in many places: periodic walls and a grid of equal pillars.

    Only corners, edges and a faint unevenness of the walls tell one place from another.
    """
    rng = np.random.default_rng(seed)
    size = (5.0, 2.6, 5.0)
    floor_y = 0.5 * size[1]
    across = ((1, 2), (1, 2), (0, 2), (0, 2), (0, 1), (0, 1))
    first, second, third, fourth, fifth, sixth = (_periodic(rng, 0.32, axes) for axes in across)
    texture = BoxFaces(size, (first, second, third, fourth, fifth, sixth))
    surfaces = [placed(Box(size, inside=True), texture, (0.0, 0.0, 0.0), name="shell")]
    pillar = _periodic(rng, 0.12, (0, 1, 2))
    edges = (0.3, 1.0, 0.3)
    for x in (-1.5, -0.5, 0.5, 1.5):
        surfaces.append(placed(Box(edges), pillar, (x, floor_y - 0.5 * edges[1], 1.6), name="pillar"))
    view = looking_at(np.array([0.2, -0.3, -1.6]), np.array([0.0, 0.2, 2.0]), _DOWN)
    return Room(f"repeated_room_{seed}", tuple(surfaces), view, _volume((0.0, -0.2, -0.7), (3.6, 1.0, 2.6)))


def _periodic(rng: np.random.Generator, period_m: float, axes: tuple[int, ...]) -> Texture:
    """Two checkers, one within the other, and noise too faint for most keypoints."""
    dark, bright = rng.uniform(0.2, 0.35, size=3), rng.uniform(0.6, 0.8, size=3)
    coarse = Checker(_triple(dark), _triple(bright), period_m, 0.01, axes)
    fine = Checker((0.42, 0.42, 0.42), (0.58, 0.58, 0.58), period_m / 4, 0.005, axes)
    return Layered((coarse, fine, procedural_texture("noise", rng, 0.3, 0.01)))


def furnished_room(seed: int = 0, movers: int = 0) -> Room:
    """A living room whose size, furniture, layout and textures all depend on the seed.

    Args:
        seed: which room.
        movers: how many of up to three extra objects move through the view.
    """
    if not 0 <= movers <= 3:
        raise ValueError(f"movers must be between 0 and 3; got {movers}.")
    rng = np.random.default_rng(seed)
    width, height, depth = _triple(rng.uniform((4.2, 2.5, 4.8), (6.0, 2.9, 6.5)))
    size = (width, height, depth)
    floor_y = 0.5 * height
    surfaces = [furniture.shell(rng, size)]
    slots = [(-0.33, 0.36), (0.0, 0.4), (0.33, 0.36), (-0.36, 0.08), (0.36, 0.08), (-0.36, -0.2), (0.36, -0.2)]
    yaws = [20.0, 0.0, -20.0, 90.0, -90.0, 90.0, -90.0]
    for index in rng.permutation(len(slots)):
        x = slots[index][0] * width + float(rng.uniform(-0.1, 0.1))
        z = slots[index][1] * depth + float(rng.uniform(-0.1, 0.1))
        yaw = yaws[index] + float(rng.uniform(-15.0, 15.0))
        kind = ("table", "sofa", "cabinet", "crates", "lamp", "ball")[
            int(rng.choice(6, p=(0.2, 0.2, 0.2, 0.2, 0.1, 0.1)))
        ]
        if kind == "table":
            surfaces += furniture.table(rng, x, floor_y, z, yaw)
        elif kind == "sofa":
            surfaces += furniture.sofa(rng, x, floor_y, z, yaw)
        elif kind == "cabinet":
            edges = _triple(rng.uniform((0.6, 0.8, 0.35), (1.1, 1.8, 0.5)))
            surfaces.append(furniture.crate(rng, edges, x, floor_y, z, yaw, "cabinet"))
        elif kind == "crates":
            lower, upper = _triple(rng.uniform(0.45, 0.7, size=3)), _triple(rng.uniform(0.25, 0.4, size=3))
            surfaces.append(furniture.crate(rng, lower, x, floor_y, z, yaw))
            surfaces.append(furniture.crate(rng, upper, x, floor_y - lower[1], z, yaw + 25.0))
        elif kind == "lamp":
            surfaces += furniture.lamp(rng, x, floor_y, z)
        else:
            surfaces.append(furniture.ball(rng, float(rng.uniform(0.25, 0.4)), x, floor_y, z))
    surfaces.append(furniture.rug(rng, 0.0, floor_y, 0.1 * depth, float(rng.uniform(0, 180))))
    for wall, reach in (
        ("front", 0.25 * width),
        ("left", 0.25 * depth),
        ("right", 0.25 * depth),
        ("back", 0.25 * width),
    ):
        along = float(rng.uniform(-reach, reach))
        surfaces.append(furniture.picture(rng, wall, along, float(rng.uniform(-0.6, -0.3)), size))
    surfaces += _movers(rng, movers, floor_y)
    view = looking_at(np.array([0.0, -0.5, -0.36 * depth]), np.array([0.0, 0.35, 0.2 * depth]), _DOWN)
    return Room(f"furnished_room_{seed}", tuple(surfaces), view, _volume((0.0, -0.3, 0.0), (width, 0.9, depth)))


def _movers(rng: np.random.Generator, count: int, floor_y: float) -> list[Surface]:
    """A rolling ball, a turning crate and a swinging ellipsoid in the middle of the room; the first ``count``."""
    ball = placed(
        Sphere.of_radius(0.25),
        furniture.random_texture(rng, 0.2),
        (-0.6, floor_y - 0.25, 0.5),
        motion=Motion(velocity_m_s=(0.25, 0.0, 0.0), spin_rad_s=(0.0, 0.0, 1.0)),
        name="rolling ball",
    )
    crate = placed(
        Box((0.45, 0.6, 0.45)),
        furniture.random_texture(rng, 0.2),
        (0.7, floor_y - 0.3, 1.0),
        motion=Motion(spin_rad_s=(0.0, 0.8, 0.0), swing_m=(0.0, 0.0, 0.3), swing_period_s=3.0),
        name="turning crate",
    )
    pendulum = placed(
        Ellipsoid((0.2, 0.3, 0.2)),
        furniture.random_texture(rng, 0.2),
        (0.0, -0.4, 1.2),
        motion=Motion(swing_m=(0.5, 0.0, 0.0), swing_period_s=2.0),
        name="pendulum",
    )
    return [ball, crate, pendulum][:count]


def _volume(
    centre_in_world: tuple[float, float, float],
    size_m: tuple[float, float, float],
    max_yaw_deg: float = 180.0,
    max_pitch_deg: float = 18.0,
) -> ViewingVolume:
    return ViewingVolume(RigidTransform.from_translation(np.array(centre_in_world)), size_m, max_yaw_deg, max_pitch_deg)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z


def _near(
    rng: np.random.Generator, x: float, z: float, floor_y: float, spread_m: float = 0.1
) -> tuple[float, float, float]:
    """A place on the floor close to (x, z), as (x, floor_y, z)."""
    return x + float(rng.uniform(-spread_m, spread_m)), floor_y, z + float(rng.uniform(-spread_m, spread_m))
