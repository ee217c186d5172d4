from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from align.small_motions import CAMERA, scene
from posesplat.align.self_calibration import calibrated, lens_deviation, refined_log_focal, straightening_terms
from posesplat.align.sightings import Lens, LensPrior, Sightings
from posesplat.align.small_motion import SmallMotion, adjusted, normal_equations
from posesplat.align.small_motion_search import searched_motion
from posesplat.align.tracks import Tracks

FREE = LensPrior(0.5, 0.5)
FOCAL_ONLY = LensPrior(0.5, 1e-6)


def bent(tracks: Tracks, radial: float) -> Tracks:
    """What a camera with OpenCV's k1 = ``radial`` would have seen instead."""
    centre, focal = np.array([CAMERA.cx, CAMERA.cy]), np.array([CAMERA.fx, CAMERA.fy])

    def distorted(pixels: np.ndarray) -> np.ndarray:
        places = (pixels - centre) / focal
        return centre + focal * places * (1 + radial * np.square(places).sum(axis=-1, keepdims=True))

    return replace(tracks, reference=distorted(tracks.reference), pixels=distorted(tracks.pixels))


@pytest.mark.parametrize("unknown", [0, 1])
def test_the_gradient_over_the_lens_is_the_central_difference(unknown: int) -> None:
    noisy = scene(3, frames=3, points=9, shift=0.1, turn_deg=6.0, noise_px=0.5)
    lens = Lens(0.1, -0.05)
    motion = replace(noisy.motion, lens=lens)
    weights = np.random.default_rng(0).uniform(0.2, 1.0, (3, 9))

    def cost(step: float) -> float:
        moved = lens.moved(*(step * np.eye(2)[unknown]))
        residual = replace(motion, lens=moved).residuals(noisy.sightings)
        return 0.5 * float(np.sum(weights[:, None] * residual**2))

    sums = normal_equations(motion, noisy.sightings, weights, free_lens=True)
    analytic = sums.frames_gradient[:, 6 + unknown].sum()
    assert analytic == pytest.approx((cost(1e-6) - cost(-1e-6)) / 2e-6, rel=1e-5)


def test_the_blocks_of_the_lens_are_those_of_a_dense_jacobian() -> None:
    noisy = scene(4, frames=3, points=7, shift=0.1, turn_deg=6.0, noise_px=0.5)
    motion, sightings = replace(noisy.motion, lens=Lens(-0.05, 0.1)), noisy.sightings
    weights = np.random.default_rng(0).uniform(0.2, 1.0, (3, 7))

    def residual(change: np.ndarray) -> np.ndarray:
        """Residuals after a change of the translations (9), depths (7) and the lens (2)."""
        moved = SmallMotion(
            motion.rotations,
            motion.translations + change[:9].reshape(3, 3),
            motion.inverse_depths + change[9:16],
            motion.lens.moved(*change[16:]),
        )
        return (moved.residuals(sightings) * np.sqrt(weights)[:, None]).ravel()

    steps = 1e-6 * np.eye(18)
    dense = np.stack([(residual(step) - residual(-step)) / 2e-6 for step in steps], axis=1)
    expected = dense.T @ dense
    sums = normal_equations(motion, sightings, weights, free_lens=True)
    assert sums.lens_mixed is not None
    scale = np.abs(expected).max()
    np.testing.assert_allclose(sums.frames[:, 6:, 6:].sum(axis=0), expected[16:, 16:], atol=1e-5 * scale)
    np.testing.assert_allclose(sums.lens_mixed, expected[16:, 9:16], atol=1e-5 * scale)
    across = sums.frames[:, 3:6, 6:].reshape(9, 2)
    np.testing.assert_allclose(across, expected[:9, 16:], atol=1e-5 * scale)


