"""Poses of a segment refined against Gaussians of its reference, on rooms with exact poses and depth."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms import (
    Quad,
    Surface,
    box_room,
    colour_noise,
    handheld_trajectory,
    procedural_texture,
    render_sequence,
)
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import Scale
from posesplat.geometry.frame import Frame
from posesplat.methods.track_scene import RefinedSegment, SceneOptions, refined_segment

CAMERA = Camera.from_fov(62.7, 240, 180)
ROOM = box_room(2)
TRUE = handheld_trajectory(5, 5, ROOM.default_view, 0.03, 0.8)
RELATIVE = TRUE[1:] * TRUE[0].inv()
UNIT_M = 3.0
"""Metres in the segment's unit of length."""
NOISE_PX = 0.05


@functools.cache
def clip() -> tuple[Frame, ...]:
    """Images with noise and drifting exposure, and exact depth."""
    frames = render_sequence(ROOM, CAMERA, TRUE)
    return tuple(colour_noise(f, i, 1.5, 1.0 + 0.03 * np.sin(2.0 * i)) for i, f in enumerate(frames))


@functools.cache
def start() -> tuple[RigidTransform, np.ndarray]:
    """Poses as an adjustment gives them: in a unit of its own, with errors of a tenth of a pixel."""
    rng = np.random.default_rng(0)
    deviation = np.array([5e-4] * 3 + [5e-4] * 3)
    moved = poses.exp(rng.normal(0, 1, (4, 6)) * deviation) * poses.rescaled(RELATIVE, 1.0 / UNIT_M)
    return moved, np.tile(np.diag(deviation**2), (4, 1, 1))


@functools.cache
def points() -> tuple[np.ndarray, np.ndarray]:
    """Places of the reference and their inverse depths in the segment's unit, with errors of 1 %."""
    rng = np.random.default_rng(1)
    pixels = rng.uniform([10, 10], [230, 170], (300, 2))
    depth = exact_depth()[np.floor(pixels[:, 1]).astype(int), np.floor(pixels[:, 0]).astype(int)]
    return pixels, UNIT_M / depth * (1.0 + 0.01 * rng.normal(size=300))


def exact_depth() -> np.ndarray:
    depth = clip()[0].depth
    assert depth is not None
    return depth


def refined(frames: tuple[Frame, ...] | None = None, **arguments: object) -> RefinedSegment:
    first, *later = clip() if frames is None else frames
    return refined_segment(first, later, *start(), *points(), NOISE_PX, threads=1, **arguments)  # type: ignore[arg-type]


def errors(found: RigidTransform, unit: float = 1.0) -> tuple[float, float]:
    """Largest error of a centre in metres, and of an orientation in degrees."""
    distance, angle = poses.pose_errors(found, poses.rescaled(RELATIVE, unit))
    return float(distance.max()) / unit, float(angle.max())


@functools.cache
def with_exact_depth() -> RefinedSegment:
    return refined(depth=exact_depth())


def test_exact_depth_gives_metric_poses_far_better_than_the_start() -> None:
    found = with_exact_depth()
    assert found.kept.all() and found.reason.startswith("refined, 4 of 4 frames")
    assert found.scale == Scale(True, "depth sensor")
    assert found.unit == pytest.approx(UNIT_M, rel=2e-3)
    before, after = errors(start()[0], 1.0 / UNIT_M), errors(found.cam_from_reference)
    assert after[0] < 6e-4 < 2e-3 < before[0]
    assert after[1] < 0.01 < 0.03 < before[1]


def test_covariances_are_of_the_size_of_the_errors() -> None:
    found = with_exact_depth()
    gaps = poses.log(found.cam_from_reference * RELATIVE.inv())
    lengths = [gap @ np.linalg.solve(spread, gap) / 6 for gap, spread in zip(gaps, found.covariance, strict=True)]
    assert 0.05 < np.mean(lengths) < 4.0


def test_exposures_are_those_of_the_frames() -> None:
    gains = [1.0 + 0.03 * np.sin(2.0 * index) for index in range(5)]
    np.testing.assert_allclose(with_exact_depth().exposures[:, 0], np.array(gains[1:]) / gains[0], atol=0.012)


def test_gaussians_lie_on_the_surfaces() -> None:
    gaussians = with_exact_depth().gaussians
    assert gaussians is not None
    means = gaussians.means_in_world.astype(float)
    places = CAMERA.project(means)
    exact = ROOM.cast(CAMERA, TRUE[0], colour=False).depth
    there = exact[places[:, 1].astype(int), places[:, 0].astype(int)]
    assert np.median(np.abs(means[:, 2] / there - 1.0)) < 1e-3


