"""Spherical harmonics against scipy's complex ones and the constants that the 3DGS code publishes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import sph_harm_y

from posesplat.gaussians.gaussians import SH_C0, Gaussians
from posesplat.gaussians.harmonics import evaluate_sh, sh_basis, sh_direction_gradient


def directions(count: int = 200) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def real_harmonics(unit: np.ndarray, degree: int) -> np.ndarray:
    """Real parts for m >= 0, imaginary parts of |m| for m < 0, with scipy's Condon-Shortley sign kept."""
    polar, azimuth = np.arccos(unit[:, 2]), np.arctan2(unit[:, 1], unit[:, 0])
    columns = []
    for m in range(-degree, degree + 1):
        value = sph_harm_y(degree, abs(m), polar, azimuth)
        columns.append(value.real if m == 0 else np.sqrt(2) * (value.real if m > 0 else value.imag))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_basis_is_the_real_combination_of_scipys_harmonics(degree: int) -> None:
    unit = directions()
    basis = sh_basis(unit, (degree + 1) ** 2)
    np.testing.assert_allclose(basis[:, degree**2 :], real_harmonics(unit, degree), atol=1e-6)


def test_signs_and_constants_of_the_published_3dgs_code() -> None:
    """The basis at (1, 2, 3) / sqrt(14) by the numbers in sh_utils.py of graphdeco-inria/gaussian-splatting."""
    x, y, z = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    c1 = 0.4886025119029199
    expected = [
        0.28209479177387814,
        -c1 * y,
        c1 * z,
        -c1 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.31539156525252005 * (2 * z * z - x * x - y * y),
        -1.0925484305920792 * x * z,
        0.5462742152960396 * (x * x - y * y),
        -0.5900435899266435 * y * (3 * x * x - y * y),
        2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
        0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
        -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
        1.445305721320277 * z * (x * x - y * y),
        -0.5900435899266435 * x * (x * x - 3 * y * y),
    ]
    np.testing.assert_allclose(sh_basis(np.array([[1.0, 2.0, 3.0]]), 16)[0], expected, rtol=1e-5)


def test_basis_is_orthonormal_on_the_sphere() -> None:
    polar_nodes, weights = np.polynomial.legendre.leggauss(8)
    azimuth = np.arange(16) * 2 * np.pi / 16
    z, phi = (grid.ravel() for grid in np.meshgrid(polar_nodes, azimuth, indexing="ij"))
    radius = np.sqrt(1 - z**2)
    basis = sh_basis(np.stack([radius * np.cos(phi), radius * np.sin(phi), z], axis=1), 16).astype(np.float64)
    weight = np.repeat(weights, 16) * 2 * np.pi / 16
    np.testing.assert_allclose(basis.T @ (weight[:, None] * basis), np.eye(16), atol=1e-6)


@pytest.mark.parametrize("count", [1, 4, 9, 16])
def test_colour_is_half_plus_the_sum_clipped(count: int) -> None:
    unit = directions(50)
    sh = np.random.default_rng(1).normal(scale=0.4, size=(50, count, 3)).astype(np.float32)
    degrees = int(np.sqrt(count))
    basis = np.concatenate([real_harmonics(unit, degree) for degree in range(degrees)], axis=1)
    expected = np.clip(0.5 + (basis[:, :, None] * sh).sum(axis=1), 0, 1)
    colour = evaluate_sh(sh, 7.5 * unit)
    assert colour.dtype == np.float32
    np.testing.assert_allclose(colour, expected, atol=1e-5)


def test_zero_direction_gives_the_constant_part() -> None:
    sh = np.full((1, 16, 3), 0.3, dtype=np.float32)
    np.testing.assert_allclose(evaluate_sh(sh, np.zeros((1, 3))), np.full((1, 3), 0.5 + 0.3 * SH_C0), rtol=1e-6)


def test_rgb_of_gaussians_looks_from_the_camera_to_the_gaussian() -> None:
    """A red that grows towards +z (coefficient 2): seen from below the direction is +z, from above -z."""
    sh = np.zeros((1, 4, 3), dtype=np.float32)
    sh[0, 2, 0] = 0.5
    ones = np.ones((1, 3), dtype=np.float32)
    one = Gaussians(0 * ones, np.float32([[1, 0, 0, 0]]), ones, ones[:, 0], sh=sh)
    gain = 0.5 * np.sqrt(3 / (4 * np.pi))
    np.testing.assert_allclose(one.rgb(np.array([0.0, 0.0, -2.0]))[0], [0.5 + gain, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(one.rgb(np.array([0.0, 0.0, 2.0]))[0], [0.5 - gain, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(one.rgb()[0], [0.5, 0.5, 0.5])


def test_other_coefficient_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="1, 4, 9 or 16"):
        sh_basis(np.ones((1, 3)), 5)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_direction_gradient_is_that_of_scipys_harmonics(degree: int) -> None:
    """Central differences for directions of several lengths; a longer one changes in proportion less."""
    vectors = directions(50) * np.linspace(0.2, 5, 50)[:, None]
    weights = np.random.default_rng(1).normal(size=(50, (degree + 1) ** 2))

    def value(moved: np.ndarray) -> np.ndarray:
        unit = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        basis = np.concatenate([real_harmonics(unit, part) for part in range(degree + 1)], axis=1)
        return np.sum(weights * basis, axis=1)

    expected = np.stack([(value(vectors + step) - value(vectors - step)) / 2e-6 for step in 1e-6 * np.eye(3)], axis=1)
    np.testing.assert_allclose(sh_direction_gradient(weights, vectors), expected, rtol=1e-4, atol=1e-5)


def test_direction_gradient_of_nothing_and_of_a_wrong_count() -> None:
    assert np.isfinite(sh_direction_gradient(np.ones((2, 16)), np.zeros((2, 3)))).all()
    with pytest.raises(ValueError, match="must have 1, 4, 9 or 16"):
        sh_direction_gradient(np.ones((2, 5)), np.ones((2, 3)))
