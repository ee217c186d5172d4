"""What a solved segment says in units of the world: its scale, its Gaussians, and poses refined against them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial.transform import RigidTransform

from posesplat.align.depth_alignment import aligned_depth
from posesplat.align.motion_mask import motion_mask, moving_points, scene_residuals
from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import SmallMotion
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.geometry.depth_map import DepthMap
from posesplat.geometry.estimate import Scale
from posesplat.geometry.frame import Frame
from posesplat.methods.track_anchor import Anchor, Mask, Member, tracks_of
from posesplat.methods.track_loops import UNMEASURED_VARIANCE, log_unit_ratio
from posesplat.methods.track_scene import UP_TO_SCALE, RefinedSegment, SceneOptions, refined_segment
from posesplat.methods.track_segment import SegmentMotion
from posesplat.providers.depth.provider import DepthProvider
from posesplat.providers.features.provider import FeatureProvider
from posesplat.providers.masks.open import MaskChoice

_LOG = logging.getLogger(__name__)

ADJUSTED = "small motion"
"""The ``source`` of estimates that follow from points alone."""
REFINED = "small motion, refined against gaussians"
"""The ``source`` of estimates that rendering refined."""
_KNOWN_RATIO_VARIANCE = 1e-8


@dataclass(frozen=True)
class TrackAids:
    """What is known of a video beyond its images."""

    depth: DepthProvider | None = None
    """Depth of reference frames; metric depth makes the trajectory metric."""
    masks: MaskChoice = field(default_factory=lambda: MaskChoice(auto=True))
    """Which parts of the images may be used; by default, what does not move with the scene is left out of rendering."""
    features: FeatureProvider | None = None
    """Further channels compared in the refinement; fitted to the clip already."""


class RememberedDepth:
    """A source of depth that is asked once for each reference, however many segments compare with it."""

    def __init__(self, provider: DepthProvider) -> None:
        self._provider = provider
        self._last: tuple[Frame, DepthMap] | None = None
        self.name, self.meaning, self.source = provider.name, provider.meaning, provider.source

    def depth(self, frame: Frame) -> DepthMap:
        """See :class:`posesplat.providers.depth.provider.DepthProvider`."""
        if self._last is None or self._last[0] is not frame:
            self._last = frame, self._provider.depth(frame)
        return self._last[1]


@dataclass(frozen=True)
class SegmentAnswer:
    """A segment in units of the world."""

    cam_from_reference: RigidTransform
    """Poses of the solved frames."""
    covariance: Float[np.ndarray, "solved 6 6"]
    """Of each one's left perturbation."""
    sources: tuple[str, ...]
    """Which stage gave each pose."""
    inverse_depths: Float[np.ndarray, " points"]
    """Of the anchor's points; NaN where unknown."""
    scale: Scale
    """What the unit is."""
    log_unit_variance: float
    """Of the logarithm of the segment's unit against that of the frames before it."""
    warnings: tuple[str, ...]
    """What a user of these poses should know."""
    gaussians: Gaussians | None
    """Of the anchor, in its camera frame; None where none were made."""
    exposures: Float[np.ndarray, "solved 2"] | None = None
    """Gain and bias of each solved frame against the anchor, where they were compared."""


def answered(
    anchor: Anchor,
    members: Sequence[Member],
    motion: SegmentMotion,
    camera: Camera,
    world: Scale | None,
    aids: TrackAids,
    options: SceneOptions | None,
) -> SegmentAnswer:
    """The segment in units of the world.

    Args:
        anchor: its reference; its frame is needed for depth and refinement.
        members: its later frames.
        motion: what their tracks tell, not ``broken``.
        camera: pinhole of all frames.
        world: the unit of the world; None while nothing has set it.
        aids: what else is known.
        options: how poses are refined; None leaves them as they are.
    """
    solved = [member for member, is_solved in zip(members, motion.solved, strict=True) if is_solved]
    known = _reference_depth(anchor, motion, aids)
    if world is not None and not world.metric and known.scale.metric:
        known = replace(known, scale=UP_TO_SCALE)
    refined = None
    # Pictures of a rolling shutter are not what one camera pose sees; their points have been put right, they have not.
    complete = anchor.frame is not None and all(member.frame is not None for member in solved)
    can_refine = motion.readout == 0 and complete
    if options is not None and can_refine and (motion.verdict == "motion" or known.depth is not None):
        refined = _refined(anchor, solved, motion, camera, known, aids, options)
        _LOG.info("segment of frame %d: %s", anchor.index, refined.reason)
    own = _own_answer(motion, known) if refined is None else _refined_answer(motion, refined)
    measured = own.scale.metric and (own.scale.source == "depth sensor" or not np.isfinite(anchor.inverse_depths).any())
    ratio, variance, told = _carried(anchor, own.inverse_depths, motion, world)
    if measured:
        ratio, variance, told = 1.0, _KNOWN_RATIO_VARIANCE, ()
    unit = world if world is not None else own.scale
    if not own.scale.metric and unit.metric and variance >= UNMEASURED_VARIANCE:
        unit = UP_TO_SCALE
    gaussians = own.gaussians
    if gaussians is not None and ratio != 1.0:
        gaussians = gaussians.transformed(RigidTransform.identity(), ratio)
    return replace(
        own,
        cam_from_reference=poses.rescaled(own.cam_from_reference, ratio),
        covariance=poses.rescaled_covariance(own.covariance, ratio),
        inverse_depths=own.inverse_depths / ratio,
        scale=unit,
        log_unit_variance=variance,
        warnings=(*own.warnings, *known.warnings, *told),
        gaussians=gaussians,
    )


