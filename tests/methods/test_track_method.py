from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.align.tracks import CornerOptions
from posesplat.datasets.rooms import colour_noise, furnished_room, handheld_trajectory, render_sequence
from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.alignment import aligned
from posesplat.evaluate.metrics import absolute_trajectory_error
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.track import track
from posesplat.methods.track_options import TrackOptions
from posesplat.methods.track_segment import UNOBSERVABLE_VARIANCE

CAMERA = Camera(260.0, 260.0, 160.0, 120.0, 320, 240)
OPTIONS = TrackOptions(corners=CornerOptions(max_points=600))
ROOM = furnished_room(1)


def rendered(poses: RigidTransform, noise: float = 1.0, drift: float = 0.02) -> list[Frame]:
    frames = render_sequence(ROOM, CAMERA, poses, supersample=1)
    return [
        replace(colour_noise(frame, 50 + index, noise, 1.0 + drift * np.sin(index)), depth=None)
        for index, frame in enumerate(frames)
    ]


@functools.cache
def clip(translation_m: float, rotation_deg: float, count: int = 12) -> tuple[list[Frame], RigidTransform]:
    """A hand-held camera in the furnished room, with noise and drifting exposure, and its true poses."""
    poses = handheld_trajectory(4, count, ROOM.default_view, translation_m, rotation_deg)
    return rendered(poses), poses


def errors(trajectory: Trajectory, true: RigidTransform) -> tuple[float, float]:
    """RMS error of centres after the best similarity in metres, largest error of a rotation to the first in degrees."""
    estimated = trajectory.cam_from_world()
    moved, _ = aligned(estimated, true, "sim3")
    turned, true_turned = (poses.rotation * poses[0].rotation.inv() for poses in (estimated, true))
    angle = np.degrees((turned * true_turned.inv()).magnitude()).max()
    return absolute_trajectory_error(moved, true).translation_statistics.rmse, float(angle)


def test_a_hand_held_clip_is_tracked_to_a_small_part_of_its_motion() -> None:
    frames, true = clip(0.03, 2.0)
    trajectory = track(frames, OPTIONS)
    assert trajectory.posed.all()
    assert all(estimate.scale.metric is False and estimate.scale.source == "unknown" for estimate in trajectory)
    translation, rotation = errors(trajectory, true)
    assert translation < 0.02 * 0.03
    assert rotation < 0.05


def test_the_first_frame_is_the_world() -> None:
    frames, _ = clip(0.03, 2.0)
    first = track(frames[:3], OPTIONS)[0].cam_from_world
    assert first is not None
    np.testing.assert_array_equal(first.as_matrix(), np.eye(4))


def test_covariances_hold_the_true_errors() -> None:
    frames, true = clip(0.03, 2.0)
    trajectory = track(frames, OPTIONS)
    relative = true * true[0].inv()
    estimated = trajectory.cam_from_world()
    scale = np.sum(estimated.translation * relative.translation) / np.sum(relative.translation**2)
    scaled = RigidTransform.from_components(scale * relative.translation, relative.rotation)
    distances = []
    for estimate, pose in zip(list(trajectory)[1:], scaled[1:], strict=True):
        assert estimate.cam_from_world is not None
        assert estimate.covariance is not None
        tangent = (estimate.cam_from_world * pose.inv()).as_exp_coords()
        distances.append(tangent @ np.linalg.solve(estimate.covariance, tangent))
    assert np.mean(np.array(distances) < 12.59) > 0.8  # the 95 % point of chi-squared with 6 degrees


@pytest.mark.parametrize("rotation_deg", [0.0, 2.0])
def test_without_translation_only_the_rotation_is_told(rotation_deg: float) -> None:
    frames, true = clip(0.0, rotation_deg)
    trajectory = track(frames, OPTIONS)
    relative = true * true[0].inv()
    for estimate, pose in zip(list(trajectory)[1:], relative[1:], strict=True):
        assert estimate.cam_from_world is not None
        assert estimate.covariance is not None
        assert any("translation unobservable" in warning for warning in estimate.warnings)
        assert np.diag(estimate.covariance)[3:].min() >= UNOBSERVABLE_VARIANCE
        assert np.degrees((estimate.cam_from_world.rotation * pose.rotation.inv()).magnitude()) < 0.01


def test_mirrored_video_gives_the_mirrored_path() -> None:
    frames, _ = clip(0.03, 2.0)
    mirrored = [replace(frame, image=np.ascontiguousarray(frame.image[:, ::-1])) for frame in frames]
    flip = np.array([-1.0, 1.0, 1.0])
    centres, other = (track(each, OPTIONS).world_from_cam().translation for each in (frames, mirrored))
    correlation = np.sum(centres * other * flip) / np.linalg.norm(centres) / np.linalg.norm(other)
    assert correlation > 0.995


