"""Gaussians of a segment's reference frame, and the poses at which later frames agree with them.

Depth comes from a plane sweep over the segment, or from outside. It is lifted like that of a map's frames, and the
Gaussians stay as they are; each later frame is then aligned with them by the steps that ``localize`` ends with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.align.agreement import AgreementRule, measure_agreement
from posesplat.align.fine import FineOptions, FineQuery, Refinement, converge
from posesplat.align.least_squares import State
from posesplat.align.path_prior import smoothed_path
from posesplat.align.plane_sweep import DenseDepth, SweepOptions, swept_depth
from posesplat.align.pyramid import QueryLevel, disc_blur_px, image_gradients, is_softened_by, softened
from posesplat.align.tracks import locally_normalised
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.lifting import LiftOptions, smoothed_channels
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import Scale
from posesplat.geometry.frame import Frame
from posesplat.kernels.threads import side_by_side, thread_count
from posesplat.methods.mapping import lift_calibrated
from posesplat.render.held import HeldRenderer

Features = Callable[[UInt8[np.ndarray, "h w 3"]], Float32[np.ndarray, "h w c"]]
"""Further channels of an image, one value a pixel, of about the spread that colours in [0, 1] have."""

Mask = Bool[np.ndarray, "h w"]
"""True where a pixel may be used."""

UP_TO_SCALE = Scale(False, "unknown")
"""Lengths in the segment's own unit."""
SENSOR = Scale(True, "depth sensor")
"""Lengths in metres, as a sensor measured them."""

_REFINEMENT = FineOptions(first_channel_scale=0.05, renders=2)
_AT_THE_LENS = 1e-3
"""Depth of what masks stand for, in units of the scene: it hides everything."""
_FEWEST_POINTS = 10
_HOLDING_TOGETHER = 8
"""Frames that share the views they leave behind."""


@dataclass(frozen=True)
class SceneOptions:
    """How a segment becomes Gaussians, and how its poses are refined."""

    channels: Literal["grey", "rgb", "none"] = "grey"
    """Which colours are compared; features, if any, come on top."""
    stride: int = 2
    """One Gaussian every ``stride`` pixels of the reference in x and y."""
    sweep: SweepOptions = field(default_factory=SweepOptions)
    """How depth is found where none is given."""
    refinement: FineOptions = _REFINEMENT
    """Steps of each frame's pose."""
    rule: AgreementRule = field(default_factory=AgreementRule)
    """When a refined pose may be believed at all."""
    held_px: float = 20.0
    """The Gaussians are rendered again when the camera is this far from the last view, pixels at unit depth."""
    largest_change_px: float = 3.0
    """A frame whose refinement moves a point at the median depth by more than this keeps its pose."""
    keep: Literal["auto", "always", "never"] = "auto"
    """Whether refined poses replace the adjusted ones; auto decides by ``max_disagreement``."""
    max_disagreement: float = 3.0
    """Refined poses are kept when dense depth displaces tracked points by at most this many times the tracks' noise."""
    swept_share: float = 0.5
    """How much of a refinement counts where its depth comes from the sweep, whose errors follow those of the poses it
    started from: refined and adjusted poses then err differently, and their mean less than either."""
    smoothness: float = 0.0
    """Weight of the prior that neighbouring steps of the camera are alike, in frames; 0 = none."""

    def __post_init__(self) -> None:
        if min(self.stride, self.held_px, self.largest_change_px, self.max_disagreement) <= 0 or self.smoothness < 0:
            raise ValueError(
                "SceneOptions needs stride, held_px, largest_change_px and max_disagreement above 0 and smoothness of "
                f"at least 0; got {self}. Leave options out for their defaults."
            )
        if not 0 < self.swept_share <= 1:
            raise ValueError(f"SceneOptions.swept_share must be above 0 and at most 1; got {self.swept_share}.")


@dataclass(frozen=True)
class RefinedSegment:
    """A segment's poses, its scene, and why these poses."""

    cam_from_reference: RigidTransform
    """Poses of the later frames, shape (frames,), in the unit of ``scale``."""
    covariance: Float[np.ndarray, "frames 6 6"]
    """Of each pose's left perturbation, in the same unit. With depth of a sweep it is that of the adjusted poses: the
    sweep's errors are theirs, which the images cannot tell."""
    kept: Bool[np.ndarray, " frames"]
    """Which of the poses are refined ones; the others are the adjusted ones."""
    reason: str
    """Why refined poses were kept, or why not."""
    scale: Scale
    """Whether lengths are metres, and who says so."""
    unit: float
    """How many of the new units the segment's unit of length is; inverse depths of points are to be divided by it."""
    disagreement: float
    """By how much dense depth displaces tracked points, in units of the tracks' noise; NaN where they have no depth."""
    gaussians: Gaussians | None
    """Of the reference, in its camera frame and the same unit; None where there is no depth."""
    depth: Float32[np.ndarray, "h w"] | None
    """From which they were made, 0 = unknown."""
    exposures: Float[np.ndarray, "frames 2"]
    """Gain and bias of each frame: values in [0, 1] are gain * the reference's + bias; (1, 0) where not compared."""
    refined: RigidTransform | None
    """The refined poses, kept or not."""


