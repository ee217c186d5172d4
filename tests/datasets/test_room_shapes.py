"""Ray casting against closed forms: implicit equations, textbook distances, symmetry."""

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms import (
    Box,
    Cylinder,
    Ellipsoid,
    Highlight,
    Motion,
    Plain,
    Quad,
    Room,
    Sphere,
    Surface,
    cast_rays,
    furnished_room,
    placed,
)
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import exp, looking_at

CAMERA = Camera(131.25, 130.0, 79.0, 61.0, 160, 120)
GREY = Plain((0.5, 0.5, 0.5))
HERE = RigidTransform.identity()
ODD = RigidTransform.from_components([0.2, -0.1, 2.6], Rotation.from_rotvec([0.4, -0.7, 0.3]))
WITHIN = RigidTransform.from_components([0.3, -0.2, 0.1], Rotation.from_rotvec([0.2, 0.5, -0.1]))

IMPLICIT = {
    Box: lambda p, s: (np.abs(p) / (0.5 * np.array(s.size_m))).max(axis=-1) - 1.0,
    Ellipsoid: lambda p, s: np.square(p / np.array(s.semi_axes_m)).sum(axis=-1) - 1.0,
    Sphere: lambda p, s: np.square(p).sum(axis=-1) - s.semi_axes_m[0] ** 2,
    Quad: lambda p, s: p[..., 2],
    Cylinder: lambda p, s: np.maximum(
        np.hypot(p[..., 0], p[..., 2]) / s.radius_m - 1.0, np.abs(p[..., 1]) / (0.5 * s.height_m) - 1.0
    ),
}
SHAPES = [
    (Quad(1.5, 1.0), ODD),
    (Quad(), ODD),
    (Box((0.8, 1.2, 0.6)), ODD),
    (Box((5.5, 2.7, 6.0), inside=True), WITHIN),
    (Sphere.of_radius(0.7), ODD),
    (Sphere.of_radius(3.0, inside=True), WITHIN),
    (Ellipsoid((0.5, 0.9, 0.7)), ODD),
    (Ellipsoid((3.0, 1.8, 3.4), inside=True), WITHIN),
    (Cylinder(0.4, 1.1), ODD),
]


