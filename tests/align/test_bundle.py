"""Bundle adjustment: derivatives by finite differences, exact scenes, points at infinity, covariance by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align import bundle as module
from posesplat.align.bundle import Bundle, Sightings, adjusted, camera_covariance, triangulated
from posesplat.geometry import poses

FOCAL = 400.0


def scene(seed: int = 0, *, points: int = 60, cameras: int = 4, baseline: float = 0.5, noise_px: float = 0.0):
    """Cameras on an arc that all see a cloud, and what they see."""
    rng = np.random.default_rng(seed)
    cloud = rng.uniform([-2, -2, 3], [2, 2, 7], size=(points, 3))
    cams = [RigidTransform.identity()]
    for index in range(1, cameras):
        turn = Rotation.from_rotvec(rng.normal(0, 0.05, size=3))
        cams.append(RigidTransform.from_components(baseline * index * np.array([1.0, 0.1, 0.2]), turn))
    homogeneous = np.column_stack([cloud, np.ones(points)])
    homogeneous /= np.linalg.norm(homogeneous, axis=1, keepdims=True)
    camera, point = (grid.ravel() for grid in np.meshgrid(np.arange(cameras), np.arange(points), indexing="ij"))
    places = np.concatenate([(seen := cam.apply(cloud))[:, :2] / seen[:, 2:] for cam in cams])
    places = places + rng.normal(0, noise_px / FOCAL, size=places.shape)
    return Bundle(tuple(cams), homogeneous), Sightings(camera, point, places, np.full(len(camera), FOCAL))


def moved(bundle: Bundle, seed: int, size: float) -> Bundle:
    rng = np.random.default_rng(seed)
    cams = [poses.perturbed(cam, rng.normal(0, size, 6)) for cam in bundle.cam_from_world[1:]]
    points = bundle.points + rng.normal(0, 0.5 * size, bundle.points.shape)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return Bundle((bundle.cam_from_world[0], *cams), points)


def test_gradients_are_those_of_the_cost() -> None:
    true, sightings = scene(points=12)
    start = moved(true, 1, 0.02)
    scale = 50.0
    sums = module._Sums.of(sightings, 4, 12)
    state = module._State(np.stack([cam.as_matrix() for cam in start.cam_from_world]), start.points)
    camera_gradient = module._linearised(state, sightings, scale, sums).gradient[1:].ravel()
    step = 1e-6
    for entry in range(0, len(camera_gradient), 5):
        change = np.zeros(len(camera_gradient))
        change[entry] = step
        costs = []
        for sign in (1.0, -1.0):
            cams = [
                poses.perturbed(cam, sign * change[6 * k : 6 * k + 6]) for k, cam in enumerate(start.cam_from_world[1:])
            ]
            matrices = np.stack([cam.as_matrix() for cam in (start.cam_from_world[0], *cams)])
            costs.append(module._projected(module._State(matrices, start.points), sightings, scale).cost)
        slope = (costs[0] - costs[1]) / (2 * step)
        # The cost is log(1 + r^2 / s^2): its gradient is 2 / s^2 times the weighted normal equations' right side.
        assert slope == pytest.approx(2.0 / scale**2 * camera_gradient[entry], rel=1e-4, abs=1e-6)


def test_normal_equations_are_those_of_all_unknowns_together() -> None:
    true, sightings = scene(points=7, cameras=3)
    start = moved(true, 1, 0.02)
    state = module._State(np.stack([cam.as_matrix() for cam in start.cam_from_world]), start.points)
    linear = module._linearised(state, sightings, 50.0, module._Sums.of(sightings, 3, 7))
    reduced = module._reduced(linear, 0.0)
    # One dense system of cameras and points; its camera block after elimination is the inverse's block's inverse.
    points = np.zeros((21, 21))
    for k, block in enumerate(linear.point_blocks):
        points[3 * k : 3 * k + 3, 3 * k : 3 * k + 3] = block + 1e-6 * (1 + np.diag(block).max()) * np.eye(3)
    cameras = np.zeros((12, 12))
    for k, block in enumerate(linear.blocks[1:]):
        cameras[6 * k : 6 * k + 6, 6 * k : 6 * k + 6] = block
    mixed = linear.mixed.transpose(1, 0, 2).reshape(12, 21)
    whole = np.block([[cameras, mixed], [mixed.T, points]])
    eliminated = cameras - mixed @ np.linalg.solve(points, mixed.T)
    assert reduced.matrix == pytest.approx(eliminated, rel=1e-9, abs=1e-9 * np.abs(whole).max())
    # J^T J of the observations, numerically: second derivatives of half the squared residuals of a small change.
    step = 1e-5
    columns = []
    for entry in range(12):
        shift = np.zeros(12)
        shift[entry] = step
        seen = []
        for sign in (1.0, -1.0):
            cams = [
                poses.perturbed(cam, sign * shift[6 * k : 6 * k + 6]) for k, cam in enumerate(start.cam_from_world[1:])
            ]
            matrices = np.stack([cam.as_matrix() for cam in (start.cam_from_world[0], *cams)])
            seen.append(module._projected(module._State(matrices, start.points), sightings, 50.0).residuals)
        columns.append(((seen[0] - seen[1]) / (2 * step)).ravel())
    weights = module._projected(state, sightings, 50.0).weights.repeat(2)
    jacobian = np.array(columns)
    assert cameras == pytest.approx(jacobian * weights @ jacobian.T, rel=1e-4, abs=1e-4 * np.abs(cameras).max())


def test_an_exact_scene_is_found_from_nearby() -> None:
    true, sightings = scene()
    found = adjusted(moved(true, 3, 0.02), sightings, iterations=40, min_gain=1e-12)
    assert found.residuals_px.max() < 1e-4
    for cam, reference in zip(found.bundle.cam_from_world, true.cam_from_world, strict=True):
        assert np.degrees((cam.rotation * reference.rotation.inv()).magnitude()) < 1e-4
    direction = [cam.translation / np.linalg.norm(cam.translation) for cam in found.bundle.cam_from_world[1:]]
    expected = [cam.translation / np.linalg.norm(cam.translation) for cam in true.cam_from_world[1:]]
    assert np.array(direction) == pytest.approx(np.array(expected), abs=1e-5)


def test_points_at_infinity_and_pure_turns_are_no_exception() -> None:
    turns = [RigidTransform.from_rotation(Rotation.from_euler("y", 8.0 * k, degrees=True)) for k in range(3)]
    rng = np.random.default_rng(5)
    rays = np.column_stack([rng.uniform(-0.4, 0.4, size=(50, 2)), np.ones(50)])
    camera, point = (grid.ravel() for grid in np.meshgrid(np.arange(3), np.arange(50), indexing="ij"))
    places = np.concatenate([(seen := cam.apply(rays))[:, :2] / seen[:, 2:] for cam in turns])
    sightings = Sightings(camera, point, places, np.full(150, FOCAL))
    points = np.column_stack([rays, np.zeros(50)])
    start = moved(Bundle(tuple(turns), points / np.linalg.norm(points, axis=1, keepdims=True)), 2, 0.01)
    found = adjusted(start, sightings, iterations=40, min_gain=1e-12)
    assert np.median(found.residuals_px) < 1e-3
    for cam, reference in zip(found.bundle.cam_from_world, turns, strict=True):
        assert np.degrees((cam.rotation * reference.rotation.inv()).magnitude()) < 0.01


def test_triangulation_gives_exact_points_on_the_right_side() -> None:
    true, sightings = scene(points=20)
    found = triangulated(true.cam_from_world, sightings, 21)
    assert found[:20, :3] / found[:20, 3:] == pytest.approx(true.points[:, :3] / true.points[:, 3:], rel=1e-8)
    assert (found[:20, 3] > 0).all()
    assert (found[20] == 0).all()


def test_outliers_do_not_move_the_answer() -> None:
    true, sightings = scene(noise_px=0.2)
    places = sightings.places.copy()
    places[70:90] += 0.3
    spoilt = Sightings(sightings.cameras, sightings.points, places, sightings.pixels)
    found = adjusted(true, spoilt, iterations=30)
    for cam, reference in zip(found.bundle.cam_from_world, true.cam_from_world, strict=True):
        assert np.degrees((cam.rotation * reference.rotation.inv()).magnitude()) < 0.1


def test_covariance_is_that_of_repeated_noise() -> None:
    turns, predicted = [], []
    for seed in range(40):
        true, sightings = scene(11, noise_px=0.0)
        rng = np.random.default_rng(seed)
        noisy = sightings.places + rng.normal(0, 0.5 / FOCAL, size=sightings.places.shape)
        found = adjusted(
            true, Sightings(sightings.cameras, sightings.points, noisy, sightings.pixels), scale_px=50.0, iterations=6
        )
        error = found.bundle.cam_from_world[2].rotation * true.cam_from_world[2].rotation.inv()
        turns.append(error.as_rotvec())
        covariance = camera_covariance(found, 2, 0.5)
        assert covariance is not None
        predicted.append(np.diag(covariance)[:3])
    spread, expected = np.std(turns, axis=0), np.sqrt(np.mean(predicted, axis=0))
    assert spread == pytest.approx(expected, rel=0.4)