def refined_segment(
    reference: Frame,
    frames: Sequence[Frame],
    cam_from_reference: RigidTransform,
    covariance: Float[np.ndarray, "frames 6 6"],
    pixels: Float[np.ndarray, "n 2"],
    inverse_depths: Float[np.ndarray, " n"],
    noise_px: float,
    *,
    depth: Float32[np.ndarray, "h w"] | None = None,
    depth_scale: Scale = SENSOR,
    features: Features | None = None,
    reference_mask: Mask | None = None,
    masks: Sequence[Mask | None] | None = None,
    options: SceneOptions = SceneOptions(),
    threads: int | None = None,
) -> RefinedSegment:
    """Gaussians of a solved segment's reference, and refined poses of its frames where they are better.

    Args:
        reference: with an image.
        frames: the later frames that were solved, with images, of the same camera.
        cam_from_reference: their poses, shape (frames,).
        covariance: of each one's left perturbation.
        pixels: corner-based places of points in the reference.
        inverse_depths: of the points in the reference, in the unit of the poses; NaN where unknown, as all of them are
            where the translation is unobservable.
        noise_px: standard deviation of a tracked coordinate.
        depth: of the reference's pixels, 0 = missing; without it a plane sweep over the frames gives it.
        depth_scale: what the depth's unit is. Metric depth makes the poses metric; other depth is only a shape.
        features: further channels to compare.
        reference_mask: True where the reference may be used; the rest gets no Gaussians.
        masks: the same for each frame; None = all of it.
        options: how.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Raises:
        ValueError: when counts differ, an image is missing, or cameras differ.
    """
    _check(reference, frames, cam_from_reference, covariance, masks)
    if options.channels == "none" and features is None:
        raise ValueError("refined_segment has nothing to compare: channels is 'none' and there are no features.")
    frame_masks = [None] * len(frames) if masks is None else list(masks)
    known = np.isfinite(inverse_depths) & (inverse_depths > 0)
    adjusted = _Answer(cam_from_reference, covariance, 1.0, UP_TO_SCALE)
    swept = depth is None
    if depth is None:
        if known.sum() < _FEWEST_POINTS:
            return adjusted.unrefined("not refined: there is no depth where the translation is unobservable")
        depth = _swept(
            reference, frames, cam_from_reference, pixels, inverse_depths, reference_mask, frame_masks, options
        ).depth
    else:
        ratio = _unit(depth, pixels[known], inverse_depths[known])
        if depth_scale.metric:
            adjusted = _Answer(
                poses.rescaled(cam_from_reference, ratio),
                poses.rescaled_covariance(covariance, ratio),
                ratio,
                depth_scale,
            )
        else:
            depth = np.asarray(depth / np.float32(ratio))
    if reference_mask is not None:
        depth = np.where(reference_mask, depth, np.float32(0.0))
    try:
        scene = _Scene(replace(reference, depth=depth), features, options, threads)
    except ValueError as error:
        return adjusted.unrefined(f"not refined: {error}")
    points_in_unit = np.where(known, inverse_depths, np.nan) / adjusted.unit
    disagreement = _disagreement(depth, pixels, points_in_unit, adjusted.poses, reference.camera) / noise_px
    answer = replace(adjusted, gaussians=scene.gaussians, depth=depth, disagreement=disagreement, swept=swept)
    if options.keep == "never":
        return answer.unrefined("not refined: it was not wanted")
    aligned = scene.aligned(list(zip(frames, adjusted.poses, frame_masks, strict=True)))
    return _judged(answer, aligned, options)


