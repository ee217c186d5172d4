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


@pytest.mark.parametrize("seed", [3, 4, 5])
@pytest.mark.parametrize("speed_px", [0.25, 0.5])
def test_a_slow_mover_is_not_taken_for_a_near_part_of_the_scene(seed: int, speed_px: float) -> None:
    # A little parallax and a long drift: a near board before a far scene fits all points within a fraction of a pixel.
    noisy = scene(seed, points=600, frames=24, shift=0.002, noise_px=0.04)
    sightings, moving = with_mover(noisy.sightings, 0.35, speed_px)
    found = searched_motion(sightings)
    assert not (found.kept & moving).any()
    assert found.other_share == pytest.approx(0.35, abs=0.08)
    assert found.unlike < 1.08
    gap, angle = pose_errors(found.motion.cam_from_reference(), noisy.cam_from_reference)
    assert gap.max() < 1e-3
    assert angle.max() < 0.05


@pytest.mark.parametrize("seed", [8, 9])
def test_a_rigid_scene_has_no_part_that_moves_unlike_the_rest(seed: int) -> None:
    found = searched_motion(scene(seed, points=400, noise_px=0.05, reference_noise_px=0.05).sightings)
    assert found.other_share == 0.0
    assert 1.0 <= found.unlike < 1.08


def test_an_image_that_bends_with_time_is_told_apart_from_a_rigid_scene() -> None:
    # A rolling shutter: lower rows have moved on by as much as half a frame's image motion.
    sightings = scene(10, points=400, noise_px=0.03).sightings
    late = (sightings.rays[:, 1] - sightings.rays[:, 1].min()) / np.ptp(sightings.rays[:, 1])
    sway = 3.0 * np.cos(1.7 * np.arange(len(sightings.seen)))
    offsets = sightings.offsets.copy()
    offsets[:, 0] += sway[:, None] * late
    assert searched_motion(replace(sightings, offsets=offsets)).unlike > 1.08


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
