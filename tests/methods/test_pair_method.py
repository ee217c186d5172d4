"""Pairs of exact room pictures: the pose is known, and so is what cannot be found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets import rooms
from posesplat.evaluate.protocols.rooms import noisy
from posesplat.geometry.cameras import Camera
from posesplat.geometry.depth_map import DepthMap, DepthMeaning
from posesplat.geometry.estimate import PoseEstimate, ScaleSource
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.geometry.poses import inverse_covariance, log, perturbed, pose_errors
from posesplat.methods.pair import PairEstimator, PairResult, pair, pair_with_evidence
from posesplat.methods.pair_dense import DenseFit, fused, refined_by_rendering
from posesplat.methods.pair_options import PairOptions

CAMERA = Camera(262.5, 262.5, 160.0, 120.0, 320, 240)
WIDE = Camera(200.0, 200.0, 170.0, 100.0, 340, 200)
MOTION = np.array([0.02, 0.15, -0.03, -0.25, 0.05, 0.1])
CHI2_95 = 12.592


def frames(room: rooms.Room, motion: np.ndarray = MOTION, camera_b: Camera = CAMERA) -> tuple[Frame, Frame]:
    view = room.default_view
    other = perturbed(view, motion)
    return room.render(CAMERA, view, supersample=1), room.render(camera_b, other, supersample=1)


@pytest.fixture(scope="module")
def clean() -> tuple[Frame, Frame]:
    return frames(rooms.box_room(3))


@pytest.fixture(scope="module")
def measured(clean: tuple[Frame, Frame]) -> tuple[Frame, Frame]:
    return noisy(clean[0], 1), noisy(clean[1], 2)


@pytest.fixture(scope="module")
def answer(measured: tuple[Frame, Frame]) -> PairResult:
    return pair_with_evidence(*measured)


@pytest.fixture(scope="module")
def by_matches(measured: tuple[Frame, Frame]) -> PoseEstimate:
    return pair(*measured, PairOptions(dense=False))


B_FROM_A = perturbed(RigidTransform.identity(), MOTION)


def errors(estimate: PoseEstimate, truth: RigidTransform = B_FROM_A) -> tuple[float, float]:
    assert estimate.success, estimate.reason
    assert estimate.cam_from_world is not None
    metres, degrees = pose_errors(estimate.cam_from_world, truth)
    return float(metres), float(degrees)


class Learned:
    """Depth as a network gives it: each image with a scale of its own."""

    name = "simulated"
    meaning: DepthMeaning = "metric"
    source: ScaleSource = "learned depth"

    def __init__(self, factors: tuple[float, ...] = (1.08, 1 / 1.08)) -> None:
        self.factors = list(factors)

    def depth(self, frame: Frame) -> DepthMap:
        assert frame.depth is not None
        return DepthMap.of(frame.depth * np.float32(self.factors.pop(0)), "metric")


def test_measured_depth_gives_the_metric_pose(answer: PairResult) -> None:
    result = answer
    metres, degrees = errors(result.estimate)
    assert metres < 0.004
    assert degrees < 0.06
    assert result.estimate.scale.metric
    assert result.estimate.scale.source == "depth sensor"
    assert result.estimate.source.endswith("rendering")
    assert 0.4 < result.estimate.overlap <= 1.0
    assert set(result.evidence.seconds) == {"matches", "starts", "refinement", "dense"}
    assert result.evidence.inliers.sum() > 50


def test_dense_refinement_is_better_than_matches_alone(answer: PairResult, by_matches: PoseEstimate) -> None:
    dense, matches = errors(answer.estimate), errors(by_matches)
    assert dense[0] < matches[0]
    assert dense[1] < matches[1]


def test_swapped_images_give_the_inverse_within_the_covariance(
    measured: tuple[Frame, Frame], answer: PairResult
) -> None:
    there, back = answer.estimate, pair(*measured[::-1])
    assert there.cam_from_world is not None
    assert back.cam_from_world is not None
    assert there.covariance is not None
    assert back.covariance is not None
    gap = log(there.cam_from_world * back.cam_from_world)
    covariance = there.covariance + inverse_covariance(back.cam_from_world, back.covariance)
    assert gap @ np.linalg.solve(covariance, gap) < CHI2_95


@pytest.mark.parametrize("dense", [True, False])
def test_truth_lies_within_the_covariance(answer: PairResult, by_matches: PoseEstimate, dense: bool) -> None:
    estimate = answer.estimate if dense else by_matches
    assert estimate.cam_from_world is not None
    assert estimate.covariance is not None
    error = log(B_FROM_A * estimate.cam_from_world.inv())
    assert error @ np.linalg.solve(estimate.covariance, error) < CHI2_95


def test_scaling_both_depths_scales_the_translation(clean: tuple[Frame, Frame]) -> None:
    larger = tuple(replace(frame, depth=np.float32(2.0) * np.asarray(frame.depth)) for frame in clean)
    estimate = pair(*larger)
    assert estimate.cam_from_world is not None
    assert estimate.cam_from_world.translation == pytest.approx(2.0 * B_FROM_A.translation, abs=0.006)


def test_learned_scales_that_disagree_are_split(clean: tuple[Frame, Frame]) -> None:
    estimate = PairEstimator(PairOptions(), depth=Learned()).estimate(*clean).estimate
    metres, degrees = errors(estimate)
    assert metres < 0.01
    assert degrees < 0.15
    assert estimate.scale.source == "learned depth"
    assert estimate.covariance is not None
    # The scale is known to 8 % / sqrt(2) of the baseline of 0.28 m, no better.
    assert np.sqrt(np.trace(estimate.covariance[3:, 3:])) > 0.014


def test_without_depth_the_direction_alone_is_found(clean: tuple[Frame, Frame]) -> None:
    estimate = pair(*clean, PairOptions(depth="none"))
    assert estimate.success, estimate.reason
    assert estimate.cam_from_world is not None
    direction = B_FROM_A.translation / np.linalg.norm(B_FROM_A.translation)
    assert estimate.cam_from_world.translation == pytest.approx(direction, abs=0.03)
    assert not estimate.scale.metric
    assert estimate.scale.source == "unknown"
    assert any("length 1" in warning for warning in estimate.warnings)


def test_depth_of_one_image_is_enough(clean: tuple[Frame, Frame]) -> None:
    metres, degrees = errors(pair(clean[0], replace(clean[1], depth=None)))
    assert metres < 0.01
    assert degrees < 0.2


def test_cameras_of_different_sizes(clean: tuple[Frame, Frame]) -> None:
    metres, degrees = errors(pair(*frames(rooms.box_room(3), camera_b=WIDE)))
    assert metres < 0.005
    assert degrees < 0.1


def test_most_depth_may_be_missing(measured: tuple[Frame, Frame]) -> None:
    holes = []
    for seed, frame in enumerate(measured):
        coarse = np.random.default_rng(seed).random((12, 16)) < 0.6
        missing = np.kron(coarse, np.ones((20, 20))).astype(bool)
        holes.append(replace(frame, depth=np.where(missing, np.float32(0), np.asarray(frame.depth))))
    metres, degrees = errors(pair(*holes))
    assert metres < 0.01
    assert degrees < 0.1


def test_holes_between_all_pixels_neither_stop_the_matches_nor_the_rendering(
    measured: tuple[Frame, Frame], answer: PairResult
) -> None:
    rng = np.random.default_rng(0)
    sparse, bare = [], []
    for frame in measured:
        assert frame.depth is not None
        sparse.append(replace(frame, depth=np.where(rng.random(frame.depth.shape) < 0.6, np.float32(0), frame.depth)))
        bare.append(replace(frame, depth=np.where(rng.random(frame.depth.shape) < 0.98, np.float32(0), frame.depth)))
    expected = answer.estimate.cam_from_world
    assert expected is not None
    for pair_of_frames, limit in ((sparse, 0.002), (bare, 0.02)):
        found = pair(*pair_of_frames).cam_from_world
        assert found is not None
        assert np.linalg.norm((found * expected.inv()).translation) < limit


def test_identical_images_stand_still_with_depth_and_lack_parallax_without(measured: tuple[Frame, Frame]) -> None:
    first = measured[0]
    metres, degrees = errors(pair(first, first), RigidTransform.identity())
    assert metres < 1e-4
    assert degrees < 1e-3
    without = pair(first, first, PairOptions(depth="none"))
    assert not without.success
    assert "No parallax" in without.reason


def test_a_turn_without_depth_lacks_parallax() -> None:
    room = rooms.box_room(3)
    turned = frames(room, np.array([0.0, 0.15, 0.02, 0.0, 0.0, 0.0]))
    estimate = pair(*turned, PairOptions(depth="none"))
    assert not estimate.success
    assert "No parallax" in estimate.reason
    assert "a turn of the camera by 8.6" in estimate.reason


def test_a_wall_without_depth_is_ambiguous_and_with_depth_is_not() -> None:
    room = rooms.textured_wall(1)
    pictures = frames(room, np.array([0.05, 0.2, 0.0, -0.5, 0.1, 0.05]))
    result = pair_with_evidence(*pictures, PairOptions(depth="none"))
    text = result.estimate.reason + " ".join(result.estimate.warnings)
    assert "lie on a plane, which two poses explain: costs" in text
    truth = perturbed(RigidTransform.identity(), np.array([0.05, 0.2, 0.0, -0.5, 0.1, 0.05]))
    metres, degrees = errors(pair(*pictures), truth)
    assert metres < 0.01
    assert degrees < 0.2


class Nothing:
    """A matcher that finds nothing."""

    name = "nothing"

    def matches(self, a: Frame, b: Frame) -> Matches:
        return Matches.none()


def test_measured_depths_that_agree_both_ways_need_no_matches() -> None:
    near = np.array([0.01, 0.03, 0.0, -0.05, 0.02, 0.03])
    a, b = frames(rooms.box_room(3), near)
    found = PairEstimator(matcher=Nothing()).estimate(noisy(a, 1), noisy(b, 2))
    metres, degrees = errors(found.estimate, perturbed(RigidTransform.identity(), near))
    assert metres < 0.004
    assert degrees < 0.06
    assert "too few matches" in found.estimate.warnings[0]
    far, _ = frames(rooms.box_room(11))
    for options in (PairOptions(), PairOptions(dense=False), PairOptions(depth="none")):
        refused = PairEstimator(options, Nothing()).estimate(a, far if options.dense else b).estimate
        assert not refused.success
        assert "share 0 matches" in refused.reason


def test_images_without_overlap_are_refused_and_bridge_is_named() -> None:
    room = rooms.box_room(3)
    behind = frames(room, np.array([0.0, np.pi, 0.0, 0.0, 0.0, 0.0]))
    other = rooms.box_room(11)
    elsewhere = other.render(CAMERA, other.default_view, supersample=1)
    for a, b, options in ((*behind, PairOptions()), (behind[0], elsewhere, PairOptions(depth="none"))):
        estimate = pair(a, b, options)
        assert not estimate.success
        assert "posesplat bridge" in estimate.reason


def test_a_black_image_is_refused(clean: tuple[Frame, Frame]) -> None:
    black = replace(clean[1], image=np.zeros_like(clean[1].image))
    assert pair(clean[0], black).reason.startswith("Image B is blank")
    assert pair(black, clean[0]).reason.startswith("Image A is blank")


def test_millimetres_taken_for_metres_are_caught(clean: tuple[Frame, Frame]) -> None:
    in_mm = replace(clean[1], depth=np.float32(1000.0) * np.asarray(clean[1].depth))
    assert "does not look like metres" in pair(clean[0], in_mm).reason
    in_feet = replace(clean[1], depth=np.float32(10.0) * np.asarray(clean[1].depth))
    reason = pair(clean[0], in_feet).reason
    assert float(reason.split("factor of ")[1].split()[0]) == pytest.approx(10.0, rel=0.02)


def test_depth_that_is_not_metric_is_refused_before_anything_runs() -> None:
    provider = Learned()
    provider.meaning = "affine"
    with pytest.raises(ValueError, match="metric checkpoint"):
        PairEstimator(depth=provider)


def test_frames_without_images_are_an_error(clean: tuple[Frame, Frame]) -> None:
    with pytest.raises(ValueError, match="needs frames with images"):
        pair(clean[0], replace(clean[1], image=None))


@pytest.mark.parametrize("settings", [{"starts": ()}, {"starts": ("luck",)}, {"min_soft_inliers": -1.0}])
def test_impossible_options_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="PairOptions"):
        PairOptions(**settings)  # type: ignore[arg-type]


def test_answers_repeat(measured: tuple[Frame, Frame], answer: PairResult) -> None:
    first, second = answer.estimate, pair(*measured)
    assert first.cam_from_world is not None
    assert second.cam_from_world is not None
    assert np.array_equal(first.cam_from_world.as_matrix(), second.cam_from_world.as_matrix())


def test_fusing_weighs_by_information_and_adds_little_certainty() -> None:
    sure, unsure = np.diag([1e-8] * 6), np.diag([9e-8] * 6)
    shift = np.array([0.0, 0.0, 0.0, 0.0002, 0.0, 0.0])
    one = DenseFit(RigidTransform.identity(), sure, 0.5, 0.9)
    other = DenseFit(perturbed(RigidTransform.identity(), shift), unsure, 0.7, 0.7)
    both = fused([one, other])
    assert log(both.b_from_a) == pytest.approx(0.1 * shift, abs=1e-9)
    assert np.diag(both.covariance) == pytest.approx(np.full(6, 0.75 * 1.8e-8))
    assert fused([one, one]).covariance == pytest.approx(0.75 * sure)
    assert fused([one]).covariance == pytest.approx(sure)
    # Ten times as far apart as they may be: the covariance holds both.
    apart = replace(other, b_from_a=perturbed(RigidTransform.identity(), 10 * shift))
    assert fused([one, apart]).covariance[3, 3] > (5 * shift[3]) ** 2


def test_rendering_finds_nothing_where_nothing_overlaps(clean: tuple[Frame, Frame]) -> None:
    turned = perturbed(RigidTransform.identity(), np.array([0.0, 2.5, 0.0, 0.0, 0.0, 0.0]))
    assert refined_by_rendering(*clean, turned) is None
