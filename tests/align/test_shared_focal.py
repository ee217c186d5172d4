from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.shared_focal import shared_focal
from posesplat.geometry.cameras import Camera
from posesplat.geometry.matches import Matches

GUESS = Camera(960.0, 960.0, 400.0, 300.0, 800, 600)


def seen(focal: float, b_from_a: RigidTransform, count: int = 300, noise_px: float = 0.2, wrong: int = 30) -> Matches:
    rng = np.random.default_rng(0)
    camera = Camera(focal, focal, 400.0, 300.0, 800, 600)
    points = rng.uniform((-2, -1.5, 4), (2, 1.5, 8), (count, 3))
    a, b = camera.project(points), camera.project(b_from_a.apply(points))
    b[:wrong] = rng.uniform(0, 600, (wrong, 2))
    return Matches(
        a + noise_px * rng.standard_normal(a.shape), b + noise_px * rng.standard_normal(b.shape), np.ones(count)
    )


@pytest.mark.parametrize("focal", [500.0, 700.0, 1500.0])
def test_a_turn_and_a_step_tell_the_focal_length(focal: float) -> None:
    pose = RigidTransform.from_components([-1.0, 0.3, 0.4], Rotation.from_euler("xyz", [4, 15, 5], degrees=True))
    found = shared_focal(seen(focal, pose), GUESS)
    assert found.focal_px == pytest.approx(focal, rel=0.03)
    low, high = found.interval_px
    assert low <= found.focal_px <= high
    assert low - 0.02 * focal <= focal <= high + 0.02 * focal


def test_parallel_views_do_not_tell_it() -> None:
    found = shared_focal(seen(700.0, RigidTransform.from_translation([-1.0, 0.0, 0.0]), noise_px=0.5), GUESS)
    assert found.focal_px is None
    assert found.reason


def test_few_matches_do_not_tell_it() -> None:
    found = shared_focal(Matches.none(), GUESS)
    assert found.focal_px is None
    assert "0 matches" in found.reason
