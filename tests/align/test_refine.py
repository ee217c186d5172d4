"""Refinement against rooms with exact poses: accuracy, equivariance, determinism, exposure and noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.align.fine import Refinement
from posesplat.align.least_squares import State
from posesplat.align.pyramid import MapPyramid, QueryLevel, query_pyramid, softened
from posesplat.align.refine import RefineOptions, coarse_cost, refine
from posesplat.datasets import rooms
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.methods.mapping import single_frame_map

CAMERA = Camera.from_fov(62.7, 320, 240)
SMALL = Camera.from_fov(62.7, 160, 120)
SENSOR = rooms.KinectNoise(disparity_step_px=0.0, edge_dropout=0.0)


def near(pose: RigidTransform, seed: int, translation_m: float, rotation_deg: float) -> RigidTransform:
    """A pose in a random direction at exactly this distance."""
    change = rooms.random_perturbation(np.random.default_rng(seed), translation_m, rotation_deg)
    return poses.perturbed(pose, change)


def refined(gaussians: Gaussians, query: tuple[QueryLevel, ...], start: RigidTransform, threads: int = 1) -> Refinement:
    pyramid = MapPyramid(gaussians, len(query), query[0].channels is not None, threads=threads)
    if query[0].channels is not None:
        query = softened(query, pyramid.blur_px(query[0].camera, start))
    return refine(pyramid, query, State(start), threads=threads)


@pytest.fixture(scope="session")
def room() -> rooms.Room:
    return rooms.box_room(2)


@pytest.fixture(scope="session")
def truth(room: rooms.Room) -> RigidTransform:
    return near(room.default_view, 1, 0.08, 3.0)


@pytest.fixture(scope="session")
def depth_map(room: rooms.Room) -> Gaussians:
    """A map without colour, from another view than the query's."""
    return single_frame_map(room.render(CAMERA, room.default_view, colour=False), room.default_view)


@pytest.fixture(scope="session")
def depth_frame(room: rooms.Room, truth: RigidTransform) -> Frame:
    return room.render(CAMERA, truth, colour=False)


@pytest.fixture(scope="session")
def small_frame(room: rooms.Room, truth: RigidTransform) -> Frame:
    return room.render(SMALL, truth)


@pytest.fixture(scope="session")
def small_map(room: rooms.Room) -> Gaussians:
    return single_frame_map(room.render(SMALL, room.default_view), room.default_view)


