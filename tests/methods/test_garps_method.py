"""The faithful GARPS mode on frames."""

from __future__ import annotations

import numpy as np
import pytest

from align.mixture_rooms import room_frames
from posesplat.align.garps import GarpsOptions
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import perturbed, pose_errors
from posesplat.methods.garps import garps
from posesplat.providers.features.pixels import NormalisedFeatures


def test_frames_with_depth_give_a_metric_pose() -> None:
    a, b, true = room_frames()
    estimate = garps(a, b, perturbed(true, np.array([0.02, -0.03, 0.01, -0.03, 0.02, 0.03])), threads=1)
    assert estimate.success and estimate.source == "garps" and estimate.scale.metric
    distance, angle = pose_errors(estimate.cam_from_world, true)
    assert distance < 5e-3 and angle < 0.1
    assert estimate.covariance is None and 0.5 < estimate.overlap < 1


def test_a_worse_end_than_start_is_a_failure() -> None:
    a, b, true = room_frames()
    leap = GarpsOptions(sigmas_m=(0.02,), steps=2, translation_rate_m=0.02)
    estimate = garps(a, b, true, leap, threads=1)
    assert not estimate.success and "worse at the end than at the start" in estimate.reason


def test_features_of_a_provider_take_the_place_of_descriptors() -> None:
    a, b, true = room_frames()
    start = perturbed(true, np.array([0.02, -0.03, 0.01, -0.03, 0.02, 0.03]))
    options = GarpsOptions(sigmas_m=(0.05,), steps=5)
    costs = [
        garps(a, b, start, options, features=features, least_agreement=0.0, threads=1).cost
        for features in (NormalisedFeatures(), None)
    ]
    assert abs(costs[0] - costs[1]) > 0.01
    with pytest.raises(ValueError, match="need both frames to have an image"):
        garps(a, Frame(b.camera, depth=b.depth), start, features=NormalisedFeatures())


def test_a_far_start_is_not_answered_with_a_plausible_pose() -> None:
    a, b, true = room_frames()
    estimate = garps(a, b, perturbed(true, np.array([0.2, 0.9, 0.3, 0.4, 0.1, 0.5])), threads=1)
    assert not estimate.success and estimate.cam_from_world is None and estimate.inlier_fraction < 0.5


def test_depth_is_needed() -> None:
    a, b, true = room_frames()
    with pytest.raises(ValueError, match="must have depth"):
        garps(a, Frame(b.camera, np.zeros_like(b.image)), true)
