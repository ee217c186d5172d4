"""Trajectories: refused frames stay in place, and stacked poses keep their direction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.trajectory import Trajectory

CENTRES = np.array([[0.0, 0, 0], [1, 2, 3], [4, 5, 6]])


def mixed() -> Trajectory:
    rotations = Rotation.from_rotvec(CENTRES / 10)
    poses = RigidTransform.from_components(CENTRES, rotations).inv()
    estimates = (PoseEstimate(True, "", poses[1]), PoseEstimate.failure("blank"), PoseEstimate(True, "", poses[2]))
    return Trajectory(estimates, np.array([0.5, 1.5, 2.5]), ("a", "b", "c"))


def test_refused_frames_stay_in_place() -> None:
    trajectory = mixed()
    assert len(trajectory) == 3 and trajectory[1].reason == "blank"
    assert trajectory.posed.tolist() == [True, False, True]
    assert [estimate.success for estimate in trajectory] == [True, False, True]


def test_successes_keep_times_names_and_order() -> None:
    posed = mixed().successes()
    assert posed.names == ("a", "c") and posed.timestamps.tolist() == [0.5, 2.5]
    np.testing.assert_allclose(posed.world_from_cam().translation, CENTRES[1:], atol=1e-12)


def test_both_directions() -> None:
    """A camera sees its own centre at the origin of its frame."""
    trajectory = mixed()
    for pose, centre in zip(trajectory.cam_from_world(), CENTRES[1:], strict=True):
        np.testing.assert_allclose(pose.apply(centre), np.zeros(3), atol=1e-12)


def test_known_poses_get_numbers_for_names() -> None:
    poses = RigidTransform.from_translation(CENTRES)
    trajectory = Trajectory.from_poses(poses)
    assert trajectory.names == ("000000", "000001", "000002") and trajectory.timestamps.tolist() == [0, 1, 2]
    np.testing.assert_allclose(trajectory.cam_from_world().translation, CENTRES)
    given = Trajectory.from_poses(list(poses), [5, 6, 7], ["x", "y", "z"])
    assert given.names == ("x", "y", "z") and given.timestamps.tolist() == [5, 6, 7]


def test_times_are_read_only_copies() -> None:
    times = np.zeros(1)
    trajectory = Trajectory.from_poses([RigidTransform.identity()], times)
    times[0] = 9
    assert trajectory.timestamps[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        trajectory.timestamps[0] = 1


def test_lengths_must_agree() -> None:
    one = (PoseEstimate.failure("blank"),)
    with pytest.raises(ValueError, match="one timestamp and one name for each of its 1 estimates"):
        Trajectory(one, np.zeros(2), ("a",))
    with pytest.raises(ValueError, match="2 names"):
        Trajectory(one, np.zeros(1), ("a", "b"))


def test_no_pose_at_all() -> None:
    with pytest.raises(ValueError, match="No frame has a pose; got 1 refusals"):
        Trajectory((PoseEstimate.failure("blank"),), np.zeros(1), ("a",)).cam_from_world()