@pytest.mark.parametrize(("translation_m", "rotation_deg"), [(0.0, 0.0), (0.01, 0.5), (0.05, 3.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_depth_without_noise_gives_the_pose_to_a_twentieth_of_a_millimetre(
    depth_map: Gaussians,
    depth_frame: Frame,
    truth: RigidTransform,
    translation_m: float,
    rotation_deg: float,
    seed: int,
) -> None:
    found = refined(depth_map, query_pyramid(depth_frame), near(truth, seed, translation_m, rotation_deg))
    distance, angle = poses.pose_errors(found.state.cam_from_world, truth)
    assert distance < 5e-5 and angle < 1e-3


def test_a_far_start_is_brought_home_by_the_coarse_levels(
    depth_map: Gaussians, depth_frame: Frame, truth: RigidTransform
) -> None:
    found = refined(depth_map, query_pyramid(depth_frame), near(truth, 3, 0.25, 8.0))
    distance, angle = poses.pose_errors(found.state.cam_from_world, truth)
    assert distance < 5e-5 and angle < 1e-3


def test_a_curved_room_is_as_good_as_a_flat_one(truth: RigidTransform) -> None:
    curved = rooms.curved_room()
    pose = near(curved.default_view, 4, 0.03, 1.5)
    gaussians = single_frame_map(curved.render(CAMERA, curved.default_view, colour=False), curved.default_view)
    found = refined(gaussians, query_pyramid(curved.render(CAMERA, pose, colour=False)), near(pose, 5, 0.02, 1.0))
    distance, angle = poses.pose_errors(found.state.cam_from_world, pose)
    assert distance < 2e-4 and angle < 5e-3


def test_moving_the_world_moves_the_answer(depth_map: Gaussians, depth_frame: Frame, truth: RigidTransform) -> None:
    moved_from_world = RigidTransform.from_exp_coords([0.4, -1.1, 0.3, 0.6, -0.4, 0.9])
    start = near(truth, 6, 0.01, 0.5)
    query = query_pyramid(depth_frame)
    here = refined(depth_map, query, start)
    there = refined(depth_map.transformed(moved_from_world), query, start * moved_from_world.inv())
    gap = poses.log(there.state.cam_from_world * moved_from_world * here.state.cam_from_world.inv())
    # The map is stored in float32: 1e-7 of some metres.
    assert np.abs(gap).max() < 3e-6


def test_the_answer_is_the_same_for_any_number_of_threads(
    small_map: Gaussians, small_frame: Frame, truth: RigidTransform
) -> None:
    query, start = query_pyramid(small_frame), near(truth, 7, 0.02, 1.0)
    one, again, two = (refined(small_map, query, start, threads) for threads in (1, 1, 2))
    for other in (again, two):
        np.testing.assert_array_equal(other.state.cam_from_world.as_matrix(), one.state.cam_from_world.as_matrix())
        np.testing.assert_array_equal(other.covariance(), one.covariance())
        assert (other.state.gain, other.state.bias, other.evaluations) == (
            one.state.gain,
            one.state.bias,
            one.evaluations,
        )


@pytest.mark.parametrize("with_depth", [False, True])
@pytest.mark.parametrize(("gain", "offset"), [(0.8, 12.0), (1.15, -9.0)])
def test_exposure_is_recovered(
    small_map: Gaussians, small_frame: Frame, truth: RigidTransform, gain: float, offset: float, with_depth: bool
) -> None:
    exposed = rooms.colour_noise(small_frame, 0, sigma=1.0, gain=gain, offset=offset)
    found = refined(small_map, query_pyramid(exposed, use_depth=with_depth), near(truth, 8, 0.01, 0.5))
    # The map's discs smooth its texture a little, which the exposure may not absorb by more than a few percent.
    grey = np.linspace(0.2, 0.8, 5)
    np.testing.assert_allclose(found.state.gain * grey + found.state.bias, gain * grey + offset / 255, atol=0.01)
    assert poses.pose_errors(found.state.cam_from_world, truth)[0] < (1e-3 if with_depth else 5e-3)


def test_the_scales_end_at_the_noise_of_the_sensor() -> None:
    """On a frontal wall the distance to the plane is the error of the depth: 0.0012 z^2."""
    wall = rooms.textured_wall()
    frame = wall.render(SMALL, wall.default_view)
    noisy = rooms.kinect_noise(frame, 0, SENSOR)
    found = refined(single_frame_map(frame, wall.default_view), query_pyramid(noisy), wall.default_view)
    sigma = found.scales.depth / found.options.noise_ratio * (1 + found.scales.growth * 2.5**2)
    # Read from 300 residuals, whose robust spread is known to 5 %.
    assert sigma == pytest.approx(0.0012 * 2.5**2, rel=0.2)


def test_noise_moves_the_pose_by_no_more_than_its_covariance_says(
    depth_map: Gaussians, depth_frame: Frame, truth: RigidTransform
) -> None:
    found = refined(depth_map, query_pyramid(rooms.kinect_noise(depth_frame, 1, SENSOR)), near(truth, 9, 0.01, 0.5))
    covariance = found.covariance()
    assert covariance is not None
    np.testing.assert_allclose(covariance, covariance.T)
    error = poses.log(found.state.cam_from_world * truth.inv())
    # Far in the tail of chi-square with 6 degrees of freedom: P(> 40) = 5e-7.
    assert error @ np.linalg.solve(covariance, error) < 40
    assert poses.pose_errors(found.state.cam_from_world, truth)[0] < 2e-3


def test_median_depth_is_that_of_the_frame(small_map: Gaussians, small_frame: Frame, truth: RigidTransform) -> None:
    assert small_frame.depth is not None
    found = refined(small_map, query_pyramid(small_frame, use_image=False), truth)
    assert found.median_depth == pytest.approx(float(np.median(small_frame.depth)), rel=0.02)


def test_the_coarse_cost_grows_with_the_distance_from_the_truth(
    small_map: Gaussians, small_frame: Frame, truth: RigidTransform
) -> None:
    query = query_pyramid(small_frame)
    pyramid = MapPyramid(small_map, len(query), with_color=True, threads=1)
    for seed in range(3):
        costs = [
            coarse_cost(pyramid, query, State(near(truth, seed, distance, 50 * distance)), RefineOptions(), threads=1)
            for distance in (0.0, 0.03, 0.12)
        ]
        assert costs[0] < costs[1] < costs[2]
        # Geman-McClure costs are at most 1/2 an observation, for each of the two terms.
        assert costs[2] <= 1.0
