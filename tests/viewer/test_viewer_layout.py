from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation
from scipy.stats import chi2
from shown_results import CAMERA, DISTANCE_M, REASON, TURNED, moved, shown, trajectory, wall

from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.poses import exp
from posesplat.geometry.trajectory import Trajectory
from posesplat.viewer.layout import CHI2_95, Layout, ellipsoids, first_view, refused_runs, side_by_side
from posesplat.viewer.shown import ShownResult

NOTHING = Trajectory((), np.zeros(0), ())


def test_the_ellipsoids_hold_95_percent_of_the_centres() -> None:
    rng = np.random.default_rng(0)
    factor = 0.01 * rng.normal(size=(6, 6))
    covariance = factor @ factor.T
    pose = RigidTransform.from_components([0.3, -2.0, 1.0], Rotation.from_rotvec([0.2, 1.0, -0.4]))
    estimate = PoseEstimate(True, "", pose, covariance=covariance)
    regions = ellipsoids(Trajectory((estimate,), np.zeros(1), ("a",)), largest=10.0)
    drawn = rng.multivariate_normal(np.zeros(6), covariance, size=4000)
    centres = (exp(drawn) * pose).inv().translation
    axes = Rotation.from_quat(regions.quats_wxyz[0], scalar_first=True)
    along = axes.inv().apply(centres - regions.centres[0]) / regions.radii[0]
    assert (np.linalg.norm(along, axis=1) <= 1).mean() == pytest.approx(0.95, abs=0.012)
    assert pytest.approx(chi2.ppf(0.95, 3)) == CHI2_95


def test_places_that_are_not_known_have_no_ellipsoid() -> None:
    vague = PoseEstimate(True, "", RigidTransform.identity(), covariance=np.diag([1.0] * 5 + [1e8]))
    sure = PoseEstimate(True, "", RigidTransform.identity(), covariance=1e-4 * np.eye(6))
    none = PoseEstimate(True, "", RigidTransform.identity())
    estimates = (vague, sure, none, PoseEstimate.failure("no"))
    regions = ellipsoids(Trajectory(estimates, np.arange(4.0), tuple("abcd")), largest=1.0)
    assert regions.frames == (1,)
    assert regions.radii[0] == pytest.approx([1e-2 * np.sqrt(CHI2_95)] * 3)


def test_small_ellipsoids_are_magnified_by_a_round_factor() -> None:
    regions = ellipsoids(trajectory(), largest=1.0)
    longest = float(regions.radii.max())
    assert regions.magnification(frustum=longest) == 1
    assert regions.magnification(frustum=100 * longest) == 50
    assert ellipsoids(NOTHING, 1.0).magnification(1.0) == 1


def test_refused_frames_are_marked_between_their_neighbours() -> None:
    (run,) = refused_runs(trajectory(refused=(2,)))
    assert run.frames == (2,)
    assert run.reason == REASON
    assert run.places == pytest.approx(np.zeros((1, 3)), abs=1e-12)
    (run,) = refused_runs(trajectory(refused=(0, 1)))
    assert run.places == pytest.approx(np.zeros((2, 3)), abs=1e-12), "at an end, where the path begins"
    (run,) = refused_runs(trajectory(refused=(1, 2)))
    assert run.places[:, 0] == pytest.approx([-0.2, 0.0])


def test_without_any_pose_nothing_is_marked_in_space() -> None:
    assert refused_runs(trajectory(refused=tuple(range(5)))) == []


def test_other_reasons_are_other_runs() -> None:
    estimates = list(trajectory(refused=(1, 2, 3)).estimates)
    estimates[2] = PoseEstimate.failure(REASON.replace("3 %", "7.5 %"))
    estimates[3] = PoseEstimate.failure("The image is black.")
    answer = trajectory()
    runs = refused_runs(Trajectory(tuple(estimates), answer.timestamps, answer.names))
    assert [run.frames for run in runs] == [(1, 2), (3,)]


def test_the_first_view_stands_behind_and_above_the_cameras() -> None:
    layout = Layout.of(shown())
    assert layout.depth == pytest.approx(DISTANCE_M)
    assert layout.forward == pytest.approx([0, 0, 1])
    assert layout.up == pytest.approx([0, -1, 0])
    assert layout.axes.as_matrix() == pytest.approx(np.eye(3))
    assert layout.eye[2] < 0 < layout.target[2] < DISTANCE_M
    assert layout.eye[1] < 0
    assert (layout.left, layout.right) == pytest.approx((-0.96 * 2.0, 0.96 * 2.0), abs=0.06)


def test_layouts_turn_with_the_world() -> None:
    here, there = Layout.of(shown()), Layout.of(moved(shown(), TURNED))
    assert there.eye == pytest.approx(TURNED.apply(here.eye), abs=1e-5)
    assert there.target == pytest.approx(TURNED.apply(here.target), abs=1e-5)
    assert there.up == pytest.approx(TURNED.rotation.apply(here.up), abs=1e-6)
    assert there.frustum == pytest.approx(here.frustum, rel=1e-5)


def test_a_map_alone_is_seen_from_outside() -> None:
    layout = Layout.of(ShownResult("map", NOTHING, (), wall()))
    assert layout.eye[2] < DISTANCE_M < layout.eye[2] + 10
    assert layout.target[2] == pytest.approx(DISTANCE_M, abs=0.6 * layout.depth)


def test_nothing_at_all_still_has_a_view() -> None:
    layout = Layout.of(ShownResult("empty", NOTHING, ()))
    assert np.isfinite([*layout.eye, *layout.target, layout.frustum]).all()
    assert np.linalg.norm(layout.eye - layout.target) > 0


def test_results_stand_side_by_side_without_touching() -> None:
    results = [shown(), moved(shown(), TURNED), shown()]
    layouts = [Layout.of(result) for result in results]
    places = side_by_side(layouts)
    assert places[0].as_matrix() == pytest.approx(np.eye(4))
    reach = []
    for result, scene_from_world in zip(results, places, strict=True):
        assert result.gaussians is not None
        points = scene_from_world.apply(result.gaussians.means_in_world.astype(float))
        assert points[:, 2] == pytest.approx(np.full(len(points), DISTANCE_M), abs=1e-4), "walls stand in line"
        reach.append((points[:, 0].min(), points[:, 0].max()))
    assert reach[0][1] < reach[1][0] < reach[1][1] < reach[2][0]
    eye, target = first_view(layouts, places)
    assert target[0] == pytest.approx(places[1].apply(layouts[1].centre)[0], abs=1e-4)
    assert eye[2] < layouts[0].eye[2], "a row is looked at from farther away"


def test_a_result_needs_a_camera_for_each_frame() -> None:
    with pytest.raises(ValueError, match="one camera, and one truth or None, for each of its 5 frames; got 1"):
        ShownResult("a", trajectory(), (CAMERA,))
