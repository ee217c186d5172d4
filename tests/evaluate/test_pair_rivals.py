"""Every rival on exact projections of points with known depth, and where it must refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms import box_room
from posesplat.evaluate.pair_match_rivals import monocular_depth_pose, point_pairs, poselib_monocular
from posesplat.evaluate.pair_rivals import (
    Rated,
    depths_at,
    five_point,
    perspective,
    registered,
    rigid_ransac,
    then_registered,
)
from posesplat.evaluate.protocols import pair_contenders
from posesplat.evaluate.protocols.pair_contenders import IDENTITY, OURS, POINTS, Contender, Question, answer, contenders
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.geometry.poses import perturbed, pose_errors

CAMERA_A = Camera(150.0, 152.0, 81.0, 59.0, 160, 120)
CAMERA_B = Camera(220.0, 218.0, 119.0, 92.0, 240, 180)
"""Sizes and focal lengths differ."""
B_FROM_A = RigidTransform.from_components([0.25, -0.06, 0.12], Rotation.from_rotvec([0.05, -0.12, 0.03]))

Solve = Callable[[Frame, Frame, Matches], Rated]
EXACT_FIVE_POINT = partial(five_point, max_epipolar_px=0.1)
"""Wrong matches that lie near their epipolar lines by chance pull the direction by degrees at wider thresholds."""


@pytest.fixture(scope="module")
def pair() -> tuple[Frame, Frame, Matches]:
    """A box room from two places, and 300 matches, a fifth of which are wrong."""
    room = box_room(3)
    a_from_world = room.default_view
    frames = [
        room.render(camera, pose, supersample=1)
        for camera, pose in ((CAMERA_A, a_from_world), (CAMERA_B, B_FROM_A * a_from_world))
    ]
    a, b = frames
    assert a.depth is not None and b.depth is not None
    rng = np.random.default_rng(0)
    cells = np.stack([rng.integers(2, 158, 2000), rng.integers(2, 118, 2000)], axis=-1)
    pixels_a = cells + 0.5
    # Smooth surfaces only: there the 3 x 3 median is the depth of the pixel.
    smooth = np.abs(depths_at(a, pixels_a) / a.depth[cells[:, 1], cells[:, 0]] - 1) < 1e-3
    points_b = B_FROM_A.apply(CAMERA_A.rays_at(pixels_a) * a.depth[cells[:, 1], cells[:, 0]][:, None])
    pixels_b = CAMERA_B.project(points_b)
    inside = np.all((pixels_b > 2) & (pixels_b < (238, 178)), axis=1)
    seen = np.zeros(len(cells), dtype=bool)
    seen[inside] = np.abs(depths_at(b, pixels_b[inside]) / points_b[inside, 2] - 1) < 0.003
    chosen = np.flatnonzero(smooth & seen)[:300]
    assert len(chosen) == 300
    matched = pixels_b[chosen].copy()
    matched[::5] = rng.uniform((0, 0), (240, 180), size=(60, 2))
    return a, b, Matches(pixels_a[chosen], matched, np.ones(300))


def errors(rated: Rated) -> tuple[float, float]:
    """Millimetres and degrees."""
    assert rated.estimate.cam_from_world is not None, rated.estimate.reason
    metres, degrees = pose_errors(rated.estimate.cam_from_world, B_FROM_A)
    return 1e3 * float(metres), float(degrees)


@pytest.mark.parametrize(
    ("solve", "most_mm", "most_deg"),
    [
        (EXACT_FIVE_POINT, 5.0, 0.1),
        (perspective, 5.0, 0.1),
        (rigid_ransac, 5.0, 0.1),
        (partial(point_pairs, measured=True), 5.0, 0.1),
        (partial(point_pairs, measured=False), 15.0, 0.3),
        (partial(monocular_depth_pose, reprojection_px=16.0, epipolar_px=2.0), 10.0, 0.2),
    ],
    ids=["five-point", "PnP", "3D-3D", "points", "points, scaled", "monocular"],
)
def test_exact_matches_give_the_pose(
    pair: tuple[Frame, Frame, Matches], solve: Solve, most_mm: float, most_deg: float
) -> None:
    rated = solve(*pair)
    millimetres, degrees = errors(rated)
    assert millimetres < most_mm and degrees < most_deg
    # The score counts the 240 right matches, and few of the others.
    assert 200 < rated.score < 270
    assert rated.estimate.scale.metric


def test_without_depth_the_direction_remains(pair: tuple[Frame, Frame, Matches]) -> None:
    a, b, matches = pair
    rated = EXACT_FIVE_POINT(replace(a, depth=None), replace(b, depth=None), matches)
    assert rated.estimate.cam_from_world is not None and not rated.estimate.scale.metric
    translation = rated.estimate.cam_from_world.translation
    assert np.linalg.norm(translation) == pytest.approx(1.0)
    assert translation @ B_FROM_A.translation / np.linalg.norm(B_FROM_A.translation) > 0.999
    with pytest.raises(ValueError, match="must have depth"):
        perspective(replace(a, depth=None), b, matches)


def test_scales_of_both_depths_are_split(pair: tuple[Frame, Frame, Matches]) -> None:
    """A's depth too small and B's too large by the same factor: half way between is the truth."""
    a, b, matches = pair
    assert a.depth is not None and b.depth is not None
    bent = replace(a, depth=a.depth / np.float32(1.1)), replace(b, depth=b.depth * np.float32(1.1))
    for solve in (
        partial(point_pairs, measured=False),
        partial(monocular_depth_pose, reprojection_px=16.0, epipolar_px=4.0),
    ):
        found = solve(*bent, matches).estimate.cam_from_world
        assert found is not None
        length = np.linalg.norm(found.translation) / np.linalg.norm(B_FROM_A.translation)
        assert length == pytest.approx(1.0, abs=0.04)
    both = replace(a, depth=a.depth * np.float32(2.0)), replace(b, depth=b.depth * np.float32(2.0))
    doubled = EXACT_FIVE_POINT(*both, matches).estimate.cam_from_world
    assert doubled is not None
    np.testing.assert_allclose(doubled.translation, 2 * B_FROM_A.translation, atol=0.01)


def test_gicp_follows_geometry(pair: tuple[Frame, Frame, Matches]) -> None:
    a, b, _ = pair
    start = perturbed(B_FROM_A, np.array([0.01, -0.01, 0.01, 0.02, 0.01, -0.02]))
    rated = registered(a, b, start, (0.1, 0.06))
    before = 1e3 * float(pose_errors(start, B_FROM_A)[0])
    millimetres, degrees = errors(rated)
    assert millimetres < 0.3 * before and degrees < 0.2
    chained = then_registered(Rated(PoseEstimate(True, "", start), 17.0), a, b, (0.1, 0.06))
    assert errors(chained) == (millimetres, degrees) and chained.score == 17.0
    refused = then_registered(five_point(a, b, Matches.none()), a, b, (0.06,))
    assert not refused.estimate.success and "0 matches" in refused.estimate.reason


def test_too_few_matches_are_refused(pair: tuple[Frame, Frame, Matches]) -> None:
    a, b, matches = pair
    few = matches.select(slice(1, 4))
    blind = replace(a, depth=np.zeros_like(a.depth))
    for contender in contenders():
        # Ours goes on with depth and grey alone.
        if contender.matched and contender.name != OURS:
            assert not answer(contender, Question(a, b, few, "sensor")).rated.estimate.success, contender.name
    for solve in (rigid_ransac, partial(point_pairs, measured=True)):
        assert "depth on both sides" in solve(blind, b, matches).estimate.reason
    assert not registered(blind, b, B_FROM_A, (0.1,)).estimate.success


def test_depth_beside_holes_is_the_median_of_what_is_known() -> None:
    depth = np.zeros((4, 5), dtype=np.float32)
    depth[0, 0], depth[0, 1], depth[1, 0] = 1.0, 2.0, 9.0
    frame = Frame(Camera(5.0, 5.0, 2.5, 2.0, 5, 4), None, depth)
    np.testing.assert_array_equal(depths_at(frame, np.array([[1.5, 1.5], [4.5, 3.5], [0.0, 4.0]])), [2.0, 0.0, 0.0])


def test_contenders_by_condition_and_name() -> None:
    rivals = [one for one in contenders() if not one.ours]
    assert {IDENTITY, POINTS} < {one.name for one in rivals} and not any("PoseLib" in one.name for one in rivals)
    assert [one.name for one in contenders(["IDENTITY"])] == [IDENTITY, pair_contenders.GICP_IDENTITY]
    assert {one.name for one in rivals if one.takes("none")} == {IDENTITY, pair_contenders.FIVE_POINT}
    assert {one.name for one in rivals if one.takes("sensor") and not one.takes("monocular")} == {
        pair_contenders.GICP_START,
        pair_contenders.GICP_SMOOTHED,
    }


def test_an_absent_solver_is_named_and_shared_work_is_paid_by_all(pair: tuple[Frame, Frame, Matches]) -> None:
    with pytest.raises(ValueError, match="estimate_monodepth_relative_pose"):
        poselib_monocular(*pair, 16.0, 4.0)
    question = Question(*pair, "sensor")
    shared = question.points
    nothing = Contender("nothing", lambda asked: asked.points.rated, from_points=True)
    given = answer(nothing, question)
    assert given.cpu_s >= shared.cpu_s > 0 and given.rated is shared.rated

    def unable(question: Question) -> Rated:
        raise ValueError("not this one")

    assert "not this one" in answer(Contender("unable", unable), question).rated.estimate.reason
