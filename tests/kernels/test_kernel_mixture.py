"""Overlap of mixtures: compared with a plain twin, its finite differences, closed forms, and a k-d tree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import RigidTransform
from scipy.stats import multivariate_normal

from kernels.mixture_twin import Overlap, random_overlap
from posesplat import _kernels
from posesplat.geometry.cameras import Camera
from posesplat.kernels.mixture import (
    MixtureAppearance,
    MixtureRecords,
    MixtureSums,
    cell_neighbours,
    mixture_affinities,
    mixture_sums,
    padded_neighbours,
)


def sums_of(problem: Overlap, *, turning: bool = False, threads: int = 1) -> MixtureSums:
    return mixture_sums(
        problem.fixed.records(),
        problem.moving.records(),
        problem.b_from_a,
        problem.neighbours,
        problem.affinities,
        floor=problem.floor,
        farthest=problem.farthest,
        robust=problem.robust,
        normalised=problem.normalised,
        turning=turning,
        threads=threads,
    )


@pytest.mark.parametrize("terms", [0, 1, 6])
@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("normalised", [True, False])
def test_sums_agree_with_the_twin(instruction_set: str, terms: int, robust: bool, normalised: bool) -> None:
    problem = replace(random_overlap(terms + 1, terms), robust=robust, normalised=normalised)
    sums = sums_of(problem)
    overlaps = problem.overlaps()
    assert sums.rows == np.count_nonzero(overlaps.sum(axis=1))
    assert 0 < sums.rows < len(overlaps)
    assert sums.cost == pytest.approx(problem.cost(), rel=2e-5)
    assert sums.weight == pytest.approx(problem.weights().sum(), rel=2e-5)
    np.testing.assert_allclose(sums.totals, overlaps.sum(axis=1), rtol=1e-4)
    expected = problem.hessian()
    size = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(sums.hessian / np.outer(size, size), expected / np.outer(size, size), atol=1e-4)
    for frozen in (True, False):
        gradient = sums_of(problem, turning=not frozen).gradient
        reference = problem.gradient(frozen=frozen)
        np.testing.assert_allclose(gradient / size, reference / size, atol=2e-4 * np.sqrt(sums.weight))


def test_holding_the_covariances_fixed_matters_for_the_rotation_only() -> None:
    problem = random_overlap(9)
    change = sums_of(problem, turning=True).gradient - sums_of(problem).gradient
    np.testing.assert_allclose(change[3:], 0, atol=1e-12)
    assert np.abs(change[:3]).min() > 0.01


def test_one_pair_is_the_product_of_two_gaussians() -> None:
    moving, fixed = np.array([[0.1, 0.2, 2.0]]), np.array([[0.13, 0.19, 2.04]])
    spread = np.diag([0.01, 0.02, 0.0004])[None]
    records = MixtureRecords.of(fixed, spread), MixtureRecords.of(moving, spread)
    pairs = padded_neighbours(np.zeros((1, 1), dtype=np.int32))
    options = {"robust": False, "normalised": True, "farthest": 20.0}
    still = RigidTransform.identity()
    sums = mixture_sums(*records, still, pairs, np.ones(pairs.shape, dtype=np.float32), **options)
    density = multivariate_normal(np.zeros(3), 2 * spread[0]).pdf(fixed[0] - moving[0])
    assert -sums.cost * (2 * np.pi) ** -1.5 == pytest.approx(density, rel=1e-5)


def test_far_pairs_do_not_count() -> None:
    means, spread = np.array([[0.0, 0.0, 2.0]]), 0.5 * np.eye(3)[None]
    pairs = padded_neighbours(np.zeros((1, 1), dtype=np.int32))
    ones = np.ones(pairs.shape, dtype=np.float32)
    for squared, expected in ((11.9, -np.log1p(np.exp(-5.95) / 0.3)), (12.1, 0.0)):
        moved = means + [0.0, np.sqrt(squared), 0.0]
        records = MixtureRecords.of(moved, spread), MixtureRecords.of(means, spread)
        sums = mixture_sums(*records, RigidTransform.identity(), pairs, ones)
        assert sums.cost == pytest.approx(expected, rel=1e-4)
        assert sums.rows == (expected != 0)


def test_the_size_of_the_scene_does_not_matter() -> None:
    problem = random_overlap(4)
    for unit in (1e-6, 1e4):
        sides = [
            replace(s, means=unit * s.means, covariances=unit**2 * s.covariances)
            for s in (problem.fixed, problem.moving)
        ]
        pose = RigidTransform.from_components(unit * problem.b_from_a.translation, problem.b_from_a.rotation)
        scaled = sums_of(replace(problem, fixed=sides[0], moving=sides[1], b_from_a=pose))
        assert scaled.cost == pytest.approx(problem.cost(), rel=1e-4)


def test_threads_change_no_bit() -> None:
    problem = random_overlap(5, terms=6, rows=1500, count=1200)
    one, three = sums_of(problem), sums_of(problem, threads=3)
    assert one.cost == three.cost
    np.testing.assert_array_equal(one.hessian, three.hessian)
    np.testing.assert_array_equal(one.gradient, three.gradient)


def test_affinities_are_products_of_kernels(instruction_set: str) -> None:
    rng = np.random.default_rng(0)

    def looks(count: int) -> MixtureAppearance:
        features = rng.normal(size=(count, 13))
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        values = rng.uniform(0.2, 1, count), rng.normal(size=(count, 3)), features, rng.uniform(0, 3, count)
        return MixtureAppearance(*(np.float32(value) for value in values))

    fixed, moving = looks(40), looks(30)
    neighbours = padded_neighbours(rng.integers(-1, 30, (40, 5)).astype(np.int32))
    colours = fixed.colours[:, None] - moving.colours[neighbours]
    cosines = np.einsum("nd,nkd->nk", fixed.features, moving.features[neighbours])
    trust = fixed.trust[:, None] * moving.trust[neighbours]
    expected = np.exp(-0.5 * (colours**2).sum(axis=2) + trust * (cosines - 1))
    expected *= fixed.opacities[:, None] * moving.opacities[neighbours] * (neighbours >= 0)
    np.testing.assert_allclose(mixture_affinities(fixed, moving, neighbours), expected, rtol=2e-5, atol=1e-9)


def test_cells_hold_the_nearest_neighbours(instruction_set: str) -> None:
    camera, rng = Camera(100.0, 100.0, 80.0, 60.0, 160, 120), np.random.default_rng(1)
    columns, rows = np.meshgrid(np.arange(4, 160, 8), np.arange(4, 120, 8))
    rays = camera.rays_at(np.column_stack([columns.ravel() + 0.5, rows.ravel() + 0.5]))
    means = rays * rng.uniform(1.9, 2.1, (len(rays), 1))
    cells = np.arange(len(rays), dtype=np.int32).reshape(rows.shape)
    cells[3, 4] = -1
    points = rays[::3] * 2.0 + 0.05 * rng.normal(size=(len(rays[::3]), 3))
    neighbours, in_view = cell_neighbours(points, cells, 8, means, camera, count=6, reach=20)
    left = np.delete(means, 3 * cells.shape[1] + 4, axis=0)
    distances, _ = cKDTree(left).query(points[in_view], k=6)
    found = np.linalg.norm(means[neighbours[in_view, :6]] - points[in_view, None], axis=2)
    np.testing.assert_allclose(found, distances, rtol=1e-5)
    assert (neighbours[:, 6:] == -1).all() and (neighbours[~in_view] == -1).all()
    pixels = camera.project(points)
    np.testing.assert_array_equal(in_view, ((pixels >= 0) & (pixels < [160, 120])).all(axis=1))
    assert 0 < (~in_view).sum() < len(points)


def test_spaced_lookup_takes_every_other_cell() -> None:
    camera = Camera(100.0, 100.0, 80.0, 60.0, 160, 120)
    cells = np.arange(15 * 20, dtype=np.int32).reshape(15, 20)
    means = camera.rays(8).reshape(-1, 3) * 2.0
    index = 7 * 20 + 10
    neighbours, _ = cell_neighbours(means[index : index + 1], cells, 8, means, camera, count=9, reach=1, spacing=3)
    expected = {index + 20 * i + j for i in (-3, 0, 3) for j in (-3, 0, 3)}
    assert set(neighbours[0, :9].tolist()) == expected and neighbours[0, 0] == index


def test_points_behind_the_camera_have_no_neighbours() -> None:
    camera = Camera(100.0, 100.0, 80.0, 60.0, 160, 120)
    behind = np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    neighbours, in_view = cell_neighbours(behind, np.zeros((15, 20), dtype=np.int32), 8, np.ones((1, 3)), camera)
    assert not in_view.any() and (neighbours == -1).all()


def test_wrong_input_is_refused() -> None:
    problem = random_overlap(2)
    with pytest.raises(ValueError, match="a neighbour must be one of 90"):
        sums_of(replace(problem, neighbours=problem.neighbours + 60))
    with pytest.raises(ValueError, match="a multiple of 8"):
        sums_of(
            replace(problem, neighbours=problem.neighbours[:, :5].copy(), affinities=problem.affinities[:, :5].copy())
        )
    moving = problem.moving.records().packed
    out = np.zeros(70, dtype=np.float32), np.zeros((6, 6)), np.zeros(6)
    settings = (0, 0.3, 12.0, True, False, False, *out, 1)
    pose = np.eye(3).ravel().tolist(), [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="affinities has the wrong shape"):
        _kernels.mixture_sums(
            problem.fixed.records().packed, moving, *pose, problem.neighbours, problem.affinities[1:], *settings
        )
    with pytest.raises(ValueError, match="as many terms on both sides"):
        sums_of(replace(problem, fixed=random_overlap(2, terms=1).fixed))
    with pytest.raises(ValueError, match="positive size"):
        MixtureRecords.of(np.zeros((2, 3)), np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="finite"):
        MixtureRecords.of(np.full((1, 3), np.nan), np.eye(3)[None])
