"""Masks of what moves: against a plain twin, an analytic board, and a rendered room with a moving board."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from align.small_motions import CAMERA, scene
from posesplat.align.motion_mask import MotionMaskRule, motion_mask, moving_points, scene_residuals
from posesplat.align.point_tracker import PointTracker
from posesplat.align.sightings import Sightings
from posesplat.align.small_motion_search import searched_motion
from posesplat.align.tracks import Tracks, corners, locally_normalised
from posesplat.datasets.rooms import (
    Motion,
    Quad,
    Surface,
    colour_noise,
    furnished_room,
    handheld_trajectory,
    procedural_texture,
    render_sequence,
)
from posesplat.geometry.cameras import Camera

SIZE = (480, 640)


def agreement(used: np.ndarray, moves: np.ndarray) -> tuple[float, float, float]:
    """Intersection over union, recall and precision of the masked part."""
    both = (~used & moves).sum()
    return both / (~used | moves).sum(), both / moves.sum(), both / max((~used).sum(), 1)


def test_votes_are_those_of_a_plain_twin() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.uniform((0, 0), (80, 60), size=(60, 2))
    moving = np.linalg.norm(pixels - [30, 25], axis=1) < 18
    rule = MotionMaskRule(margin=0.0)
    spread = np.sqrt(60 * 80 / 60)
    v, u = np.mgrid[:60, :80] + 0.5
    centres = np.floor(pixels) + 0.5
    votes = np.exp(-((u[..., None] - centres[:, 0]) ** 2 + (v[..., None] - centres[:, 1]) ** 2) / (2 * spread**2))
    excess = votes[..., moving].sum(axis=2) - votes[..., ~moving].sum(axis=2) - rule.doubt
    found = motion_mask(pixels, moving, (60, 80), rule)
    clear = np.abs(excess) > 0.02
    assert clear.mean() > 0.9 and (excess > 0).mean() > 0.05
    np.testing.assert_array_equal(found[clear], excess[clear] <= 0)


def test_nothing_is_masked_without_movers_and_by_a_lone_one() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.uniform((0, 0), (640, 480), size=(500, 2))
    assert motion_mask(pixels, np.zeros(500, dtype=bool), SIZE).all()
    assert motion_mask(pixels, np.arange(500) == 7, SIZE).all()
    assert motion_mask(np.zeros((0, 2)), np.zeros(0, dtype=bool), SIZE).all()
    outside = np.array([[-5.0, 10.0], [700.0, 10.0], [-5.0, 12.0], [-5.0, 14.0]])
    assert motion_mask(outside, np.ones(4, dtype=bool), SIZE).all()


def test_points_move_when_they_are_far_off_in_pixels_and_against_the_others() -> None:
    lengths = np.array([0.1, 0.1, 0.12, 0.1, 0.1, 0.9, 1.1, 30.0, np.nan])
    np.testing.assert_array_equal(np.flatnonzero(moving_points(lengths)), [6, 7])
    np.testing.assert_array_equal(np.flatnonzero(moving_points(20 * lengths)), [5, 6, 7])
    np.testing.assert_array_equal(np.flatnonzero(moving_points(lengths + 1.0)), [7])
    assert not moving_points(np.full(5, np.nan)).any()


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_board_that_drifts_is_masked_in_every_frame(share: float) -> None:
    """Exact tracks with a rectangle of points that drift over the picture: the mask is the rectangle, where it went."""
    still = scene(3, frames=8, points=800, noise_px=0.1)
    half = 0.5 * np.sqrt(share) * np.array([640.0, 480.0])
    centre = np.array([300.0, 250.0])
    moves = np.all(np.abs(still.tracks.reference - centre) < half, axis=1)
    drift = np.linspace(0, 1, 9)[1:, None] * [20.0, 8.0]
    pixels = np.where(moves[None, :, None], still.tracks.reference + drift[:, None], still.tracks.pixels)
    tracks = Tracks(still.tracks.reference, pixels, still.tracks.seen)
    found = searched_motion(Sightings.of(tracks, CAMERA))
    moving = moving_points(scene_residuals(found.motion, Sightings.of(tracks, CAMERA)))
    assert moving[moves].mean() > 0.98 and moving[~moves].mean() < 0.02
    v, u = np.mgrid[:480, :640] + 0.5
    for places, at in ((tracks.reference, centre), (tracks.pixels[-1], centre + drift[-1])):
        board = (np.abs(u - at[0]) < half[0]) & (np.abs(v - at[1]) < half[1])
        overlap, recall, _ = agreement(motion_mask(places, moving, SIZE), board)
        assert overlap > 0.8 and recall > 0.9


def test_a_moving_board_in_a_room_is_masked() -> None:
    camera = Camera.from_fov(62.7, 320, 240)
    room = furnished_room(1)
    poses = handheld_trajectory(5, 8, room.default_view, 0.005, 0.5)
    texture = procedural_texture("patches", np.random.default_rng(2), 0.15)
    in_cam = RigidTransform.from_translation([0.1, 0.0, 1.0])
    drift = Motion(velocity_m_s=(0.2, 0.05, 0.0))
    board = Surface(Quad(0.55, 0.42), texture, poses[0].inv() * in_cam, drift, "board")
    room = replace(room, surfaces=(*room.surfaces, board))
    images = [
        colour_noise(frame, seed=index, sigma=2.0).image
        for index, frame in enumerate(render_sequence(room, camera, poses, supersample=1))
    ]
    normalised = [locally_normalised(image) for image in images]
    places = corners(normalised[0])
    tracker = PointTracker(normalised[0], places, camera)
    tracks = Tracks.gathered(places, [tracker.follow(image) for image in normalised[1:]])
    tracks = tracks.select(tracks.seen.mean(axis=0) >= 0.5)
    sightings = Sightings.of(tracks, camera)
    moving = moving_points(scene_residuals(searched_motion(sightings).motion, sightings))
    for index, pixels, seen in ((0, tracks.reference, slice(None)), (7, tracks.pixels[-1], tracks.seen[-1])):
        ids = room.cast(camera, poses[index], index / 30.0, colour=False).surface_ids
        moves = ids == len(room.surfaces) - 1
        overlap, recall, precision = agreement(motion_mask(pixels[seen], moving[seen], (240, 320)), moves)
        assert 0.1 < moves.mean() < 0.3
        assert overlap > 0.7 and recall > 0.9 and precision > 0.7


def test_wrong_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="reach > 0"):
        MotionMaskRule(reach=0.0)
