"""SmallGS: poses of a nearly still video by rendering Gaussians of one frame's depth against the frames after it.

It is here so that anyone can run and compare it; :func:`posesplat.methods.track.track` is the method to use. The world
is the first frame's camera. Source: SmallGS, arXiv 2504.17810; docs/smallgs.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from jaxtyping import Float32, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.align.smallgs_fit import Target, fit_splats, splats_of
from posesplat.align.smallgs_options import SmallgsOptions
from posesplat.align.smallgs_poses import SegmentPoses, find_poses
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import rescaled
from posesplat.geometry.trajectory import Trajectory
from posesplat.providers.features.provider import FeatureProvider

SOURCE = "smallgs"
"""The ``source`` of all estimates."""
NO_COVARIANCE = "no covariance: the published method gives none"
"""The warning of all estimates."""
_FEWEST_POINTS = 100
_ONE_SURFACE = 0.02
"""Relative spread of inverse depth up to which pixels count as one surface."""

Progress = Callable[[int, str, int, float], None]
"""Called with a segment's number (from 0), "fit" or "poses", the step (from 0) and its loss."""


def track_smallgs(
    frames: Iterable[Frame],
    depth: Callable[[Frame], np.ndarray] | None = None,
    masks: Callable[[Frame], np.ndarray] | None = None,
    features: FeatureProvider | None = None,
    options: SmallgsOptions = SmallgsOptions(),
    on_estimate: Callable[[str, PoseEstimate], None] | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Trajectory:
    """Poses of a video's frames; cam_from_world of the first is the identity.

    Frames are read once, in order, and kept no longer than their segment. The frames of a segment that fails have no
    pose, and the next segment starts from the same anchor.

    Args:
        frames: with images.
        depth: gives an anchor's depth along the optical axis, (h, w), 0 where unknown, in one unit for all frames;
            None = the frame's own, measured in metres.
        masks: gives a frame's pixels (h, w) of what does not move; None = all.
        features: compared instead of colours; gets to know the clip from its first segment.
        options: see :class:`posesplat.align.smallgs_options.SmallgsOptions`.
        on_estimate: called with name and estimate of each frame, in order, when its segment is done; what it was told
            holds whether or not the call is interrupted later.
        progress: called after each step; what it raises, and an interrupt, ends the call.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Returns:
        one estimate a frame, without covariance; in metres with ``depth=None``, else in the unit of the depth, whose
        scale counts as unknown.

    Raises:
        ValueError: when there are no frames, a frame has no image, an anchor has no depth, or a provider's array has
            another shape than its image.

    Example:
        >>> trajectory = track_smallgs(open_frames("rgbd_folder")[:30], options=SmallgsOptions(image_width=160))
    """
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise ValueError("track_smallgs needs at least one frame; got none. Check the source of the video.")
    measured = depth is None and not options.published_faults
    recorder = _Recorder(on_estimate, Scale(True, "depth sensor") if measured else Scale(False, "unknown"))
    pictures = _Pictures(depth, masks, features, options.image_width)
    anchor = _Anchor(first, RigidTransform.identity())
    recorder.give([first], RigidTransform.concatenate([anchor.world_from_cam]))
    unit: float | None = None
    segment = 0
    while members := list(islice(stream, options.segment_frames)):
        if features is not None and segment == 0:
            features.fit([image_of(frame) for frame in (first, *members)])
        anchor_depth = pictures.depth(anchor.frame)
        if unit is None:
            unit = _unit_of(anchor_depth, first)
        listener = None if progress is None else partial(progress, segment)
        outcome = _solved(
            pictures.target(anchor.frame),
            anchor_depth / np.float32(unit),
            [pictures.target(frame) for frame in members],
            options,
            features is None,
            listener,
            threads,
        )
        if isinstance(outcome, str):
            recorder.refuse(members, outcome)
        else:
            poses = chained(anchor.world_from_cam, rescaled(outcome.world_from_cam, unit), options.published_faults)
            recorder.give(members, poses, outcome.loss, outcome.steps)
            anchor = _Anchor(members[-1], poses[-1])
        segment += 1
    return recorder.trajectory()


def chained(
    world_from_anchor: RigidTransform, anchor_from_cam: RigidTransform, published_faults: bool = False
) -> RigidTransform:
    """world_from_cam of a segment's frames; the released code multiplies in the other order."""
    return anchor_from_cam * world_from_anchor if published_faults else world_from_anchor * anchor_from_cam


@dataclass(frozen=True)
class _Anchor:
    """The frame whose Gaussians a segment is compared with."""

    frame: Frame
    world_from_cam: RigidTransform


class _Recorder:
    """The estimates so far, and who is told of them."""

    def __init__(self, on_estimate: Callable[[str, PoseEstimate], None] | None, scale: Scale) -> None:
        self._on_estimate = on_estimate
        self._scale = scale
        self._estimates: list[PoseEstimate] = []
        self._names: list[str] = []
        self._timestamps: list[float] = []
        self._clock = time.perf_counter()

    def give(self, frames: Sequence[Frame], world_from_cam: RigidTransform, cost: float = 0.0, steps: int = 0) -> None:
        """Take the poses of some frames, stacked."""
        estimates = [
            PoseEstimate(
                True,
                "",
                pose,
                scale=self._scale,
                cost=cost,
                iterations=steps,
                source=SOURCE,
                warnings=(NO_COVARIANCE,),
            )
            for pose in world_from_cam.inv()
        ]
        self._tell(frames, estimates)

    def refuse(self, frames: Sequence[Frame], reason: str) -> None:
        """Take note that some frames have no pose."""
        self._tell(frames, [PoseEstimate.failure(reason, scale=self._scale, source=SOURCE) for _ in frames])

    def _tell(self, frames: Sequence[Frame], estimates: Sequence[PoseEstimate]) -> None:
        now = time.perf_counter()
        spent = (now - self._clock) / len(frames)
        self._clock = now
        for frame, estimate in zip(frames, estimates, strict=True):
            timed = estimate.replace(runtime_s=spent)
            self._estimates.append(timed)
            self._names.append(frame.name)
            self._timestamps.append(frame.timestamp)
            if self._on_estimate is not None:
                self._on_estimate(frame.name, timed)

    def trajectory(self) -> Trajectory:
        return Trajectory(tuple(self._estimates), np.array(self._timestamps), tuple(self._names))


class _Pictures:
    """What the frames show, shrunk to a width."""

    def __init__(
        self,
        depth: Callable[[Frame], np.ndarray] | None,
        masks: Callable[[Frame], np.ndarray] | None,
        features: FeatureProvider | None,
        width: int,
    ) -> None:
        self._depth = depth
        self._masks = masks
        self._features = features
        self._width = width

    def camera(self, frame: Frame) -> Camera:
        camera = frame.camera
        if camera.width <= self._width:
            return camera
        return camera.resized(self._width, max(round(camera.height * self._width / camera.width), 1))

    def target(self, frame: Frame) -> Target:
        """A frame's colours or features, and what of it is static."""
        camera, image = self.camera(frame), image_of(frame)
        if self._features is None:
            picture = image.astype(np.float32) / np.float32(255)
        else:
            picture = np.asarray(self._features.features(image), dtype=np.float32)
            _expect_size(picture, frame, "features")
        static = np.ones(image.shape[:2], dtype=np.float32)
        if self._masks is not None:
            static = np.asarray(self._masks(frame)).astype(bool).astype(np.float32)
            _expect_size(static, frame, "masks")
        return Target(camera, area_mean(picture, camera), area_mean(static, camera) > 0.999)

    def depth(self, frame: Frame) -> Float32[np.ndarray, "h w"]:
        """A frame's depth, 0 where unknown."""
        if self._depth is None and frame.depth is None:
            raise ValueError(
                f"SmallGS needs the depth of frame {frame.name!r}, from which the frames after it are posed; got an "
                "image only. Pass RGB-D frames, or a provider of depth as depth=."
            )
        depth = frame.depth if self._depth is None else np.asarray(self._depth(frame), dtype=np.float32)
        assert depth is not None
        _expect_size(depth, frame, "depth")
        if not np.isfinite(depth).all() or (depth < 0).any():
            raise ValueError(
                f"The depth of frame {frame.name!r} must be finite and >= 0 (0 = unknown); got NaN, infinite or "
                "negative values. Replace them with 0."
            )
        return shrunk_depth(depth, self.camera(frame))


def image_of(frame: Frame) -> UInt8[np.ndarray, "height width 3"]:
    """A frame's image.

    Raises:
        ValueError: when it has none.
    """
    if frame.image is None:
        raise ValueError(f"SmallGS needs frames with images; {frame.name!r} has depth only. Pass colour frames.")
    return frame.image


def area_mean(image: Float32[np.ndarray, "height width *c"], camera: Camera) -> Float32[np.ndarray, "h w *c"]:
    """An image shrunk to the size of a camera: means over the pixels that each of its pixels covers."""
    import cv2

    if image.shape[:2] == (camera.height, camera.width):
        return image
    small = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small).reshape(camera.height, camera.width, *image.shape[2:])


