from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.self_calibration import LensDeviation
from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.evaluation import evaluate
from posesplat.evaluate.protocols.track_contenders import line_between_ends, static_camera
from posesplat.evaluate.reports import plots
from posesplat.evaluate.reports.pictures import compare_frame, rendered_depth
from posesplat.evaluate.reports.tracking import motion_components, tracking_report, trajectory_tracks
from posesplat.evaluate.reports.tracking_facts import (
    Unit,
    error_table,
    grouped_remarks,
    remark_table,
    segments,
    summary_facts,
)
from posesplat.evaluate.run_record import RunRecord
from posesplat.evaluate.tracking_errors import TrackingErrors, observable
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import exp, inverse_left_jacobian
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.calibrate import CameraEstimate
from posesplat.methods.track_segment import UNOBSERVABLE_VARIANCE

CAMERA = Camera(60.0, 60.0, 32.0, 24.0, 64, 48)
RUN = RunRecord.begin("track", {"video": ["clip"], "rule": {"reliable": 0.98}}, seed=0, threads=1)
METRIC = Scale(True, "depth sensor")
SPREAD = np.diag([1e-6] * 3 + [4e-6] * 3)
UNSEEN = np.diag([1e-6] * 3 + [UNOBSERVABLE_VARIANCE] * 3)


def shaky_path(count: int, seed: int = 0) -> RigidTransform:
    """cam_from_world of a hand-held camera: first the identity, then small steps."""
    random = np.random.default_rng(seed)
    steps = random.normal(size=(count, 6)) * np.array([3e-3] * 3 + [2e-3] * 3)
    steps[0] = 0.0
    return exp(np.cumsum(steps, axis=0))


def tracked(
    poses: RigidTransform, covariance: np.ndarray = SPREAD, scale: Scale = METRIC, source: str = "small motion"
) -> list[PoseEstimate]:
    found = [
        PoseEstimate(True, "", pose, covariance=covariance, scale=scale, source=source, runtime_s=0.1) for pose in poses
    ]
    return [found[0].replace(covariance=np.zeros((6, 6))), *found[1:]]


def video(estimates: list[PoseEstimate]) -> Trajectory:
    return Trajectory(
        tuple(estimates), np.arange(len(estimates)) / 30, tuple(f"{index:04d}.png" for index in range(len(estimates)))
    )


def pictures_of(trajectory: Trajectory) -> FrameSequence:
    image = np.full((48, 64, 3), 128, np.uint8)
    image[:, ::4] = 90
    return FrameSequence(CAMERA, trajectory.names, trajectory.timestamps, lambda index: (image, None), has_depth=False)


def wall(distance: float = 1.0) -> Gaussians:
    x, y = np.meshgrid(np.arange(-0.8, 0.8, 0.02), np.arange(-0.7, 0.7, 0.02))
    means = np.stack([x, y, np.full_like(x, distance)], axis=-1).reshape(-1, 3).astype(np.float32)
    count = len(means)
    return Gaussians(
        means_in_world=means,
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        scales=np.tile(np.array([0.02, 0.02, 0.001], np.float32), (count, 1)),
        opacities=np.full(count, 0.99, np.float32),
        colors=np.full((count, 3), 0.5, np.float32),
    )


def words(html: str) -> str:
    """What a reader sees outside the drawings."""
    text = re.sub(r"<(style|svg).*?</\1>", " ", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def drawings(html: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", html, re.S)


def moved_and_scaled(poses: RigidTransform, scale: float) -> RigidTransform:
    """The same cameras in another world whose unit is ``scale`` times as long."""
    shrunk = RigidTransform.from_components(poses.translation / scale, poses.rotation)
    return shrunk * RigidTransform.from_components([0.4, -1.0, 2.0], Rotation.from_rotvec([0.3, 1.1, -0.4]))


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "align"), [(True, "se3"), (False, "sim3")])
def test_errors_are_those_of_evaluate(metric: bool, align: str) -> None:
    true = shaky_path(12)
    noise = 1e-3 * np.random.default_rng(1).normal(size=(12, 6))
    found = exp(noise) * (true if metric else moved_and_scaled(true, 2.5))
    trajectory = video(tracked(found, scale=METRIC if metric else Scale(False, "unknown")))
    errors = TrackingErrors.of(trajectory, list(true))
    assert errors is not None
    truth = Trajectory.from_poses(true, trajectory.timestamps, trajectory.names)
    judged = evaluate(trajectory, truth, align=align, match="name", all_pairs=True)
    assert judged.rpe_translation is not None
    assert judged.rpe_rotation_deg is not None
    answer = errors.paths[0]
    assert answer.ate == pytest.approx(judged.ate_translation.rmse, rel=1e-9)
    assert answer.rpe == pytest.approx(judged.rpe_translation.rmse, rel=1e-9)
    assert answer.rpe_deg == pytest.approx(judged.rpe_rotation_deg.rmse, rel=1e-9)
    assert errors.with_scale is not metric
    assert errors.true_from_world is not None
    assert errors.true_from_world.scale == pytest.approx(judged.true_from_estimated.scale)
    assert error_table(errors).rows[0][1] == f"{1e3 * judged.ate_translation.rmse:.3g}"
    text = words(tracking_report(RUN, pictures_of(trajectory), trajectory, None, list(true)))
    assert f"this answer {1e3 * judged.ate_translation.rmse:.3g} {1e3 * judged.rpe_translation.rmse:.3g}" in text
    assert ("best rotation and translation." in text) is metric


