from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from align.small_motions import scene
from posesplat.align.sightings import Sightings
from posesplat.align.small_motion_search import (
    cheapest,
    point_lengths,
    reversed_depth,
    reweighted,
    searched_motion,
    with_depths,
)
from posesplat.geometry.poses import pose_errors


def with_mover(sightings: Sightings, share: float, speed_px: float) -> tuple[Sightings, np.ndarray]:
    """The points of one side of the image drift on their own; returns which."""
    moving = sightings.rays[:, 0] < np.quantile(sightings.rays[:, 0], share)
    drift = speed_px * np.arange(1, len(sightings.seen) + 1)
    offsets = sightings.offsets.copy()
    offsets[:, 0, moving] += drift[:, None]
    offsets[:, 1, moving] += 0.3 * drift[:, None]
    return replace(sightings, offsets=offsets), moving


def test_exact_depths_follow_from_exact_poses() -> None:
    exact = scene(1)
    found = with_depths(exact.sightings, exact.motion, iterations=20)
    np.testing.assert_allclose(found.inverse_depths, exact.inverse_depths, rtol=1e-6)


def test_the_depth_reversed_twin_explains_the_tracks_worse() -> None:
    exact = scene(2)
    candidates = [reversed_depth(exact.motion), exact.motion]
    assert cheapest(exact.sightings, candidates) is candidates[1]


@pytest.mark.parametrize("seed", [3, 4, 5])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.35])
def test_movers_are_left_out_and_the_rest_is_right(seed: int, share: float) -> None:
    noisy = scene(seed, points=300, noise_px=0.05)
    sightings, moving = with_mover(noisy.sightings, share, 1.5)
    found = searched_motion(sightings)
    assert not (found.kept & moving).any()
    assert found.kept[~moving].mean() > 0.95
    gap, angle = pose_errors(found.motion.cam_from_reference(), noisy.cam_from_reference)
    assert gap.max() < 1.5e-3
    assert angle.max() < 0.05


def test_poorly_tracked_points_count_less() -> None:
    exact = scene(6, points=100)
    sightings = exact.sightings
    sigma = np.where(np.arange(100) % 2 == 0, 0.05, 0.5)
    noise = sigma * np.random.default_rng(0).standard_normal(sightings.offsets.shape)
    weighted = reweighted(exact.motion, replace(sightings, offsets=sightings.offsets + noise))
    assert np.median(weighted.deviations[1::2]) / np.median(weighted.deviations[::2]) == pytest.approx(10, rel=0.2)
    assert point_lengths(exact.motion, sightings).max() < 1e-9


def test_equal_seeds_give_equal_answers() -> None:
    sightings, _ = with_mover(scene(7, noise_px=0.1).sightings, 0.3, 1.0)
    first, second = searched_motion(sightings), searched_motion(sightings)
    np.testing.assert_array_equal(first.motion.translations, second.motion.translations)
    np.testing.assert_array_equal(first.kept, second.kept)
