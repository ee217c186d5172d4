"""Ours and the published overlap objective on the terms of a benchmark: given matches, depth of a known kind.

Both are looked up when they are asked for, since either may be absent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from posesplat.evaluate.pair_rivals import Rated
from posesplat.geometry.depth_map import DepthMap, DepthMeaning
from posesplat.geometry.estimate import PoseEstimate, ScaleSource
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches

PAIR_MODULE = "posesplat.methods.pair"
GARPS_MODULE = "posesplat.methods.garps"
_MATCHER = "sift"


def installed(module: str) -> bool:
    """Whether a module can be imported."""
    return find_spec(module) is not None


@dataclass(frozen=True)
class GivenMatches:
    """A two-view provider that has found its matches already."""

    found: Matches
    """Of the pair that will be asked about."""
    name: str = _MATCHER
    """Whose matches they are, which decides what threshold goes with them."""

    def matches(self, a: Frame, b: Frame) -> Matches:
        """What was found."""
        return self.found


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


def posesplat_pair(a: Frame, b: Frame, matches: Matches, measured: bool, dense: bool = True) -> Rated:
    """Ours on given matches; a refused answer is told with its best guess, and its score is the soft inlier count.

    Args:
        a: image A, with depth or without.
        b: image B.
        matches: of both.
        measured: whether depth, if any, is a sensor's.
        dense: whether measured depth may refine the pose by rendering.
    """
    pair: Any = import_module(PAIR_MODULE)
    options: Any = import_module(f"{PAIR_MODULE}_options").PairOptions(dense=dense)
    with_depth = a.depth is not None and b.depth is not None
    depth = GivenDepth() if with_depth and not measured else None
    result = pair.PairEstimator(options, GivenMatches(matches), depth).estimate(a, b)
    estimate: PoseEstimate = result.estimate
    evidence = result.evidence
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
    solve: Callable[..., PoseEstimate] = import_module(GARPS_MODULE).garps
    return Rated(solve(a, b, start.estimate.cam_from_world), start.score)