def test_the_static_camera_errs_by_the_size_of_the_motion() -> None:
    true = shaky_path(15)
    errors = TrackingErrors.of(video(tracked(true)), list(true))
    assert errors is not None
    answer, static, line = errors.paths
    assert answer.ate == pytest.approx(0.0, abs=1e-9)
    assert answer.first_deg == pytest.approx(0.0, abs=1e-6)
    centres = true.inv().translation
    spread = np.sqrt(np.mean(np.sum((centres - centres.mean(axis=0)) ** 2, axis=1)))
    assert static.ate == pytest.approx(spread, rel=1e-9)
    assert static.rpe == pytest.approx(np.sqrt(np.mean(np.sum((true[:-1] * true[1:].inv()).translation ** 2, 1))))
    angles = np.degrees((true.rotation * true[0].rotation.inv()).magnitude())
    assert static.first_deg == pytest.approx(np.sqrt(np.mean(angles**2)))
    ends = line_between_ends(true)
    assert line.rpe_deg == pytest.approx(
        np.degrees(
            np.sqrt(
                np.mean(((true[:-1] * true[1:].inv()).inv() * (ends[:-1] * ends[1:].inv())).rotation.magnitude() ** 2)
            )
        )
    )


def test_unobservable_translations_are_not_compared() -> None:
    true = shaky_path(8)
    far = RigidTransform.from_components(true.translation + 50.0, true.rotation)
    estimates = tracked(true)[:5] + tracked(far, UNSEEN)[5:]
    errors = TrackingErrors.of(video(estimates), list(true))
    assert errors is not None
    assert np.isfinite(errors.translation).tolist() == [True] * 5 + [False] * 3
    np.testing.assert_allclose(errors.rotation_deg, 0.0, atol=1e-6)
    assert errors.paths[0].ate == pytest.approx(0.0, abs=1e-9)
    assert observable(video(estimates)).tolist() == [True] * 5 + [False] * 3


def test_truth_that_is_missing_or_of_another_length() -> None:
    true = list(shaky_path(6))
    trajectory = video(tracked(shaky_path(6)))
    assert TrackingErrors.of(trajectory, [true[0], *[None] * 5]) is None
    errors = TrackingErrors.of(trajectory, [None, *true[1:]])
    assert errors is not None
    assert np.isnan(errors.translation[0])
    assert errors.paths[0].ate == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ValueError, match="each of the 6 frames; got 5"):
        TrackingErrors.of(trajectory, true[:5])


def test_a_true_camera_at_rest_leaves_an_answer_without_scale_nothing_to_compare() -> None:
    trajectory = video(tracked(shaky_path(6), scale=Scale(False, "unknown")))
    errors = TrackingErrors.of(trajectory, list(static_camera(shaky_path(6))))
    assert errors is not None
    assert np.isnan([path.ate for path in errors.paths]).all()
    assert error_table(errors).rows[0][1] == "-"


# --- numbers in words -------------------------------------------------------------------------------------------------


