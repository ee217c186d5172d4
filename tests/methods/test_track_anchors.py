from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.methods.track_anchor import Anchor, kept_anchors


def at(index: int, yaw_deg: float, shift: float = 0.0) -> Anchor:
    """An anchor that looks at things at depth 2."""
    turn = Rotation.from_euler("y", yaw_deg, degrees=True)
    pose = RigidTransform.from_components([shift, 0.0, 0.0], turn).inv()
    depths = np.array([0.5, np.nan, 0.5])
    return Anchor(index, pose, np.zeros((6, 6)), np.zeros((4, 4), np.uint8), np.zeros((3, 2)), depths)


def test_few_are_all_kept() -> None:
    anchors = [at(index, 0.0) for index in range(20)]
    assert kept_anchors(anchors) == tuple(anchors)


def test_the_first_the_last_and_the_most_different_views_are_kept() -> None:
    yaws = [0, 1, 2, 90, 91, 3, 180, 2, 45, 1, 0, 2, 1, 0]
    anchors = [at(10 * index, float(yaw)) for index, yaw in enumerate(yaws)]
    kept = kept_anchors(anchors, limit=6, recent=2)
    assert [anchor.index for anchor in kept] == [0, 30, 60, 80, 120, 130]


def test_a_place_counts_by_the_angle_that_it_shifts_things_at_the_median_depth() -> None:
    # A shift of 1 at depth 2 is 0.5 rad, more than a turn of 20 degrees and less than one of 40.
    anchors = [at(0, 0.0), at(1, 0.0, 1.0), at(2, 20.0), at(3, 0.0)]
    assert [anchor.index for anchor in kept_anchors(anchors, 3, 1)] == [0, 1, 3]
    anchors[2] = at(2, 40.0)
    assert [anchor.index for anchor in kept_anchors(anchors, 3, 1)] == [0, 2, 3]


def test_one_by_one_no_more_than_the_limit_are_kept_and_all_directions_stay() -> None:
    kept: tuple[Anchor, ...] = ()
    for index in range(100):
        kept = kept_anchors([*kept, at(index, 3.6 * index)], limit=10, recent=3)
        assert len(kept) <= 10
    assert kept[0].index == 0
    assert [anchor.index for anchor in kept[-3:]] == [97, 98, 99]
    gaps = np.diff([3.6 * anchor.index for anchor in kept])
    assert gaps.max() < 120.0


def test_impossible_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="limit above recent"):
        kept_anchors([at(0, 0.0)], limit=3, recent=3)