def _check(
    reference: Frame,
    frames: Sequence[Frame],
    cam_from_reference: RigidTransform,
    covariance: Float[np.ndarray, "frames 6 6"],
    masks: Sequence[Mask | None] | None,
) -> None:
    given = 0 if cam_from_reference.single else len(cam_from_reference)
    counts = {len(frames), given, len(covariance), len(frames if masks is None else masks)}
    if counts != {len(frames)} or not frames:
        raise ValueError(
            f"refined_segment needs a pose, a covariance and a mask (or no masks) for each of at least one frame; got "
            f"{len(frames)} frames, {given} poses, {len(covariance)} covariances."
        )
    for frame in (reference, *frames):
        if frame.image is None:
            raise ValueError(f"refined_segment compares images; frame {frame.name!r} has none. Leave it out.")
        if frame.camera != reference.camera:
            raise ValueError(f"All frames of a segment have one camera; {frame.name!r} has {frame.camera}.")


@dataclass(frozen=True)
class _Answer:
    """What is known before anything is refined, in the unit of the answer."""

    poses: RigidTransform
    covariance: Float[np.ndarray, "frames 6 6"]
    unit: float
    scale: Scale
    gaussians: Gaussians | None = None
    depth: Float32[np.ndarray, "h w"] | None = None
    disagreement: float = float("nan")
    swept: bool = False

    def unrefined(
        self,
        reason: str,
        exposures: Float[np.ndarray, "frames 2"] | None = None,
        refined: RigidTransform | None = None,
    ) -> RefinedSegment:
        nothing = np.zeros(len(self.poses), dtype=bool)
        if exposures is None:
            exposures = np.tile([1.0, 0.0], (len(self.poses), 1))
        return self.with_poses(self.poses, self.covariance, nothing, reason, exposures, refined)

    def with_poses(
        self,
        cam_from_reference: RigidTransform,
        covariance: Float[np.ndarray, "frames 6 6"],
        kept: Bool[np.ndarray, " frames"],
        reason: str,
        exposures: Float[np.ndarray, "frames 2"],
        refined: RigidTransform | None,
    ) -> RefinedSegment:
        return RefinedSegment(
            cam_from_reference,
            covariance,
            kept,
            reason,
            self.scale,
            self.unit,
            self.disagreement,
            self.gaussians,
            self.depth,
            exposures,
            refined,
        )


def _swept(
    reference: Frame,
    frames: Sequence[Frame],
    cam_from_reference: RigidTransform,
    pixels: Float[np.ndarray, "n 2"],
    inverse_depths: Float[np.ndarray, " n"],
    reference_mask: Mask | None,
    masks: Sequence[Mask | None],
    options: SceneOptions,
) -> DenseDepth:
    first, *others = side_by_side(lambda frame: locally_normalised(_image(frame)), (reference, *frames))
    return swept_depth(
        first,
        others,
        cam_from_reference,
        reference.camera,
        pixels,
        inverse_depths,
        options.sweep,
        reference_mask=reference_mask,
        masks=masks,
    )


def _image(frame: Frame) -> UInt8[np.ndarray, "h w 3"]:
    assert frame.image is not None
    return frame.image


def _at(image: Float32[np.ndarray, "h w"], pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """Values of the pixels that places fall on."""
    height, width = image.shape
    column, row = np.floor(pixels).astype(np.int64).T
    return image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)].astype(np.float64)


def _unit(
    depth: Float32[np.ndarray, "h w"], pixels: Float[np.ndarray, "n 2"], inverse_depths: Float[np.ndarray, " n"]
) -> float:
    """The segment's unit of length in the unit of the depth; 1 where no point tells, as for pure rotations."""
    ratios = _at(depth, pixels) * inverse_depths if len(pixels) else np.zeros(0)
    ratios = ratios[ratios > 0]
    return float(np.median(ratios)) if len(ratios) else 1.0


def _disagreement(
    depth: Float32[np.ndarray, "h w"],
    pixels: Float[np.ndarray, "n 2"],
    inverse_depths: Float[np.ndarray, " n"],
    cam_from_reference: RigidTransform,
    camera: Camera,
) -> float:
    """How far dense depth displaces the typical tracked point in the most displaced frame, in pixels."""
    dense = _at(depth, pixels)
    both = (dense > 0) & np.isfinite(inverse_depths)
    if both.sum() < _FEWEST_POINTS:
        return float("nan")
    parallax = camera.fx * float(np.linalg.norm(cam_from_reference.translation, axis=1).max())
    return parallax * float(np.median(np.abs(1.0 / dense[both] - inverse_depths[both])))


