"""Covariances from what regions of the image say: against ordinary least squares and its leave-one-out estimates."""

from __future__ import annotations

import numpy as np
import pytest

from posesplat.align.covariance import (
    Regions,
    effective_regions,
    gradient_scatter,
    information_weight,
    jackknife,
    least_share,
    small_sample_inflation,
    sum_of,
)
from posesplat.kernels.splatting import NormalEquations

CLUSTERS, PER_CLUSTER, UNKNOWNS = 44, 30, 8


def term(
    hessian: np.ndarray, blocks: np.ndarray | None, weights: float = 1.0, curvatures: float = 1.0
) -> NormalEquations:
    """Sums whose blocks, in one row, fall into regions of their own; at most eight by eight are filled."""
    if blocks is None:
        return NormalEquations(hessian, np.zeros(len(hessian)), 1.0, 100.0, 100.0, 100.0, weights, curvatures)
    size = len(hessian)
    grid, triangles = np.zeros((8, 8, size)), np.zeros((8, 8, size * (size + 1) // 2))
    grid.reshape(64, size)[: len(blocks)] = blocks
    triangles.reshape(64, -1)[: len(blocks)] = hessian[np.triu_indices(size)] / max(len(blocks), 1)
    return NormalEquations(hessian, blocks.sum(axis=0), 1.0, 100.0, 100.0, 100.0, weights, curvatures, grid, triangles)


def regression(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Design, clustered noise and least-squares residuals of y = X b + u with effects shared within clusters."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(CLUSTERS, PER_CLUSTER, UNKNOWNS)) + rng.normal(size=(CLUSTERS, 1, UNKNOWNS))
    noise = rng.normal(size=(CLUSTERS, PER_CLUSTER)) + rng.normal(size=(CLUSTERS, 1))
    flat = design.reshape(-1, UNKNOWNS)
    estimate = np.linalg.lstsq(flat, noise.ravel(), rcond=None)[0]
    return design, noise, noise - design @ estimate


def regions(design: np.ndarray, residuals: np.ndarray) -> Regions:
    return Regions(np.einsum("gik,gi->gk", design, residuals), np.einsum("gik,gil->gkl", design, design))


def test_the_jackknife_leaves_out_one_cluster_at_a_time() -> None:
    """Least squares is solved again without each cluster."""
    design, noise, residuals = regression()
    whole = np.linalg.lstsq(design.reshape(-1, UNKNOWNS), noise.ravel(), rcond=None)[0]
    shifts = []
    for left_out in range(CLUSTERS):
        kept = np.arange(CLUSTERS) != left_out
        again = np.linalg.lstsq(design[kept].reshape(-1, UNKNOWNS), noise[kept].ravel(), rcond=None)[0]
        shifts.append(again - whole)
    expected = (CLUSTERS - 1) / CLUSTERS * np.array(shifts).T @ np.array(shifts)
    found = jackknife(regions(design, residuals))
    assert found is not None
    np.testing.assert_allclose(found, expected[:6, :6], rtol=1e-8)


def test_the_jackknife_covers_what_estimates_really_scatter() -> None:
    """Monte Carlo: the mean predicted variance against the variance of the estimates themselves."""
    predicted, estimates = [], []
    for seed in range(300):
        design, noise, residuals = regression(seed)
        found = jackknife(regions(design, residuals))
        assert found is not None
        predicted.append(np.trace(found))
        estimates.append(np.linalg.lstsq(design.reshape(-1, UNKNOWNS), noise.ravel(), rcond=None)[0][:6])
    actual = float((np.array(estimates) ** 2).sum(axis=1).mean())
    # The jackknife is known to lie on the safe side with few clusters.
    assert 0.9 * actual < np.mean(predicted) < 1.6 * actual


def test_a_direction_that_one_cluster_knows_best_is_uncertain() -> None:
    """The pose follows that cluster, so its residuals are small whatever the noise: plain scatter would be sure."""
    jackknifed, scattered, true = [], [], []
    for seed in range(40):
        design, noise, _ = regression(seed)
        design[:, :, 0] *= 0.1
        design[7, :, 0] *= 10.0
        estimate = np.linalg.lstsq(design.reshape(-1, UNKNOWNS), noise.ravel(), rcond=None)[0]
        split = regions(design, noise - design @ estimate)
        bread = np.linalg.inv(split.hessians.sum(axis=0))
        shared = np.eye(PER_CLUSTER) + 1.0
        found = jackknife(split)
        assert found is not None
        jackknifed.append(found[0, 0])
        scattered.append((bread @ (split.gradients.T @ split.gradients) @ bread)[0, 0])
        true.append((bread @ sum(part.T @ shared @ part for part in design) @ bread)[0, 0])
    assert np.mean(scattered) < 0.75 * np.mean(true)
    assert np.mean(true) < np.mean(jackknifed)


def test_empty_blocks_do_not_count_as_observations() -> None:
    rng = np.random.default_rng(1)
    blocks = rng.normal(size=(40, 6))
    padded = np.insert(blocks, 13, np.zeros((5, 6)), axis=0)
    np.testing.assert_allclose(gradient_scatter(term(np.eye(6), padded)), gradient_scatter(term(np.eye(6), blocks)))


@pytest.mark.parametrize("blocks", [None, np.zeros((0, 6)), np.ones((7, 6)), np.zeros((30, 6))])
def test_too_few_blocks_say_nothing(blocks: np.ndarray | None) -> None:
    np.testing.assert_array_equal(gradient_scatter(term(np.eye(6), blocks)), np.zeros((6, 6)))


@pytest.mark.parametrize(("rows", "columns"), [(15, 20), (30, 40), (40, 30), (3, 5)])
def test_regions_are_sums_over_about_square_parts_of_the_image(rows: int, columns: int) -> None:
    rng = np.random.default_rng(7)
    root = rng.normal(size=(rows, columns, 6, 9))
    hessians, gradients = root @ np.swapaxes(root, 2, 3), rng.normal(size=(rows, columns, 6))
    upper = np.triu_indices(6)
    sums = NormalEquations(
        hessians.sum(axis=(0, 1)), gradients.sum(axis=(0, 1)), 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
        gradients, hessians[:, :, upper[0], upper[1]],
    )  # fmt: skip
    found = Regions.of(sums)
    side = min(8, max(rows, columns))
    edges = [np.searchsorted(np.arange(n) * side // max(rows, columns), np.arange(side + 1)) for n in (rows, columns)]
    for row in range(side):
        for column in range(side):
            part = (slice(*edges[0][row : row + 2]), slice(*edges[1][column : column + 2]))
            np.testing.assert_allclose(found.gradients[8 * row + column], gradients[part].sum(axis=(0, 1)), atol=1e-9)
            np.testing.assert_allclose(found.hessians[8 * row + column], hessians[part].sum(axis=(0, 1)), atol=1e-9)
    assert len(found.used().gradients) == np.unique(edges[0]).size * np.unique(edges[1]).size - (
        np.unique(edges[0]).size + np.unique(edges[1]).size - 1
    )


def test_what_holds_no_information_is_taken_from_every_region_in_proportion() -> None:
    rng = np.random.default_rng(8)
    root = rng.normal(size=(12, 6, 9))
    split = Regions(rng.normal(size=(12, 6)), root @ np.swapaxes(root, 1, 2))
    spurious = np.diag([0, 0, 0, 1.0, 0, 0])
    less = split.without(spurious)
    np.testing.assert_allclose(split.hessians.sum(axis=0) - less.hessians.sum(axis=0), spurious, atol=1e-9)
    taken = (split.hessians - less.hessians)[:, 3, 3]
    held = np.trace(split.hessians[:, 3:6, 3:6], axis1=1, axis2=2)
    np.testing.assert_allclose(taken / held, np.full(12, 1 / held.sum()))


def test_the_least_share_is_that_of_the_poorest_direction() -> None:
    rng = np.random.default_rng(11)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    sizes = np.array([1.0, 4.0, 9.0, 1e4, 2e4, 3e4])
    shares = np.array([0.9, 0.5, 0.07, 1.0, 0.3, 0.8])
    whole = Regions(np.zeros((2, 6)), np.array([0.25, 0.75])[:, None, None] * (turn * sizes @ turn.T))
    part = Regions(np.zeros((1, 6)), (turn * (sizes * shares) @ turn.T)[None])
    assert least_share(part, whole) == pytest.approx(0.07)
    twice = sum_of([whole, whole])
    assert least_share(whole, twice) == pytest.approx(0.5)
    nothing = Regions(np.zeros((1, 6)), np.zeros((1, 6, 6)))
    assert least_share(part, nothing) == 0.0


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
    design, _, residuals = regression(4)
    split = regions(design, residuals)
    unit = np.diag([1, 1, 1, 1e4, 1e4, 1e4, 1, 1.0])
    metres, others = jackknife(split), jackknife(Regions(split.gradients @ unit, unit @ split.hessians @ unit))
    assert metres is not None and others is not None
    back = unit[:6, :6]
    np.testing.assert_allclose(back @ others @ back, metres, rtol=1e-7)


def test_exposure_without_information_is_left_out() -> None:
    rng = np.random.default_rng(5)
    design = rng.normal(size=(CLUSTERS, PER_CLUSTER, 6))
    six = regions(design, rng.normal(size=(CLUSTERS, PER_CLUSTER)))
    eight = six.weighted(1.0, 1.0, 8)
    assert eight.hessians.shape == (CLUSTERS, 8, 8)
    np.testing.assert_allclose(jackknife(eight), jackknife(six), rtol=1e-9)


def test_an_undetermined_pose_has_no_covariance() -> None:
    rng = np.random.default_rng(6)
    design = rng.normal(size=(CLUSTERS, PER_CLUSTER, 6))
    directions = np.linalg.qr(rng.normal(size=(6, 6)))[0][:, :5]
    missing = design.copy()
    missing[:, :, 4] = 0.0
    for poor in (design @ directions @ directions.T, missing):
        assert jackknife(regions(poor, rng.normal(size=(CLUSTERS, PER_CLUSTER)))) is None
    assert jackknife(Regions(np.zeros((0, 6)), np.zeros((0, 6, 6)))) is None
    # What noise pretends may be all there is.
    split = regions(design, rng.normal(size=(CLUSTERS, PER_CLUSTER)))
    assert jackknife(split.without(1.01 * split.hessians.sum(axis=0))) is None


def test_hotelling_inflation_agrees_with_samples() -> None:
    # The squared length of a mean's error in the sample covariance of that mean, drawn instead of derived.
    rng = np.random.default_rng(0)
    for count in (12, 30):
        samples = rng.standard_normal((4000, count, 6))
        means = samples.mean(axis=1)
        centred = samples - means[:, None]
        scatter = np.einsum("sni,snj->sij", centred, centred) / (count * (count - 1))
        squared = np.einsum("si,si->s", means, np.linalg.solve(scatter, means[..., None])[..., 0])
        assert np.mean(squared < 12.592 * small_sample_inflation(count)) == pytest.approx(0.95, abs=0.012)
    assert small_sample_inflation(1e6) == pytest.approx(1.0, abs=1e-3)


def test_effective_regions_count_equal_ones_and_ignore_weak_ones() -> None:
    rng = np.random.default_rng(1)
    hessians = np.tile(np.eye(6), (10, 1, 1))
    regions = Regions(rng.standard_normal((10, 6)), hessians)
    assert effective_regions(regions) == pytest.approx(10.0)
    weak = Regions(np.ones((20, 6)), np.concatenate([hessians, 1e-6 * hessians]))
    assert effective_regions(weak) == pytest.approx(10.0, rel=1e-4)


def test_a_prior_enters_the_jackknife_with_its_own_variance() -> None:
    rng = np.random.default_rng(2)
    hessians = np.tile(np.diag([1.0] * 5 + [1e-9]), (30, 1, 1))
    gradients = rng.standard_normal((30, 6)) * [1, 1, 1, 1, 1, 0]
    prior = np.zeros((6, 6))
    prior[5, 5] = 25.0
    covariance = jackknife(Regions(gradients, hessians), prior)
    assert covariance is not None
    assert covariance[5, 5] == pytest.approx(1 / 25.0, rel=1e-3)