def test_remarks_that_differ_in_numbers_and_names_are_one_group() -> None:
    lost = [
        PoseEstimate.failure(f"the motion is too fast: {n} of 700 points of frame '{n:04d}.png' were found again")
        for n in (3, 14, 159, 2)
    ]
    weak = [
        e.replace(warnings=("weak translation: its signal is 2.5 times the noise", "scale 1 is off", "scale 2 is off"))
        for e in tracked(shaky_path(5))
    ]
    trajectory = video([*weak, *lost, PoseEstimate.failure("the picture is dark: there is nothing to track")])
    groups = grouped_remarks(trajectory)
    assert [(group.refused, len(group.names), group.varies) for group in groups] == [
        (True, 4, True),
        (True, 1, False),
        (False, 5, True),
        (False, 5, False),
    ]
    assert groups[0].names == ("0005.png", "0006.png", "0007.png", "0008.png")
    table = remark_table(groups)
    assert table.rows[0][0] == "refused"
    assert table.rows[0][1].startswith("the motion is too fast: 3 of 700")
    assert table.rows[0][2:] == ("4", "0005.png, 0006.png, 0007.png and 1 more")
    assert table.rows[1][2:] == ("1", "0009.png")
    assert table.bad_rows == {0, 1}


def test_stages_are_counted_with_their_stretches() -> None:
    kinds = "aabbxaab"
    estimates = [
        PoseEstimate.failure("no") if kind == "x" else tracked(shaky_path(1), source=kind)[0] for kind in kinds
    ]
    assert segments(video(estimates)) == {"a": (4, 2), "b": (3, 2)}


def test_the_unit_is_said() -> None:
    poses = shaky_path(4)
    metric, free = video(tracked(poses)), video(tracked(poses, scale=Scale(False, "unknown")))
    assert Unit.of(metric).sentence.startswith("Lengths are metres, from depth sensor.")
    assert "median depth" in Unit.of(free).sentence
    assert "median depth" in summary_facts(free, Unit.of(free))["scale"]
    turned = video(tracked(poses, UNSEEN, Scale(False, "unknown")))
    assert Unit.of(turned).sentence.startswith("Only rotations are known.")
    assert (
        summary_facts(turned, Unit.of(turned))["translation unobservable"]
        == "in 3 of 3 posed frames after the first (100 %)"
    )
    mixed = video([*tracked(poses), *tracked(poses, scale=Scale(False, "unknown"))])
    assert "some of the frames only" in Unit.of(mixed).sentence
    assert Unit.of(mixed).source == "metres, from depth sensor: 4 frames; unknown: 4 frames"
    centres = poses.inv().translation
    extent = np.linalg.norm(centres - centres[0], axis=1).max()
    assert summary_facts(metric, Unit.of(metric))["farthest from the first frame"] == f"{1e3 * extent:.3g} mm"
    # sqrt(3 x 4e-6) m.
    assert summary_facts(metric, Unit.of(metric))["median sigma"].startswith("3.5 mm, ")


# --- plots ------------------------------------------------------------------------------------------------------------


def test_bands_are_the_spread_of_drawn_poses() -> None:
    """Poses drawn from the covariance spread in place and rotation vector as the bands say."""
    random = np.random.default_rng(3)
    root = random.normal(size=(6, 6)) * 1e-3
    covariance = root @ root.T
    pose = RigidTransform.from_components([0.3, -0.2, 0.5], Rotation.from_rotvec([0.9, -0.5, 0.7]))
    estimates = tracked(RigidTransform.concatenate([RigidTransform.identity(), pose]), covariance)
    trajectory = video(estimates)
    place, turn = motion_components(trajectory, None, None, Unit.of(trajectory))
    drawn = (exp(random.multivariate_normal(np.zeros(6), covariance, 100_000)) * pose).inv()
    np.testing.assert_allclose(place.deviations[1], 1e3 * drawn.translation.std(axis=0), rtol=0.02)
    np.testing.assert_allclose(turn.deviations[1], np.degrees(drawn.rotation.as_rotvec().std(axis=0)), rtol=0.02)
    np.testing.assert_allclose(place.values[1], 1e3 * pose.inv().translation)
    np.testing.assert_allclose(turn.values[1], np.degrees([-0.9, 0.5, -0.7]))
    assert not place.deviations[0].any()


def test_the_inverse_left_jacobian_is_the_derivative_of_the_logarithm() -> None:
    tangent = np.array([0.4, -0.7, 0.2, 0.5, 0.1, -0.3])
    step = 1e-6
    columns = [
        ((exp(d) * exp(tangent)).as_exp_coords() - (exp(-d) * exp(tangent)).as_exp_coords()) / (2 * step)
        for d in step * np.eye(6)
    ]
    np.testing.assert_allclose(inverse_left_jacobian(tangent[None])[0], np.stack(columns, axis=1), atol=1e-6)