class _Scene:
    """The Gaussians of a reference, ready to be compared with frames."""

    def __init__(self, reference: Frame, features: Features | None, options: SceneOptions, threads: int | None) -> None:
        self._options, self._features, self._threads = options, features, threads
        lifted = lift_calibrated(reference, LiftOptions(stride=options.stride), threads)
        self.gaussians = lifted.gaussians
        rows, columns = lifted.pixels.T
        shown = smoothed_channels(self._channels(_image(reference)), options.stride)[rows, columns]
        compared = replace(self.gaussians, colors=None, features=shown)
        self._renderer = HeldRenderer(compared, "features", options.held_px, threads)
        self._blur_px = disc_blur_px(self.gaussians, reference.camera, RigidTransform.identity())

    def _channels(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w c"]:
        """What is compared of an image."""
        import cv2

        parts = []
        if self._options.channels != "none":
            colour = image.astype(np.float32) / np.float32(255)
            grey = self._options.channels == "grey"
            parts.append(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)[..., None] if grey else colour)
        if self._features is not None:
            parts.append(np.asarray(self._features(image), dtype=np.float32))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)

    def aligned(self, queries: Sequence[tuple[Frame, RigidTransform, Mask | None]]) -> list[_Aligned]:
        """The pose of each frame near a start."""
        # As many neighbours share views, whatever the number of threads: it must not change the answer.
        bounds = range(0, len(queries), _HOLDING_TOGETHER)
        parts = [queries[start : start + _HOLDING_TOGETHER] for start in bounds]
        each = max(thread_count(self._threads) // len(parts), 1)
        first, start, _ = queries[0]
        self._renderer.planes(first.camera, start)

        def aligned(part: Sequence[tuple[Frame, RigidTransform, Mask | None]]) -> list[_Aligned]:
            renderer = self._renderer.apart(each)
            return [self._aligned(renderer, *query) for query in part]

        return [one for part in side_by_side(aligned, parts, self._threads) for one in part]

    def _aligned(self, renderer: HeldRenderer, frame: Frame, start: RigidTransform, mask: Mask | None) -> _Aligned:
        shown = self._level(frame)
        bare = replace(shown, channels=None, gradients=None)
        hidden = None if mask is None else np.where(mask, np.float32(0.0), np.float32(_AT_THE_LENS))
        query = FineQuery(bare, replace(shown, depth=hidden))
        found = converge(renderer, query, State(start), self._options.refinement, threads=renderer.threads)
        evidence = measure_agreement(found.view, shown, found.state.cam_from_world, self._options.rule)
        return _Aligned(found, start, None if evidence.refusal else found.covariance())

    def _level(self, frame: Frame) -> QueryLevel:
        channels = self._channels(_image(frame))
        gradients = None if is_softened_by(self._blur_px) else image_gradients(channels)
        (level,) = softened((QueryLevel(frame.camera, None, channels, gradients),), self._blur_px)
        return level


@dataclass(frozen=True)
class _Aligned:
    """Where a frame's refinement ended."""

    found: Refinement
    start: RigidTransform
    covariance: Float[np.ndarray, "6 6"] | None
    """None where the pose may not be believed."""

    @property
    def pose(self) -> RigidTransform:
        return self.found.state.cam_from_world

    @property
    def moved_px(self) -> float:
        """By how much a point at the median depth moved in the image."""
        change = poses.log(self.pose * self.start.inv())
        unit = np.array([1.0] * 3 + [1.0 / self.found.median_depth] * 3)
        return float(np.linalg.norm(change * unit)) * self.found.view.camera.fx


def _judged(answer: _Answer, aligned: Sequence[_Aligned], options: SceneOptions) -> RefinedSegment:
    """The refined poses where they may be believed and are likely to be better."""
    refined = RigidTransform.concatenate([one.pose for one in aligned])
    good = np.array([one.covariance is not None and one.moved_px <= options.largest_change_px for one in aligned])
    exposures = np.array([[one.found.state.gain, one.found.state.bias] for one in aligned])
    noise = f"dense depth displaces tracked points by {answer.disagreement:.1f} times their noise"
    if not good.any():
        return answer.unrefined("not refined: no frame agrees with the scene", exposures, refined)
    if options.keep == "auto" and answer.disagreement > options.max_disagreement:
        return answer.unrefined(f"not refined: {noise}", exposures, refined)
    covariance = answer.covariance.copy()
    final = []
    for index, one in enumerate(aligned):
        share = 0.0 if not good[index] else options.swept_share if answer.swept else 1.0
        final.append(poses.interpolated(one.start, one.pose, share))
        if good[index] and not answer.swept:
            covariance[index] = one.covariance
    path = smoothed_path(RigidTransform.concatenate(final), covariance, options.smoothness)
    told = noise
    if options.keep == "always":
        told = "as wanted"
    elif np.isnan(answer.disagreement):
        told = "no tracked point has a depth that could contradict"
    reason = f"refined, {int(good.sum())} of {len(good)} frames: {told}"
    return answer.with_poses(path, covariance, good, reason, exposures, refined)
