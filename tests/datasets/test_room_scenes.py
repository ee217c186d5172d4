"""Ready-made rooms, their textures and pictures: brightness constancy, antialiasing, seeds, views in free space."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms import (
    Checker,
    Quad,
    Sphere,
    Waves,
    box_room,
    cast_rays,
    corridor,
    curved_room,
    furnished_room,
    placed,
    procedural_texture,
    render_sequence,
    repeated_room,
    textured_wall,
)
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import exp

VGA = Camera(525.0, 525.0, 320.0, 240.0, 640, 480)
SMALL = VGA.resized(160, 120)
MAKERS = (box_room, curved_room, textured_wall, corridor, furnished_room, repeated_room)


@pytest.fixture(scope="module")
def rooms():
    return {make.__name__: make(0) for make in MAKERS}


@pytest.mark.parametrize("seed", range(5))
def test_the_box_room_has_the_depth_and_the_objects_it_promises(seed):
    room = box_room(seed)
    hits = room.cast(VGA, room.default_view, colour=False)
    assert hits.depth.min() > 1.8
    assert hits.depth.max() < 4.6
    kinds = [type(surface.shape).__name__ for surface in room.surfaces]
    assert (kinds.count("Box"), kinds.count("Sphere"), kinds.count("Cylinder")) == (6, 4, 2)
    assert len(np.unique(hits.surface_ids)) >= 10
    assert room.surfaces[0].shape.size_m == (5.5, 2.7, 6.0)


def test_every_ray_meets_something_in_every_room(rooms):
    for room in rooms.values():
        assert (room.cast(SMALL, room.default_view, colour=False).depth > 0.3).all()


def test_the_curved_room_has_no_plane(rooms):
    assert all(type(surface.shape).__name__ in ("Ellipsoid", "Sphere") for surface in rooms["curved_room"].surfaces)
    room = rooms["curved_room"]
    inverse = 1.0 / room.cast(SMALL, room.default_view, colour=False).depth
    bend = np.abs(inverse[:, 2:] - 2 * inverse[:, 1:-1] + inverse[:, :-2])
    assert np.percentile(bend, 1) > 1e-7


def test_the_wall_is_flat_and_the_corridor_is_bare(rooms):
    wall = rooms["textured_wall"]
    assert np.allclose(wall.cast(SMALL, wall.default_view, colour=False).depth, 2.5, rtol=0, atol=1e-12)

    def detail(room):
        hits = room.cast(VGA, room.default_view)
        grey = hits.colour.mean(axis=-1)
        same = hits.surface_ids[:, 1:] == hits.surface_ids[:, :-1]
        return np.abs(np.diff(grey, axis=1))[same].mean()

    assert detail(rooms["corridor"]) < 0.3 * detail(wall)


def test_the_repeated_room_looks_the_same_one_period_on():
    room = repeated_room(2)
    wall = room.surfaces[0]
    rng = np.random.default_rng(0)
    places = np.column_stack([rng.uniform(-2, 1.5, 4000), rng.uniform(-1, 1, 4000), np.full(4000, 2.5)])
    # A checker's period is two cells.
    shifted, unlike = (wall.texture.colours(places + [x, 0, 0], np.zeros(4000)) for x in (0.64, 0.32))
    here = wall.texture.colours(places, np.zeros(4000))
    assert np.abs(shifted - here).mean() < 0.05 < 0.2 < np.abs(unlike - here).mean()
    # It is not quite the same: there is something to tell places apart by.
    assert np.abs(shifted - here).mean() > 0.001
    pillars = [surface for surface in room.surfaces if surface.name == "pillar"]
    assert len({id(pillar.texture) for pillar in pillars}) == 1 and len(pillars) == 4


def test_textured_rooms_have_corners(rooms):
    cv2 = pytest.importorskip("cv2")
    counts = {
        name: len(cv2.SIFT_create().detect(cv2.cvtColor(room.render(VGA, room.default_view, 0.0, 1).image, 7)))
        for name, room in rooms.items()
    }
    assert min(counts[name] for name in ("box_room", "curved_room", "textured_wall", "furnished_room")) > 600
    assert counts["corridor"] < 300


def test_rooms_follow_their_seed(rooms):
    for make in MAKERS:
        again = make(0).render(SMALL, rooms[make.__name__].default_view, 0.0, 1)
        first = rooms[make.__name__].render(SMALL, rooms[make.__name__].default_view, 0.0, 1)
        assert (again.image == first.image).all()
        assert (again.depth == first.depth).all()
        assert (make(1).render(SMALL, make(1).default_view, 0.0, 1).image != first.image).mean() > 0.3
    layouts = [furnished_room(seed).cast(SMALL, rooms["furnished_room"].default_view).depth for seed in range(3)]
    assert np.abs(layouts[0] - layouts[1]).mean() > 0.1
    assert np.abs(layouts[1] - layouts[2]).mean() > 0.1


@pytest.mark.parametrize("name", ["box_room", "curved_room", "furnished_room"])
def test_a_world_point_has_one_colour_from_every_view(rooms, name):
    room = rooms[name]
    first = room.default_view
    second = exp(np.array([0.02, -0.03, 0.01, 0.08, 0.03, -0.05])) * first
    a, b = room.cast(VGA, first, prefilter=False), room.cast(VGA, second, prefilter=False)
    rows, columns = np.mgrid[10:470:3, 10:630:3]
    z = a.depth[rows, columns]
    in_first = np.stack([(columns + 0.5 - 320) / 525 * z, (rows + 0.5 - 240) / 525 * z, z], axis=-1)
    in_second = (second * first.inv()).apply(in_first.reshape(-1, 3))
    pixels = VGA.project(in_second)
    where = (pixels[:, 1] - 0.5, pixels[:, 0] - 0.5)
    seen = np.abs(1.0 / map_coordinates(1.0 / b.depth, where, order=1, cval=1.0) - in_second[:, 2]) < 1e-3
    seen &= ((pixels > 2) & (pixels < (638, 478))).all(axis=-1)
    assert seen.mean() > 0.7
    values = np.stack([map_coordinates(b.colour[..., i], where, order=1) for i in range(3)], axis=-1)
    difference = np.abs(values - a.colour[rows, columns].reshape(-1, 3))[seen]
    assert np.median(difference) < 0.01
    assert difference.mean() < 0.02


def test_colour_is_the_texture_at_the_point_whatever_the_distance():
    texture = procedural_texture("patches", np.random.default_rng(4))
    pixel = Camera(100.0, 100.0, 0.5, 0.5, 1, 1)
    wall = [placed(Quad(), texture, (0.0, 0.0, 3.0))]
    near = cast_rays(wall, pixel, RigidTransform.from_translation([0.3, 0.2, 2.0]).inv(), prefilter=False)
    far = cast_rays(wall, pixel, RigidTransform.from_translation([0.3, 0.2, -5.0]).inv(), prefilter=False)
    at_point = texture.colours(np.array([[0.3, 0.2, 0.0]]), np.zeros(1))
    assert np.allclose(near.colour[0, 0], at_point, atol=1e-5)
    assert np.allclose(far.colour[0, 0], at_point, atol=1e-5)


def test_waves_are_the_sum_they_claim_to_be_and_fade_as_a_gaussian_average():
    rng = np.random.default_rng(8)
    waves = Waves.random(rng, np.full(3, 0.5), np.array([0.5, 0.2]), 0.15)
    points = rng.uniform(-2, 2, size=(50, 3))
    plain = np.full((50, 3), 0.5)
    for octave in range(2):
        for k, phase, tint in zip(
            waves.wave_vectors[octave], waves.phases[octave], waves.amplitudes[octave], strict=True
        ):
            plain += np.sin(2 * np.pi * (points @ k + phase))[:, None] * tint
    assert np.allclose(waves.colours(points, np.zeros(50)), plain, atol=2e-5)
    footprint = 0.1
    draws = rng.normal(size=(40_000, 3)) * footprint * np.sqrt(2 / 3 / 12)
    averaged = waves.colours(points[0] + draws, np.zeros(len(draws))).mean(axis=0)
    assert np.allclose(waves.colours(points[:1], np.array([footprint]))[0], averaged, atol=0.02)
    assert waves.colours(rng.uniform(-9, 9, size=(20_000, 3)), np.zeros(20_000)).std() == pytest.approx(0.15, rel=0.15)


def test_a_checker_has_its_colours_where_it_should():
    checker = Checker((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), cell_m=0.5, edge_m=0.02, axes=(0, 1))
    points = np.array([[0.25, 0.25, 9.0], [0.75, 0.25, 9.0], [-0.25, -0.25, 0.0], [0.25, -0.25, 3.0]])
    expected = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]])
    assert np.allclose(checker.colours(points, np.zeros(4)), expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["waves", "patches", "checker", "noise"])
def test_small_pictures_alias_little(kind):
    texture = procedural_texture(kind, np.random.default_rng(3), 0.3)
    wall = [placed(Quad(), texture, (0.05, 0.03, 3.0))]
    big = cast_rays(wall, VGA, RigidTransform.identity()).colour
    small = cast_rays(wall, VGA.resized(80, 60), RigidTransform.identity()).colour
    raw = cast_rays(wall, VGA.resized(80, 60), RigidTransform.identity(), prefilter=False).colour
    truth = big.reshape(60, 8, 80, 8, 3).mean(axis=(1, 3))
    assert np.abs(small - truth).mean() < 0.9 * np.abs(raw - truth).mean()
    assert np.abs(small - truth).mean() < 0.05


def test_the_picture_is_the_mean_of_its_samples_and_depth_is_that_of_pixel_centres(rooms):
    room = rooms["box_room"]
    for supersample in (1, 2, 3):
        frame = room.render(SMALL, room.default_view, 0.5, supersample)
        fine = SMALL.resized(160 * supersample, 120 * supersample)
        colour = room.cast(fine, room.default_view).colour.astype(np.float64)
        mean = colour.reshape(120, supersample, 160, supersample, 3).mean(axis=(1, 3))
        assert np.abs(frame.image - 255 * mean).max() <= 0.501
        assert (frame.depth == room.cast(SMALL, room.default_view).depth.astype(np.float32)).all()
        assert frame.timestamp == 0.5
    assert room.render(SMALL, room.default_view, colour=False).image is None


def test_sampled_views_stand_in_free_space_and_see_something(rooms):
    for name, room in rooms.items():
        views = room.sample_views(np.random.default_rng(1), 8)
        again = room.sample_views(np.random.default_rng(1), 8)
        assert (views.as_matrix() == again.as_matrix()).all()
        assert len(views) == 8
        for view in views:
            centre = view.inv().translation
            for direction in np.eye(3):
                for look in (direction, -direction):
                    ray = np.stack([look, look], axis=-1)
                    for surface in room.surfaces:
                        body_from_world = surface.world_from_body.inv()
                        turned = body_from_world.rotation.as_matrix() @ ray
                        met = surface.shape.intersect(body_from_world.apply(centre), turned)
                        assert (met >= 0.4).all()
            depth = room.cast(SMALL, view, colour=False).depth
            assert (depth > 0.2).all(), name
            assert np.median(depth) > 1.1
            assert view.rotation.apply(room.down_in_world)[1] > 0.9


def test_views_are_refused_where_there_is_no_space(rooms):
    with pytest.raises(ValueError, match="free space"):
        rooms["corridor"].sample_views(np.random.default_rng(0), 1, min_clearance_m=3.0)
    with pytest.raises(ValueError, match="pinhole"):
        rooms["corridor"].render(Camera(100, 100, 50, 50, 100, 100, (0.1, 0, 0, 0)), RigidTransform.identity())


def test_movers_move_in_a_sequence():
    room = furnished_room(0, movers=3)
    still = RigidTransform.concatenate([room.default_view] * 3)
    frames = list(render_sequence(room, SMALL, still, rate_hz=2.0, supersample=1))
    assert [frame.timestamp for frame in frames] == [0.0, 0.5, 1.0]
    assert (np.abs(frames[0].depth - frames[1].depth) > 0.1).mean() > 0.005
    bare = list(render_sequence(furnished_room(0), SMALL, still, rate_hz=2.0, colour=False))
    assert (bare[0].depth == bare[2].depth).all()


def test_a_rolling_ball_takes_its_texture_along():
    texture = procedural_texture("waves", np.random.default_rng(0))
    shift = RigidTransform.from_translation([0.3, -0.1, 0.4])
    ball = placed(Sphere.of_radius(0.5), texture, (0.0, 0.0, 2.0), motion=lambda time_s: shift)
    moved = cast_rays([ball], SMALL, RigidTransform.identity(), 1.0)
    static = placed(Sphere.of_radius(0.5), texture, (0.3, -0.1, 2.4))
    expected = cast_rays([static], SMALL, RigidTransform.identity())
    assert np.allclose(moved.depth, expected.depth, atol=1e-12)
    assert np.allclose(moved.colour, expected.colour, atol=1e-4)
