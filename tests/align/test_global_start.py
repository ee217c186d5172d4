"""Starts without a prior pose: on rooms whose surfaces, colours and poses are known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.global_start import (
    DepthStartOptions,
    KeypointStartOptions,
    absolute_pose,
    depth_starts,
    keypoint_starts,
    match,
    turned,
)
from posesplat.align.keypoints import KeypointIndex, KeypointOptions, Keypoints, detect, detect_in_frame
from posesplat.align.pyramid import MapPyramid, query_pyramid
from posesplat.align.viewpoints import covering_views, map_views, spread_views
from posesplat.datasets.rooms import Room, box_room, furnished_room
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.lifting import LiftOptions
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import looking_at, pose_errors
from posesplat.methods.mapping import single_frame_map

CAMERA = Camera.from_fov(62.7, 320, 240)
UP_FRONT = np.array([0.0, 0.2, 1.6])
"""A point in the middle of what the map of the box room shows."""


def orbited(pose: RigidTransform, degrees: float, about: np.ndarray = UP_FRONT) -> RigidTransform:
    """The camera carried around a vertical axis through ``about``, still looking at the same things."""
    around = RigidTransform.from_translation(about) * RigidTransform.from_rotation(
        Rotation.from_euler("y", degrees, degrees=True)
    )
    return pose * (around * RigidTransform.from_translation(-about)).inv()


def map_of(room: Room, poses: list[RigidTransform], stride: int = 1, colour: bool = True) -> SplatMap:
    options = LiftOptions(stride=stride)
    parts = [single_frame_map(room.render(CAMERA, pose, colour=colour), pose, options) for pose in poses]
    views = tuple(MapView(CAMERA, pose, f"{number}") for number, pose in enumerate(poses))
    return SplatMap(Gaussians.merge(parts), views)


@pytest.fixture(scope="module")
def room() -> Room:
    return box_room(3)


@pytest.fixture(scope="module")
def index(room: Room) -> KeypointIndex:
    away = turned(room.default_view, np.array([0.0, 1.0, 0.0]), 120.0)
    return KeypointIndex(map_of(room, [room.default_view, away]), threads=1)


def assert_close(found: RigidTransform, true: RigidTransform, metres: float, degrees: float) -> None:
    gap, angle = pose_errors(found, true)
    assert gap < metres and angle < degrees, f"{gap:.4f} m, {angle:.3f} deg"


@pytest.mark.parametrize(
    ("degrees", "roll"), [(0.0, 0.0), (-10.0, 0.0), (20.0, 0.0), (-30.0, 0.0), (30.0, 0.0), (10.0, 90.0)]
)
def test_finds_views_from_the_side_and_rolled(room: Room, index: KeypointIndex, degrees: float, roll: float) -> None:
    true = RigidTransform.from_rotation(Rotation.from_euler("z", roll, degrees=True)) * orbited(
        room.default_view, degrees
    )
    starts = keypoint_starts(index, room.render(CAMERA, true))
    assert starts
    assert_close(starts[0].cam_from_world, true, 0.03, 0.7)
    assert starts[0].inliers >= 15 and starts[0].matches >= starts[0].inliers
    assert [start.inliers for start in starts] == sorted((start.inliers for start in starts), reverse=True)


def test_a_larger_image_of_another_camera_is_found(room: Room, index: KeypointIndex) -> None:
    camera = Camera(900.0, 880.0, 410.0, 280.0, 800, 600)
    true = orbited(room.default_view, 8.0)
    starts = keypoint_starts(index, room.render(camera, true, supersample=1))
    assert_close(starts[0].cam_from_world, true, 0.03, 0.5)


def test_lifted_keypoints_lie_on_the_surfaces(room: Room, index: KeypointIndex) -> None:
    for view in index.views:
        assert len(view.keypoints) > 50
        distance = np.abs(room.clearance(view.points_in_world))
        assert np.quantile(distance, 0.95) < 2e-3
        pixels = view.view.camera.project(view.view.cam_from_world.apply(view.points_in_world))
        np.testing.assert_allclose(pixels, view.keypoints.pixels, atol=1e-6)


def blobs_at(positions: np.ndarray, centres: np.ndarray, sigma: float) -> np.ndarray:
    """Bright and dark Gaussian blobs on grey, in [0, 1], at positions (..., 2)."""
    squared = np.sum((positions[..., None, :] - centres) ** 2, axis=-1)
    signs = np.where(np.arange(len(centres)) % 2, 0.4, -0.4)
    return 0.5 + np.exp(-0.5 * squared / sigma**2) @ signs


def blob_centres(width: float, height: float, spacing: float) -> np.ndarray:
    """A loose grid with every fraction of a pixel."""
    rng = np.random.default_rng(4)
    x, y = np.meshgrid(
        np.arange(1.5 * spacing, width - spacing, spacing), np.arange(1.5 * spacing, height - spacing, spacing)
    )
    return np.stack([x.ravel(), y.ravel()], axis=1) + rng.uniform(-0.5, 0.5, size=(x.size, 2))


def offsets_to_nearest(found: np.ndarray, centres: np.ndarray) -> np.ndarray:
    gaps = found[:, None] - centres
    nearest = np.argmin(np.sum(gaps**2, axis=-1), axis=1)
    return gaps[np.arange(len(found)), nearest]


@pytest.mark.parametrize("sigma", [1.5, 2.5, 5.0])
def test_detected_pixels_are_corner_based(sigma: float) -> None:
    centres = blob_centres(320, 240, 12 * sigma)
    pixels = np.stack(np.meshgrid(np.arange(320) + 0.5, np.arange(240) + 0.5), axis=-1)
    grey = np.rint(255 * blobs_at(pixels, centres, sigma)).astype(np.uint8)
    keypoints = detect(np.repeat(grey[..., None], 3, axis=2))
    offsets = offsets_to_nearest(keypoints.pixels, centres)
    offsets = offsets[np.linalg.norm(offsets, axis=1) < 1.0]
    assert len(offsets) >= 0.8 * len(centres)
    np.testing.assert_allclose(np.median(offsets, axis=0), 0, atol=0.08)


def test_lifted_keypoints_meet_known_points_on_a_wall() -> None:
    z, pixel = 2.0, 2.0 / CAMERA.fx
    columns, rows = np.meshgrid(np.arange(-180, 180), np.arange(-140, 140))
    places = np.stack([columns.ravel(), rows.ravel()], axis=1) * 0.9 * pixel
    centres = (blob_centres(320, 240, 30.0) - [160.3, 119.8]) * pixel
    count = len(places)
    grey = blobs_at(places, centres, 2.5 * pixel).clip(0, 1)
    wall = Gaussians(
        means_in_world=np.column_stack([places, np.full(count, z)]).astype(np.float32),
        quats_wxyz=np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        scales=np.tile(np.float32([0.6 * pixel, 0.6 * pixel, 0.05 * pixel]), (count, 1)),
        opacities=np.full(count, 0.99, dtype=np.float32),
        colors=np.repeat(grey[:, None], 3, axis=1).astype(np.float32),
    )
    tilted = looking_at(np.array([0.1, -0.05, 0.1]), np.array([0.15, 0.1, 2.0]), np.array([0.05, 1.0, 0.0]))
    index = KeypointIndex(SplatMap(wall, (MapView(CAMERA, tilted),)), threads=1)
    points = index.views[0].points_in_world
    np.testing.assert_allclose(points[:, 2], z, atol=1e-4)
    offsets = offsets_to_nearest(points[:, :2], centres) / pixel
    offsets = offsets[np.linalg.norm(offsets, axis=1) < 1.5]
    assert len(offsets) > 40
    np.testing.assert_allclose(np.median(offsets, axis=0), 0, atol=0.1)


def test_another_room_and_a_blank_image_give_no_start(index: KeypointIndex) -> None:
    other = furnished_room(5)
    for yaw in (0.0, 200.0):
        pose = turned(other.default_view, np.array([0.0, 1.0, 0.0]), yaw)
        assert keypoint_starts(index, other.render(CAMERA, pose)) == []
    assert keypoint_starts(index, Frame(CAMERA, np.full((240, 320, 3), 128, dtype=np.uint8))) == []


def test_an_empty_map_gives_no_start(room: Room) -> None:
    nothing = np.zeros((0, 3), dtype=np.float32)
    empty = Gaussians(nothing, np.zeros((0, 4), np.float32), nothing, np.zeros(0, np.float32), colors=nothing)
    frame = room.render(CAMERA, room.default_view)
    assert keypoint_starts(KeypointIndex(SplatMap(empty), CAMERA), frame) == []
    levels = MapPyramid(empty, 1, False, threads=1)
    assert depth_starts(levels, query_pyramid(frame, use_image=False), [room.default_view], threads=1) == []


def test_missing_parts_are_named(room: Room, index: KeypointIndex) -> None:
    frame = room.render(CAMERA, room.default_view)
    with pytest.raises(ValueError, match="depth_starts"):
        keypoint_starts(index, replace(frame, image=None))
    with pytest.raises(ValueError, match="camera"):
        KeypointIndex(SplatMap(index.splat_map.gaussians))
    with pytest.raises(ValueError, match="colour"):
        KeypointIndex(SplatMap(replace(index.splat_map.gaussians, colors=None)), CAMERA)
    with pytest.raises(ValueError, match="keypoint_starts"):
        levels = MapPyramid(index.splat_map.gaussians, 1, False)
        depth_starts(levels, query_pyramid(frame, use_depth=False), [room.default_view])


def test_the_same_seed_gives_the_same_starts(room: Room, index: KeypointIndex) -> None:
    frame = room.render(CAMERA, orbited(room.default_view, 15.0))
    again = KeypointIndex(index.splat_map, threads=2)
    first, second = keypoint_starts(index, frame, seed=7), keypoint_starts(again, frame, seed=7)
    assert len(first) == len(second) >= 1
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.cam_from_world.as_matrix(), other.cam_from_world.as_matrix())
        assert (one.inliers, one.matches, one.source) == (other.inliers, other.matches, other.source)


def test_moving_the_map_moves_the_start(room: Room, index: KeypointIndex) -> None:
    frame = room.render(CAMERA, orbited(room.default_view, 15.0))
    new_from_world = RigidTransform.from_components([40.0, -3.0, 7.0], Rotation.from_rotvec([0.4, -1.0, 0.7]))
    gaussians = index.splat_map.gaussians.transformed(new_from_world)
    views = tuple(
        replace(view, cam_from_world=view.cam_from_world * new_from_world.inv()) for view in index.splat_map.views
    )
    moved = keypoint_starts(KeypointIndex(SplatMap(gaussians, views), threads=1), frame)
    here = keypoint_starts(index, frame)
    assert_close(moved[0].cam_from_world, here[0].cam_from_world * new_from_world.inv(), 0.003, 0.1)


def test_a_map_without_views_is_looked_at_from_inside(room: Room, index: KeypointIndex) -> None:
    tilt = RigidTransform.from_rotation(Rotation.from_rotvec([0.5, -0.3, 0.2]))
    gaussians = index.splat_map.gaussians.transformed(tilt)
    seen = [view.cam_from_world for view in index.splat_map.views]
    chosen = KeypointIndex(SplatMap(gaussians), CAMERA, KeypointOptions(max_views=12), threads=1)
    views = [keypoints.view for keypoints in chosen.views]
    assert 4 <= len(views) <= 12
    centres = tilt.inv().apply(np.stack([view.cam_from_world.inv().translation for view in views]))
    assert np.mean(room.clearance(centres) > 0.1) >= 0.5
    for view in seen:
        true = turned(view, np.array([0.0, 1.0, 0.0]), 8.0)
        starts = keypoint_starts(chosen, room.render(CAMERA, true))
        assert_close(starts[0].cam_from_world, true * tilt.inv(), 0.05, 1.0)


def test_an_object_is_looked_at_from_around() -> None:
    directions = np.random.default_rng(1).normal(size=(4000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # The half-way turn that takes z to the direction.
    quats = np.column_stack([np.zeros(4000), directions])
    quats[:, 3] += 1.0
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    ball = Gaussians(
        means_in_world=(5.0 + 0.5 * directions).astype(np.float32),
        quats_wxyz=quats.astype(np.float32),
        scales=np.tile(np.float32([0.02, 0.02, 0.002]), (4000, 1)),
        opacities=np.full(4000, 0.95, dtype=np.float32),
    )
    views = covering_views(ball, CAMERA, 20, threads=1)
    centres = np.stack([view.cam_from_world.inv().translation for view in views]) - 5.0
    outside = np.linalg.norm(centres, axis=1) > 0.6
    ahead = np.stack([view.cam_from_world.rotation.as_matrix()[2] for view in views])
    assert outside.sum() >= 4
    towards = -centres / np.linalg.norm(centres, axis=1, keepdims=True)
    assert (np.sum(ahead * towards, axis=1)[outside] > 0.95).all()


def test_spread_views_keep_the_lonely_ones() -> None:
    rng = np.random.default_rng(2)
    poses = [RigidTransform.from_translation(rng.uniform(-0.01, 0.01, 3)) for _ in range(20)]
    poses[7] = RigidTransform.from_translation([3.0, 0.0, 0.0])
    poses[13] = RigidTransform.from_rotation(Rotation.from_euler("y", 180, degrees=True))
    views = [MapView(CAMERA, pose, str(number)) for number, pose in enumerate(poses)]
    chosen = [view.name for view in spread_views(views, 3)]
    assert len(chosen) == 3 and {"7", "13"} < set(chosen)
    assert spread_views(views, 20) == tuple(views)
    gaussians = Gaussians(*(np.zeros((0, size), np.float32) for size in (3, 4, 3)), np.zeros(0, np.float32))
    assert len(map_views(SplatMap(gaussians, tuple(views)), count=5)) == 5


def test_matches_are_those_of_the_slow_twin() -> None:
    rng = np.random.default_rng(8)
    unit = lambda a: (a / np.linalg.norm(a, axis=1, keepdims=True)).astype(np.float32)  # noqa: E731
    reference = np.abs(rng.normal(size=(40, 128)))
    query = np.concatenate([reference[:25] + 0.25 * rng.normal(size=(25, 128)), np.abs(rng.normal(size=(10, 128)))])
    left = Keypoints(np.zeros((35, 2)), unit(np.abs(query)))
    right = Keypoints(np.zeros((40, 2)), unit(reference))
    expected = []
    distance = np.array([[np.linalg.norm(a - b) for b in right.descriptors] for a in left.descriptors])
    for row in range(35):
        order = np.argsort(distance[row])
        mutual = np.argmin(distance[:, order[0]]) == row
        if mutual and distance[row, order[0]] < 0.85 * distance[row, order[1]]:
            expected.append((row, order[0]))
    rows, columns = match(left, right, 0.85)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(int(a), int(b)) for a, b in expected]
    assert len(expected) > 15
    assert len(match(left, right.select(slice(1)), 0.85)[0]) == 0


def test_absolute_pose_among_outliers_far_from_the_origin() -> None:
    rng = np.random.default_rng(5)
    true = RigidTransform.from_components([1.0, 2.0, -0.5], Rotation.from_rotvec([0.3, -0.2, 1.0])) * (
        RigidTransform.from_translation([-5000.0, 300.0, 20.0])
    )
    pixels = rng.uniform(0, [320, 240], size=(200, 2))
    rays = np.column_stack([(pixels - [CAMERA.cx, CAMERA.cy]) / [CAMERA.fx, CAMERA.fy], np.ones(200)])
    points = true.inv().apply(rays * rng.uniform(1, 4, size=(200, 1)))
    seen = pixels + rng.normal(scale=0.1, size=(200, 2))
    seen[:120] = rng.uniform(0, [320, 240], size=(120, 2))
    pose = absolute_pose(CAMERA, seen, points, 0, KeypointStartOptions())
    assert pose is not None
    assert_close(pose, true, 2e-3, 0.05)
    assert absolute_pose(CAMERA, seen[:10], points[:10], 0, KeypointStartOptions()) is None


def test_poselib_knows_every_option_we_set(monkeypatch: pytest.MonkeyPatch) -> None:
    import poselib

    real, given = poselib.estimate_absolute_pose, []
    monkeypatch.setattr(poselib, "estimate_absolute_pose", lambda *a: given.append(a[3:5]) or real(*a))
    rng = np.random.default_rng(0)
    absolute_pose(CAMERA, rng.uniform(0, 240, (30, 2)), rng.uniform(1, 2, (30, 3)), 3, KeypointStartOptions())
    ransac, bundle = given[0]
    assert set(ransac) <= set(poselib.RansacOptions()) and set(bundle) <= set(poselib.BundleOptions())
    assert ransac["seed"] == 3


def test_turning_keeps_the_centre() -> None:
    pose = looking_at(np.array([1.0, -0.5, 0.2]), np.array([0.0, 0.3, 2.0]), np.array([0.0, 1.0, 0.0]))
    moved = turned(pose, np.array([0.0, 1.0, 0.0]), 90.0)
    np.testing.assert_allclose(moved.inv().translation, pose.inv().translation, atol=1e-12)
    ahead, ahead_before = moved.rotation.as_matrix()[2], pose.rotation.as_matrix()[2]
    np.testing.assert_allclose(ahead, [ahead_before[2], ahead_before[1], -ahead_before[0]], atol=1e-12)


def test_depth_alone_finds_the_view_among_several(room: Room) -> None:
    poses = [turned(room.default_view, np.array([0.0, 1.0, 0.0]), yaw) for yaw in (0.0, 40.0, -40.0, 170.0)]
    splat_map = map_of(room, poses, stride=3, colour=False)
    levels = MapPyramid(splat_map.gaussians, 1, False, threads=1)
    options = DepthStartOptions(yaws_deg=(-30.0, 0.0, 180.0), refined=4)
    for number, tangent in ((0, [0.1, -0.08, 0.05, 0.1, -0.05, 0.1]), (1, [-0.05, 0.15, 0.02, -0.1, 0.05, 0.05])):
        true = RigidTransform.from_exp_coords(tangent) * poses[number]
        frame = room.render(CAMERA, true, colour=False)
        starts = depth_starts(levels, query_pyramid(frame), poses, options=options, threads=1)
        assert_close(starts[0].cam_from_world, true, 0.03, 0.7)
        assert [start.cost for start in starts] == sorted(start.cost for start in starts)
    again = depth_starts(levels, query_pyramid(frame), poses, options=options, threads=2)
    np.testing.assert_array_equal(starts[0].cam_from_world.as_matrix(), again[0].cam_from_world.as_matrix())


def test_blank_depth_and_no_views_give_no_depth_start(room: Room, index: KeypointIndex) -> None:
    levels = MapPyramid(index.splat_map.gaussians, 1, False, threads=1)
    blank = Frame(CAMERA, depth=np.zeros((240, 320), dtype=np.float32))
    assert depth_starts(levels, query_pyramid(blank), [room.default_view], threads=1) == []
    frame = room.render(CAMERA, room.default_view, colour=False)
    assert depth_starts(levels, query_pyramid(frame), [], threads=1) == []
    millimetres = replace(frame, depth=1000 * frame.depth)
    few = DepthStartOptions(yaws_deg=(0.0, 90.0), refined=2)
    assert depth_starts(levels, query_pyramid(millimetres), [room.default_view], options=few, threads=1) == []


def test_keypoints_of_a_wide_image_are_of_the_reduced_camera(room: Room) -> None:
    camera = CAMERA.resized(1280, 960)
    grey = np.full((960, 1280, 3), 90, dtype=np.uint8)
    grey[380:420, 700:740] = 250
    reduced_camera, keypoints = detect_in_frame(Frame(camera, grey))
    assert (reduced_camera.width, reduced_camera.height) == (640, 480)
    nearest = np.min(np.linalg.norm(keypoints.pixels - [360.0, 200.0], axis=1))
    assert nearest < 0.2
