from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate.alignment import Similarity
from posesplat.evaluate.tracking_errors import aligned_truth
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.trajectory import Trajectory

TRUE_FROM_WORLD = Similarity(Rotation.from_rotvec([0.3, -1.0, 0.5]), np.array([4.0, 1.0, -2.0]), 2.5)


def path(count: int = 6) -> list[RigidTransform]:
    rng = np.random.default_rng(3)
    return [
        RigidTransform.from_components(rng.normal(size=3), Rotation.from_rotvec(0.3 * rng.normal(size=3)))
        for _ in range(count)
    ]


def answer(poses: list[RigidTransform]) -> Trajectory:
    estimates = tuple(PoseEstimate(True, "", pose, covariance=1e-6 * np.eye(6)) for pose in poses)
    return Trajectory(estimates, np.arange(float(len(poses))), tuple(map(str, range(len(poses)))))


def test_the_truth_of_another_world_and_unit_lies_on_the_answer() -> None:
    found = path()
    true = [TRUE_FROM_WORLD.moved_cameras(pose) for pose in found]
    back = aligned_truth(answer(found), [None, *true[1:]])
    assert back[0] is None
    for pose, expected in zip(back[1:], found[1:], strict=True):
        assert pose is not None
        assert pose.as_matrix() == pytest.approx(expected.as_matrix(), abs=1e-8)


def test_without_enough_to_align_there_is_none() -> None:
    found = path(2)
    assert aligned_truth(answer(found), found) == ()
    assert aligned_truth(answer(found), None) == ()
