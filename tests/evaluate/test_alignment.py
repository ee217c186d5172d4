from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate.alignment import Similarity, aligned, umeyama

POINTS = np.random.default_rng(3).normal(size=(20, 3))
KNOWN = Similarity(Rotation.from_rotvec([0.3, -1.1, 2.0]), np.array([4.0, -2.0, 0.5]), 2.5)


def random_cameras(count: int, seed: int) -> RigidTransform:
    random = np.random.default_rng(seed)
    return RigidTransform.from_components(random.normal(size=(count, 3)), Rotation.random(count, rng=random))


def test_a_known_similarity_is_recovered_exactly() -> None:
    found = umeyama(POINTS, KNOWN.apply(POINTS), with_scale=True)
    assert found.scale == pytest.approx(2.5, abs=1e-12)
    assert (found.rotation * KNOWN.rotation.inv()).magnitude() < 1e-12
    np.testing.assert_allclose(found.translation, KNOWN.translation, atol=1e-12)


def test_without_scale_the_rotation_is_kabsch() -> None:
    noisy = Similarity(KNOWN.rotation, KNOWN.translation).apply(POINTS)
    noisy = noisy + np.random.default_rng(4).normal(scale=0.1, size=POINTS.shape)
    found = umeyama(POINTS, noisy, with_scale=False)
    kabsch, _ = Rotation.align_vectors(noisy - noisy.mean(axis=0), POINTS - POINTS.mean(axis=0))
    assert found.scale == 1.0
    assert (found.rotation * kabsch.inv()).magnitude() < 1e-9


def test_mirrored_points_still_give_a_rotation() -> None:
    found = umeyama(POINTS, POINTS * [1.0, 1.0, -1.0], with_scale=False)
    assert np.linalg.det(found.rotation.as_matrix()) == pytest.approx(1.0)


def test_scale_is_the_least_squares_one() -> None:
    random = np.random.default_rng(5)
    noisy = KNOWN.apply(POINTS) + random.normal(scale=0.2, size=POINTS.shape)
    found = umeyama(POINTS, noisy, with_scale=True)
    best = np.sum((found.apply(POINTS) - noisy) ** 2)
    for change in (0.99, 1.01):
        changed = Similarity(found.rotation, found.translation, found.scale * change)
        assert np.sum((changed.apply(POINTS) - noisy) ** 2) > best


def test_moved_cameras_see_moved_points_in_the_same_place_up_to_scale() -> None:
    cameras = random_cameras(7, seed=6)
    moved = KNOWN.moved_cameras(cameras)
    for before, after in zip(cameras, moved, strict=True):
        np.testing.assert_allclose(after.apply(KNOWN.apply(POINTS)), KNOWN.scale * before.apply(POINTS), atol=1e-9)


@pytest.mark.parametrize(("align", "scale"), [("se3", 1.0), ("sim3", 2.5)])
def test_aligned_cameras_fall_on_the_true_ones(align: str, scale: float) -> None:
    estimated = random_cameras(9, seed=7)
    true = Similarity(KNOWN.rotation, KNOWN.translation, scale).moved_cameras(estimated)
    moved, similarity = aligned(estimated, true, align)
    assert similarity.scale == pytest.approx(scale)
    np.testing.assert_allclose(moved.as_matrix(), true.as_matrix(), atol=1e-9)


def test_no_alignment_leaves_poses_alone() -> None:
    estimated = random_cameras(2, seed=8)
    moved, similarity = aligned(estimated, random_cameras(2, seed=9), "none")
    np.testing.assert_array_equal(moved.as_matrix(), estimated.as_matrix())
    assert similarity.to_json() == {"scale": 1.0, "matrix": np.eye(4).tolist()}


@pytest.mark.parametrize("offset", [0.0, 1e5])
@pytest.mark.parametrize(
    ("points", "message"),
    [
        (POINTS[:2], "at least 3 pairs of poses; got 2"),
        (np.ones((5, 3)), "stands still"),
        (np.outer(np.arange(5.0), [1.0, 2.0, 3.0]), "straight line"),
    ],
)
def test_degenerate_trajectories_are_refused(points: np.ndarray, message: str, offset: float) -> None:
    with pytest.raises(ValueError, match=message):
        umeyama(points + offset, KNOWN.apply(points), with_scale=True)


def test_a_millimetre_of_motion_is_enough() -> None:
    found = umeyama(1e-3 * POINTS + 100.0, KNOWN.apply(1e-3 * POINTS + 100.0), with_scale=True)
    assert found.scale == pytest.approx(2.5, rel=1e-6)
