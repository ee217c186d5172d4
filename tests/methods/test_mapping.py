"""Maps from several posed frames, against rooms whose surfaces have formulas."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets import rooms
from posesplat.datasets.sequences import FrameSequence
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.splat_map import SplatMap
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.kernels.splatting import View
from posesplat.methods.mapping import MapBuilder, MapOptions, build_map, single_frame_map
from posesplat.render.cpu import CpuRenderer, plane_depth

CAMERA = Camera(200.0, 200.0, 120.0, 90.0, 240, 180)
AXIAL_PER_METRE = 0.0012
SENSOR = rooms.KinectNoise(axial_per_metre=AXIAL_PER_METRE, disparity_step_px=0.0)
IDENTITY = RigidTransform.identity()


def seen(gaussians: Gaussians, cam_from_world: RigidTransform) -> tuple[View, np.ndarray, np.ndarray]:
    """The view, its plane depth, and the pixels that show one surface."""
    view = CpuRenderer(gaussians).planes(CAMERA, cam_from_world)
    assert view.variance is not None
    return view, plane_depth(view), (view.alpha > 0.9) & (view.variance < 1e-4)


def surface_error(gaussians: Gaussians, frame: Frame, cam_from_world: RigidTransform) -> float:
    """Robust standard deviation of the rendered depth against the exact depth of a frame, metres."""
    _, depth, clean = seen(gaussians, cam_from_world)
    assert frame.depth is not None
    return 1.4826 * float(np.median(np.abs(depth - frame.depth)[clean]))


@pytest.fixture(scope="session")
def room() -> rooms.Room:
    return rooms.box_room()


@pytest.fixture(scope="session")
def keyframe_poses(room: rooms.Room) -> list[RigidTransform]:
    """The default view and five views within 10 cm and 5 degrees of it."""
    rng = np.random.default_rng(1)
    others = [poses.perturbed(room.default_view, rooms.random_perturbation(rng, 0.1, 5.0)) for _ in range(5)]
    return [room.default_view, *others]


@pytest.fixture(scope="session")
def exact_frames(room: rooms.Room, keyframe_poses: list[RigidTransform]) -> list[Frame]:
    return [room.render(CAMERA, pose, supersample=1) for pose in keyframe_poses]


@pytest.fixture(scope="session")
def noisy_frames(exact_frames: list[Frame]) -> list[Frame]:
    return [rooms.kinect_noise(frame, seed, SENSOR) for seed, frame in enumerate(exact_frames)]


@pytest.fixture(scope="session")
def noisy_map(noisy_frames: list[Frame], keyframe_poses: list[RigidTransform]) -> SplatMap:
    return build_map(noisy_frames, keyframe_poses)


def test_one_frame_gives_the_single_frame_map(exact_frames: list[Frame], keyframe_poses: list[RigidTransform]) -> None:
    built = build_map(exact_frames[1:2], keyframe_poses[1:2])
    single = single_frame_map(exact_frames[1], keyframe_poses[1])
    for name in ("means_in_world", "quats_wxyz", "scales", "opacities", "colors", "normals_in_world"):
        np.testing.assert_array_equal(getattr(built.gaussians, name), getattr(single, name))


@pytest.mark.parametrize(("make", "limit_m"), [(rooms.box_room, 2e-6), (rooms.curved_room, 2e-5)])
def test_a_calibrated_frame_renders_its_own_depth(make: Callable[[], rooms.Room], limit_m: float) -> None:
    # Pixels are 1.5 cm wide on the walls: between them a surface of 0.5 m radius bends by 0.1 mm.
    scene = make()
    frame = scene.render(CAMERA, scene.default_view, colour=False)
    gaussians = single_frame_map(frame, scene.default_view)
    _, depth, clean = seen(gaussians, scene.default_view)
    assert frame.depth is not None and clean.mean() > 0.85
    errors = (depth - frame.depth)[clean]
    assert np.median(np.abs(errors)) < limit_m
    assert abs(np.median(errors)) < 0.5 * limit_m


def test_the_same_frame_again_adds_nothing(exact_frames: list[Frame], keyframe_poses: list[RigidTransform]) -> None:
    once = build_map(exact_frames[:1], keyframe_poses[:1])
    twice = build_map([exact_frames[0]] * 2, [keyframe_poses[0]] * 2)
    assert len(twice.gaussians) == len(once.gaussians)
    np.testing.assert_allclose(twice.gaussians.means_in_world, once.gaussians.means_in_world, atol=1e-6)
    np.testing.assert_allclose(twice.gaussians.rgb(), once.gaussians.rgb(), atol=1e-5)


def test_noise_free_views_agree_on_the_room(
    room: rooms.Room, exact_frames: list[Frame], keyframe_poses: list[RigidTransform]
) -> None:
    built = build_map(exact_frames, keyframe_poses)
    assert np.median(np.abs(room.clearance(built.gaussians.means_in_world.astype(np.float64)))) < 2e-6
    for frame, pose in zip(exact_frames, keyframe_poses, strict=True):
        assert surface_error(built.gaussians, frame, pose) < 5e-6
        assert seen(built.gaussians, pose)[2].mean() > 0.85


def test_several_noisy_views_make_one_surface(
    room: rooms.Room, noisy_map: SplatMap, noisy_frames: list[Frame], keyframe_poses: list[RigidTransform]
) -> None:
    single = single_frame_map(noisy_frames[0], keyframe_poses[0])
    # Six frames see a fifth more of the room than the first.
    assert len(single) < len(noisy_map.gaussians) < 1.6 * len(single)
    means = noisy_map.gaussians.means_in_world.astype(np.float64)
    depth = keyframe_poses[0].apply(means)[:, 2]
    in_sigmas = np.abs(room.clearance(means)) / (AXIAL_PER_METRE * depth**2)
    assert np.median(in_sigmas) < 0.3
    assert np.quantile(in_sigmas, 0.97) < 1.5
    view, depth_image, clean = seen(noisy_map.gaussians, keyframe_poses[0])
    assert view.variance is not None
    assert np.median(view.variance[clean] / (AXIAL_PER_METRE * depth_image[clean]) ** 2) < 0.5


def test_several_noisy_views_are_better_than_one(
    room: rooms.Room, noisy_map: SplatMap, noisy_frames: list[Frame], keyframe_poses: list[RigidTransform]
) -> None:
    pose = poses.perturbed(room.default_view, rooms.random_perturbation(np.random.default_rng(7), 0.05, 2.0))
    exact = room.render(CAMERA, pose, colour=False)
    one = surface_error(single_frame_map(noisy_frames[0], keyframe_poses[0]), exact, pose)
    six = surface_error(noisy_map.gaussians, exact, pose)
    # Independent noise would give 1 / sqrt(6) = 0.41 where all frames look.
    assert six < 0.6 * one


def test_colours_of_several_noisy_views_are_better_than_one(
    exact_frames: list[Frame], keyframe_poses: list[RigidTransform]
) -> None:
    noisy = [rooms.colour_noise(frame, seed, sigma=12.0) for seed, frame in enumerate(exact_frames)]
    errors = []
    for count in (1, 6):
        built = build_map(noisy[:count], keyframe_poses[:count])
        view = CpuRenderer(built.gaussians, "rgb").planes(CAMERA, keyframe_poses[0])
        ideal = CpuRenderer(single_frame_map(exact_frames[0], keyframe_poses[0]), "rgb").planes(
            CAMERA, keyframe_poses[0]
        )
        assert view.channels is not None and ideal.channels is not None
        errors.append(np.median(np.abs(view.channels - ideal.channels)[ideal.alpha > 0.9]))
    assert errors[1] < 0.65 * errors[0]


def test_moving_the_poses_moves_the_map(noisy_frames: list[Frame], keyframe_poses: list[RigidTransform]) -> None:
    world_b_from_a = RigidTransform.from_exp_coords([0.4, -1.0, 0.7, 1.0, -2.0, 0.5])
    in_a = build_map(noisy_frames[:3], keyframe_poses[:3])
    in_b = build_map(noisy_frames[:3], [pose * world_b_from_a.inv() for pose in keyframe_poses[:3]])
    moved = in_a.gaussians.transformed(world_b_from_a)
    # Rounding may decide a few borderline pixels otherwise; all others must agree.
    assert abs(len(moved) - len(in_b.gaussians)) <= 5
    for view_a, view_b in zip(in_a.views, in_b.views, strict=True):
        expected = (view_a.cam_from_world * world_b_from_a.inv()).as_matrix()
        np.testing.assert_allclose(view_b.cam_from_world.as_matrix(), expected, atol=1e-12)
        _, depth_a, clean_a = seen(moved, view_b.cam_from_world)
        _, depth_b, clean_b = seen(in_b.gaussians, view_b.cam_from_world)
        both = clean_a & clean_b
        assert both.mean() > 0.8
        assert np.quantile(np.abs(depth_a - depth_b)[both], 0.99) < 2e-5


def wall(depth_m: float, name: str = "") -> Frame:
    return Frame(CAMERA, None, np.full((180, 240), depth_m, np.float32), name)


def with_box(frame: Frame, depth_m: float) -> Frame:
    """The frame with a square in the middle that stands in front."""
    assert frame.depth is not None
    depth = frame.depth.copy()
    depth[60:120, 90:150] = depth_m
    return replace(frame, depth=depth)


def test_a_closer_look_replaces_coarse_gaussians() -> None:
    closer = RigidTransform.from_translation([0.0, 0.0, -1.0])
    built = build_map([wall(2.0), wall(1.0)], [IDENTITY, closer])
    np.testing.assert_allclose(built.gaussians.means_in_world[:, 2], 2.0, atol=1e-5)
    in_close_view = closer.apply(built.gaussians.means_in_world)
    x, y = CAMERA.project(in_close_view.astype(np.float64)).T
    centre = (x > 60) & (x < 180) & (y > 45) & (y < 135)
    # A Gaussian every two pixels of the close view, of 0.7 times that spacing, and nothing else.
    np.testing.assert_allclose(np.median(built.gaussians.scales[centre], axis=0)[1], 0.7 * 2 / 200, rtol=1e-3)
    assert built.gaussians.scales[centre, 1].max() < 1.01 * 0.7 * 2 / 200
    assert centre.sum() == pytest.approx(60 * 45, rel=0.05)
    # No hole is left at the seam between fine and coarse ones.
    assert seen(built.gaussians, IDENTITY)[0].alpha[3:-3, 3:-3].min() > 0.8
    # Going back adds nothing.
    again = build_map([wall(2.0), wall(1.0), wall(2.0)], [IDENTITY, closer, IDENTITY])
    assert len(again.gaussians) == pytest.approx(len(built.gaussians), rel=0.01)


def test_what_later_frames_see_through_is_removed() -> None:
    frames = [with_box(wall(3.0), 1.5), wall(3.0), wall(3.0), wall(3.0)]
    counts = []
    for count in (1, 2, 3, 4):
        built = build_map(frames[:count], [IDENTITY] * count)
        counts.append(int((built.gaussians.means_in_world[:, 2] < 2.0).sum()))
    assert counts[0] == 30 * 30
    # Once is not enough: either frame may be wrong.
    assert counts[1] == counts[0]
    # What remains at the rim is where a pixel beside still saw nothing farther.
    assert counts[2] == 0 and counts[3] == 0
    assert seen(built.gaussians, IDENTITY)[0].alpha.min() > 0.8


def test_what_later_frames_do_not_see_is_kept() -> None:
    behind = build_map([wall(3.0)] + [with_box(wall(3.0), 1.5)] * 3, [IDENTITY] * 4)
    assert (behind.gaussians.means_in_world[:, 2] > 2.9).sum() >= 120 * 90
    away = RigidTransform.from_rotation(Rotation.from_euler("y", 180, degrees=True))
    elsewhere = build_map([wall(3.0), wall(2.0), wall(2.0), wall(2.0)], [IDENTITY, away, away, away])
    assert (elsewhere.gaussians.means_in_world[:, 2] > 2.9).sum() == 120 * 90


def test_both_sides_of_a_thin_board_are_two_surfaces() -> None:
    # The second camera stands behind the board (1 cm thick, at 2 m) and looks back.
    back = RigidTransform.from_components([0.0, 0.0, 4.01], Rotation.from_euler("y", 180, degrees=True))
    built = build_map([wall(2.0), wall(2.0)], [IDENTITY, back])
    front = built.gaussians.normals()[:, 2] < 0
    assert front.sum() == (~front).sum() == 120 * 90
    np.testing.assert_allclose(built.gaussians.means_in_world[front, 2], 2.0, atol=1e-5)
    np.testing.assert_allclose(built.gaussians.means_in_world[~front, 2], 2.01, atol=1e-5)


def test_small_pose_errors_are_averaged_rather_than_doubled() -> None:
    shifts = [0.0, 0.006, -0.006]
    built = build_map([wall(2.0)] * 3, [RigidTransform.from_translation([0, 0, shift]) for shift in shifts])
    assert len(built.gaussians) == 120 * 90
    np.testing.assert_allclose(np.median(built.gaussians.means_in_world[:, 2]), 2.0, atol=2e-3)


def test_views_are_those_of_the_frames(exact_frames: list[Frame], keyframe_poses: list[RigidTransform]) -> None:
    named = [replace(frame, name=f"{index}.png") for index, frame in enumerate(exact_frames[:2])]
    built = build_map(named, keyframe_poses[:2])
    assert [view.name for view in built.views] == ["0.png", "1.png"]
    assert all(view.camera == CAMERA for view in built.views)
    for view, pose in zip(built.views, keyframe_poses[:2], strict=True):
        np.testing.assert_array_equal(view.cam_from_world.as_matrix(), pose.as_matrix())


def test_frames_without_a_pose_are_skipped_without_being_read(caplog: pytest.LogCaptureFixture) -> None:
    read = []

    def images(index: int) -> tuple[None, np.ndarray]:
        read.append(index)
        return None, np.full((180, 240), 2.0, np.float32)

    frames = FrameSequence(CAMERA, ["a", "b", "c"], [0.0, 1.0, 2.0], images, has_depth=True)
    calls: list[tuple[int, int]] = []
    reads: list[int] = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total))
        reads.append(len(read))

    with caplog.at_level(logging.WARNING, logger="posesplat"):
        built = build_map(frames, [IDENTITY, None, IDENTITY], progress=progress)
    assert [view.name for view in built.views] == ["a", "c"]
    assert "no pose" in caplog.text
    assert calls == [(1, 3), (2, 3), (3, 3)]
    # Each used frame is read once, the other not at all.
    assert np.diff(reads).tolist() == [0, 1]


def test_frames_may_come_one_at_a_time_and_poses_stacked() -> None:
    stacked = RigidTransform.concatenate([IDENTITY, IDENTITY])
    built = build_map((wall(depth) for depth in (2.0, 2.0)), stacked)
    assert len(built.views) == 2
    assert len(built.gaussians) == 120 * 90


def test_a_builder_tells_its_size() -> None:
    builder = MapBuilder(MapOptions(stride=3))
    assert len(builder) == 0
    builder.add(wall(2.0), IDENTITY)
    assert len(builder) == len(builder.finished().gaussians) == 80 * 60


def test_unusable_input_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one RGB-D frame with a pose; got none"):
        build_map([], [])
    with pytest.raises(ValueError, match="at least one RGB-D frame with a pose; got none"):
        build_map([wall(2.0)], [None])
    with pytest.raises(ValueError, match="got 1 frames and 2 poses"):
        build_map([wall(2.0)], [IDENTITY, IDENTITY])
    with pytest.raises(ValueError, match="got 2 frames and 1 poses"):
        build_map(iter([wall(2.0), wall(2.0)]), [IDENTITY])
    with pytest.raises(ValueError, match="got 1 frames and 2 poses"):
        build_map(iter([wall(2.0)]), [IDENTITY, IDENTITY])
    colour = Frame(CAMERA, np.zeros((180, 240, 3), np.uint8), None, "colour.png")
    with pytest.raises(ValueError, match=r"'colour.png' must have depth"):
        build_map([colour], [IDENTITY])
    with pytest.raises(ValueError, match=r"'colour.png' must have depth"):
        single_frame_map(colour, IDENTITY)
    both = replace(wall(2.0, "both.png"), image=colour.image)
    with pytest.raises(ValueError, match=r"must have an image, or none of them; frame 'both.png'"):
        build_map([wall(2.0), both], [IDENTITY, IDENTITY])
    nowhere = RigidTransform.from_translation([np.nan, 0.0, 0.0])
    with pytest.raises(ValueError, match="must be finite"):
        build_map([wall(2.0)], [nowhere])


@pytest.mark.parametrize("wrong", [{"stride": 0}, {"finer": 1.0}, {"covered_alpha": 1.0}, {"max_tilt_deg": 90.0}])
def test_impossible_options_are_errors(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="MapOptions needs"):
        MapOptions(**wrong)