def test_the_truth_is_drawn_on_an_answer_of_another_unit_and_world() -> None:
    true = shaky_path(10)
    world = RigidTransform.from_components([3.0, 1.0, -2.0], Rotation.from_rotvec([0.2, -1.0, 0.4]))
    shrunk = RigidTransform.from_components(true.translation / 2.5, true.rotation)
    trajectory = video(tracked(shrunk, scale=Scale(False, "unknown")))
    truth = list(true * world)
    errors = TrackingErrors.of(trajectory, truth)
    unit = Unit.of(trajectory)
    shown = trajectory_tracks(trajectory, truth, errors, unit)
    assert [track.label for track in shown] == ["truth", "found"]
    np.testing.assert_allclose(
        shown[0].cam_from_world.as_matrix(), shown[1].cam_from_world.as_matrix(), atol=1e-6 * 1e3
    )
    np.testing.assert_allclose(shown[1].cam_from_world.translation, 1e3 * shrunk.translation)
    for part in motion_components(trajectory, truth, errors, unit):
        np.testing.assert_allclose(part.true, part.values, atol=1e-5)


def test_unobservable_translations_are_not_drawn() -> None:
    true = shaky_path(6)
    trajectory = video(tracked(true)[:3] + tracked(true, UNSEEN)[3:])
    place, turn = motion_components(trajectory, None, None, Unit.of(trajectory))
    assert np.isfinite(place.values).all(axis=1).tolist() == [True] * 3 + [False] * 3
    assert np.isfinite(turn.values).all()
    only = video(tracked(true, UNSEEN))
    assert [part.label for part in motion_components(only, None, None, Unit.of(only))] == ["rotation (deg)"]
    assert trajectory_tracks(only, None, None, Unit.of(only)) == []
    html = tracking_report(RUN, pictures_of(only), only, wall(), list(true))
    assert "no path to draw" in html
    assert "translation (" not in "".join(drawings(html))
    assert "Translations are not compared" in html


def test_the_view_from_behind_is_not_mirrored() -> None:
    """Right and up of the plot, crossed, must point against where the cameras look."""
    for turn in Rotation.create_group("O"):
        pose = RigidTransform.from_components(np.zeros(3), turn)
        (across, across_sign), (up, up_sign) = plots._seen_from_behind(
            [plots.Track("", RigidTransform.concatenate([pose, pose]), plots.BLUE)]
        )
        in_camera = turn.as_matrix()
        np.testing.assert_allclose(in_camera @ (across_sign * np.eye(3)[across]), [1.0, 0.0, 0.0], atol=1e-12)
        np.testing.assert_allclose(in_camera @ (up_sign * np.eye(3)[up]), [0.0, -1.0, 0.0], atol=1e-12)


def test_axes_follow_the_motion_and_not_bands_that_dwarf_it() -> None:
    values = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    narrow = plots.Components("", ("x", "y", "z"), values, np.full((2, 3), 0.5))
    low, high = plots._limits_of_motion(narrow) or (0.0, 0.0)
    assert low == pytest.approx(-1.0 - 0.15)
    assert high == pytest.approx(4.0 + 0.15)
    wild = replace(narrow, deviations=np.array([[0.1] * 3, [1e3, 0.1, 0.1]]))
    low, high = plots._limits_of_motion(wild) or (0.0, 0.0)
    assert low == pytest.approx(-3.0 - 0.15)
    assert high == pytest.approx(6.0 + 0.15)


# --- pages ------------------------------------------------------------------------------------------------------------


def test_a_page_with_everything() -> None:
    true = shaky_path(9)
    estimates = tracked(true, scale=Scale(False, "unknown"))
    estimates[4] = PoseEstimate.failure("a <cut> in the video")
    trajectory = video(estimates)
    found = CameraEstimate(True, "", CAMERA, (57.25, 63.5), LensDeviation(0.02, 0.0), 40)
    html = tracking_report(RUN, pictures_of(trajectory), trajectory, wall(), list(true), found, pictures=2)
    text = words(html)
    assert text.startswith("8 of 9 frames posed")
    assert "found from 40 frames of the video" in text
    assert "57.2 to 63.5 px" in text
    assert "length of the video 0.267 s" in text
    assert "rule.reliable 0.98" in text
    assert "refused a <cut> in the video 1 0004.png" in text
    assert "<cut>" not in html
    assert len(drawings(html)) == 3
    # Two rows of three and the depth.
    assert html.count("data:image/jpeg") == 7
    assert not re.search(r"url\((?!#)|@import|<script|<link", html)
    assert all(link.startswith(("data:image/", "#")) for link in re.findall(r'(?:src|href)="([^"]*)"', html))


