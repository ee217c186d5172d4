"""Motion blur and rolling shutters, row by row against the ray caster; hand tremor at any time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms import (
    HandheldMotion,
    Motion,
    Quad,
    Room,
    Surface,
    blurred_frame,
    curved_room,
    handheld_trajectory,
    procedural_texture,
    rolling_frame,
)
from posesplat.geometry.cameras import Camera

CAMERA = Camera(66.0, 66.0, 40.0, 30.0, 80, 60)


def moving_scene() -> tuple[Room, HandheldMotion]:
    """A room with a board that drifts, and a camera that trembles strongly."""
    room = curved_room(3)
    texture = procedural_texture("patches", np.random.default_rng(0), 0.15)
    place = room.default_view.inv() * RigidTransform.from_translation([0.0, 0.0, 0.8])
    board = Surface(Quad(0.4, 0.3), texture, place, Motion(velocity_m_s=(1.0, 0.3, 0.0)), "board")
    return replace(room, surfaces=(*room.surfaces, board)), HandheldMotion.random(7, 10, room.default_view, 0.1, 8.0)


def test_a_motion_at_its_frames_is_the_trajectory_and_smooth_between_them() -> None:
    start = curved_room(3).default_view
    motion = HandheldMotion.random(7, 20, start, 0.03, 2.0)
    frames = motion.at(np.arange(20) / 30)
    assert np.array_equal(frames.as_matrix(), handheld_trajectory(7, 20, start, 0.03, 2.0).as_matrix())
    assert np.allclose(motion.at(np.zeros(1))[0].as_matrix(), start.as_matrix(), atol=1e-12)
    # Fourth differences of a sum of waves up to 8 Hz, 1 ms apart, are tiny next to its size.
    fine = motion.at(np.arange(-100, 100) / 1000).inv().translation
    assert np.abs(np.diff(fine, 4, axis=0)).max() < (2 * np.pi * 8e-3) ** 4 * 0.06


def test_every_row_of_a_rolling_shutter_is_that_of_a_global_one_at_its_time() -> None:
    room, motion = moving_scene()
    frame = rolling_frame(room, CAMERA, motion.at, 0.2, 0.03)
    assert frame.timestamp == 0.2
    for row in (0, 17, 59):
        time_s = 0.2 + 0.03 * ((row + 0.5) / 60 - 0.5)
        whole = room.render(CAMERA, motion.at(np.array([time_s]))[0], time_s, supersample=1)
        # A row rendered alone has rays that differ in the last digit, which may cross an edge of a colour.
        assert np.mean(np.abs(frame.image[row].astype(int) - whole.image[row]).max(axis=-1) > 1) < 0.02
        assert np.mean(~np.isclose(frame.depth[row], whole.depth[row], atol=1e-6)) < 0.02
    still = room.render(CAMERA, motion.at(np.array([0.2]))[0], 0.2, supersample=1)
    assert np.abs(frame.image[0].astype(int) - still.image[0]).mean() > 3


def test_blur_is_the_mean_over_the_exposure() -> None:
    room, motion = moving_scene()
    frame = blurred_frame(room, CAMERA, motion.at, 0.2, 0.04, samples=4)
    moments = [0.185, 0.195, 0.205, 0.215]
    seen = [room.cast(CAMERA, motion.at(np.array([moment]))[0], moment).colour for moment in moments]
    assert np.abs(255 * np.mean(seen, axis=0) - frame.image).max() <= 0.5001
    assert np.abs(frame.image.astype(float) - 255 * seen[0]).mean() > 2
    assert np.array_equal(frame.depth, room.render(CAMERA, motion.at(np.array([0.2]))[0], 0.2, colour=False).depth)


def test_a_camera_at_rest_has_neither() -> None:
    room = curved_room(3)
    rest = HandheldMotion.random(7, 10, room.default_view, 0.0, 0.0)
    sharp = room.render(CAMERA, room.default_view, supersample=1)
    assert np.abs(blurred_frame(room, CAMERA, rest.at, 0.3, 0.03).image.astype(int) - sharp.image).max() <= 1
    rolled = rolling_frame(room, CAMERA, rest.at, 0.3, 0.03).image.astype(int)
    assert np.mean(np.abs(rolled - sharp.image).max(axis=-1) > 1) < 0.01


def test_exposures_that_make_no_sense_are_refused() -> None:
    room, motion = moving_scene()
    with pytest.raises(ValueError, match="at least 1 sample"):
        blurred_frame(room, CAMERA, motion.at, 0.0, 0.01, samples=0)
    with pytest.raises(ValueError, match="0 seconds"):
        blurred_frame(room, CAMERA, motion.at, 0.0, -0.01)