def test_equal_seeds_give_equal_trajectories_whatever_holds_the_frames() -> None:
    frames, _ = clip(0.03, 2.0)
    listed, streamed = track(frames, OPTIONS), track(iter(FrameSequence.from_frames(frames)), OPTIONS)
    np.testing.assert_array_equal(listed.cam_from_world().as_matrix(), streamed.cam_from_world().as_matrix())


def test_segments_share_one_scale() -> None:
    frames, true = clip(0.06, 3.0, 12)
    whole = track(frames, OPTIONS)
    pieces = track(frames, replace(OPTIONS, max_segment_frames=4))
    assert pieces.posed.all()
    for trajectory in (whole, pieces):
        translation, _ = errors(trajectory, true)
        assert translation < 0.04 * 0.06
    # Uncertainty grows from anchor to anchor.
    first, last = (pieces[index].covariance for index in (4, 11))
    assert first is not None
    assert last is not None
    assert np.trace(last) > np.trace(first)


def test_a_camera_that_first_stands_still_is_tracked_once_it_moves() -> None:
    frames, true = clip(0.03, 2.0)
    still = rendered(RigidTransform.concatenate([true[0]] * 6))
    trajectory = track([*still, *frames[1:]], replace(OPTIONS, max_segment_frames=5))
    assert trajectory.posed.all()
    assert all("unobservable" in estimate.warnings[0] for estimate in list(trajectory)[1:6])
    moving = trajectory.select(np.arange(5, 17))
    translation, _ = errors(moving, true)
    assert translation < 0.03 * 0.03
    covariance = moving[-1].covariance
    assert covariance is not None
    assert covariance[3, 3] < 1e-4


def test_frames_that_cannot_be_tracked_are_refused_and_the_rest_is_not() -> None:
    frames, true = clip(0.03, 2.0)
    dark, blank = (np.full((240, 320, 3), grey, np.uint8) for grey in (2, 180))
    broken = [*frames]
    broken[4], broken[7] = replace(frames[4], image=dark), replace(frames[7], image=blank)
    trajectory = track(broken, OPTIONS)
    assert np.flatnonzero(~trajectory.posed).tolist() == [4, 7]
    assert "too dark" in trajectory[4].reason
    assert "blank" in trajectory[7].reason
    translation, _ = errors(trajectory, true[np.flatnonzero(trajectory.posed)])
    assert translation < 0.02 * 0.03


def test_a_cut_is_told_and_frames_from_before_it_keep_their_poses() -> None:
    frames, _ = clip(0.03, 2.0)
    behind = ROOM.sample_views(np.random.default_rng(8), 1)[0]
    other = rendered(handheld_trajectory(9, 3, behind, 0.03, 2.0))
    trajectory = track([*frames[:6], *other, *frames[6:8]], OPTIONS)
    assert trajectory.posed.tolist() == [True] * 6 + [False] * 3 + [True] * 2
    assert all("a cut in the video" in trajectory[index].reason for index in (6, 7, 8))


def test_one_two_and_no_frames() -> None:
    frames, _ = clip(0.03, 2.0)
    alone = track(frames[:1], OPTIONS)
    assert len(alone) == 1
    assert alone[0].success
    pair = track([frames[0], frames[8]], OPTIONS)
    assert pair.posed.all()
    with pytest.raises(ValueError, match="at least one frame; got none"):
        track([])


def test_a_dark_video_has_no_poses() -> None:
    dark = Frame(CAMERA, np.full((240, 320, 3), 3, np.uint8))
    trajectory = track([dark, dark, dark])
    assert not trajectory.posed.any()
    assert all("too dark" in estimate.reason for estimate in trajectory)


def test_estimates_are_told_in_order_and_complete() -> None:
    frames, _ = clip(0.03, 2.0)
    told: list[tuple[str, bool]] = []
    trajectory = track(
        frames, replace(OPTIONS, max_segment_frames=5), lambda name, estimate: told.append((name, estimate.success))
    )
    assert told == [(name, estimate.success) for name, estimate in zip(trajectory.names, trajectory, strict=True)]


def test_wrong_frames_are_refused() -> None:
    frames, _ = clip(0.03, 2.0)
    depth_only = Frame(CAMERA, None, np.ones((240, 320), np.float32), "000009")
    with pytest.raises(ValueError, match="'000009' has depth only"):
        track([frames[0], depth_only])
    other = replace(frames[1], camera=replace(CAMERA, fx=300.0))
    with pytest.raises(ValueError, match="must have the camera"):
        track([frames[0], other])


@pytest.mark.parametrize("change", [{"min_survivors": 0.0}, {"min_points": 3}, {"max_segment_frames": 0}])
def test_impossible_options_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="TrackOptions needs"):
        TrackOptions(**change)