@pytest.mark.parametrize("stretch", [0.8, 1.0, 1.3])
def test_exact_tracks_give_the_exact_focal_length(stretch: float) -> None:
    exact = scene(5, frames=8, points=120, shift=0.05, turn_deg=5.0)
    wrong = replace(CAMERA, fx=CAMERA.fx * stretch, fy=CAMERA.fy * stretch)
    found = searched_motion(Sightings.of(exact.tracks, wrong), lens=FOCAL_ONLY)
    assert calibrated(wrong, found.lens).fx == pytest.approx(CAMERA.fx, rel=1e-4)


def test_exact_tracks_through_a_lens_give_its_radial_term() -> None:
    exact = scene(6, frames=10, points=150, shift=0.08, turn_deg=8.0)
    seen = bent(exact.tracks, -0.06)
    found = searched_motion(Sightings.of(seen, CAMERA), lens=FREE)
    camera = calibrated(CAMERA, found.lens)
    assert camera.distortion[0] == pytest.approx(-0.06, rel=0.2)
    assert camera.fx == pytest.approx(CAMERA.fx, rel=2e-3)
    pixels = np.array([[100.0, 80.0], [30.0, 20.0], [200.0, 150.0]])
    ours, true = (
        cv2.undistortPoints((pixels - 0.5)[:, None], camera.opencv_matrix, np.array(terms), P=CAMERA.opencv_matrix)
        for terms in (camera.distortion, (-0.06, 0.0, 0.0, 0.0))
    )
    np.testing.assert_allclose(ours, true, atol=0.3)


def test_straightening_is_the_inverse_of_opencv_s_distortion() -> None:
    radial = 0.08
    k1, k2 = straightening_terms(radial)
    seen = np.linspace(0.0, 0.5, 20)
    straight = seen * (1 + radial * seen**2)
    again = straight * (1 + k1 * straight**2 + k2 * straight**4)
    np.testing.assert_allclose(again, seen, rtol=0, atol=15 * radial**3 * 0.5**7)


def test_noise_spreads_the_focal_length_as_far_as_it_says() -> None:
    errors, told = [], []
    for seed in range(12):
        noisy = scene(100 + seed, frames=8, points=250, shift=0.05, turn_deg=5.0, noise_px=0.3)
        found = searched_motion(noisy.sightings, lens=FOCAL_ONLY)
        told.append(lens_deviation(found.motion, found.sightings, FOCAL_ONLY).log_focal)
        errors.append(found.lens.log_focal)
    spread = math.sqrt(np.mean(np.square(errors)))
    assert 0.4 * spread < np.median(told) < 2.5 * spread


def test_a_tight_prior_holds_the_lens() -> None:
    noisy = scene(7, frames=6, points=100, shift=0.05, turn_deg=4.0, noise_px=0.3)
    held = adjusted(noisy.sightings, noisy.motion, "geman-mcclure", lens=LensPrior(1e-6, 1e-6)).lens
    assert abs(held.log_focal) < 1e-5
    assert abs(held.radial) < 1e-5


def test_priors_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        LensPrior(log_focal=0.0)


def test_noise_of_the_reference_no_longer_bends_the_focal_length() -> None:
    plain, refined = [], []
    for seed in range(6):
        noisy = scene(20 + seed, shift=0.01, turn_deg=0.5, noise_px=0.05, reference_noise_px=0.2)
        found = searched_motion(noisy.sightings, lens=FOCAL_ONLY)
        plain.append(found.lens.log_focal)
        refined.append(found.lens.log_focal + refined_log_focal(found.motion, found.sightings, deviation=0.1))
    assert np.linalg.norm(refined) < 0.5 * np.linalg.norm(plain)


def test_a_focal_length_is_not_refined_beyond_belief() -> None:
    noisy = scene(20, frames=12, points=200, shift=0.03, turn_deg=1.0, noise_px=0.3)
    found = searched_motion(Sightings.of(noisy.tracks, CAMERA), lens=FOCAL_ONLY)
    assert refined_log_focal(found.motion, found.sightings, deviation=0.1) != 0
    assert refined_log_focal(found.motion, found.sightings, deviation=1e-9) == 0
