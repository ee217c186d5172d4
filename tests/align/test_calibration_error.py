from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from align.paired_points import B_FROM_A, CAMERA_A, CAMERA_B, seen_twice, side
from posesplat.align.calibration_error import calibration_covariance
from posesplat.align.match_alignment import refine_matches
from posesplat.align.matched_depths import MatchedDepths
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import log

ERROR = 1e-3
CHI2_95 = {5: 11.07, 6: 12.592}


def misread(camera: Camera, rng: np.random.Generator) -> Camera:
    """The camera as a calibration with this error may report it."""
    focal, x, y = ERROR * rng.standard_normal(3)
    factor = 1.0 + 2.0 * focal
    return replace(
        camera, fx=factor * camera.fx, fy=factor * camera.fy, cx=camera.cx + x * camera.fx, cy=camera.cy + y * camera.fy
    )


def seen_through(matched: MatchedDepths, camera_a: Camera, camera_b: Camera) -> MatchedDepths:
    a = side(matched.matches.pixels_a, matched.a.depths, camera_a, matched.noise)
    b = side(matched.matches.pixels_b, matched.b.depths, camera_b, matched.noise)
    return replace(matched, a=a, b=b)


@pytest.mark.parametrize(("depth", "freedom"), [(1.0, 6), (0.0, 5)])
def test_the_truth_is_where_misread_cameras_let_expect(depth: float, freedom: int) -> None:
    rng = np.random.default_rng(3)
    exact = seen_twice(300, known=(depth, depth))
    true = B_FROM_A if depth else refine_matches(exact, B_FROM_A).state.b_from_a
    across = np.eye(6)
    if not depth:
        across = np.r_[np.eye(6)[:3], np.c_[np.zeros((2, 3)), np.linalg.svd(true.translation[None])[2][1:]]]
    squared = []
    for _ in range(150):
        matched = seen_through(exact, misread(CAMERA_A, rng), misread(CAMERA_B, rng))
        fit = refine_matches(matched, B_FROM_A)
        covariance = across @ calibration_covariance(matched, fit, ERROR) @ across.T
        error = across @ log(fit.state.b_from_a * true.inv())
        squared.append(error @ np.linalg.solve(covariance, error))
    # Distortion is part of the covariance but not of these cameras, so a few more are held.
    assert 0.93 <= np.mean(np.array(squared) <= CHI2_95[freedom]) <= 1.0
    assert np.median(squared) > 0.5 * freedom


def test_it_grows_with_the_square_of_the_error_and_is_nothing_for_exact_cameras() -> None:
    matched = seen_twice(200, pixel_px=0.3)
    fit = refine_matches(matched, B_FROM_A)
    once, twice = (calibration_covariance(matched, fit, error) for error in (1e-4, 2e-4))
    assert_allclose(twice, 4.0 * once, rtol=0.02, atol=1e-3 * float(once.max()))
    assert_array_equal(calibration_covariance(matched, fit, 0.0), np.zeros((6, 6)))
    assert np.all(np.linalg.eigvalsh(once) > 0)
