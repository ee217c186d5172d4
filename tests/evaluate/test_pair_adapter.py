"""How a benchmark asks for our answer: with its own matches, with depth of the right kind, and for the best guess."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate import pair_ours
from posesplat.evaluate.pair_rivals import Rated
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches

CAMERA = Camera(5.0, 5.0, 2.0, 2.0, 4, 4)
FRAME = Frame(CAMERA, np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 2.0, np.float32))
MATCHES = Matches(np.ones((1, 2)), np.ones((1, 2)), np.ones(1))
GUESS = RigidTransform.from_translation([1.0, 2.0, 3.0])


@dataclass
class Asked:
    """A stand-in for the estimator, which remembers what it was given."""

    answer: PoseEstimate
    given: list[Any] = field(default_factory=list)

    def estimator(self, options: Any, matcher: Any, depth: Any) -> Any:
        self.given = [options, matcher, depth]
        return SimpleNamespace(estimate=self.estimate)

    def estimate(self, a: Frame, b: Frame) -> Any:
        fit = SimpleNamespace(state=SimpleNamespace(b_from_a=GUESS))
        evidence = SimpleNamespace(fit=fit, soft_inliers=3, seconds={"starts": 0.1})
        return SimpleNamespace(estimate=self.answer, evidence=evidence)


def asked(monkeypatch: pytest.MonkeyPatch, answer: PoseEstimate) -> Asked:
    stand_in = Asked(answer)
    monkeypatch.setattr(pair_ours, "PairEstimator", stand_in.estimator)
    return stand_in


def test_measured_depth_is_the_frames_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = asked(monkeypatch, PoseEstimate(True, "", RigidTransform.identity()))
    rated = pair_ours.posesplat_pair(FRAME, FRAME, MATCHES, measured=True)
    options, matcher, depth = stand_in.given
    assert options.dense and depth is None and matcher.matches(FRAME, FRAME) is MATCHES
    assert rated.accepted and rated.score == 3.0 and rated.parts_s == {"starts": 0.1}


def test_other_depth_is_a_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = asked(monkeypatch, PoseEstimate(True, "", RigidTransform.identity()))
    pair_ours.posesplat_pair(FRAME, FRAME, MATCHES, measured=False)
    depth = stand_in.given[2]
    assert (depth.source, depth.meaning) == ("learned depth", "metric")
    np.testing.assert_array_equal(depth.depth(FRAME).values, FRAME.depth)
    with pytest.raises(ValueError, match="must have depth"):
        depth.depth(Frame(CAMERA, FRAME.image))
    pair_ours.posesplat_pair(Frame(CAMERA, FRAME.image), FRAME, MATCHES, measured=False)
    assert stand_in.given[2] is None


def test_a_refusal_is_told_with_its_best_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, PoseEstimate.failure("too few agree"))
    rated = pair_ours.posesplat_pair(FRAME, FRAME, MATCHES, measured=True)
    assert not rated.accepted and rated.estimate.cam_from_world is GUESS
    assert rated.estimate.warnings == ("too few agree",)


def test_garps_begins_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def garps(a: Frame, b: Frame, start: RigidTransform) -> PoseEstimate:
        begun.append(start)
        return PoseEstimate(True, "", RigidTransform.identity())

    monkeypatch.setattr(pair_ours, "published", SimpleNamespace(garps=garps))
    rated = pair_ours.garps(FRAME, FRAME, Rated(PoseEstimate(True, "", GUESS), 7.0))
    assert begun == [GUESS] and rated.score == 7.0
    refused = Rated(PoseEstimate.failure("no start"), 0.0)
    assert pair_ours.garps(FRAME, FRAME, refused) is refused
