"""Where in this map was this frame taken?"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.agreement import AgreementRule, measure_agreement
from posesplat.align.fine import Refinement
from posesplat.align.global_start import depth_starts, keypoint_starts
from posesplat.align.gsplatloc import GsplatlocOptions, gsplatloc_refine
from posesplat.align.keypoints import KeypointIndex
from posesplat.align.least_squares import State
from posesplat.align.pyramid import MapPyramid, QueryLevel, level_count, query_pyramid, softened
from posesplat.align.refine import RefineOptions, coarse_cost, refine
from posesplat.align.viewpoints import map_views
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.splat_map import SplatMap
from posesplat.geometry.depth_map import not_metres
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame
from posesplat.methods.pose_correction import LocalWorld

_LOG = logging.getLogger(__name__)
_EQUALLY_GOOD = 1.05
"""Ratio of costs up to which two poses are. Interpolation changes the cost by some 0.4 % between poses that differ by
less than their errors, and by 2 % at the pose of a frame that is itself in the map, whose noise then fits its own."""

ObjectiveName = Literal["auto", "plane", "colour", "joint", "gsplatloc"]


@dataclass(frozen=True)
class LocalizeOptions:
    """How a frame is found in a map."""

    objective: ObjectiveName = "auto"
    """plane = depth, colour = image, joint = both, gsplatloc = the published method; auto takes what the frame has."""
    refinement: RefineOptions = field(default_factory=RefineOptions)
    """Schedule of the refinement."""
    rule: AgreementRule = field(default_factory=AgreementRule)
    """When an answer may be believed."""
    gsplatloc: GsplatlocOptions = field(default_factory=GsplatlocOptions)
    """Options of the published method."""
    max_starts: int = 3
    """Most hypotheses refined when no start is given."""
    seed: int = 0
    """Seed of the robust pose solver behind starts from keypoints."""
    threads: int | None = None
    """Threads of the kernels; default POSESPLAT_THREADS or all processors."""


class Localizer:
    """Finds frames in one map; prepares the map once."""

    def __init__(self, scene: SplatMap | Gaussians, options: LocalizeOptions = LocalizeOptions()) -> None:
        """Prepare a map.

        Args:
            scene: the map; bare Gaussians are taken as metric and without views.
            options: how to localise.

        Raises:
            ValueError: for an empty map.
        """
        self.map = scene if isinstance(scene, SplatMap) else SplatMap(scene)
        self.options = options
        if len(self.map.gaussians) == 0:
            raise ValueError("The map must hold Gaussians; got none. Check the file it came from.")
        self._pyramids: dict[tuple[int, bool], tuple[MapPyramid, np.ndarray]] = {}
        self._keypoints: KeypointIndex | None = None
        self._world = LocalWorld(self.map.views)

    def prepare(self, frame: Frame) -> None:
        """Make ready what frames of this kind and size need of the map, so that the first is not slower than others."""
        _, use_image = self._terms(frame)
        if self.options.objective != "gsplatloc":
            self._pyramid(level_count(frame.camera), use_image, RigidTransform.identity())

    def localize(self, frame: Frame, start: RigidTransform | None = None) -> PoseEstimate:
        """The pose of one frame.

        Args:
            frame: what the camera saw.
            start: approximate cam_from_world; without one, keypoints of rendered map views (or their depth) give it.

        Returns:
            The pose with covariance (rotation rad, translation in the map's unit), or a refusal with its reason.

        Raises:
            ValueError: when the frame or the map lacks what the chosen objective needs.
        """
        began = time.perf_counter()
        use_depth, use_image = self._terms(frame)
        start = None if start is None else self._world.to_map(start)
        if self.options.objective == "gsplatloc":
            estimate = self._gsplatloc(frame, start)
        else:
            refusal = _unusable(frame, use_depth, use_image)
            if refusal:
                return PoseEstimate.failure(refusal, runtime_s=time.perf_counter() - began)
            query = query_pyramid(frame, use_depth, use_image)
            if start is not None:
                estimate = self._refined(query, State(start), "start", guard=True)
            else:
                estimate = self._without_start(frame, query)
        if estimate.cam_from_world is not None:
            estimate = estimate.replace(cam_from_world=self._world.to_world(estimate.cam_from_world))
        return estimate.replace(runtime_s=time.perf_counter() - began)

    def _terms(self, frame: Frame) -> tuple[bool, bool]:
        """Which of depth and image take part."""
        objective = self.options.objective
        colored = self.map.gaussians.has_color
        if objective in ("plane", "joint", "gsplatloc") and frame.depth is None:
            raise ValueError(
                f"Objective {objective!r} needs a frame with depth; {frame.name!r} has an image only. "
                "Use objective 'colour', or pass depth."
            )
        if objective in ("colour", "joint") and frame.image is None:
            raise ValueError(
                f"Objective {objective!r} needs a frame with an image; {frame.name!r} has depth only. Use 'plane'."
            )
        needs_color = objective in ("colour", "joint") or (objective == "auto" and frame.depth is None)
        if needs_color and not colored:
            raise ValueError(
                "Localising an image needs a map with colour; this map has none. "
                "Build the map from frames with images, or use objective 'plane' with depth."
            )
        use_depth = frame.depth is not None and objective != "colour"
        use_image = frame.image is not None and colored and objective not in ("plane", "gsplatloc")
        return use_depth, use_image

    def _pyramid(self, levels: int, with_color: bool, near: RigidTransform) -> MapPyramid:
        """The map's pyramid; view-dependent colour is evaluated again when the camera has moved far."""
        centre = np.asarray(near.inv().translation)
        sh = self.map.gaussians.sh
        view_dependent = with_color and sh is not None and sh.shape[1] > 1
        key = (levels, with_color)
        if key in self._pyramids:
            pyramid, seen_from = self._pyramids[key]
            if not view_dependent or np.linalg.norm(centre - seen_from) < 0.1:
                return pyramid
        pyramid = MapPyramid(
            self.map.gaussians, levels, with_color, centre if view_dependent else None, self.options.threads
        )
        self._pyramids[key] = (pyramid, centre)
        return pyramid

    def _refined(self, query: Sequence[QueryLevel], start: State, source: str, guard: bool) -> PoseEstimate:
        """Refine from one start and judge the answer."""
        options = self.options
        with_color = query[0].channels is not None
        pyramid = self._pyramid(len(query), with_color, start.cam_from_world)
        threads = options.threads
        if with_color:
            query = softened(query, pyramid.blur_px(query[0].camera, start.cam_from_world))
        result = refine(pyramid, query, start, options.refinement, threads)
        evidence = measure_agreement(result.view, query[0], result.state.cam_from_world, options.rule)
        cost = coarse_cost(pyramid, query, result.state, options.refinement, threads)
        fields: dict[str, Any] = {
            "inlier_fraction": evidence.inlier_fraction,
            "overlap": evidence.overlap,
            "cost": cost,
            "iterations": result.evaluations,
            "source": source,
            "scale": Scale(self.map.metric, "map" if self.map.metric else "unknown"),
        }
        reason = evidence.refusal
        pose, begun = result.state.cam_from_world, start.cam_from_world
        if not reason and guard and result.cost_at(pose, threads) > _EQUALLY_GOOD * result.cost_at(begun, threads):
            reason = "The map agrees less with the refined pose than with the start: no better pose was found."
        covariance = None if reason else result.covariance()
        if not reason:
            reason = _undetermined(covariance, result, query[0])
        if reason or covariance is None:
            return PoseEstimate.failure(reason or "The pose is not determined by what the frame shows.", **fields)
        return PoseEstimate(True, "", result.state.cam_from_world, covariance=covariance, **fields)

    def _without_start(self, frame: Frame, query: Sequence[QueryLevel]) -> PoseEstimate:
        """Try starts from keypoints, then from depth, and keep the best answer that may be believed."""
        options = self.options
        starts: list[tuple[RigidTransform, str]] = []
        if frame.image is not None and self.map.gaussians.has_color:
            if self._keypoints is None:
                self._keypoints = KeypointIndex(self.map, frame.camera, threads=options.threads)
            found = keypoint_starts(self._keypoints, frame, options.max_starts, options.seed)
            starts += [(hypothesis.cam_from_world, "keypoints") for hypothesis in found]
        if not starts and query[0].depth is not None:
            views = map_views(self.map, frame.camera, threads=options.threads)
            poses = [view.cam_from_world for view in views]
            if poses:
                pyramid = self._pyramid(len(query), query[0].channels is not None, poses[0])
                found = depth_starts(pyramid, query, poses, options.max_starts, threads=options.threads)
                starts += [(hypothesis.cam_from_world, "depth") for hypothesis in found]
        if not starts:
            return PoseEstimate.failure(
                "No start was found: the frame shares no keypoints with the rendered views of the map. "
                "Give an approximate pose if the frame does see the map."
            )
        answers = [self._refined(query, State(pose), source, guard=False) for pose, source in starts]
        best = min(answers, key=lambda answer: (not answer.success, answer.cost))
        if best.success and best.source == "depth" and query[0].channels is None:
            best = best.replace(warnings=(*best.warnings, "Found by shape alone: places of equal shape look the same."))
        return best

    def _gsplatloc(self, frame: Frame, start: RigidTransform | None) -> PoseEstimate:
        """The published method, for comparison: no covariance, and its own loss is the only evidence."""
        if start is None:
            return PoseEstimate.failure("Objective 'gsplatloc' needs a start; got none.", source="gsplatloc")
        result = gsplatloc_refine(self.map.gaussians, frame, start, self.options.gsplatloc)
        scale = Scale(self.map.metric, "map" if self.map.metric else "unknown")
        if result.cam_from_world is None:
            return PoseEstimate.failure(result.reason, source="gsplatloc", scale=scale)
        return PoseEstimate(
            True,
            "",
            result.cam_from_world,
            scale=scale,
            cost=result.loss,
            iterations=result.iterations,
            source="gsplatloc",
            warnings=("The published method gives no covariance and no test of its answer.",),
        )


def _unusable(frame: Frame, use_depth: bool, use_image: bool) -> str:
    """Why a frame cannot be localised at all; empty when it can."""
    if use_depth and frame.depth is not None:
        sample = frame.depth[1::3, 1::3]
        measured = float(np.mean(sample > 0))
        if measured < 0.01 and not use_image:
            return f"The depth image is blank: {100 * measured:.1f} % of its pixels hold a measurement."
        if measured >= 0.01 and not_metres(frame.depth):
            return not_metres(frame.depth)
    if use_image and not use_depth and frame.image is not None and float(frame.image.std()) < 2.0:
        return "The image is blank: its grey values hardly vary."
    return ""


def _undetermined(covariance: np.ndarray | None, result: Refinement, query: QueryLevel) -> str:
    """Why the pose is too weakly determined to be used; empty when it is determined."""
    if covariance is None:
        return "The pose is not determined: the map shows too little shape or texture where the frame looks."
    rotation_deg = float(np.degrees(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])))
    values, vectors = np.linalg.eigh(covariance[3:, 3:])
    translation = float(np.sqrt(values[-1]))
    depth = result.median_depth
    if translation > 0.05 * depth or rotation_deg > 3.0:
        axis = "xyz"[int(np.argmax(np.abs(vectors[:, -1])))]
        return (
            f"The pose is not determined: its standard deviation is {translation:.3g} along the camera's {axis} axis "
            f"and {rotation_deg:.2g} deg. What the frame sees lets the camera slide."
        )
    return ""


def localize(
    scene: SplatMap | Gaussians,
    frame: Frame,
    start: RigidTransform | None = None,
    options: LocalizeOptions = LocalizeOptions(),
) -> PoseEstimate:
    """The pose of one frame in a map; for many frames keep a :class:`Localizer`.

    Args:
        scene: the map.
        frame: what the camera saw, with its camera.
        start: approximate cam_from_world, if known.
        options: how to localise.

    Returns:
        The pose, or a refusal with its reason.
    """
    return Localizer(scene, options).localize(frame, start)