def test_the_answer_is_in_the_unit_of_the_depth() -> None:
    first, second = with_exact_depth(), refined(depth=np.float32(2.0) * exact_depth())
    assert second.unit == pytest.approx(2.0 * first.unit, rel=1e-6)
    expected = poses.rescaled(first.cam_from_reference, 2.0)
    distance, angle = poses.pose_errors(second.cam_from_reference, expected)
    assert distance.max() < 2e-4 and angle.max() < 5e-4
    ratio = second.covariance / poses.rescaled_covariance(first.covariance, 2.0)
    np.testing.assert_allclose(ratio[:, range(6), range(6)], 1.0, rtol=0.15)


def test_depth_without_a_unit_stays_in_that_of_the_segment() -> None:
    shape = refined(depth=np.float32(17.0) * exact_depth(), depth_scale=Scale(False, "unknown"))
    assert shape.scale == Scale(False, "unknown") and shape.unit == 1.0
    assert errors(shape.cam_from_reference, 1.0 / UNIT_M)[0] < 6e-4


def test_learned_depth_is_named_as_the_source_of_the_metre() -> None:
    found = refined(depth=exact_depth(), depth_scale=Scale(True, "learned depth"))
    assert found.scale == Scale(True, "learned depth")


def test_without_depth_a_sweep_gives_it_and_covariances_stay() -> None:
    found = refined()
    assert found.kept.all() and found.scale == Scale(False, "unknown") and found.unit == 1.0
    assert found.refined is not None and found.depth is not None
    before, after = errors(start()[0], 1.0 / UNIT_M), errors(found.cam_from_reference, 1.0 / UNIT_M)
    assert after[0] < 0.8 * before[0] and after[1] < 0.8 * before[1]
    np.testing.assert_array_equal(found.covariance, start()[1])
    halfway = poses.log(found.cam_from_reference * start()[0].inv())
    np.testing.assert_allclose(2.0 * halfway, poses.log(found.refined * start()[0].inv()), atol=1e-9)


def test_depth_that_contradicts_the_tracks_leaves_the_adjusted_poses() -> None:
    inverse = 1.0 / exact_depth()
    reversed_depth = 1.0 / (2.0 * np.float32(np.median(inverse)) - np.minimum(inverse, 1.6 * np.median(inverse)))
    found = refined(depth=reversed_depth)
    assert not found.kept.any() and found.reason.startswith("not refined: dense depth displaces tracked points")
    assert found.disagreement > 3.0
    np.testing.assert_allclose(found.cam_from_reference.as_matrix(), poses.rescaled(start()[0], found.unit).as_matrix())
    np.testing.assert_allclose(found.covariance, poses.rescaled_covariance(start()[1], found.unit))
    assert found.refined is not None  # there to be compared
    assert refined(depth=reversed_depth, options=SceneOptions(keep="always", largest_change_px=50.0)).kept.any()
    assert not refined(depth=exact_depth(), options=SceneOptions(keep="never")).kept.any()


def test_unobservable_translation_needs_depth_from_outside() -> None:
    first, *later = clip()
    turned = RigidTransform.from_rotation(start()[0].rotation)
    pixels, unknown = points()[0], np.full(300, np.nan)
    alone = refined_segment(first, later, turned, start()[1], pixels, unknown, NOISE_PX, threads=1)
    assert not alone.kept.any() and alone.gaussians is None and "unobservable" in alone.reason
    found = refined_segment(first, later, turned, start()[1], pixels, unknown, NOISE_PX, depth=exact_depth(), threads=1)
    assert found.kept.all() and np.isnan(found.disagreement)
    assert errors(found.cam_from_reference)[0] < 7e-4


@functools.cache
def clip_with_board() -> tuple[tuple[Frame, ...], tuple[np.ndarray, ...]]:
    """The same clip with a textured board that drifts through the view, and where it is not."""
    world_from_board = TRUE[0].inv() * RigidTransform.from_translation([-0.15, 0.0, 1.2])
    frames, masks = [], []
    for index, pose in enumerate(TRUE):
        moved = world_from_board * RigidTransform.from_translation([0.012 * index, 0.004 * index, 0.0])
        board = Surface(Quad(0.6, 0.5), procedural_texture("patches", np.random.default_rng(9), 0.1), moved)
        frame = replace(ROOM, surfaces=(*ROOM.surfaces, board)).render(CAMERA, pose)
        assert frame.depth is not None
        free = ROOM.cast(CAMERA, pose, colour=False).depth - frame.depth < 0.01
        masks.append(free & np.roll(free, 1, 1) & np.roll(free, -1, 1) & np.roll(free, 1, 0) & np.roll(free, -1, 0))
        frames.append(colour_noise(frame, index, 1.5, 1.0 + 0.03 * np.sin(2.0 * index)))
    return tuple(frames), tuple(masks)


