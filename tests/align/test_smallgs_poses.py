"""SmallGS's poses: their nine numbers, the smoothness of a path, and the derivative of the pictures' difference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from align.test_smallgs_splats import rough_splats, slopes, twin_cloud
from kernels import twin
from posesplat.align.smallgs_fit import Target
from posesplat.align.smallgs_options import SmallgsOptions
from posesplat.align.smallgs_poses import (
    find_poses,
    path_smoothness,
    pictures_loss,
    rotation_from_rows,
    rows_gradient,
    smoothness,
)
from posesplat.align.smallgs_splats import Splats
from posesplat.geometry.cameras import Camera

CAMERA = Camera(20.0, 21.0, 9.5, 7.5, 20, 15)


def random_rows(count: int = 6) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(count, 6)) + [1, 0, 0, 0, 1, 0]


def test_rows_become_rotations_by_gram_schmidt() -> None:
    """The QR decomposition of the two columns, its signs set so that they turn as little as possible."""
    rows = random_rows()
    for matrix, row in zip(rotation_from_rows(rows), rows, strict=True):
        q, r = np.linalg.qr(row.reshape(2, 3).T)
        np.testing.assert_allclose(matrix[:2], (q * np.sign(np.diag(r))).T, atol=1e-12)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1)
    turns = Rotation.random(5, rng=np.random.default_rng(0)).as_matrix()
    np.testing.assert_allclose(rotation_from_rows(3 * turns[:, :2].reshape(5, 6)), turns, atol=1e-12)


def test_derivative_for_the_rows() -> None:
    rows, weights = random_rows(), np.random.default_rng(3).normal(size=(6, 3, 3))
    expected = slopes(lambda moved: float(np.sum(weights * rotation_from_rows(moved))), rows)
    np.testing.assert_allclose(rows_gradient(rows, weights), expected, atol=1e-7)


def test_smoothness_sums_the_bends_of_a_path() -> None:
    path = np.random.default_rng(4).normal(size=(7, 3))
    value, slope = smoothness(path)
    assert value == pytest.approx(sum(np.linalg.norm(path[i + 1] - 2 * path[i] + path[i - 1]) for i in range(1, 6)))
    np.testing.assert_allclose(slope, slopes(lambda moved: smoothness(moved)[0], path), atol=1e-7)
    straight = np.linspace(0, 1, 5)[:, None] * np.array([4.0, 8.0, -4.0])
    value, slope = smoothness(straight)
    assert value == 0
    assert (slope == 0).all()
    assert smoothness(path[:2])[0] == 0


def test_smoothness_ties_the_path_to_its_anchor_or_as_published_does_not() -> None:
    rng = np.random.default_rng(5)
    centres, turns = rng.normal(size=(4, 3)), Rotation.random(4, rng=rng).as_matrix()
    value, by_centres, by_turns = path_smoothness(centres, turns)
    assert value == pytest.approx(smoothness(np.vstack([np.zeros(3), centres]))[0])
    np.testing.assert_allclose(by_centres, slopes(lambda c: path_smoothness(c, turns)[0], centres), atol=1e-7)
    assert (by_turns == 0).all()

    matrices = np.tile(np.eye(4), (4, 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = turns, centres
    published = sum(
        np.linalg.norm((matrices[i + 1] - matrices[i]) - (matrices[i] - matrices[i - 1])) for i in range(1, 3)
    )
    value, by_centres, by_turns = path_smoothness(centres, turns, published_faults=True)
    assert value == pytest.approx(published)
    np.testing.assert_allclose(by_centres, slopes(lambda c: path_smoothness(c, turns, True)[0], centres), atol=1e-7)
    np.testing.assert_allclose(by_turns, slopes(lambda r: path_smoothness(centres, r, True)[0], turns), atol=1e-7)


def scene_and_targets() -> tuple[Splats, list[Target]]:
    rng = np.random.default_rng(6)
    targets = []
    for _ in range(2):
        static = np.ones((15, 20), bool)
        static[rng.integers(12), rng.integers(16) :] = False
        targets.append(Target(CAMERA, rng.uniform(size=(15, 20, 3)).astype(np.float32), static))
    return rough_splats(40), targets


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_derivative_of_the_pictures_for_the_nine_numbers(loss: str) -> None:
    """The whole way down: Gram-Schmidt, inverse, projection, compositing, view-dependent colour, mask, mean."""
    splats, targets = scene_and_targets()
    raw = {name: array.astype(np.float64) for name, array in splats.arrays.items()}
    numbers = 0.05 * np.random.default_rng(7).normal(size=(2, 9))
    first = np.array([1.0, 0, 0, 0, 1, 0])

    def twin_loss(moved: np.ndarray) -> float:
        total = 0.0
        for target, row in zip(targets, moved, strict=True):
            turn = Rotation.from_matrix(rotation_from_rows(row[None, 3:] + first)[0])
            pose = RigidTransform.from_components(row[:3], turn).inv()
            images = twin.render(twin_cloud(raw, row[:3]), CAMERA, pose)
            gap = (images.channels * images.alpha[..., None] - target.picture) * target.static[..., None]
            total += float(np.mean(np.abs(gap) if loss == "l1" else gap**2)) / 2
        return total

    rows = numbers[:, 3:] + first
    value, by_centres, by_turns = pictures_loss(
        splats, targets, rotation_from_rows(rows), numbers[:, :3], SmallgsOptions(loss=loss)
    )
    assert value == pytest.approx(twin_loss(numbers), rel=1e-5)
    found = np.concatenate([by_centres, rows_gradient(rows, by_turns)], axis=1)
    expected = slopes(twin_loss, numbers)
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


def test_pictures_that_are_not_finite_end_the_search() -> None:
    splats, targets = scene_and_targets()
    targets[1].picture[3, 3] = np.nan
    found = find_poses(splats, targets, SmallgsOptions(pose_steps=5))
    assert not np.isfinite(found.loss)
    assert found.steps == 1
