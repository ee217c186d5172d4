from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from align.small_motions import Scene, scene
from posesplat.align.small_motion import SmallMotion, adjusted, rotation_only
from posesplat.align.small_motion_trust import evidence, path_correlation, rotation_covariances


def test_path_correlation_is_that_of_textbooks() -> None:
    path = np.random.default_rng(0).standard_normal((20, 3))
    assert path_correlation(path, 3.0 * path + 5.0) == pytest.approx(1.0)
    assert path_correlation(path, -path) == pytest.approx(-1.0)
    assert path_correlation(path, np.ones((20, 3))) == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_a_translation_repeats_and_noise_does_not(seed: int) -> None:
    moving = scene(seed, points=600, noise_px=0.05, reference_noise_px=0.05)
    turning = scene(seed, points=600, shift=0.0, noise_px=0.05, reference_noise_px=0.05)
    told = [evidence(solved(clip), clip.sightings) for clip in (moving, turning)]
    assert told[0].repeatability > 0.95
    assert told[1].repeatability < 0.75
    assert told[0].cost_ratio > 3.0 > 1.5 > told[1].cost_ratio
    assert 0.05 < told[0].noise_px < np.hypot(0.05, 0.05)


def test_too_few_points_have_no_halves() -> None:
    few = scene(1, points=20, noise_px=0.05)
    assert np.isnan(evidence(solved(few), few.sightings).repeatability)


def solved(clip: Scene) -> SmallMotion:
    return adjusted(clip.sightings, rotation_only(clip.sightings), "geman-mcclure", max_iterations=60)


def test_rotation_covariances_are_the_scatter_of_repeated_measurements() -> None:
    errors, expected = [], []
    for trial in range(40):
        clip = scene(12, frames=4, points=200, shift=0.0)
        rng = np.random.default_rng(trial)
        tracks = clip.tracks
        noisy = replace(
            tracks,
            reference=tracks.reference + 0.1 * rng.standard_normal(tracks.reference.shape),
            pixels=tracks.pixels + 0.1 * rng.standard_normal(tracks.pixels.shape),
        )
        sightings = Scene(noisy, clip.cam_from_reference, clip.inverse_depths).sightings
        found = rotation_only(sightings)
        errors.append((found.cam_from_reference() * clip.cam_from_reference.inv()).rotation.as_rotvec())
        expected.append(np.trace(rotation_covariances(found, sightings), axis1=1, axis2=2))
    scatter = np.square(np.array(errors)).sum(axis=2).mean()
    assert scatter / np.mean(expected) == pytest.approx(1.0, abs=0.4)