def rays() -> np.ndarray:
    rows, columns = np.mgrid[: CAMERA.height, : CAMERA.width] + 0.5
    return np.stack([(columns - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy, np.ones(rows.shape)], axis=-1)


@pytest.mark.parametrize(("shape", "cam_from_body"), SHAPES, ids=lambda value: type(value).__name__)
def test_hits_satisfy_the_implicit_equation_and_nothing_is_met_before(shape, cam_from_body):
    hits = cast_rays([Surface(shape, GREY, cam_from_body)], CAMERA, HERE, normals=True)
    hit = hits.surface_ids == 0
    assert hit.mean() > (0.99 if getattr(shape, "inside", False) else 0.02)
    assert (hits.depth[~hit] == 0).all()
    points_in_body = cam_from_body.inv().apply(rays()[hit] * hits.depth[hit][:, None])
    implicit = IMPLICIT[type(shape)]
    assert np.abs(implicit(points_in_body, shape)).max() < 1e-9
    for share in (0.2, 0.6, 0.95, 0.999):
        before = cam_from_body.inv().apply(rays()[hit] * share * hits.depth[hit][:, None])
        side = implicit(before, shape)
        if not isinstance(shape, Quad):
            assert ((side < 0) if getattr(shape, "inside", False) else (side > -1e-9)).all()
    normals_in_cam = hits.normals_in_world[hit]
    assert np.allclose(np.linalg.norm(normals_in_cam, axis=-1), 1.0, atol=1e-12)
    assert (np.einsum("ni,ni->n", normals_in_cam, rays()[hit]) <= 1e-12).all()


@pytest.mark.parametrize(("shape", "cam_from_body"), SHAPES, ids=lambda value: type(value).__name__)
def test_missed_rays_never_enter_the_shape(shape, cam_from_body):
    hits = cast_rays([Surface(shape, GREY, cam_from_body)], CAMERA, HERE, colour=False)
    missed = rays()[hits.surface_ids < 0]
    if isinstance(shape, Quad) or len(missed) == 0:
        return
    inside = IMPLICIT[type(shape)]
    for depth in np.linspace(0.5, 5.0, 60):
        assert (inside(cam_from_body.inv().apply(missed * depth), shape) > -1e-9).all()


@pytest.mark.parametrize(("shape", "cam_from_body"), SHAPES, ids=lambda value: type(value).__name__)
def test_normals_are_the_gradient_of_the_hit_surface(shape, cam_from_body):
    hits = cast_rays([Surface(shape, GREY, cam_from_body)], CAMERA, HERE, normals=True)
    points = rays() * hits.depth[..., None]
    across = points[:, 2:] - points[:, :-2]
    down = points[2:] - points[:-2]
    cross = np.cross(down[:, 1:-1], across[1:-1])
    cross /= np.maximum(np.linalg.norm(cross, axis=-1, keepdims=True), 1e-300)
    agreement = np.einsum("hwi,hwi->hw", cross, hits.normals_in_world[1:-1, 1:-1])
    hit = hits.surface_ids == 0
    whole = hit[1:-1, 1:-1] & hit[2:, 1:-1] & hit[:-2, 1:-1] & hit[1:-1, 2:] & hit[1:-1, :-2]
    assert np.median(agreement[whole]) > 0.9999
    assert (agreement[whole] > 0.9).mean() > 0.9


def test_a_plane_seen_head_on_has_its_distance_everywhere():
    wall = placed(Quad(), GREY, (0.0, 0.0, 2.5))
    assert np.allclose(cast_rays([wall], CAMERA, HERE).depth, 2.5, rtol=0, atol=1e-12)


def test_a_sphere_has_the_textbook_depth():
    centre, radius = np.array([0.1, -0.2, 3.0]), 0.8
    hits = cast_rays([placed(Sphere.of_radius(radius), GREY, tuple(centre.tolist()))], CAMERA, HERE)
    for row, column in ((60, 80), (50, 90), (40, 75)):
        ray = rays()[row, column]
        unit = ray / np.linalg.norm(ray)
        along = unit @ centre
        distance = along - np.sqrt(radius**2 - (centre @ centre - along**2))
        assert hits.depth[row, column] == pytest.approx(distance * unit[2], abs=1e-12)


def test_a_box_room_has_the_distance_of_its_walls():
    room = placed(Box((5.5, 2.7, 6.0), inside=True), GREY, (0.0, 0.0, 0.0))
    hits = cast_rays([room], CAMERA, RigidTransform.from_translation([-0.4, 0.1, 0.7]).inv())
    x, y, _ = np.moveaxis(rays(), -1, 0)
    with np.errstate(divide="ignore"):
        to_side = np.where(x > 0, (2.75 + 0.4) / x, (-2.75 + 0.4) / x)
        to_level = np.where(y > 0, (1.35 - 0.1) / y, (-1.35 - 0.1) / y)
    assert np.allclose(hits.depth, np.minimum(np.minimum(to_side, to_level), 3.0 - 0.7), rtol=0, atol=1e-12)


def test_a_cylinder_shows_mantle_and_cap():
    pillar = placed(Cylinder(0.3, 1.0), GREY, (0.0, 0.0, 2.0))
    beside = cast_rays([pillar], Camera(100, 100, 0.5, 0.5, 1, 1), HERE)
    assert beside.depth[0, 0] == pytest.approx(1.7, abs=1e-12)
    looking_down = looking_at(np.array([0.1, -2.0, 2.0]), np.array([0.1, 0.0, 2.0]), np.array([0.0, 0.0, 1.0]))
    hits = cast_rays([pillar], Camera(100, 100, 0.5, 0.5, 1, 1), looking_down, normals=True)
    assert hits.depth[0, 0] == pytest.approx(1.5, abs=1e-12)
    assert np.allclose(hits.normals_in_world[0, 0], [0.0, -1.0, 0.0])


def test_the_nearest_surface_wins_and_behind_the_camera_is_unseen():
    near, far = placed(Quad(), GREY, (0.0, 0.0, 1.0)), placed(Quad(), GREY, (0.0, 0.0, 4.0))
    behind = placed(Sphere.of_radius(0.5), GREY, (0.0, 0.0, -2.0))
    hits = cast_rays([far, behind, near], CAMERA, HERE)
    assert (hits.surface_ids == 2).all()
    assert (cast_rays([behind], CAMERA, HERE).surface_ids == -1).all()


def test_culling_loses_no_pixel():
    rng = np.random.default_rng(5)
    for _ in range(60):
        centre = rng.uniform((-3, -2, -1), (3, 2, 4))
        radius = rng.uniform(0.1, 1.5)
        shape = Surface(Sphere.of_radius(radius), GREY, RigidTransform.from_translation(centre))
        hit = cast_rays([shape], CAMERA, HERE, colour=False).surface_ids == 0
        unit = rays() / np.linalg.norm(rays(), axis=-1, keepdims=True)
        along = unit @ centre
        inside = centre @ centre < radius**2
        truth = (centre @ centre - along**2 <= radius**2) & ((along > 0) | inside)
        assert (hit == truth).mean() > 0.9999


def test_moving_world_and_camera_together_changes_nothing():
    room = furnished_room(3, movers=3)
    new_from_world = exp(np.array([0.4, -0.3, 0.8, 2.0, -1.0, 3.0]))
    moved = room.transformed(new_from_world)
    view = room.default_view
    before = room.cast(CAMERA, view, 1.3, normals=True)
    after = moved.cast(CAMERA, view * new_from_world.inv(), 1.3, normals=True)
    assert (before.surface_ids == after.surface_ids).all()
    assert np.abs(before.depth - after.depth).max() < 1e-9
    assert np.abs(before.colour - after.colour).max() < 1e-3
    turned = before.normals_in_world @ new_from_world.rotation.as_matrix().T
    assert np.abs(turned - after.normals_in_world).max() < 1e-9
    assert np.allclose(moved.default_view.as_matrix(), (view * new_from_world.inv()).as_matrix())
    assert np.allclose(moved.down_in_world, new_from_world.rotation.apply([0.0, 1.0, 0.0]))


def test_motion_moves_a_surface_as_it_says():
    motion = Motion(velocity_m_s=(0.0, 0.0, 0.5), swing_m=(0.3, 0.0, 0.0), swing_period_s=4.0)
    ball = placed(Sphere.of_radius(0.5), GREY, (0.0, 0.0, 2.0), motion=motion)
    pixel = Camera(100, 100, 0.5, 0.5, 1, 1)
    assert cast_rays([ball], pixel, HERE, 0.0).depth[0, 0] == pytest.approx(1.5, abs=1e-12)
    assert cast_rays([ball], pixel, HERE, 2.0).depth[0, 0] == pytest.approx(2.5, abs=1e-12)
    assert cast_rays([ball], pixel, HERE, 1.0).depth[0, 0] == pytest.approx(2.5 - 0.4, abs=1e-12)
    spun = Motion(spin_rad_s=(0.0, np.pi / 2, 0.0))(1.0)
    assert np.allclose(spun.apply([1.0, 0.0, 0.0]), [0.0, 0.0, -1.0])


def test_clearance_is_a_lower_bound_of_the_distance():
    rng = np.random.default_rng(2)
    for shape, _ in SHAPES:
        if isinstance(shape, Quad) and not np.isfinite(shape.bounding_radius_m):
            continue
        directions = rng.normal(size=(3, 100_000))
        start = np.array([2.0, 1.5, -1.0]) if not getattr(shape, "inside", False) else np.array([0.5, -0.3, 1.0])
        unit = directions / np.linalg.norm(directions, axis=0)
        nearest = shape.intersect(start, unit).min()
        claimed = shape.clearance(start[None])[0]
        assert 0 < claimed <= nearest + 1e-12
        exact = not isinstance(shape, Ellipsoid) or isinstance(shape, Sphere)
        if exact:
            assert claimed == pytest.approx(nearest, abs=0.03)


def test_a_highlight_depends_on_the_view_and_peaks_at_the_mirror_direction():
    wall = placed(Quad(), GREY, (0.0, 0.0, 2.0))
    views = RigidTransform.from_translation([-0.3, 0.0, 0.0]).inv()
    room = Room("wall", (wall,), views, furnished_room(0).viewing, Highlight((0.3, 0.0, 0.0), 0.3, 40.0))
    image = room.cast(Camera(200, 200, 80, 60, 160, 120), views).colour[..., 0]
    row, column = np.unravel_index(np.argmax(image), image.shape)
    assert (row in (59, 60)) and column + 0.5 == pytest.approx(80 + 200 * 0.3 / 2.0, abs=1.0)
    assert image.max() == pytest.approx(0.8, abs=2e-3)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="above 0 metres"):
        Box((1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="three equal"):
        Sphere((1.0, 1.0, 2.0))
