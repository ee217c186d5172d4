"""Localisation in rooms with exact poses: answers, refusals and their reasons, and honest covariances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform
from scipy.stats import chi2

from posesplat.datasets import rooms
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.methods import localize as module
from posesplat.methods.localize import LocalizeOptions, Localizer, ObjectiveName, localize
from posesplat.methods.mapping import single_frame_map

CAMERA = Camera.from_fov(62.7, 160, 120)
LARGE = Camera.from_fov(62.7, 320, 240)
SENSOR = rooms.KinectNoise()


def near(pose: RigidTransform, seed: int, translation_m: float, rotation_deg: float) -> RigidTransform:
    change = rooms.random_perturbation(np.random.default_rng(seed), translation_m, rotation_deg)
    return poses.perturbed(pose, change)


def map_of(room: rooms.Room, camera: Camera = CAMERA, colour: bool = True) -> SplatMap:
    view = room.default_view
    return SplatMap(single_frame_map(room.render(camera, view, colour=colour), view), (MapView(camera, view),))


def localizer(scene: SplatMap, objective: ObjectiveName = "auto") -> Localizer:
    return Localizer(scene, LocalizeOptions(objective=objective, threads=1))


def errors(estimate: PoseEstimate, truth: RigidTransform) -> tuple[float, float]:
    """Metres and degrees."""
    assert estimate.cam_from_world is not None, estimate.reason
    distance, angle = poses.pose_errors(estimate.cam_from_world, truth)
    return float(distance), float(angle)


def refused(estimate: PoseEstimate) -> str:
    assert not estimate.success and estimate.cam_from_world is None and estimate.covariance is None
    return estimate.reason


@pytest.fixture(scope="session")
def box() -> rooms.Room:
    return rooms.box_room(1)


@pytest.fixture(scope="session")
def box_map(box: rooms.Room) -> SplatMap:
    return map_of(box)


@pytest.fixture(scope="session")
def box_pose(box: rooms.Room) -> RigidTransform:
    return near(box.default_view, 0, 0.06, 2.5)


@pytest.fixture(scope="session")
def box_frame(box: rooms.Room, box_pose: RigidTransform) -> Frame:
    return replace(box.render(CAMERA, box_pose), name="box.png")


@pytest.fixture(scope="session")
def wall_map() -> SplatMap:
    return map_of(rooms.textured_wall())


@pytest.fixture(scope="session")
def wall_pose() -> RigidTransform:
    return near(rooms.textured_wall().default_view, 1, 0.05, 2.0)


@pytest.fixture(scope="session")
def wall_frame(wall_pose: RigidTransform) -> Frame:
    return rooms.textured_wall().render(CAMERA, wall_pose)


@pytest.mark.parametrize("objective", ["auto", "plane", "joint"])
@pytest.mark.parametrize(("translation_m", "rotation_deg"), [(0.01, 0.5), (0.05, 3.0)])
def test_depth_without_noise_gives_the_pose(
    box_map: SplatMap,
    box_frame: Frame,
    box_pose: RigidTransform,
    objective: ObjectiveName,
    translation_m: float,
    rotation_deg: float,
) -> None:
    found = localizer(box_map, objective).localize(box_frame, near(box_pose, 2, translation_m, rotation_deg))
    distance, angle = errors(found, box_pose)
    assert distance < 1e-4 and angle < 2e-3
    assert found.inlier_fraction > 0.97 and found.overlap > 0.7
    assert found.source == "start" and found.reason == ""
    assert found.scale.metric and found.scale.source == "map"


@pytest.mark.parametrize(("translation_m", "rotation_deg"), [(0.01, 0.5), (0.05, 3.0)])
def test_an_image_alone_gives_the_pose_to_a_millimetre_or_two(
    box: rooms.Room, box_pose: RigidTransform, translation_m: float, rotation_deg: float
) -> None:
    frame = box.render(LARGE, box_pose)
    photo = replace(frame, depth=None)
    found = localizer(map_of(box, LARGE)).localize(photo, near(box_pose, 3, translation_m, rotation_deg))
    distance, angle = errors(found, box_pose)
    assert distance < 2e-3 and angle < 0.03


def test_objective_colour_does_not_look_at_the_depth(
    box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform
) -> None:
    start = near(box_pose, 4, 0.01, 0.5)
    assert box_frame.depth is not None
    spoiled = replace(box_frame, depth=(1.1 * box_frame.depth).astype(np.float32))
    first, second = (localizer(box_map, "colour").localize(frame, start) for frame in (box_frame, spoiled))
    assert first.cam_from_world is not None and second.cam_from_world is not None
    np.testing.assert_array_equal(first.cam_from_world.as_matrix(), second.cam_from_world.as_matrix())
    assert errors(first, box_pose)[0] < 0.015


def test_a_start_that_is_already_right_is_not_refused(
    box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform
) -> None:
    assert errors(localizer(box_map, "plane").localize(box_frame, box_pose), box_pose)[0] < 1e-4


def test_exposure_does_not_move_the_answer(box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform) -> None:
    exposed = rooms.colour_noise(box_frame, 0, sigma=1.0, gain=0.75, offset=15.0)
    found = localizer(box_map, "colour").localize(exposed, near(box_pose, 5, 0.01, 0.5))
    assert errors(found, box_pose)[0] < 0.015


def test_texture_finds_the_place_along_a_wall(wall_map: SplatMap, wall_frame: Frame, wall_pose: RigidTransform) -> None:
    found = localizer(wall_map, "joint").localize(wall_frame, near(wall_pose, 6, 0.03, 1.0))
    distance, angle = errors(found, wall_pose)
    assert distance < 1e-3 and angle < 0.02


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noisy", [False, True])
def test_depth_alone_does_not_know_the_place_along_a_wall(
    wall_map: SplatMap, wall_frame: Frame, wall_pose: RigidTransform, seed: int, noisy: bool
) -> None:
    frame = rooms.kinect_noise(wall_frame, seed, SENSOR) if noisy else wall_frame
    assert len(refused(localizer(wall_map, "plane").localize(frame, near(wall_pose, seed, 0.02, 1.0)))) > 20


def test_another_place_is_refused(box: rooms.Room, box_map: SplatMap, box_pose: RigidTransform) -> None:
    """The same start, but the frame shows the wall behind the camera, or another room."""
    turned = poses.perturbed(box_pose, np.array([0.0, np.pi, 0.0, 0.0, 0.0, 0.0]))
    curved = rooms.curved_room()
    for frame in (box.render(CAMERA, turned, colour=False), curved.render(CAMERA, curved.default_view, colour=False)):
        found = localizer(box_map).localize(frame, box_pose)
        assert len(refused(found)) > 20
        assert 0 <= found.overlap <= 1 and 0 <= found.inlier_fraction <= 1


def test_a_start_that_looks_away_from_the_map_is_refused(box_map: SplatMap, box_frame: Frame) -> None:
    away = RigidTransform.from_translation([0.0, 0.0, -50.0])
    assert "covers 0 %" in refused(localizer(box_map, "plane").localize(box_frame, away))


def test_blank_frames_are_refused(box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform) -> None:
    size = (CAMERA.height, CAMERA.width)
    blank_depth = Frame(CAMERA, depth=np.zeros(size, np.float32))
    blank_image = Frame(CAMERA, image=np.full((*size, 3), 90, np.uint8))
    assert "depth image is blank" in refused(localizer(box_map).localize(blank_depth, box_pose))
    assert "image is blank" in refused(localizer(box_map).localize(blank_image, box_pose))


def test_depth_in_millimetres_is_refused(box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform) -> None:
    assert box_frame.depth is not None
    reason = refused(localizer(box_map).localize(replace(box_frame, depth=1000 * box_frame.depth), box_pose))
    assert "metres" in reason and "depth scale" in reason


@pytest.mark.parametrize("objective", ["plane", "joint", "gsplatloc"])
def test_depth_objectives_need_depth(
    box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform, objective: ObjectiveName
) -> None:
    with pytest.raises(ValueError, match=r"'box\.png' has an image only"):
        localizer(box_map, objective).localize(replace(box_frame, depth=None), box_pose)


@pytest.mark.parametrize("objective", ["colour", "joint"])
def test_colour_objectives_need_an_image_and_a_map_with_colour(
    box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform, objective: ObjectiveName
) -> None:
    with pytest.raises(ValueError, match="depth only"):
        localizer(box_map, objective).localize(replace(box_frame, image=None), box_pose)
    colourless = SplatMap(replace(box_map.gaussians, colors=None))
    with pytest.raises(ValueError, match="map with colour"):
        localizer(colourless, objective).localize(box_frame, box_pose)
    with pytest.raises(ValueError, match="map with colour"):
        localizer(colourless).localize(replace(box_frame, depth=None), box_pose)


def test_without_colour_in_the_map_depth_decides(box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform) -> None:
    colourless = SplatMap(replace(box_map.gaussians, colors=None))
    assert errors(localizer(colourless).localize(box_frame, near(box_pose, 7, 0.02, 1.0)), box_pose)[0] < 1e-4


def test_an_empty_map_is_an_error(box_map: SplatMap) -> None:
    with pytest.raises(ValueError, match="must hold Gaussians"):
        Localizer(box_map.gaussians.select(slice(0, 0)))


def test_the_function_is_the_class_and_bare_gaussians_are_metric(
    box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform
) -> None:
    start, options = near(box_pose, 8, 0.02, 1.0), LocalizeOptions(threads=1)
    one, other = (
        localize(box_map.gaussians, box_frame, start, options),
        localizer(box_map).localize(box_frame, start),
    )
    assert one.cam_from_world is not None and other.cam_from_world is not None
    np.testing.assert_array_equal(one.cam_from_world.as_matrix(), other.cam_from_world.as_matrix())
    np.testing.assert_array_equal(one.covariance, other.covariance)
    assert one.scale.metric


def test_maps_of_unknown_scale_give_poses_of_unknown_scale(
    box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform
) -> None:
    unscaled = SplatMap(box_map.gaussians, metric=False)
    found = localizer(unscaled, "plane").localize(box_frame, box_pose)
    assert found.success and not found.scale.metric and found.scale.source == "unknown"


def test_moving_the_world_moves_the_answer(box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform) -> None:
    moved_from_world = RigidTransform.from_exp_coords([0.2, 0.8, -0.3, 0.5, -0.2, 1.0])
    start = near(box_pose, 9, 0.01, 0.5)
    here = localizer(box_map, "plane").localize(box_frame, start)
    there = localizer(SplatMap(box_map.gaussians.transformed(moved_from_world)), "plane").localize(
        box_frame, start * moved_from_world.inv()
    )
    assert here.cam_from_world is not None and there.cam_from_world is not None
    gap = poses.log(there.cam_from_world * moved_from_world * here.cam_from_world.inv())
    assert np.abs(gap).max() < 1e-5


def test_a_pose_worse_than_its_start_is_refused(
    monkeypatch: pytest.MonkeyPatch, box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform
) -> None:
    """A refinement that drifts by 1.5 cm still agrees well enough, but the start was better."""
    genuine = module.refine

    def drifting(*arguments: object, **options: object) -> object:
        result = genuine(*arguments, **options)  # type: ignore[arg-type]
        return replace(result, state=replace(result.state, cam_from_world=near(box_pose, 10, 0.015, 0.2)))

    monkeypatch.setattr(module, "refine", drifting)
    reason = refused(localizer(box_map, "plane").localize(box_frame, box_pose))
    assert "less with the refined pose than with the start" in reason


def test_keypoints_find_the_pose_without_a_start(box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform) -> None:
    finder = localizer(box_map)
    first, second = finder.localize(box_frame), finder.localize(box_frame)
    assert errors(first, box_pose)[0] < 1e-4 and first.source == "keypoints"
    assert first.cam_from_world is not None and second.cam_from_world is not None
    np.testing.assert_array_equal(first.cam_from_world.as_matrix(), second.cam_from_world.as_matrix())


def test_depth_finds_the_pose_without_a_start_or_an_image(
    box_map: SplatMap, box_frame: Frame, box_pose: RigidTransform
) -> None:
    found = localizer(box_map).localize(replace(box_frame, image=None))
    assert errors(found, box_pose)[0] < 1e-4 and found.source == "depth"


def test_an_image_that_shares_nothing_with_the_map_finds_no_start(box_map: SplatMap) -> None:
    stripes = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    stripes[:, ::40] = 255
    found = localizer(box_map).localize(Frame(CAMERA, image=stripes))
    assert len(refused(found)) > 20


def test_the_published_method_needs_a_start(box_map: SplatMap, box_frame: Frame) -> None:
    assert "needs a start" in refused(localizer(box_map, "gsplatloc").localize(box_frame))


def test_errors_are_as_large_as_the_covariance_says(box: rooms.Room) -> None:
    """Normalised squared errors of 12 noisy queries follow chi-square with 6 degrees of freedom, loosely."""
    scene: Gaussians = map_of(box, LARGE, colour=False).gaussians
    finder = localizer(SplatMap(scene), "plane")
    ratios = []
    for seed in range(12):
        pose = near(box.default_view, 100 + seed, 0.05, 2.0)
        frame = rooms.kinect_noise(box.render(LARGE, pose, colour=False), seed, SENSOR)
        found = finder.localize(frame, near(pose, 200 + seed, 0.01, 0.5))
        assert found.cam_from_world is not None and found.covariance is not None, found.reason
        error = poses.log(found.cam_from_world * pose.inv())
        ratios.append(float(error @ np.linalg.solve(found.covariance, error)))
    expected = float(chi2.median(6))
    assert expected / 3 < np.median(ratios) < 3 * expected
