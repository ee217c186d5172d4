"""Registration on a room corner whose depth is known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.cloud_map import CloudMap
from posesplat.evaluate.rivals import (
    RegistrationOptions,
    constant_velocity,
    gicp,
    identity,
    point_to_plane_icp,
)
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import exp, looking_at, pose_errors

CAMERA = Camera(90.0, 90.0, 60.0, 45.0, 120, 90)
CORNER = np.array([2.0, 2.0, 2.0])
TRUE = looking_at(np.array([0.1, 0.0, 0.2]), CORNER, np.array([0.0, 1.0, 0.0]))
EVERY_POINT = RegistrationOptions(voxel_size_m=0.0)


def corner_view(cam_from_world: RigidTransform) -> tuple[Frame, np.ndarray]:
    """Depth of the walls x = 2, y = 2, z = 2 (exact up to float32), and the normals towards the camera."""
    world_from_cam = cam_from_world.inv()
    rays = CAMERA.rays().astype(np.float64)
    rays_in_world = world_from_cam.rotation.apply(rays.reshape(-1, 3)).reshape(rays.shape)
    with np.errstate(divide="ignore"):
        depth = (CORNER - world_from_cam.translation) / rays_in_world
    depth[depth <= 0] = np.inf
    wall = np.argmin(depth, axis=-1)
    normals_in_world = -np.eye(3)[wall]
    normals_in_cam = cam_from_world.rotation.apply(normals_in_world.reshape(-1, 3)).reshape(rays.shape)
    nearest = depth.min(axis=-1)
    assert np.isfinite(nearest).all()
    return Frame(CAMERA, depth=nearest.astype(np.float32)), normals_in_cam


@pytest.fixture(scope="module")
def view() -> tuple[Frame, np.ndarray]:
    return corner_view(TRUE)


@pytest.fixture(scope="module")
def cloud(view: tuple[Frame, np.ndarray]) -> CloudMap:
    return CloudMap.from_frames([view[0]], [TRUE])


@pytest.fixture(scope="module")
def cloud_with_normals(view: tuple[Frame, np.ndarray]) -> CloudMap:
    return CloudMap.from_frames([view[0]], [TRUE], normals_in_cam=[view[1]])


START = exp(np.array([0.01, -0.015, 0.008, 0.012, -0.01, 0.015])) * TRUE


def test_the_cloud_lies_on_the_walls(cloud_with_normals: CloudMap) -> None:
    points, normals = cloud_with_normals.points_in_world, cloud_with_normals.normals_in_world
    np.testing.assert_allclose(np.sum(normals * (points - CORNER), axis=-1), 0.0, atol=1e-6)


@pytest.mark.parametrize("rival", [gicp, point_to_plane_icp])
@pytest.mark.parametrize("given_normals", [False, True])
def test_the_same_corner_moved_is_found_to_a_tenth_of_a_millimetre(
    rival, given_normals: bool, view: tuple[Frame, np.ndarray], cloud: CloudMap, cloud_with_normals: CloudMap
) -> None:
    found = rival(view[0], START, cloud_with_normals if given_normals else cloud, EVERY_POINT)
    translation, rotation_deg = pose_errors(found.cam_from_world, TRUE)
    assert translation < 1e-4
    assert rotation_deg < 0.005
    assert found.inlier_fraction == 1.0
    assert found.scale.metric
    assert found.runtime_s > 0


@pytest.mark.parametrize("rival", [gicp, point_to_plane_icp])
def test_another_view_of_the_corner_is_found_through_voxels(rival, cloud: CloudMap) -> None:
    here = exp(np.array([0.03, 0.02, -0.02, 0.05, 0.04, -0.03])) * TRUE
    found = rival(corner_view(here)[0], TRUE, cloud)
    translation, rotation_deg = pose_errors(found.cam_from_world, here)
    assert pose_errors(TRUE, here)[0] > 0.05
    assert translation < 3e-3
    assert rotation_deg < 0.1


def test_exact_normals_find_another_view_to_a_fraction_of_a_millimetre(cloud_with_normals: CloudMap) -> None:
    here = exp(np.array([0.03, 0.02, -0.02, 0.05, 0.04, -0.03])) * TRUE
    fine = RegistrationOptions(voxel_size_m=0.0, max_correspondence_distances_m=(0.3, 0.1))
    found = point_to_plane_icp(corner_view(here)[0], TRUE, cloud_with_normals, fine)
    translation, rotation_deg = pose_errors(found.cam_from_world, here)
    assert translation < 2e-4
    assert rotation_deg < 0.005


@pytest.mark.parametrize("rival", [gicp, point_to_plane_icp])
def test_answers_do_not_change_from_run_to_run(rival, view: tuple[Frame, np.ndarray]) -> None:
    first, second = (rival(view[0], START, CloudMap.from_frames([view[0]], [TRUE])) for _ in range(2))
    np.testing.assert_array_equal(first.cam_from_world.as_matrix(), second.cam_from_world.as_matrix())


@pytest.mark.parametrize("rival", [gicp, point_to_plane_icp])
@pytest.mark.parametrize("given_normals", [False, True])
def test_a_query_that_does_not_meet_the_map_has_no_pose(
    rival, given_normals: bool, view: tuple[Frame, np.ndarray], cloud: CloudMap, cloud_with_normals: CloudMap
) -> None:
    far_away = RigidTransform.from_translation([0.0, 0.0, 50.0]) * TRUE
    found = rival(view[0], far_away, cloud_with_normals if given_normals else cloud)
    assert not found.success
    assert found.cam_from_world is None
    assert "hardly meets the map: 0.0% of its points" in found.reason


@pytest.mark.parametrize("rival", [gicp, point_to_plane_icp])
def test_a_blank_depth_has_no_pose(rival, cloud: CloudMap) -> None:
    blank = Frame(CAMERA, depth=np.zeros((90, 120), np.float32))
    found = rival(blank, TRUE, cloud)
    assert not found.success
    assert "0 in the query" in found.reason


@pytest.mark.parametrize("given_normals", [False, True])
def test_too_few_steps_are_no_answer(
    given_normals: bool, view: tuple[Frame, np.ndarray], cloud: CloudMap, cloud_with_normals: CloudMap
) -> None:
    hasty = replace(EVERY_POINT, max_iterations=1, max_correspondence_distances_m=(0.5,))
    start = exp(np.array([0.1, -0.1, 0.1, 0.1, 0.1, -0.1])) * TRUE
    found = point_to_plane_icp(view[0], start, cloud_with_normals if given_normals else cloud, hasty)
    assert not found.success
    assert found.reason.startswith("Not converged: still moving by")


@pytest.mark.parametrize("rival", [gicp, point_to_plane_icp])
def test_a_query_without_depth_is_an_error(rival, cloud: CloudMap) -> None:
    colour_only = Frame(CAMERA, image=np.zeros((90, 120, 3), np.uint8), name="a.png")
    with pytest.raises(ValueError, match=r"'a\.png' has none"):
        rival(colour_only, TRUE, cloud)


def test_a_cloud_needs_depth_and_poses(view: tuple[Frame, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="depth is 0 everywhere"):
        CloudMap.from_frames([Frame(CAMERA, depth=np.zeros((90, 120), np.float32))], [TRUE])
    with pytest.raises(ValueError, match="depth is 0 everywhere"):
        CloudMap.from_frames([], [])
    with pytest.raises(ValueError, match="1 frames; got 2 poses"):
        CloudMap.from_frames([view[0]], [TRUE, TRUE])


@pytest.mark.parametrize(
    "wrong", [{"voxel_size_m": -0.1}, {"max_correspondence_distances_m": ()}, {"max_iterations": 0}]
)
def test_impossible_options_are_errors(wrong: dict) -> None:
    with pytest.raises(ValueError, match="positive correspondence distances and a voxel size >= 0"):
        RegistrationOptions(**wrong)


def test_frames_and_queries_are_denoised_first(view: tuple[Frame, np.ndarray], cloud: CloudMap) -> None:
    spoiled = replace(view[0], depth=2 * view[0].depth)

    def mend(frame: Frame) -> Frame:
        return replace(frame, depth=frame.depth / 2)

    mended = CloudMap.from_frames([spoiled], [TRUE], denoise=mend)
    np.testing.assert_array_equal(mended.points_in_world, cloud.points_in_world)
    found = gicp(spoiled, START, cloud, EVERY_POINT, denoise=mend)
    assert pose_errors(found.cam_from_world, TRUE)[0] < 1e-4


def test_voxels_hold_the_mean_point_and_normal(cloud_with_normals: CloudMap) -> None:
    points, normals = cloud_with_normals.points_in_world, cloud_with_normals.normals_in_world
    voxels: dict[tuple[int, ...], list[int]] = {}
    for index, cell in enumerate(np.floor((points - points.min(axis=0)) / 0.2).astype(int)):
        voxels.setdefault(tuple(cell.tolist()), []).append(index)
    expected = {}
    for members in voxels.values():
        normal = normals[members].mean(axis=0)
        if np.linalg.norm(normal) > 0.8:
            expected[tuple(np.round(points[members].mean(axis=0), 6))] = normal / np.linalg.norm(normal)
    found = cloud_with_normals.prepared(0.2, 10)
    assert len(expected) < len(voxels)
    assert len(found.points) == len(expected)
    for point, normal in zip(found.points, found.normals, strict=True):
        np.testing.assert_allclose(normal, expected[tuple(np.round(point, 6))], atol=1e-9)


def test_the_map_is_prepared_once(cloud: CloudMap) -> None:
    assert cloud.prepared(0.05, 10) is cloud.prepared(0.05, 10)
    assert cloud.prepared(0.05, 10) is not cloud.prepared(0.06, 10)


def test_identity_is_the_start(view: tuple[Frame, np.ndarray], cloud: CloudMap) -> None:
    assert identity(view[0], START, cloud).cam_from_world is START


def test_constant_velocity_continues_a_screw_motion() -> None:
    motion = np.array([0.02, 0.1, -0.03, 0.1, 0.2, -0.05])
    poses = [exp(k * motion) * TRUE for k in range(3)]
    translation, rotation_deg = pose_errors(constant_velocity(poses[0], poses[1]).cam_from_world, poses[2])
    assert translation < 1e-12
    assert rotation_deg < 1e-6
