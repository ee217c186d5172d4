"""The anchors of a tracked video as a graph: what was measured between them, and the frames that hang on them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.pose_graph import PoseEdge, PoseNode, carried_covariance, optimised
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.methods.track_anchor import Anchor, kept_anchors
from posesplat.methods.track_loops import LoopOptions, loop_edges

_LOG = logging.getLogger(__name__)

_BELIEVED = 0.25
"""A loop of less weight counts as wrong."""


@dataclass(frozen=True)
class _Hanging:
    """A frame's pose relative to its anchor."""

    anchor: int
    step: RigidTransform
    spread: Float[np.ndarray, "6 6"]


@dataclass(frozen=True)
class PlacedFrame:
    """A frame's pose once loops have pulled its anchor to its place."""

    cam_from_world: RigidTransform
    covariance: Float[np.ndarray, "6 6"]
    anchor_from_world: RigidTransform
    """Pose of its anchor."""
    unit: float
    """Of its anchor, in units of the world."""


class AnchorGraph:
    """Grows with the video; images are kept of some anchors only."""

    def __init__(self, camera: Camera, options: LoopOptions = LoopOptions()) -> None:
        self._camera, self._options = camera, options
        self._nodes: dict[int, PoseNode] = {}
        self._chain: list[PoseEdge] = []
        self._loops: list[PoseEdge] = []
        self._frames: dict[int, _Hanging] = {}
        self._kept: tuple[Anchor, ...] = ()
        self._compared: set[int] = set()

    def hang(self, frame: int, anchor: Anchor, step: RigidTransform, spread: Float[np.ndarray, "6 6"]) -> None:
        """Note a frame's pose relative to its anchor, and its covariance."""
        self._nodes.setdefault(anchor.index, PoseNode(anchor.cam_from_world))
        self._frames[frame] = _Hanging(anchor.index, step, spread)

    def chain(
        self,
        parent: Anchor,
        child: Anchor,
        step: RigidTransform,
        spread: Float[np.ndarray, "6 6"],
        log_unit_variance: float,
    ) -> None:
        """Note that an anchor follows another one.

        Args:
            parent: the anchor before.
            child: the next one, a frame of the parent's segment.
            step: child_from_parent.
            spread: its covariance, with no more than ordinary variances.
            log_unit_variance: of the logarithm of the ratio of their units.
        """
        for anchor in (parent, child):
            self._nodes.setdefault(anchor.index, PoseNode(anchor.cam_from_world))
        covariance = np.zeros((7, 7))
        covariance[:6, :6] = spread + 1e-14 * np.eye(6)
        covariance[6, 6] = max(log_unit_variance, 1e-10)
        self._chain.append(PoseEdge(parent.index, child.index, step, 0.0, covariance))

    def compare(self, anchor: Anchor) -> None:
        """Look for loops from earlier anchors to one whose own depths are known by now."""
        if anchor.index in self._compared or anchor.known.sum() < self._options.min_agreeing:
            return
        self._compared.add(anchor.index)
        parents = {edge.a for edge in self._chain if edge.b == anchor.index}
        earlier = [other for other in self._kept if other.index not in parents]
        found = loop_edges(anchor, earlier, self._camera, self._options)
        self._loops += found
        self._kept = kept_anchors([*self._kept, anchor])

    def corrected(self) -> Mapping[int, PlacedFrame] | None:
        """Poses of all frames by number, once every loop has pulled; None when there are no loops."""
        if not self._loops:
            return None
        edges = [*self._chain, *self._loops]
        joined = {name for edge in edges for name in (edge.a, edge.b)}
        nodes = {name: node for name, node in self._nodes.items() if name in joined}
        solved = optimised(nodes, edges)
        trusted = int((solved.weights[len(self._chain) :] >= _BELIEVED).sum())
        _LOG.info("%d of %d loops between %d references agree with the rest", trusted, len(self._loops), len(nodes))
        placed = {}
        for frame, hanging in self._frames.items():
            if hanging.anchor not in solved.nodes:
                continue
            node = solved.nodes[hanging.anchor]
            unit = float(np.exp(node.log_unit))
            measured = np.zeros((7, 7))
            measured[:6, :6] = hanging.spread
            covariance = carried_covariance(hanging.step, unit, measured, node.covariance)[:6, :6]
            step = poses.rescaled(hanging.step, unit)
            placed[frame] = PlacedFrame(step * node.cam_from_world, covariance, node.cam_from_world, unit)
        return placed
