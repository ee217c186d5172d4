"""Local planes: exact where inverse depth is affine, as precise under noise as least squares allows, cut at edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from kernels import twin
from kernels.clouds import wall_depth
from posesplat.geometry.cameras import Camera
from posesplat.kernels.plane_fit import fit_planes

CAMERA = Camera(90.0, 88.0, 40.0, 31.0, 83, 61)
NORMAL = (0.3, -0.2, 1.0)


def test_exact_on_a_plane(instruction_set: str) -> None:
    depth = wall_depth(CAMERA, RigidTransform.identity(), NORMAL)
    fit = fit_planes(depth.astype(np.float32), CAMERA, radius=3, tolerance=0.2, min_support=0.3)
    np.testing.assert_allclose(fit.depth, depth, rtol=1e-6)
    unit = np.asarray(NORMAL) / np.linalg.norm(NORMAL)
    expected = unit / (2 * unit[2])
    np.testing.assert_allclose(fit.planes, np.broadcast_to(expected, fit.planes.shape), atol=1e-5)
    inverse = np.sum(fit.planes * twin.pixel_rays(CAMERA), axis=-1)
    np.testing.assert_allclose(inverse, 1 / depth, atol=1e-6)
    assert fit.residual.max() < 2e-5  # a root of float32 rounding


@pytest.mark.parametrize("size", [(19, 13), (8, 8), (7, 3), (1, 9), (1, 1)])
@pytest.mark.parametrize("radius", [1, 2, 4])
def test_agrees_with_least_squares(instruction_set: str, size: tuple[int, int], radius: int) -> None:
    """Noise, holes and steps; the twin solves one least-squares problem a pixel."""
    width, height = size
    camera = Camera(30.0, 30.0, 0.5 * width, 0.5 * height, width, height)
    rng = np.random.default_rng(width)
    depth = 2 + 0.02 * rng.normal(size=(height, width)) + 0.5 * (rng.uniform(size=(height, width)) < 0.1)
    depth[rng.uniform(size=depth.shape) < 0.1] = 0
    depth = depth.astype(np.float32)
    inverse = np.divide(1.0, depth, out=np.zeros_like(depth), where=depth > 0)
    expected, residual, support = twin.fit_planes(inverse.astype(float), radius, 0.05, 0.3)
    actual = fit_planes(depth, camera, radius=radius, tolerance=0.05, min_support=0.3)
    value = expected[..., 0]
    np.testing.assert_array_equal(actual.depth > 0, value > 0)
    np.testing.assert_allclose(actual.depth[value > 0], 1 / value[value > 0], rtol=3e-6)
    slopes = expected[..., 1:] * [camera.fx, camera.fy]
    np.testing.assert_allclose(actual.planes[..., :2], slopes, atol=3e-5)
    np.testing.assert_allclose(actual.residual, residual, atol=3e-6)
    np.testing.assert_allclose(actual.support, support, atol=1e-6)


def test_noise_falls_as_least_squares_predicts() -> None:
    """The centre of a full (2 r + 1)^2 window has standard error sigma / (2 r + 1)."""
    rng = np.random.default_rng(0)
    inverse = 0.5 + 0.002 * rng.normal(size=(61, 83))
    fit = fit_planes((1 / inverse).astype(np.float32), CAMERA, radius=3, tolerance=0.1)
    inner = np.s_[3:-3, 3:-3]
    assert np.std(1 / fit.depth[inner]) == pytest.approx(0.002 / 7, rel=0.1)
    # sum of i^2 over the window: 7 * 28
    assert np.std(fit.planes[..., 0][inner] / CAMERA.fx) == pytest.approx(0.002 / np.sqrt(7 * 28), rel=0.1)
    # 49 residuals share 49 - 3 degrees of freedom
    expected = 0.002 / 0.5 * np.sqrt(46 / 49)
    assert np.sqrt(np.mean(fit.residual[inner] ** 2)) == pytest.approx(expected, rel=0.05)


def test_edges_are_respected_and_support_is_counted() -> None:
    """Two walls at 2 and 3 m: no depth in between, and windows that count their own side only."""
    depth = np.full((61, 83), 2.0, dtype=np.float32)
    depth[:, 40:] = 3.0
    depth[:, :2] = 0
    fit = fit_planes(depth, CAMERA, radius=2, min_support=0.3)
    np.testing.assert_allclose(fit.depth, depth, rtol=1e-6)
    assert not fit.planes[:, :2].any() and not fit.support[:, :2].any()
    for column, share in ((2, 15), (3, 20), (4, 25), (38, 20), (39, 15), (40, 15), (41, 20), (42, 25)):
        np.testing.assert_allclose(fit.support[2:-2, column], share / 25, rtol=1e-6)
    np.testing.assert_allclose(fit.support[0, 20], 15 / 25, rtol=1e-6)
    too_little = fit_planes(depth, CAMERA, radius=2, min_support=0.7)
    np.testing.assert_array_equal(too_little.depth[20, 36:44] > 0, [1, 1, 1, 0, 0, 1, 1, 1])


def test_lonely_and_missing_pixels_have_no_plane() -> None:
    for value in (0.0, -1.0, np.nan, np.inf):
        depth = np.full((61, 83), value, dtype=np.float32)
        depth[30, 40] = 2
        fit = fit_planes(depth, CAMERA, radius=1, min_support=0.0)
        assert not fit.depth.any() and not fit.planes.any() and not fit.residual.any()
        np.testing.assert_array_equal(np.argwhere(fit.support > 0), [[30, 40]])