@dataclass(frozen=True)
class _KnownDepth:
    """Depth of a segment's reference from outside."""

    depth: Float32[np.ndarray, "height width"] | None = None
    """0 = unknown; None where there is none that fits."""
    scale: Scale = UP_TO_SCALE
    """What its unit is; without a unit it is that of the segment."""
    unit: float = 1.0
    """The segment's unit in the unit of the depth, where the scale is metric and the translation observable."""
    warnings: tuple[str, ...] = ()
    """Why it is not used."""


def _own_answer(motion: SegmentMotion, known: _KnownDepth) -> SegmentAnswer:
    """The segment as its tracks tell it, in the unit of metric depth, else its own."""
    metric = known.scale.metric and motion.verdict == "motion"
    unit = known.unit if metric else 1.0
    return SegmentAnswer(
        poses.rescaled(motion.cam_from_reference, unit),
        poses.rescaled_covariance(motion.covariance, unit),
        (ADJUSTED,) * int(motion.solved.sum()),
        motion.inverse_depths / unit,
        known.scale if metric else UP_TO_SCALE,
        0.0,
        motion.warnings,
        None,
    )


def _refined_answer(motion: SegmentMotion, refined: RefinedSegment) -> SegmentAnswer:
    """The segment in the unit of its refinement; refined translations are observable whatever the tracks told."""
    warnings = motion.warnings
    if motion.verdict == "rotation" and refined.kept.all():
        warnings = ()
    return SegmentAnswer(
        refined.cam_from_reference,
        refined.covariance,
        tuple(REFINED if kept else ADJUSTED for kept in refined.kept),
        motion.inverse_depths / refined.unit,
        refined.scale,
        0.0,
        warnings,
        refined.gaussians,
        refined.exposures,
    )


def _reference_depth(anchor: Anchor, motion: SegmentMotion, aids: TrackAids) -> _KnownDepth:
    """Depth of the anchor where there is one that fits its points."""
    if aids.depth is None or anchor.frame is None:
        return _KnownDepth()
    seen: DepthMap = aids.depth.depth(anchor.frame)
    metric = seen.meaning == "metric"
    scale = Scale(True, aids.depth.source) if metric else UP_TO_SCALE
    if motion.verdict != "motion":
        return _KnownDepth(seen.values, scale) if metric else _KnownDepth()
    fit = aligned_depth(seen, anchor.points, motion.inverse_depths)
    if not fit.success or fit.inverse_depths is None:
        told = f"depth of frame {anchor.frame.name!r} is not used: {fit.reason}"
        return _KnownDepth(warnings=(told,))
    if metric:
        return _KnownDepth(seen.values, scale, fit.factor)
    depth = np.zeros_like(fit.inverse_depths)
    np.divide(np.float32(1), fit.inverse_depths, out=depth, where=np.nan_to_num(fit.inverse_depths) > 0)
    return _KnownDepth(depth)


def _refined(
    anchor: Anchor,
    solved: Sequence[Member],
    motion: SegmentMotion,
    camera: Camera,
    known: _KnownDepth,
    aids: TrackAids,
    options: SceneOptions,
) -> RefinedSegment:
    frames = [_frame(member.frame) for member in solved]
    reference = _frame(anchor.frame)
    masks = [member.mask for member in solved]
    reference_mask = None if aids.masks.given is None else aids.masks.given.mask(reference)
    if aids.masks.auto and motion.verdict == "motion":
        moving = _moving(anchor, solved, motion, camera)
        size = (camera.height, camera.width)
        still = motion_mask(anchor.points, moving, size)
        if not still.all():
            reference_mask = _both(reference_mask, still)
            masks = [
                _both(mask, motion_mask(member.pixels[member.seen], moving[member.seen], size))
                for mask, member in zip(masks, solved, strict=True)
            ]
    return refined_segment(
        reference,
        frames,
        motion.cam_from_reference,
        motion.covariance,
        anchor.points,
        motion.inverse_depths,
        motion.evidence.noise_px,
        depth=known.depth,
        depth_scale=known.scale,
        features=None if aids.features is None else aids.features.features,
        reference_mask=reference_mask,
        masks=masks,
        options=options,
    )


def _frame(frame: Frame | None) -> Frame:
    assert frame is not None
    return replace(frame, depth=None) if frame.depth is not None else frame


def _moving(
    anchor: Anchor, solved: Sequence[Member], motion: SegmentMotion, camera: Camera
) -> Bool[np.ndarray, " points"]:
    """Which of the anchor's points do not move with the scene."""
    tracks = tracks_of(anchor, solved)
    seen = np.asarray(tracks.seen.any(axis=0))
    found = motion.cam_from_reference
    path = SmallMotion(found.rotation.as_matrix(), found.translation, np.ones(int(seen.sum())))
    moving = np.zeros(len(seen), dtype=bool)
    moving[seen] = moving_points(scene_residuals(path, Sightings.of(tracks.select(seen), camera)))
    return moving


def _both(first: Mask | None, second: Mask) -> Mask:
    return second if first is None else first & second


def _carried(
    anchor: Anchor, inverse_depths: Float[np.ndarray, " points"], motion: SegmentMotion, world: Scale | None
) -> tuple[float, float, tuple[str, ...]]:
    """The segment's unit in units of the world, its variance, and warnings, from points whose depth both know."""
    if motion.verdict != "motion" or world is None:
        return 1.0, _KNOWN_RATIO_VARIANCE, ()
    ratio = inverse_depths / anchor.inverse_depths
    ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
    if not len(ratio):
        return 1.0, UNMEASURED_VARIANCE, ("scale is not carried over from the frames before",)
    _, variance = log_unit_ratio(np.log(ratio))
    return float(np.median(ratio)), variance, ()
