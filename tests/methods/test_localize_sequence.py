"""Starts along a sequence: a scripted localiser records them, and a room checks the poses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets import rooms
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.methods.localize import LocalizeOptions, Localizer
from posesplat.methods.localize_sequence import localize_sequence
from posesplat.methods.mapping import single_frame_map

CAMERA = Camera.from_fov(60.0, 8, 6)
SCREW = np.array([0.02, -0.05, 0.01, 0.1, 0.02, -0.03])
FIRST = RigidTransform.from_exp_coords([0.3, 0.1, -0.2, 0.5, -0.4, 1.0])


def after(ticks: float) -> RigidTransform:
    """The pose of a camera on a steady screw motion."""
    return poses.exp(ticks * SCREW) * FIRST


def frames_at(times: Sequence[float]) -> list[Frame]:
    depth = np.ones((CAMERA.height, CAMERA.width), np.float32)
    return [Frame(CAMERA, depth=depth, name=f"{time:g}.png", timestamp=float(time)) for time in times]


class Scripted(Localizer):
    """Knows every pose; fails where it is told to, and records the starts it was given."""

    def __init__(self, lost_with_start: Sequence[float] = (), lost: Sequence[float] = ()) -> None:
        one = np.ones((1, 3), np.float32)
        quats = np.array([[1, 0, 0, 0]], np.float32)
        super().__init__(Gaussians(one, quats, one, np.ones(1, np.float32)))
        self.lost_with_start, self.lost = lost_with_start, lost
        self.calls: list[tuple[float, RigidTransform | None]] = []

    def localize(self, frame: Frame, start: RigidTransform | None = None) -> PoseEstimate:
        self.calls.append((frame.timestamp, start))
        if frame.timestamp in self.lost or (start is not None and frame.timestamp in self.lost_with_start):
            return PoseEstimate.failure("lost from its start" if start is not None else "lost", runtime_s=1.0)
        return PoseEstimate(True, "", after(frame.timestamp), runtime_s=0.25)

    def starts(self, time: float) -> list[RigidTransform | None]:
        return [start for when, start in self.calls if when == time]


def same(start: RigidTransform | None, expected: RigidTransform) -> bool:
    return start is not None and np.allclose(start.as_matrix(), expected.as_matrix(), atol=1e-12)


def test_velocity_continues_the_motion_exactly() -> None:
    script = Scripted()
    localize_sequence(script, frames_at([0, 1, 2, 2.5, 4]))
    assert script.starts(0) == [None]
    assert same(script.starts(1)[0], after(0))
    assert same(script.starts(2)[0], after(2)) and same(script.starts(2.5)[0], after(2.5))
    # 1.5 s after two frames 0.5 s apart: at most two such steps ahead.
    assert same(script.starts(4)[0], after(3.5))


def test_velocity_needs_clocks_that_run_forwards() -> None:
    script = Scripted()
    localize_sequence(script, frames_at([5, 5, 6, 4]))
    assert same(script.starts(6)[0], after(5)) and same(script.starts(4)[0], after(6))


def test_previous_is_the_last_pose_found() -> None:
    script = Scripted(lost=[2.0])
    localize_sequence(script, frames_at([0, 1, 2, 3]), "previous")
    assert same(script.starts(1)[0], after(0)) and same(script.starts(2)[0], after(1))
    assert same(script.starts(3)[0], after(1))


def test_none_leaves_each_frame_on_its_own() -> None:
    script = Scripted()
    found = localize_sequence(script, frames_at([0, 1, 2]), "none")
    assert [start for _, start in script.calls] == [None] * 3 and found.posed.all()


def test_given_starts_are_used_as_they_are() -> None:
    script = Scripted()
    given = [after(0.1), None, after(2.1)]
    localize_sequence(script, frames_at([0, 1, 2]), given)
    assert [start for _, start in script.calls] == given


def test_too_few_starts_are_an_error() -> None:
    with pytest.raises(ValueError, match="got 1 for more frames"):
        localize_sequence(Scripted(), frames_at([0, 1]), [None])


def test_a_frame_refused_from_its_start_is_tried_without() -> None:
    script = Scripted(lost_with_start=[2.0])
    found = localize_sequence(script, frames_at([0, 1, 2, 3]))
    without, again = script.starts(2)
    assert same(without, after(2)) and again is None
    assert found.posed.all() and found[2].runtime_s == 1.25
    assert same(script.starts(3)[0], after(3))


def test_a_lost_frame_keeps_its_place_its_reason_and_its_start_is_forgotten() -> None:
    script = Scripted(lost=[2.0])
    found = localize_sequence(script, frames_at([0, 1, 2, 3, 4]))
    np.testing.assert_array_equal(found.posed, [True, True, False, True, True])
    assert found[2].reason == "lost from its start" and found[2].cam_from_world is None
    # One lost frame ends the motion: the next start is the last pose, then motion is known again.
    assert same(script.starts(3)[0], after(1)) and same(script.starts(4)[0], after(4))


def test_times_names_and_progress_follow_the_frames() -> None:
    seen: list[tuple[str, bool]] = []
    found = localize_sequence(
        Scripted(lost=[0.5]),
        iter(frames_at([0.5, 1.5, 3.0])),
        on_estimate=lambda frame, estimate: seen.append((frame.name, estimate.success)),
    )
    np.testing.assert_array_equal(found.timestamps, [0.5, 1.5, 3.0])
    assert found.names == ("0.5.png", "1.5.png", "3.png")
    assert seen == [("0.5.png", False), ("1.5.png", True), ("3.png", True)]


def test_no_frames_are_an_empty_trajectory() -> None:
    assert len(localize_sequence(Scripted(), [])) == 0


def test_a_handheld_camera_is_followed_through_a_room() -> None:
    room, camera = rooms.box_room(4), Camera.from_fov(62.7, 160, 120)
    truth = rooms.handheld_trajectory(0, 5, room.default_view, translation_m=0.06, rotation_deg=3.0, rate_hz=5)
    frames = list(rooms.render_sequence(room, camera, truth, rate_hz=5, colour=False))
    scene = SplatMap(single_frame_map(frames[0], truth[0]), (MapView(camera, truth[0]),))
    found = localize_sequence(Localizer(scene, LocalizeOptions(threads=1)), frames, [truth[0], *truth[:-1]])
    assert found.posed.all()
    distances, angles = poses.pose_errors(found.cam_from_world(), truth)
    assert distances.max() < 1e-4 and angles.max() < 2e-3
    np.testing.assert_allclose(found.timestamps, np.arange(5) / 5)
