"""Random starts and trajectories: exact magnitudes, smoothness, free space, seeds."""

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms import (
    box_room,
    corridor,
    furnished_room,
    handheld_trajectory,
    random_perturbation,
    walk_trajectory,
)
from posesplat.geometry.poses import perturbed, pose_errors


@pytest.mark.parametrize(("translation_m", "rotation_deg"), [(0.01, 0.5), (0.05, 3.0), (0.2, 10.0), (0.0, 5.0)])
def test_a_perturbed_camera_is_off_by_exactly_what_was_asked(translation_m, rotation_deg):
    rng = np.random.default_rng(0)
    view = box_room(0).default_view
    for _ in range(20):
        tangent = random_perturbation(rng, translation_m, rotation_deg)
        gap, angle = pose_errors(perturbed(view, tangent), view)
        assert gap == pytest.approx(translation_m, abs=1e-12)
        assert angle == pytest.approx(rotation_deg, abs=1e-9)
        assert np.linalg.norm(tangent[:3]) == pytest.approx(np.radians(rotation_deg), abs=1e-12)


def test_perturbation_directions_are_even_over_the_sphere():
    rng = np.random.default_rng(1)
    tangents = np.array([random_perturbation(rng, 1.0, 0.01) for _ in range(2000)])
    for part in (tangents[:, :3], tangents[:, 3:]):
        unit = part / np.linalg.norm(part, axis=-1, keepdims=True)
        assert np.abs(unit.mean(axis=0)).max() < 0.06
        assert np.abs(unit.T @ unit / 2000 - np.eye(3) / 3).max() < 0.03


def test_a_hand_held_camera_starts_at_its_start_and_reaches_its_amplitudes():
    start = furnished_room(0).default_view
    motion = handheld_trajectory(4, 90, start, translation_m=0.03, rotation_deg=2.0, rate_hz=30.0)
    gap, angle = pose_errors(motion, RigidTransform.concatenate([start] * 90))
    assert gap[0] == pytest.approx(0, abs=1e-12) and angle[0] == pytest.approx(0, abs=1e-5)
    assert gap.max() == pytest.approx(0.03, abs=1e-12)
    assert angle.max() == pytest.approx(2.0, abs=1e-9)
    assert (handheld_trajectory(4, 90, start, 0.03, 2.0).as_matrix() == motion.as_matrix()).all()
    assert not np.allclose(handheld_trajectory(5, 90, start, 0.03, 2.0).as_matrix(), motion.as_matrix())


def test_a_hand_held_camera_moves_smoothly():
    centres = handheld_trajectory(0, 300, None, 0.05, 2.0, rate_hz=30.0).inv().translation
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=-1)
    assert steps.max() < 0.02
    fast = handheld_trajectory(0, 3000, None, 0.05, 2.0, rate_hz=300.0).inv().translation
    assert np.linalg.norm(np.diff(fast, axis=0), axis=-1).max() < 0.15 * steps.max()


def test_a_single_frame_and_no_motion_are_the_start():
    start = box_room(0).default_view
    assert np.allclose(handheld_trajectory(0, 1, start).as_matrix()[0], start.as_matrix())
    still = handheld_trajectory(0, 5, start, 0.0, 0.0)
    assert np.allclose(still.as_matrix(), start.as_matrix())
    with pytest.raises(ValueError, match="count"):
        handheld_trajectory(0, 0)


@pytest.mark.parametrize("room", [box_room(0), furnished_room(1), furnished_room(2), corridor(0)], ids=lambda r: r.name)
def test_a_walk_keeps_its_speed_and_its_distance(room):
    walk = walk_trajectory(room, 3, 150, speed_m_s=0.6, rate_hz=30.0)
    centres = walk.inv().translation
    assert centres.shape == (150, 3)
    assert (walk_trajectory(room, 3, 150).as_matrix() == walk.as_matrix()).all()
    assert np.linalg.norm(centres[0] - room.default_view.inv().translation) < 1e-9
    speed = np.linalg.norm(np.diff(centres, axis=0), axis=-1) * 30.0
    assert 0.4 < np.median(speed) < 0.9
    assert speed.max() < 1.6
    assert (room.clearance(centres) > 0.33).all()
    turns = np.degrees((walk[1:].rotation * walk[:-1].rotation.inv()).magnitude())
    assert turns.max() < 4.0
    assert (walk.rotation.apply(room.down_in_world)[:, 1] > 0.85).all()


def test_a_walk_without_space_is_refused():
    with pytest.raises(ValueError, match="free space"):
        walk_trajectory(corridor(0), 0, 60, min_clearance_m=1.2)
