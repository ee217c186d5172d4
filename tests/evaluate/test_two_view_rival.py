"""Two-view geometry and PnP on perfect tracks, and on a rendered clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from align.small_motions import CAMERA, scene
from posesplat.evaluate.protocols.track_clips import ClipSpec, open_clip
from posesplat.evaluate.protocols.track_scores import scored
from posesplat.evaluate.two_view_rival import TwoViewOptions, tracked_poses, triangulated, two_view_trajectory
from posesplat.geometry.poses import pose_errors


def test_perfect_tracks_give_the_poses_up_to_scale() -> None:
    exact = scene(4, frames=8, points=150, shift=0.08, turn_deg=3.0)
    estimates = tracked_poses(exact.tracks, CAMERA)
    assert all(estimate.success for estimate in estimates)
    found = RigidTransform.concatenate([estimate.cam_from_world for estimate in estimates])
    lengths = np.linalg.norm(found.translation, axis=1)
    widest = int(np.argmin(np.abs(lengths - 1.0)))
    scale = np.linalg.norm(exact.cam_from_reference.translation[widest])
    unit = RigidTransform.from_components(scale * found.translation, found.rotation)
    translation, rotation = pose_errors(unit, exact.cam_from_reference)
    assert translation.max() < 1e-5
    assert rotation.max() < 1e-3


def test_points_are_where_two_rays_meet() -> None:
    rng = np.random.default_rng(2)
    points = np.column_stack([rng.uniform(-1, 1, (30, 2)), rng.uniform(2, 5, 30)])
    motion = RigidTransform.from_components([0.3, -0.1, 0.05], Rotation.from_rotvec([0.02, 0.1, -0.05]))
    found, ahead = triangulated(CAMERA.project(points), CAMERA.project(motion.apply(points)), CAMERA, motion)
    assert ahead.all()
    assert np.allclose(found, points, atol=1e-9)
    # With the motion turned round, the rays meet behind the cameras.
    backwards = RigidTransform.from_components(-motion.translation, motion.rotation)
    _, ahead = triangulated(CAMERA.project(points), CAMERA.project(motion.apply(points)), CAMERA, backwards)
    assert not ahead.any()


def test_frames_without_points_are_refused_and_the_others_are_not() -> None:
    exact = scene(4, frames=6, points=150, shift=0.08, turn_deg=3.0)
    seen = exact.tracks.seen.copy()
    seen[2] = False
    estimates = tracked_poses(replace(exact.tracks, seen=seen), CAMERA)
    assert [estimate.success for estimate in estimates] == [True, True, False, True, True, True]
    assert "0 points" in estimates[2].reason
    nothing = tracked_poses(replace(exact.tracks, seen=np.zeros_like(seen)), CAMERA)
    assert not any(estimate.success for estimate in nothing)


def test_a_rendered_clip_is_followed_up_to_scale() -> None:
    spec = ClipSpec(width=240, frames=4, translation_mm=80.0, rotation_deg=2.0, sigma=0.0, drift=0.0)
    clip = open_clip(spec)
    trajectory = two_view_trajectory(clip.frames)
    assert trajectory.posed.all()
    assert np.allclose(trajectory[0].cam_from_world.as_matrix(), np.eye(4))
    score = scored(trajectory, clip.cam_from_world)
    assert score.ate_mm < 2.0
    assert score.first_deg < 0.1


def test_wrong_input_is_refused() -> None:
    clip = open_clip(ClipSpec(room="curved", width=80, frames=3))
    with pytest.raises(ValueError, match="at least two frames"):
        two_view_trajectory(clip.frames[:1])
    with pytest.raises(ValueError, match="min_points"):
        TwoViewOptions(min_points=3)