def test_a_board_that_moves_and_is_masked_changes_nothing() -> None:
    frames, masks = clip_with_board()
    assert 0.1 < np.mean(~masks[0]) < 0.4
    depth, options = frames[0].depth, SceneOptions(keep="always")
    masked = refined(frames, depth=depth, reference_mask=masks[0], masks=masks[1:], options=options)
    plain = refined(frames, depth=depth, options=options)
    assert masked.kept.all()
    with_board, without = errors(masked.cam_from_reference), errors(with_exact_depth().cam_from_reference)
    assert with_board[0] < 1.6 * without[0] and with_board[1] < 1.6 * without[1]
    assert errors(plain.cam_from_reference)[0] > 2.0 * with_board[0]


def test_colours_given_as_features_are_compared_like_colours() -> None:
    rgb = refined(depth=exact_depth(), options=SceneOptions(channels="rgb"))
    same = refined(
        depth=exact_depth(),
        features=lambda image: image.astype(np.float32) / np.float32(255),
        options=SceneOptions(channels="none"),
    )
    np.testing.assert_allclose(same.cam_from_reference.as_matrix(), rgb.cam_from_reference.as_matrix(), atol=1e-9)
    both = refined(depth=exact_depth(), features=lambda image: (image[..., 1:2] / np.float32(255)).astype(np.float32))
    assert errors(both.cam_from_reference)[0] < 6e-4


def test_the_prior_on_the_path_moves_poses_towards_even_steps() -> None:
    def unevenness(path: RigidTransform) -> float:
        whole = RigidTransform.concatenate([RigidTransform.identity(), path])
        return float(np.abs(np.diff(poses.log(whole[1:] * whole[:-1].inv()), axis=0)).max())

    smooth = refined(depth=exact_depth(), options=SceneOptions(smoothness=100.0))
    assert unevenness(smooth.cam_from_reference) < 0.2 * unevenness(with_exact_depth().cam_from_reference)


def test_wrong_input_is_told_apart() -> None:
    first, *later = clip()
    pose, spread = start()
    with pytest.raises(ValueError, match="for each of at least one frame"):
        refined_segment(first, later[:2], pose, spread, *points(), NOISE_PX)
    with pytest.raises(ValueError, match="has none"):
        refined_segment(first, [replace(frame, image=None) for frame in later], pose, spread, *points(), NOISE_PX)
    with pytest.raises(ValueError, match="one camera"):
        other = replace(first, camera=replace(CAMERA, fx=200.0))
        refined_segment(other, later, pose, spread, *points(), NOISE_PX)
    with pytest.raises(ValueError, match="nothing to compare"):
        refined(depth=exact_depth(), options=SceneOptions(channels="none"))
    with pytest.raises(ValueError, match="swept_share"):
        SceneOptions(swept_share=0.0)
    with pytest.raises(ValueError, match="smoothness"):
        SceneOptions(smoothness=-1.0)
    blank = refined(depth=np.zeros((180, 240), np.float32))
    assert not blank.kept.any() and blank.gaussians is None and "no pixel gives a surface" in blank.reason


def test_equal_input_gives_equal_answers_whatever_the_threads() -> None:
    first, *later = clip()
    again = refined_segment(first, later, *start(), *points(), NOISE_PX, depth=exact_depth(), threads=2)
    expected = with_exact_depth().cam_from_reference.as_matrix()
    np.testing.assert_array_equal(again.cam_from_reference.as_matrix(), expected)


def test_a_frame_that_is_the_reference_has_not_moved() -> None:
    first = clip()[0]
    still = refined_segment(
        first,
        [first],
        poses.exp(np.full((1, 6), 3e-4)),
        np.tile(1e-6 * np.eye(6), (1, 1, 1)),
        *points(),
        NOISE_PX,
        depth=exact_depth(),
        threads=1,
    )
    distance, angle = poses.pose_errors(still.cam_from_reference[0], RigidTransform.from_rotation(Rotation.identity()))
    assert distance < 2e-4 and angle < 2e-3
