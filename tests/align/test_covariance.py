"""Covariances from scattered gradients: against the cluster-robust formulas of ordinary least squares."""

from __future__ import annotations

import numpy as np
import pytest

from posesplat.align.covariance import gradient_scatter, information_weight, sandwich
from posesplat.kernels.splatting import NormalEquations

CLUSTERS, PER_CLUSTER, UNKNOWNS = 44, 30, 8
"""Few enough clusters in one row that none are merged."""


def term(
    hessian: np.ndarray, blocks: np.ndarray | None, weights: float = 1.0, curvatures: float = 1.0
) -> NormalEquations:
    gradient = np.zeros(len(hessian)) if blocks is None else blocks.sum(axis=0)
    row = None if blocks is None else blocks[None]
    return NormalEquations(hessian, gradient, 1.0, 100.0, 100.0, 100.0, weights, curvatures, row)


def regression(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Design, clustered noise and least-squares residuals of y = X b + u with effects shared within clusters."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(CLUSTERS, PER_CLUSTER, UNKNOWNS)) + rng.normal(size=(CLUSTERS, 1, UNKNOWNS))
    noise = rng.normal(size=(CLUSTERS, PER_CLUSTER)) + rng.normal(size=(CLUSTERS, 1))
    flat = design.reshape(-1, UNKNOWNS)
    estimate = np.linalg.lstsq(flat, noise.ravel(), rcond=None)[0]
    return design, noise, noise - design @ estimate


def test_the_sandwich_is_the_cluster_robust_covariance_of_least_squares() -> None:
    design, _, residuals = regression()
    flat = design.reshape(-1, UNKNOWNS)
    blocks = np.einsum("gik,gi->gk", design, residuals)
    hessian = flat.T @ flat
    found = sandwich(hessian, gradient_scatter(term(hessian, blocks)))
    bread = np.linalg.inv(flat.T @ flat)
    meat = sum(design[g].T @ np.outer(residuals[g], residuals[g]) @ design[g] for g in range(CLUSTERS)) * (
        CLUSTERS / (CLUSTERS - UNKNOWNS)
    )
    assert found is not None
    np.testing.assert_allclose(found, (bread @ meat @ bread)[:6, :6], rtol=1e-8)


def test_the_sandwich_covers_what_estimates_really_scatter() -> None:
    """Monte Carlo: the mean predicted variance against the variance of the estimates themselves."""
    predicted, estimates = [], []
    for seed in range(300):
        design, noise, residuals = regression(seed)
        flat = design.reshape(-1, UNKNOWNS)
        hessian = flat.T @ flat
        found = sandwich(hessian, gradient_scatter(term(hessian, np.einsum("gik,gi->gk", design, residuals))))
        assert found is not None
        predicted.append(np.trace(found))
        estimates.append(np.linalg.lstsq(flat, noise.ravel(), rcond=None)[0][:6])
    actual = float((np.array(estimates) ** 2).sum(axis=1).mean())
    assert np.mean(predicted) == pytest.approx(actual, rel=0.2)


def test_empty_blocks_do_not_count_as_observations() -> None:
    rng = np.random.default_rng(1)
    blocks = rng.normal(size=(40, 6))
    padded = np.insert(blocks, 13, np.zeros((5, 6)), axis=0)
    np.testing.assert_allclose(gradient_scatter(term(np.eye(6), padded)), gradient_scatter(term(np.eye(6), blocks)))


@pytest.mark.parametrize("blocks", [None, np.zeros((0, 6)), np.ones((7, 6)), np.zeros((30, 6))])
def test_too_few_blocks_say_nothing(blocks: np.ndarray | None) -> None:
    np.testing.assert_array_equal(gradient_scatter(term(np.eye(6), blocks)), np.zeros((6, 6)))


def test_many_blocks_are_merged_into_squares_of_nine() -> None:
    blocks = np.random.default_rng(7).normal(size=(18, 16, 6))
    squares = np.array(
        [blocks[i : i + 3, j : j + 3].sum(axis=(0, 1)) for i in range(0, 18, 3) for j in range(0, 16, 3)]
    )
    count = len(squares)
    found = gradient_scatter(NormalEquations(np.eye(6), np.zeros(6), 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, blocks))
    np.testing.assert_allclose(found, (count - 1) * np.cov(squares.T) * count / (count - 6))


def whitened(count: int, hessian: np.ndarray, ratio: float) -> np.ndarray:
    """Block gradients whose scatter is exactly ``ratio`` times the Hessian."""
    raw = np.random.default_rng(2).normal(size=(count, len(hessian)))
    raw -= raw.mean(axis=0)
    orthonormal = np.linalg.qr(raw)[0]
    size = len(hessian)
    return orthonormal * np.sqrt(ratio * (count - size) / count) @ np.linalg.cholesky(hessian).T


@pytest.mark.parametrize("ratio", [0.25, 1.0, 9.0])
def test_the_weight_turns_a_hessian_into_information(ratio: float) -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(6, 20)) * np.array([1, 1, 1, 100, 100, 100])[:, None]
    hessian = root @ root.T
    blocks = whitened(44, hessian, ratio)
    assert information_weight(term(hessian, blocks), 0.2) == pytest.approx(1 / ratio, rel=1e-6)
    assert information_weight(term(hessian, blocks, weights=10.0, curvatures=5.0), 0.2) == pytest.approx(0.5 / ratio)
    assert information_weight(term(hessian, blocks, weights=10.0, curvatures=1.0), 0.2) == pytest.approx(0.2 / ratio)


def test_a_term_without_observations_weighs_nothing() -> None:
    empty = NormalEquations(np.zeros((6, 6)), np.zeros(6), 0.0, 0.0, 0.0, 0.0)
    assert information_weight(empty, 0.2) == 0.0


def test_the_unit_of_length_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    root, spread = rng.normal(size=(8, 30)), rng.normal(size=(8, 12))
    hessian, scatter = root @ root.T, spread @ spread.T
    unit = np.diag([1, 1, 1, 1e4, 1e4, 1e4, 1, 1.0])
    metres, others = sandwich(hessian, scatter), sandwich(unit @ hessian @ unit, unit @ scatter @ unit)
    assert metres is not None and others is not None
    back = unit[:6, :6]
    np.testing.assert_allclose(back @ others @ back, metres, rtol=1e-7)


def test_exposure_without_information_is_left_out() -> None:
    rng = np.random.default_rng(5)
    root, spread = rng.normal(size=(6, 30)), rng.normal(size=(6, 12))
    hessian, scatter = np.zeros((8, 8)), np.zeros((8, 8))
    hessian[:6, :6], scatter[:6, :6] = root @ root.T, spread @ spread.T
    inverse = np.linalg.inv(hessian[:6, :6])
    found = sandwich(hessian, scatter)
    assert found is not None
    np.testing.assert_allclose(found, inverse @ scatter[:6, :6] @ inverse, rtol=1e-9)


def test_an_undetermined_pose_has_no_covariance() -> None:
    rng = np.random.default_rng(6)
    directions = np.linalg.qr(rng.normal(size=(6, 6)))[0][:, :5]
    sliding, missing = np.eye(8), np.eye(8)
    sliding[:6, :6] = directions @ directions.T
    missing[4, 4] = 0.0
    assert sandwich(sliding, np.eye(8)) is None
    assert sandwich(missing, np.eye(8)) is None
