from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import RigidTransform, Rotation

from align.small_motions import CAMERA, scene
from posesplat.align.resection import agreeing, resected, resection_covariances
from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import SmallMotion
from posesplat.geometry import poses
from posesplat.geometry.poses import pose_errors


def stacked(motion: SmallMotion) -> RigidTransform:
    return motion.cam_from_reference()


def test_exact_sightings_give_exact_poses_of_large_motions_without_a_start() -> None:
    exact = scene(1, frames=5, shift=0.2, turn_deg=12.0)
    found = resected(exact.sightings, exact.inverse_depths)
    gap, angle = pose_errors(stacked(found), exact.cam_from_reference)
    assert gap.max() < 1e-7
    assert angle.max() < 1e-5
    np.testing.assert_array_equal(found.inverse_depths, exact.inverse_depths)


def test_the_unit_of_the_depths_is_that_of_the_translations() -> None:
    exact = scene(2, frames=3, shift=0.1)
    found = resected(exact.sightings, exact.inverse_depths / 7.0)
    np.testing.assert_allclose(found.translations, 7.0 * exact.cam_from_reference.translation, atol=1e-6)


def test_the_minimum_is_that_of_scipy_with_the_same_loss() -> None:
    noisy = scene(3, frames=1, points=80, shift=0.1, noise_px=0.5)
    sightings = noisy.sightings
    found = resected(sightings, noisy.inverse_depths, tolerance=1e-14)
    lengths = found.lengths(sightings)
    scale = 1.5 * 1.4826 * np.median(lengths)
    rays = sightings.rays / noisy.inverse_depths[:, None]

    def residuals(values: np.ndarray) -> np.ndarray:
        in_cam = Rotation.from_rotvec(values[:3]).apply(rays) + values[3:]
        gap = np.linalg.norm(CAMERA.project(in_cam) - noisy.tracks.pixels[0], axis=1)
        return np.sqrt(gap**2 / (1 + (gap / scale) ** 2))

    true = noisy.cam_from_reference[0]
    start = np.concatenate([true.rotation.as_rotvec(), true.translation])
    best = least_squares(residuals, start, xtol=1e-15, ftol=1e-15, gtol=1e-13)
    np.testing.assert_allclose(stacked(found)[0].rotation.as_rotvec(), best.x[:3], atol=1e-6)
    np.testing.assert_allclose(found.translations[0], best.x[3:], atol=2e-6)


def test_a_third_of_wrong_places_does_not_matter() -> None:
    noisy = scene(4, frames=4, points=300, shift=0.1, noise_px=0.2)
    pixels = noisy.tracks.pixels.copy()
    pixels[:, ::3] += np.random.default_rng(0).uniform(-60, 60, pixels[:, ::3].shape)
    sightings = Sightings.of(replace(noisy.tracks, pixels=pixels), CAMERA)
    found = resected(sightings, noisy.inverse_depths)
    gap, angle = pose_errors(stacked(found), noisy.cam_from_reference)
    assert gap.max() < 1e-3
    assert angle.max() < 0.05
    agree = agreeing(found, sightings, 1.0)
    assert agree[:, 1::3].mean() > 0.99
    assert agree[:, ::3].mean() < 0.02


def test_frames_are_solved_apart() -> None:
    noisy = scene(5, frames=4, shift=0.1, noise_px=0.4)
    together = resected(noisy.sightings, noisy.inverse_depths)
    for frame in range(4):
        alone = resected(noisy.sightings.frames(np.array([frame])), noisy.inverse_depths)
        np.testing.assert_allclose(alone.translations[0], together.translations[frame], atol=1e-12)
        np.testing.assert_allclose(alone.rotations[0], together.rotations[frame], atol=1e-12)


def test_covariances_are_those_of_the_errors() -> None:
    distances = []
    for seed in range(12):
        noisy = scene(20 + seed, frames=12, points=150, shift=0.1, noise_px=0.5)
        found = resected(noisy.sightings, noisy.inverse_depths)
        errors = poses.log(stacked(found) * noisy.cam_from_reference.inv())
        spread = resection_covariances(found, noisy.sightings)
        distances.append(np.einsum("fi,fij,fj->f", errors, np.linalg.inv(spread), errors))
    # The mean of 144 chi-squared values with 6 degrees of freedom is 6 within 0.29; the loss costs some efficiency.
    assert 4.5 < np.mean(distances) < 8.5


def test_an_error_of_contrast_is_within_the_covariance_that_knows_of_it() -> None:
    exact = scene(6, frames=4, shift=0.2)
    contrast = exact.inverse_depths - np.median(exact.inverse_depths)
    found = resected(exact.sightings, exact.inverse_depths + 0.05 * contrast)
    errors = poses.log(stacked(found) * exact.cam_from_reference.inv())
    for contrast_error, low, high in ((0.05, 0.5, 1.5), (0.1, 0.1, 0.5)):
        spread = resection_covariances(found, exact.sightings, 1e-6, contrast_error)
        distances = np.einsum("fi,fij,fj->f", errors, np.linalg.pinv(spread, rcond=1e-6, hermitian=True), errors)
        assert low < np.median(distances) < high


def test_a_frame_that_sees_nothing_stays_at_its_start() -> None:
    exact = scene(7, frames=3, shift=0.1)
    sightings = replace(exact.sightings, seen=exact.sightings.seen.copy())
    sightings.seen[1] = False
    start = RigidTransform.concatenate([poses.exp(np.full(6, 0.02))] * 3)
    found = stacked(resected(sightings, exact.inverse_depths, start))
    np.testing.assert_allclose(found[1].as_matrix(), start[1].as_matrix(), atol=1e-12)
    gap, _ = pose_errors(found[[0, 2]], exact.cam_from_reference[[0, 2]])
    assert gap.max() < 1e-6


def test_unknown_depths_and_missing_starts_are_refused() -> None:
    exact = scene(8, frames=3)
    depths = exact.inverse_depths.copy()
    depths[:5] = np.nan
    with pytest.raises(ValueError, match="5 of 200 are not"):
        resected(exact.sightings, depths)
    with pytest.raises(ValueError, match="one start for each of 3 frames"):
        resected(exact.sightings, exact.inverse_depths, exact.cam_from_reference[:2])