def shrunk_depth(depth: Float32[np.ndarray, "height width"], camera: Camera) -> Float32[np.ndarray, "h w"]:
    """A depth image shrunk to the size of a camera.

    Mean inverse depth, exact on planes, where all pixels are known and agree; else that of the middle pixel.
    """
    rows = ((np.arange(camera.height) + 0.5) * depth.shape[0] / camera.height).astype(int)
    columns = ((np.arange(camera.width) + 0.5) * depth.shape[1] / camera.width).astype(int)
    middle = depth[np.ix_(rows, columns)]
    known = depth > 0
    inverse = np.divide(1, depth, out=np.zeros_like(depth), where=known)
    mean, square = area_mean(inverse, camera), area_mean(inverse**2, camera)
    agree = (area_mean(known.astype(np.float32), camera) > 0.999) & (square - mean**2 < (_ONE_SURFACE * mean) ** 2)
    return np.where(agree, np.divide(1, mean, out=np.zeros_like(mean), where=mean > 0), middle)


def _expect_size(array: np.ndarray, frame: Frame, what: str) -> None:
    size = (frame.camera.height, frame.camera.width)
    if array.shape[:2] != size:
        raise ValueError(
            f"{what} of frame {frame.name!r} must have the size {size} of its image; got {array.shape[:2]}. "
            "Resize it to the image."
        )


