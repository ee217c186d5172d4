"""Ours and the published overlap objective on the terms of a benchmark: given matches, depth of a known kind."""

from __future__ import annotations

from dataclasses import dataclass

from posesplat.evaluate.pair_rivals import Rated
from posesplat.geometry.depth_map import DepthMap, DepthMeaning
from posesplat.geometry.estimate import PoseEstimate, ScaleSource
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.methods import garps as published
from posesplat.methods.pair import PairEstimator
from posesplat.methods.pair_options import PairOptions
from posesplat.providers.two_view.given import GivenMatches

_MATCHER = "sift"
"""Whose matches they are, which decides what threshold goes with them."""


@dataclass(frozen=True)
class GivenDepth:
    """A depth provider that takes the frame's own depth for what a network says."""

    name: str = "given"
    meaning: DepthMeaning = "metric"
    source: ScaleSource = "learned depth"

    def depth(self, frame: Frame) -> DepthMap:
        """The frame's depth.

        Raises:
            ValueError: for a frame without.
        """
        if frame.depth is None:
            raise ValueError(f"Frame {frame.name!r} must have depth; got none. Pass an RGB-D frame.")
        return DepthMap.of(frame.depth, self.meaning)


def posesplat_pair(a: Frame, b: Frame, matches: Matches, measured: bool, options: PairOptions = PairOptions()) -> Rated:
    """Ours on given matches; a refused answer is told with its best guess, and its score is the soft inlier count.

    Args:
        a: image A, with depth or without.
        b: image B.
        matches: of both.
        measured: whether depth, if any, is a sensor's.
        options: how; matches and depth are given.
    """
    with_depth = a.depth is not None and b.depth is not None
    depth = GivenDepth() if with_depth and not measured else None
    estimator = PairEstimator(options, GivenMatches(matches, _MATCHER), depth)
    result = estimator.estimate(a, b)
    estimate, evidence = result.estimate, result.evidence
    accepted = estimate.success
    if estimate.cam_from_world is None and evidence.fit is not None:
        guess = evidence.fit.state.b_from_a
        estimate = PoseEstimate(
            True, "", guess, scale=estimate.scale, source=estimate.source, warnings=(estimate.reason,)
        )
    return Rated(estimate, float(evidence.soft_inliers), accepted, dict(evidence.seconds))


def garps(a: Frame, b: Frame, start: Rated) -> Rated:
    """The published overlap objective from another method's answer, which also gives the score."""
    if start.estimate.cam_from_world is None:
        return start
    return Rated(published.garps(a, b, start.estimate.cam_from_world), start.score)
