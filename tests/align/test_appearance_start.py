"""A start from appearance alone, on a room whose true pose is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from align.mixture_rooms import CAMERA_A, CAMERA_B, room_sets
from posesplat.align.appearance_start import AppearanceOptions, appearance_start
from posesplat.geometry.poses import pose_errors


def test_it_comes_close_from_nothing() -> None:
    a, b, true = room_sets()
    start = appearance_start(a, b, threads=1)
    distance, angle = pose_errors(start.b_from_a, true)
    assert distance < 0.06 and angle < 2.0  # of 0.26 m and 14 degrees
    assert start.agreement > 0.1


def test_pairs_that_look_alike_are_often_the_same_place() -> None:
    a, b, true = room_sets()
    start = appearance_start(a, b, threads=1)
    count = len(start.scores)
    assert count > 200 and start.pixels_a.shape == start.pixels_b.shape == (count, 2)
    assert (start.pixels_a <= [CAMERA_A.width, CAMERA_A.height]).all()
    index = [int(np.nonzero((a.pixels == pixel).all(axis=1))[0][0]) for pixel in start.pixels_a]
    errors = np.linalg.norm(CAMERA_B.project(true.apply(a.means_in_cam[index])) - start.pixels_b, axis=1)
    right = errors < 6.0
    assert right.mean() > 0.3  # by chance: 0.2 %
    assert np.median(start.scores[right]) > np.median(start.scores[~right])


def test_a_seed_gives_one_answer() -> None:
    a, b, _ = room_sets()
    options = AppearanceOptions(sample=600, seed=3)
    one, two = (appearance_start(a, b, options, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.b_from_a.as_matrix(), two.b_from_a.as_matrix())


def test_sets_that_do_not_suit_are_refused() -> None:
    a, b, _ = room_sets()
    with pytest.raises(ValueError, match="needs features on both sets"):
        appearance_start(replace(a, features=None, trust=None), b)
    few = a.select(np.arange(10))
    start = appearance_start(few, b.select(np.arange(10)), threads=1)
    assert start.b_from_a is None and "at least 20 are needed" in start.reason
    with pytest.raises(ValueError, match="1 to 64 candidates"):
        AppearanceOptions(candidates=65)
