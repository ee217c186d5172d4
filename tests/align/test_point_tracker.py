from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from align.small_motions import CAMERA
from posesplat.align.point_tracker import PointTracker, TrackerOptions
from posesplat.align.tracks import corners, locally_normalised

_WAVES = np.random.default_rng(5).normal(scale=(30.0, 30.0), size=(60, 2))
_PHASES = np.random.default_rng(6).uniform(0, 6.3, 60)


def seen_by(rotation: Rotation, shift_px: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """A sum of waves painted on the sphere of directions, seen exactly by a turned camera; then shifted."""
    rows, columns = np.mgrid[0:480, 0:640] + 0.5
    rays = np.stack(
        [
            (columns - shift_px[0] - CAMERA.cx) / CAMERA.fx,
            (rows - shift_px[1] - CAMERA.cy) / CAMERA.fy,
            np.ones_like(rows),
        ],
        axis=-1,
    )
    turned = rays @ rotation.as_matrix()  # reference_from_camera
    place = turned[..., :2] / turned[..., 2:]
    value = sum(np.sin(place @ wave + phase) for wave, phase in zip(_WAVES, _PHASES, strict=True))
    grey = np.clip(np.rint(128 + 12 * value), 0, 255).astype(np.uint8)
    return locally_normalised(np.repeat(grey[..., None], 3, axis=2))


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return seen_by(Rotation.identity())


@pytest.fixture(scope="module")
def points(reference: np.ndarray) -> np.ndarray:
    return corners(reference)


def test_a_shift_of_a_part_of_a_pixel_is_found(reference: np.ndarray, points: np.ndarray) -> None:
    pixels, seen = PointTracker(reference, points, CAMERA).follow(seen_by(Rotation.identity(), (2.3, -1.6)))
    assert seen.mean() > 0.9
    error = (pixels - points - [2.3, -1.6])[seen]
    assert np.abs(np.median(error, axis=0)).max() < 0.01
    assert np.median(np.abs(error)) < 0.03


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_turn_moves_points_as_its_homography_does(axis: str, reference: np.ndarray, points: np.ndarray) -> None:
    tracker = PointTracker(reference, points, CAMERA)
    for degrees in (1.5, 3.0):
        turn = Rotation.from_euler(axis, degrees, degrees=True)
        pixels, seen = tracker.follow(seen_by(turn))
        rays = np.column_stack([(points - [CAMERA.cx, CAMERA.cy]) / [CAMERA.fx, CAMERA.fy], np.ones(len(points))])
        error = (pixels - CAMERA.project(turn.apply(rays)))[seen]
        assert seen.mean() > 0.7
        assert np.abs(np.median(error, axis=0)).max() < 0.01
        assert np.median(np.abs(error)) < 0.08


def test_what_is_covered_is_lost_and_found_again(reference: np.ndarray, points: np.ndarray) -> None:
    tracker = PointTracker(reference, points, CAMERA)
    covered = reference.copy()
    covered[:, :320] = np.random.default_rng(0).integers(0, 255, (480, 320))
    _, seen = tracker.follow(covered)
    left, right = points[:, 0] < 300, points[:, 0] > 340
    assert seen[left].mean() < 0.05
    assert seen[right].mean() > 0.95
    assert tracker.follow(reference)[1].mean() > 0.95


def test_another_picture_has_none_of_the_points(reference: np.ndarray, points: np.ndarray) -> None:
    other = np.random.default_rng(1).integers(0, 255, (480, 640)).astype(np.uint8)
    assert PointTracker(reference, points, CAMERA).follow(other)[1].mean() < 0.02


def test_a_leap_is_followed_when_it_is_expected(reference: np.ndarray, points: np.ndarray) -> None:
    turn = Rotation.from_euler("YXZ", [6.0, -4.0, 30.0], degrees=True)
    wrong = Rotation.from_euler("YXZ", [1.0, 1.0, 2.0], degrees=True) * turn
    rays = np.column_stack([(points - [CAMERA.cx, CAMERA.cy]) / [CAMERA.fx, CAMERA.fy], np.ones(len(points))])
    true, thought = (CAMERA.project(each.apply(rays)) for each in (turn, wrong))
    there = seen_by(turn)
    bare = TrackerOptions(rescue_share=0.0)
    assert PointTracker(reference, points, CAMERA, bare).follow(there)[1].mean() < 0.1
    tracker = PointTracker(reference, points, CAMERA)
    tracker.expect(thought)
    for _ in range(2):
        pixels, seen = tracker.follow(there)
        assert seen.mean() > 0.6
        error = (pixels - true)[seen]
        assert np.abs(np.median(error, axis=0)).max() < 0.04
        assert np.median(np.abs(error)) < 0.2


def test_expected_places_must_be_places(reference: np.ndarray, points: np.ndarray) -> None:
    tracker = PointTracker(reference, points, CAMERA)
    wrong = points.copy()
    wrong[3] = np.nan
    with pytest.raises(ValueError, match="expect needs a finite place"):
        tracker.expect(wrong)


def test_no_points_are_none_found(reference: np.ndarray) -> None:
    pixels, seen = PointTracker(reference, np.zeros((0, 2)), CAMERA).follow(reference)
    assert pixels.shape == (0, 2)
    assert seen.shape == (0,)


@pytest.mark.parametrize(
    "change", [{"window_px": 20}, {"coarse_window_px": 3}, {"fine_levels": -1}, {"max_round_trip_px": 0.0}]
)
def test_impossible_options_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="TrackerOptions needs"):
        TrackerOptions(**change)
