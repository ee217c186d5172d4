from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from align.small_motions import CAMERA, Scene, scene
from posesplat.align.reference_noise import NoisyReference, covariances, with_noisy_reference
from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import SmallMotion, adjusted, robust_scale, rotation_only
from posesplat.geometry import poses
from posesplat.geometry.poses import pose_errors


def plain(sightings: Sightings) -> SmallMotion:
    return adjusted(sightings, rotation_only(sightings), "geman-mcclure", max_iterations=60)


def noisy(exact: Scene, seed: int, sigma: float = 0.1, reference_sigma: float | None = None) -> Scene:
    """The same scene, with noise in all frames and in the reference."""
    reference_sigma = sigma if reference_sigma is None else reference_sigma
    rng = np.random.default_rng(seed)
    tracks = exact.tracks
    reference = tracks.reference + reference_sigma * rng.standard_normal(tracks.reference.shape)
    pixels = tracks.pixels + sigma * rng.standard_normal(tracks.pixels.shape)
    moved = replace(tracks, reference=reference, pixels=pixels)
    return Scene(moved, exact.cam_from_reference, exact.inverse_depths)


def total_cost(motion: SmallMotion, shifts: np.ndarray, sightings: Sightings, scale: float) -> float:
    """The cost as the module's head states it, written down plainly."""
    cost = 0.0
    for frame in range(len(sightings.seen)):
        for point in np.flatnonzero(sightings.seen[frame]):
            in_cam = motion.rotations[frame] @ sightings.rays[point]
            in_cam = in_cam + motion.inverse_depths[point] * motion.translations[frame]
            gap = sightings.focal * in_cam[:2] / in_cam[2] + shifts[:, point] - sightings.offsets[frame, :, point]
            ratio = float(gap @ gap) / sightings.deviations[point] ** 2 / scale**2
            cost += scale**2 * ratio / (1.0 + ratio)
    return cost + float(np.sum((shifts / sightings.deviations) ** 2))


def test_no_unknown_changes_the_cost_at_the_minimum() -> None:
    clip = noisy(scene(1, frames=5, points=40, shift=0.05), 0)
    deviations = np.random.default_rng(1).uniform(0.5, 2.0, 40)
    sightings = replace(clip.sightings, deviations=deviations)
    found = with_noisy_reference(plain(sightings), sightings, max_iterations=60, tolerance=0.0)
    motion, shifts = found.motion, found.shifts
    scale = robust_scale(motion.lengths(found.corrected(sightings)), sightings.seen)

    def distance(change: Callable[[float], tuple[SmallMotion, np.ndarray]], step: float = 1e-4) -> float:
        """How far the minimum is along one unknown, by central differences."""
        low, middle, high = (total_cost(*change(size), sightings, scale) for size in (-step, 0.0, step))
        return abs(0.5 * step * (high - low) / (high - 2.0 * middle + low))

    def turned(step: float) -> tuple[SmallMotion, np.ndarray]:
        rotations = motion.rotations.copy()
        rotations[2] = Rotation.from_rotvec([0.0, step, 0.0]).as_matrix() @ rotations[2]
        return replace(motion, rotations=rotations), shifts

    def moved(step: float) -> tuple[SmallMotion, np.ndarray]:
        translations = motion.translations + step * np.eye(5)[1][:, None] * [1.0, 0.0, 0.0]
        return replace(motion, translations=translations), shifts

    def deeper(step: float) -> tuple[SmallMotion, np.ndarray]:
        return replace(motion, inverse_depths=motion.inverse_depths + step * np.eye(40)[7]), shifts

    def shifted(step: float) -> tuple[SmallMotion, np.ndarray]:
        return motion, shifts + step * np.eye(40)[7] * np.array([[1.0], [0.0]])

    assert distance(turned) < 1e-5
    assert distance(moved) < 1e-5
    assert distance(deeper) < 1e-4
    assert distance(shifted) < 1e-4
    assert np.abs(shifts).max() > 0.05


def almost_flat(seed: int) -> Scene:
    """A scene whose inverse depths differ by a few percent, so that noise of them counts."""
    deep = scene(seed, frames=16, points=400, shift=0.01)
    inverse_depths = 1.0 + 0.1 * (deep.inverse_depths - 1.0)
    in_reference = CAMERA.rays_at(deep.tracks.reference) / inverse_depths[:, None]
    pixels = np.array([CAMERA.project(pose.apply(in_reference)) for pose in deep.cam_from_reference])
    return Scene(replace(deep.tracks, pixels=pixels), deep.cam_from_reference, inverse_depths)


def test_noise_of_the_reference_no_longer_pulls_translation_into_rotation() -> None:
    angles = []
    for seed in range(6):
        exact = almost_flat(20 + seed)
        sightings = noisy(exact, seed, 0.03, 0.1).sightings
        bare = plain(sightings)
        motions = [bare, with_noisy_reference(bare, sightings, 40).motion]
        angles.append([pose_errors(one.cam_from_reference(), exact.cam_from_reference)[1].max() for one in motions])
    before, after = np.mean(angles, axis=0)
    assert after < 0.6 * before


def test_exact_tracks_need_no_shifts() -> None:
    exact = scene(3, points=100)
    found = with_noisy_reference(exact.motion, exact.sightings)
    assert np.abs(found.shifts).max() < 1e-6
    np.testing.assert_allclose(found.motion.inverse_depths, exact.inverse_depths, rtol=1e-5)


@pytest.mark.parametrize("shift", [0.004, 0.02])
def test_covariances_are_the_scatter_of_repeated_measurements(shift: float) -> None:
    # Plain Monte Carlo: the same scene, new noise, errors at the best common scale.
    errors, expected, squares = [], [], []
    exact = scene(11, frames=5, points=400, shift=shift)
    true = exact.motion.translations
    for trial in range(16):
        clip = noisy(exact, 100 + trial, 0.05)
        found = with_noisy_reference(plain(clip.sightings), clip.sightings)
        moved = found.motion.translations
        scale = np.sum(true * moved) / np.sum(true**2)
        scaled = replace(exact.motion, translations=scale * true).cam_from_reference()
        error = poses.log(found.motion.cam_from_reference() * scaled.inv())
        covariance = covariances(found, clip.sightings)
        assert covariance is not None
        errors.append(error)
        expected.append(np.trace(covariance[:, 3:, 3:], axis1=1, axis2=2))
        squares.append(np.einsum("fi,fi->f", error, np.linalg.solve(covariance, error[:, :, None])[:, :, 0]))
    scatter = np.square(np.array(errors)[:, :, 3:]).sum(axis=2).mean()
    assert scatter / np.mean(expected) == pytest.approx(1.0, abs=0.5)
    assert 0.6 < np.mean(squares) / 6 < 1.9
    assert np.mean(np.array(squares) < 12.59) > 0.65


def test_an_undetermined_motion_has_no_covariance_or_a_large_one() -> None:
    exact = scene(12, frames=4, points=60, shift=0.0)
    still = SmallMotion.still(4, 60)
    found = NoisyReference(still, np.zeros((2, 60)))
    covariance = covariances(found, noisy(exact, 0).sightings)
    assert covariance is None or np.isfinite(covariance).all()
