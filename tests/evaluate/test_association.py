from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.association import associate, matching_times
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.trajectory import Trajectory


def trajectory(timestamps: list[float], names: list[str] | None = None) -> Trajectory:
    poses = [RigidTransform.from_translation([0.0, 0.0, time]) for time in timestamps]
    return Trajectory.from_poses(poses, timestamps, names)


def test_times_pair_with_the_nearest_within_the_tolerance() -> None:
    rows, columns = matching_times(np.array([0.0, 1.0, 2.0]), np.array([0.004, 0.9, 1.009, 2.02]), 0.01)
    assert list(zip(rows, columns, strict=True)) == [(0, 0), (1, 2)]


def test_a_time_is_used_once_by_the_nearer_of_two() -> None:
    rows, columns = matching_times(np.array([1.000, 1.008]), np.array([1.007, 5.0, 6.0]), 0.01)
    assert list(zip(rows, columns, strict=True)) == [(1, 0)]


def test_the_longer_list_may_come_first_and_times_need_no_order() -> None:
    rows, columns = matching_times(np.array([3.0, 0.0, 2.0, 1.0]), np.array([2.0, 0.001]), 0.01)
    assert list(zip(rows, columns, strict=True)) == [(1, 1), (2, 0)]


def test_times_agree_with_a_plain_search_over_all_pairs() -> None:
    random = np.random.default_rng(0)
    short, long = np.sort(random.uniform(0, 10, 40)), np.sort(random.uniform(0, 10, 300))
    expected, taken = {}, set()
    for gap, row, column in sorted((abs(a - b), i, j) for i, a in enumerate(short) for j, b in enumerate(long)):
        nearest = int(np.argmin(np.abs(long - short[row])))
        if gap <= 0.02 and column == nearest and column not in taken:
            expected[row] = column
            taken.add(column)
    rows, columns = matching_times(short, long, 0.02)
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == expected


def test_refused_frames_take_no_part() -> None:
    good = trajectory([0.0, 1.0, 2.0])
    estimates = (good[0], PoseEstimate.failure("blank depth"), good[2])
    mine, theirs = associate(Trajectory(estimates, good.timestamps, good.names), good)
    assert mine.timestamps.tolist() == theirs.timestamps.tolist() == [0.0, 2.0]


def test_names_pair_whatever_the_order() -> None:
    mine, theirs = associate(trajectory([0, 1], ["b", "a"]), trajectory([7, 8, 9], ["a", "x", "b"]), by="name")
    assert mine.names == theirs.names == ("b", "a")
    assert theirs.timestamps.tolist() == [9, 7]


@pytest.mark.parametrize(
    ("by", "estimated", "true", "message"),
    [
        ("timestamp", trajectory([0, 1]), trajectory([100, 101]), r"No timestamps within 0\.01 s"),
        ("name", trajectory([0], ["a"]), trajectory([0], ["b"]), "No names in common"),
        ("name", trajectory([0, 1], ["a", "a"]), trajectory([0], ["a"]), "repeats 'a'"),
        ("order", trajectory([0, 1]), trajectory([0]), "got 2 estimated and 1 true"),
        ("timestamp", trajectory([]), trajectory([0]), "got 0 estimated and 1 true"),
    ],
)
def test_nothing_to_pair_is_an_error(by: str, estimated: Trajectory, true: Trajectory, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        associate(estimated, true, by=by)
