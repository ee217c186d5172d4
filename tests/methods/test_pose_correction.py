"""Poses that contradict each other: rooms with exact truth and given poses that are wrong on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets import rooms
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.methods.localize import Localizer
from posesplat.methods.mapping import MapOptions, build_map, single_frame_map
from posesplat.methods.pose_correction import LocalWorld, consistent_pose

CAMERA = Camera.from_fov(62.7, 320, 240)
SENSOR = rooms.KinectNoise(disparity_step_px=0.0625)
"""Half the size of a Kinect's image, and the same steps in metres."""
DRIFT = RigidTransform.from_exp_coords([0.004, -0.003, 0.002, 0.008, -0.006, 0.009])
"""0.3 degrees and 13 mm."""


@pytest.fixture(scope="module")
def truths() -> list[RigidTransform]:
    room = rooms.box_room(3)
    steps = [rooms.random_perturbation(np.random.default_rng(k), 0.1, 4.0) for k in range(4)]
    return [room.default_view, *(poses.perturbed(room.default_view, step) for step in steps)]


@pytest.fixture(scope="module")
def frames(truths: list[RigidTransform]) -> list[Frame]:
    room = rooms.box_room(3)
    clean = [room.render(CAMERA, truth) for truth in truths]
    return [rooms.colour_noise(rooms.kinect_noise(frame, k, SENSOR), k, 1.5) for k, frame in enumerate(clean)]


@pytest.fixture(scope="module")
def scene(frames: list[Frame], truths: list[RigidTransform]) -> Gaussians:
    return single_frame_map(frames[0], truths[0])


def test_poses_that_are_right_stay_as_they_are(
    scene: Gaussians, frames: list[Frame], truths: list[RigidTransform]
) -> None:
    for frame, truth in zip(frames[1:], truths[1:], strict=True):
        assert consistent_pose(scene, frame, truth, threads=1) is truth


def test_poses_that_are_wrong_are_corrected(
    scene: Gaussians, frames: list[Frame], truths: list[RigidTransform]
) -> None:
    for frame, truth in zip(frames[1:], truths[1:], strict=True):
        found = consistent_pose(scene, frame, DRIFT * truth, threads=1)
        distance, angle = poses.pose_errors(found, truth)
        assert distance < 1.5e-3 and angle < 0.05


def test_depth_alone_corrects_too(scene: Gaussians, frames: list[Frame], truths: list[RigidTransform]) -> None:
    found = consistent_pose(scene, Frame(CAMERA, None, frames[1].depth), DRIFT * truths[1], threads=1)
    distance, angle = poses.pose_errors(found, truths[1])
    assert distance < 3e-3 and angle < 0.1


def test_what_a_frame_does_not_determine_stays_as_it_was_given() -> None:
    """Depth of a bare wall says nothing about moving along it or turning in its plane."""
    wall = rooms.textured_wall()
    truth = wall.default_view
    frame = rooms.kinect_noise(wall.render(CAMERA, truth, colour=False), 0, SENSOR)
    again = rooms.kinect_noise(wall.render(CAMERA, truth, colour=False), 1, SENSOR)
    wrong = RigidTransform.from_exp_coords([0, 0, 0, 0.01, 0, 0.01]) * truth
    found = consistent_pose(single_frame_map(frame, truth), again, wrong, threads=1)
    assert found is wrong or abs(poses.log(found * wrong.inv())[3]) < 3e-3


def test_contradictions_too_large_for_a_correction_are_kept(
    scene: Gaussians, frames: list[Frame], truths: list[RigidTransform], caplog: pytest.LogCaptureFixture
) -> None:
    far = RigidTransform.from_exp_coords([0, 0, 0, 0.09, 0.0, 0.0]) * truths[1]
    assert consistent_pose(scene, frames[1], far, threads=1) is far


def test_answers_are_told_in_the_world_of_the_given_poses(
    frames: list[Frame], truths: list[RigidTransform], tmp_path: Path
) -> None:
    """All frames but the first are given in a world that lies elsewhere; so is the answer near them."""
    elsewhere = truths[0].inv() * DRIFT * truths[0]
    given = [truths[0], truths[1] * elsewhere, truths[2] * elsewhere, truths[3] * elsewhere]
    corrected = build_map(frames[:4], given, threads=1)
    assert [view.given_cam_from_world is not None for view in corrected.views] == [False, True, True, True]
    near_last = frames[3]
    corrected.save(tmp_path / "map.ply")
    for splat_map in (corrected, SplatMap.load(tmp_path / "map.ply")):
        found = Localizer(splat_map).localize(near_last, given[3])
        assert found.cam_from_world is not None
        distance, angle = poses.pose_errors(found.cam_from_world, given[3])
        assert distance < 2e-3 and angle < 0.06
    first = Localizer(corrected).localize(frames[0], truths[0])
    assert first.cam_from_world is not None
    assert poses.pose_errors(first.cam_from_world, truths[0])[0] < 2e-3
    blurred = build_map(frames[:4], given, MapOptions(correct_poses=False), threads=1)
    assert all(view.given_cam_from_world is None for view in blurred.views)


def views(count: int) -> list[MapView]:
    rng = np.random.default_rng(5)
    kept = [RigidTransform.from_exp_coords(rng.normal(0, 0.3, 6)) for _ in range(count)]
    return [MapView(CAMERA, pose, str(k), DRIFT * pose if k else None) for k, pose in enumerate(kept)]


def test_at_a_view_its_own_correction_holds() -> None:
    known = views(6)
    world = LocalWorld(known)
    for view in known:
        given = view.cam_from_world if view.given_cam_from_world is None else view.given_cam_from_world
        # The other view's share falls with the ratio of the distances, here 1 mm to some decimetres.
        assert np.abs(poses.log(world.to_world(view.cam_from_world) * given.inv())).max() < 2e-4
        assert np.abs(poses.log(world.to_map(given) * view.cam_from_world.inv())).max() < 2e-4


def test_without_corrections_nothing_changes() -> None:
    plain = [MapView(CAMERA, view.cam_from_world) for view in views(3)]
    pose = RigidTransform.from_exp_coords([0.1, 0.2, -0.1, 1.0, 2.0, 3.0])
    for world in (LocalWorld(plain), LocalWorld([])):
        assert world.to_map(pose) is pose and world.to_world(pose) is pose
