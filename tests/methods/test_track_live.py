"""Frames as they come: live tracking, and going on after an interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from methods.test_track_method import CAMERA, OPTIONS, clip, errors
from posesplat.geometry.frame import Frame, UnreadableFrame
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.track import Tracker, track
from posesplat.methods.track_state import TrackState

LIVE = replace(OPTIONS, causal=True)
SHORT = replace(OPTIONS, max_segment_frames=4)


def matrices(trajectory: Trajectory) -> np.ndarray:
    return trajectory.cam_from_world().as_matrix()


def test_a_live_tracker_gives_what_tracking_causally_gives() -> None:
    frames, _ = clip(0.03, 2.0)
    tracker = Tracker(CAMERA, LIVE)
    pushed = [tracker.push(frame) for frame in frames]
    batch = track(frames, LIVE)
    for live, estimate in zip(pushed, batch, strict=True):
        assert live.cam_from_world is not None
        assert estimate.cam_from_world is not None
        np.testing.assert_array_equal(live.cam_from_world.as_matrix(), estimate.cam_from_world.as_matrix())
        assert live.warnings == estimate.warnings


def test_a_live_pose_knows_nothing_of_later_frames() -> None:
    frames, _ = clip(0.03, 2.0)
    whole, part = track(frames, LIVE), track(frames[:7], LIVE)
    np.testing.assert_array_equal(matrices(whole)[:7], matrices(part))


def test_live_poses_become_accurate() -> None:
    frames, true = clip(0.03, 2.0)
    found = track(frames, LIVE)
    chosen = np.arange(7, len(frames))
    relative = true[chosen] * true[0].inv()
    estimated = found.cam_from_world()[chosen]
    turned = (estimated.rotation * relative.rotation.inv()).magnitude()
    assert np.degrees(turned).max() < 0.1
    assert np.corrcoef(estimated.translation.ravel(), relative.translation.ravel())[0, 1] > 0.99


def test_pushing_needs_a_causal_tracker() -> None:
    frames, _ = clip(0.03, 2.0)
    with pytest.raises(ValueError, match="causal=True"):
        Tracker(CAMERA, OPTIONS).push(frames[0])


def test_the_reference_stays_while_it_is_seen() -> None:
    """Segments of four frames of a hovering camera: no drift, as all are compared with the first frame."""
    frames, true = clip(0.03, 2.0)
    whole, short = (errors(track(frames, options), true) for options in (OPTIONS, SHORT))
    assert short[0] < 2.5 * whole[0] + 1e-5
    assert short[1] < 0.05


def test_an_interrupted_video_goes_on_to_the_same_end(tmp_path: Path) -> None:
    frames, _ = clip(0.03, 2.0)
    states: list[TrackState] = []
    whole = track(frames, SHORT, on_state=states.append)
    assert states
    state = states[len(states) // 2]
    done = len(state.done)
    assert 0 < done < len(frames)
    state.save(tmp_path / "state.npz")
    again = TrackState.load(tmp_path / "state.npz", CAMERA)
    told: list[str] = []
    resumed = track(frames[done:], SHORT, lambda name, _: told.append(name), resume=again)
    assert resumed.names == whole.names
    assert tuple(told) == whole.names[done:]
    np.testing.assert_allclose(matrices(resumed), matrices(whole), atol=1e-12)


def test_nothing_left_to_do_gives_what_was_done() -> None:
    frames, _ = clip(0.03, 2.0)
    states: list[TrackState] = []
    track(frames, SHORT, on_state=states.append)
    assert track([], SHORT, resume=states[-1]).names == states[-1].done.names


def test_another_camera_or_other_options_cannot_go_on() -> None:
    frames, _ = clip(0.03, 2.0)
    states: list[TrackState] = []
    track(frames, SHORT, on_state=states.append)
    with pytest.raises(ValueError, match="same ones"):
        track(frames[4:], OPTIONS, resume=states[0])


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="start anew"):
        TrackState.load(tmp_path / "state.npz", CAMERA)
    with pytest.raises(FileNotFoundError, match="start anew"):
        TrackState.load(tmp_path / "none.npz", CAMERA)


def test_an_unreadable_frame_keeps_its_place() -> None:
    frames, _ = clip(0.03, 2.0)
    damaged: list[Frame | UnreadableFrame] = [*frames[:3], UnreadableFrame("broken", 3.0, "cut short"), *frames[4:6]]
    found = track(damaged, OPTIONS)
    assert found.names[3] == "broken"
    assert [estimate.success for estimate in found] == [True, True, True, False, True, True]
    assert found[3].reason == "cut short"
    with pytest.raises(ValueError, match="first frame"):
        track(damaged[3:], OPTIONS)
