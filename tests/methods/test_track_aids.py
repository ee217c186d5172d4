"""Depth, masks and features beside the images."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from methods.test_track_method import CAMERA, OPTIONS, ROOM, clip, errors
from posesplat.evaluate.metrics import absolute_trajectory_error
from posesplat.geometry.depth_map import DepthMap, DepthMeaning
from posesplat.geometry.estimate import ScaleSource
from posesplat.geometry.frame import Frame
from posesplat.methods.track import Tracker, track
from posesplat.methods.track_answer import TrackAids
from posesplat.methods.track_disocclusion import DisocclusionOptions
from posesplat.providers.depth.measured import SensorDepth
from posesplat.providers.features.open import open_features
from posesplat.providers.masks.open import MaskChoice


@functools.cache
def measured_clip() -> tuple[list[Frame], np.ndarray]:
    """The hand-held clip with exact depth in every frame."""
    frames, true = clip(0.03, 2.0)
    depths = [ROOM.cast(CAMERA, pose, colour=False).depth.astype(np.float32) for pose in true]
    return [replace(frame, depth=depth) for frame, depth in zip(frames, depths, strict=True)], depths[0]


class Shaped:
    """Depth whose unit, or more, is unknown."""

    name = "shaped"
    source: ScaleSource = "learned depth"

    def __init__(self, meaning: DepthMeaning, factor: float, shift: float = 0.0) -> None:
        self.meaning: DepthMeaning = meaning
        self._factor, self._shift = factor, shift

    def depth(self, frame: Frame) -> DepthMap:
        assert frame.depth is not None
        if self.meaning == "metric":
            return DepthMap.of(self._factor * frame.depth, "metric")
        return DepthMap.of(self._factor / frame.depth + self._shift, self.meaning)


def test_sensor_depth_makes_the_trajectory_metric_and_better() -> None:
    frames, _ = measured_clip()
    true = clip(0.03, 2.0)[1]
    found = track(frames, OPTIONS, aids=TrackAids(SensorDepth()))
    assert all(estimate.scale.metric and estimate.scale.source == "depth sensor" for estimate in found)
    relative = true * true[0].inv()
    rigid = absolute_trajectory_error(found.cam_from_world(), relative).translation_statistics.rmse
    without = errors(track(clip(0.03, 2.0)[0], replace(OPTIONS, scene=None)), true)[0]
    assert rigid < 0.001
    assert errors(found, true)[0] < without


def test_a_live_camera_with_depth_is_metric_too() -> None:
    frames, _ = measured_clip()
    true = clip(0.03, 2.0)[1]
    found = track(frames, replace(OPTIONS, causal=True), aids=TrackAids(SensorDepth()))
    assert found[8].scale.metric
    step, relative = found[8].cam_from_world, true[8] * true[0].inv()
    assert step is not None
    assert np.linalg.norm(step.translation) == pytest.approx(np.linalg.norm(relative.translation), rel=0.1)


def test_depth_is_asked_once_for_each_reference() -> None:
    frames, _ = measured_clip()
    provider, asked = SensorDepth(), []

    class Counted(SensorDepth):
        def depth(self, frame: Frame) -> DepthMap:
            asked.append(frame.name)
            return provider.depth(frame)

    found = track(frames, replace(OPTIONS, causal=True), aids=TrackAids(Counted()))
    assert found[8].scale.metric
    assert asked == [frames[0].name]


def test_depth_of_another_unit_scales_the_answer() -> None:
    frames, _ = measured_clip()
    one, three = (track(frames, OPTIONS, aids=TrackAids(Shaped("metric", factor))) for factor in (1.0, 3.0))
    assert three[5].scale.source == "learned depth"
    np.testing.assert_allclose(
        three.cam_from_world().translation, 3.0 * one.cam_from_world().translation, rtol=0.0, atol=0.001
    )


@pytest.mark.parametrize(("meaning", "factor", "shift"), [("relative", 7.0, 0.0), ("affine", 4.0, 0.6)])
def test_depth_without_a_unit_is_a_shape_only(meaning: DepthMeaning, factor: float, shift: float) -> None:
    frames, _ = measured_clip()
    true = clip(0.03, 2.0)[1]
    found = track(frames, OPTIONS, aids=TrackAids(Shaped(meaning, factor, shift)))
    assert not any(estimate.scale.metric for estimate in found)
    assert errors(found, true)[0] < 0.02 * 0.03


def test_depth_of_another_scene_is_not_used_and_said_so() -> None:
    frames, first = measured_clip()
    mirrored = [replace(frame, depth=np.ascontiguousarray(1.0 / first[::-1, ::-1])) for frame in frames]
    found = track(mirrored, OPTIONS, aids=TrackAids(Shaped("relative", 1.0)))
    assert any("is not used" in warning for warning in found[5].warnings)
    assert not found[5].scale.metric


def test_the_scene_is_where_the_depth_says() -> None:
    frames, first = measured_clip()
    tracker = Tracker(CAMERA, OPTIONS, aids=TrackAids(SensorDepth()))
    for frame in frames:
        tracker.take(frame)
    tracker.trajectory()
    scene = tracker.gaussians()
    assert scene is not None
    pixels = np.floor(CAMERA.project(scene.means_in_world)).astype(int)
    expected = first[np.clip(pixels[:, 1], 0, 239), np.clip(pixels[:, 0], 0, 319)]
    assert np.median(np.abs(scene.means_in_world[:, 2] / expected - 1)) < 0.005


def test_later_frames_add_what_the_first_does_not_see() -> None:
    frames, _ = measured_clip()
    sizes = []
    for disocclusion in (None, DisocclusionOptions(keyframes=1, least_uncovered=0.0)):
        tracker = Tracker(CAMERA, replace(OPTIONS, disocclusion=disocclusion), aids=TrackAids(SensorDepth()))
        for frame in frames:
            tracker.take(frame)
        tracker.trajectory()
        scene = tracker.gaussians()
        assert scene is not None
        sizes.append(len(scene))
    assert sizes[1] > sizes[0]


class HalfMask:
    name = "left half"

    def mask(self, frame: Frame) -> np.ndarray:
        mask = np.zeros((frame.camera.height, frame.camera.width), dtype=bool)
        mask[:, : frame.camera.width // 2] = True
        return mask


def test_what_is_masked_does_not_count() -> None:
    """Pictures whose right half is noise are tracked like the left half alone."""
    frames, true = clip(0.03, 2.0)
    rng = np.random.default_rng(0)
    spoilt = []
    for frame in frames:
        image = np.array(frame.image)
        image[:, 165:] = rng.integers(0, 255, image[:, 165:].shape)
        spoilt.append(replace(frame, image=image))
    found = track(spoilt, OPTIONS, aids=TrackAids(masks=MaskChoice(HalfMask())))
    assert found.posed.all()
    assert errors(found, true)[0] < 0.1 * 0.03


def test_features_are_compared_as_well() -> None:
    frames, true = clip(0.03, 2.0)
    features = open_features("normalised")
    features.fit(frame.image for frame in frames if frame.image is not None)
    found = track(frames, OPTIONS, aids=TrackAids(features=features))
    assert errors(found, true)[0] < 0.02 * 0.03
    assert any("gaussians" in estimate.source for estimate in found)