@pytest.mark.parametrize("count", [1, 2])
def test_a_page_of_hardly_any_frames(count: int) -> None:
    trajectory = video(tracked(shaky_path(count)))
    html = tracking_report(RUN, pictures_of(trajectory), trajectory, wall(), list(shaky_path(count)))
    assert f"{count} of {count} frames posed" in html
    assert len(drawings(html)) == (0 if count == 1 else 3)
    assert "nan" not in words(html)


def test_a_page_of_refusals() -> None:
    trajectory = video([PoseEstimate.failure("the picture is dark: there is nothing to track")] * 5)
    html = tracking_report(RUN, pictures_of(trajectory), trajectory, None, list(shaky_path(5)))
    text = words(html)
    assert text.startswith("0 of 5 frames posed")
    assert "No frame has a pose" in text
    assert "refused the picture is dark: there is nothing to track 5 0000.png, 0001.png, 0002.png and 2 more" in text
    assert not drawings(html)
    assert "nan" not in text


def test_a_page_of_a_long_video_stays_small() -> None:
    count = 5000
    poses = shaky_path(count)
    estimates = tracked(poses, scale=Scale(False, "unknown"))
    for index in range(0, count, 7):
        estimates[index] = PoseEstimate.failure(f"the motion is too fast: {index} of 900 points were found again")
    trajectory = video(estimates)
    html = tracking_report(RUN, pictures_of(trajectory), trajectory, wall(), list(poses), pictures=1)
    assert len(html) < 5_000_000
    assert "Of 5,000 frames, 500 are drawn." in html
    assert "4,285 frames in 715 unbroken stretches" in words(html)
    assert f" 715 0000.png, 0007.png, 0014.png and {715 - 3} more" in words(html)


def test_frames_that_the_gaussians_do_not_reach_are_named_instead_of_shown() -> None:
    away = RigidTransform.from_rotation(Rotation.from_rotvec([0.0, np.pi / 2, 0.0]))
    trajectory = video(tracked(RigidTransform.concatenate([RigidTransform.identity(), away])))
    html = tracking_report(RUN, pictures_of(trajectory), trajectory, wall())
    assert "hardly reach there: 0001.png." in html
    assert "Frame 0000.png" in html
    assert "Frame 0001.png" not in html


def test_without_matplotlib_numbers_and_pictures_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    trajectory = video(tracked(shaky_path(5)))
    html = tracking_report(RUN, pictures_of(trajectory), trajectory, wall(), list(shaky_path(5)))
    assert "posesplat[report]" in html
    assert not drawings(html)
    assert "static camera" in html
    assert "data:image/jpeg" in html


def test_fewer_frames_than_estimates_are_an_error() -> None:
    trajectory = video(tracked(shaky_path(5)))
    with pytest.raises(ValueError, match="4 frames for 5 estimates"):
        tracking_report(RUN, pictures_of(trajectory)[:4], trajectory, None)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_masked_pixels_are_greyed_and_left_out_of_the_difference() -> None:
    image = np.full((48, 64, 3), 128, np.uint8)
    image[:, 40:] = 250
    mask = np.ones((48, 64), bool)
    mask[:, 40:] = False
    frame = Frame(CAMERA, image)
    masked = compare_frame(wall(), frame, RigidTransform.identity(), mask=mask).colour
    whole = compare_frame(wall(), frame, RigidTransform.identity()).colour
    assert "median 0.0" in masked[2].caption
    assert "median 0.0" not in whole[2].caption
    np.testing.assert_array_equal(masked[1].rgb[:, :40], image[:, :40])
    assert (masked[1].rgb[:, 40:] < 128).all()
    np.testing.assert_array_equal(whole[1].rgb, image)


def test_the_depth_of_the_gaussians_is_told_in_their_unit() -> None:
    picture = rendered_depth(wall(2.0), CAMERA, RigidTransform.identity(), "median depths")
    assert picture.caption == "depth rendered at the found pose, 2 to 2 median depths"
    # The wall ends 0.8 to the right, 24 px from the centre, and half of a frame is 32 px.
    empty = picture.rgb[24, 1]
    assert (picture.rgb[24, 32] != empty).any()
    near = compare_frame(wall(), Frame(CAMERA, None, np.ones((48, 64), np.float32)), RigidTransform.identity(), None)
    assert near.depth == ()
    assert near.covered == 1.0