def _unit_of(depth: Float32[np.ndarray, "h w"], frame: Frame) -> float:
    known = depth[depth > 0]
    if len(known) < _FEWEST_POINTS:
        raise ValueError(
            f"Frame {frame.name!r} must have at least {_FEWEST_POINTS} pixels with depth; got {len(known)}. Check the "
            "depth image and its scale."
        )
    return float(np.median(known))


def _solved(
    anchor: Target,
    depth: Float32[np.ndarray, "h w"],
    members: Sequence[Target],
    options: SmallgsOptions,
    colour: bool,
    progress: Callable[[str, int, float], None] | None,
    threads: int | None,
) -> SegmentPoses | str:
    """Poses of a segment's frames in the frame of its anchor, or why there are none."""
    known = int((anchor.static & (depth > 0)).sum())
    if known < _FEWEST_POINTS:
        return f"the anchor has {known} static pixels with depth; {_FEWEST_POINTS} are needed"
    rng = np.random.default_rng(options.seed)
    splats = splats_of(anchor, depth, options, rng, colour)
    fit = fit_splats(splats, anchor, options, rng, None if progress is None else partial(progress, "fit"), threads)
    if not fit.finite:
        return "the fit of the Gaussians diverged"
    if not len(fit.splats):
        return "the fit left no Gaussian that is not transparent"
    found = find_poses(splats, members, options, None if progress is None else partial(progress, "poses"), threads)
    if not np.isfinite(found.loss):
        return "the search for the poses diverged"
    if found.loss > found.start_loss:
        return (
            f"the pictures fit worse at the poses found ({found.loss:.4g}) than with a still camera "
            f"({found.start_loss:.4g})"
        )
    return found
