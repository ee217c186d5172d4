"""The trajectory of a short, nearly still video, from its images alone.

A video is cut into segments, each solved by small-motion bundle adjustment in the frame of its reference; a segment
ends where its reference has lost most of its points, and the next one starts at its last frame, with the depths of the
points they share. The world is the camera frame of the first picture, its unit the median depth there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.align.picture_faults import picture_fault, same_scene
from posesplat.align.point_tracker import PointTracker, TrackerOptions
from posesplat.align.small_motion_search import SearchOptions
from posesplat.align.tracks import CornerOptions, Tracks, corners, locally_normalised
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import composed_covariance
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.track_segment import SegmentMotion, TrustRule, solved_segment

SOURCE = "small motion"
"""The ``source`` of all estimates."""
_TOO_FEW = "too few points agree on a motion"
_FEWEST_TO_HALVE = 4
_UNSEEN_TRANSLATION = 1e-3
"""How far, in median depths, a camera may have moved in a segment without its translation showing."""


@dataclass(frozen=True)
class TrackOptions:
    """How a video is tracked."""

    corners: CornerOptions = field(default_factory=CornerOptions)
    """Which points are followed."""
    tracker: TrackerOptions = field(default_factory=TrackerOptions)
    """How points are followed."""
    search: SearchOptions = field(default_factory=SearchOptions)
    """How a segment's motion is looked for."""
    rule: TrustRule = field(default_factory=TrustRule)
    """When a translation is believed."""
    min_survivors: float = 0.18
    """A segment ends when fewer than this share of its reference's points are found."""
    min_points: int = 40
    """A frame needs at least this many points."""
    max_segment_frames: int = 60
    """A segment ends after this many frames, which bounds memory."""

    def __post_init__(self) -> None:
        if not 0 < self.min_survivors < 1 or self.min_points < 15 or self.max_segment_frames < 1:
            raise ValueError(
                "TrackOptions needs min_survivors in (0, 1), min_points >= 15 and max_segment_frames >= 1; got "
                f"{self.min_survivors}, {self.min_points} and {self.max_segment_frames}."
            )


def track(
    frames: Iterable[Frame],
    options: TrackOptions = TrackOptions(),
    on_estimate: Callable[[str, PoseEstimate], None] | None = None,
) -> Trajectory:
    """Poses of a video's frames, up to scale: cam_from_world of the first picture that can be tracked is the identity.

    Frames are read once, in order, and kept, in grey, no longer than their segment is open. Where translation cannot be
    told from pure rotation, the estimate has the rotation, a warning, and a translation whose variance is
    :data:`posesplat.methods.track_segment.UNOBSERVABLE_VARIANCE`: its numbers mean nothing.

    Args:
        frames: with images, of one camera; of :func:`posesplat.open_frames`, for example.
        options: how to track.
        on_estimate: called with name and estimate of each frame, in order, when its segment is done.

    Returns:
        one estimate a frame, scale unknown.

    Raises:
        ValueError: when there are no frames, a frame has no image, or cameras differ.

    Example:
        >>> trajectory = track(open_frames("video.mp4", camera="camera.json"))
    """
    recorder = _Recorder(on_estimate)
    run: _Run | None = None
    for frame in frames:
        if frame.image is None:
            raise ValueError(f"track needs frames with images; {frame.name!r} has depth only. Pass colour frames.")
        if run is None:
            run = _Run(frame.camera, options, recorder)
        elif frame.camera != run.camera:
            raise ValueError(
                f"All frames of a video must have the camera {run.camera}; {frame.name!r} has {frame.camera}. "
                "Split the video where the camera changes."
            )
        run.add(recorder.register(frame), frame.image)
    if run is None:
        raise ValueError("track needs at least one frame; got none. Check the source of the video.")
    run.finish()
    return recorder.trajectory()


class _Recorder:
    """Estimates in the order of the frames, however late they come."""

    def __init__(self, on_estimate: Callable[[str, PoseEstimate], None] | None) -> None:
        self._names: list[str] = []
        self._timestamps: list[float] = []
        self._estimates: list[PoseEstimate | None] = []
        self._told = 0
        self._on_estimate = on_estimate
        self._clock = time.perf_counter()

    def register(self, frame: Frame) -> int:
        self._names.append(frame.name)
        self._timestamps.append(frame.timestamp)
        self._estimates.append(None)
        return len(self._names) - 1

    def name(self, index: int) -> str:
        return self._names[index]

    def give(self, index: int, estimate: PoseEstimate) -> None:
        self._estimates[index] = estimate

    def tell(self) -> None:
        """Tell the listener what is known by now, up to the first frame that still waits; share out the time spent."""
        ready = []
        for estimate in self._estimates[self._told :]:
            if estimate is None:
                break
            ready.append(estimate)
        now = time.perf_counter()
        spent = (now - self._clock) / max(len(ready), 1)
        self._clock = now if ready else self._clock
        for estimate in ready:
            timed = estimate.replace(runtime_s=spent)
            self._estimates[self._told] = timed
            if self._on_estimate is not None:
                self._on_estimate(self._names[self._told], timed)
            self._told += 1

    def trajectory(self) -> Trajectory:
        self.tell()
        done = tuple(estimate for estimate in self._estimates if estimate is not None)
        return Trajectory(done, np.array(self._timestamps), tuple(self._names))


@dataclass(frozen=True)
class _Anchor:
    """A segment's reference: its pose, and the depths known there in units of the world."""

    index: int
    cam_from_world: RigidTransform
    covariance: Float[np.ndarray, "6 6"]
    normalised: UInt8[np.ndarray, "height width"]
    points: Float[np.ndarray, "points 2"]
    inverse_depths: Float[np.ndarray, " points"]
    """In this camera and units of the world; NaN where unknown."""


@dataclass(frozen=True)
class _Member:
    """A frame of the open segment, and where it saw the anchor's points."""

    index: int
    normalised: UInt8[np.ndarray, "height width"]
    pixels: Float[np.ndarray, "points 2"]
    seen: Bool[np.ndarray, " points"]


class _Run:
    """The state between two frames: an anchor and the frames of its segment, kept until the segment is solved."""

    def __init__(self, camera: Camera, options: TrackOptions, recorder: _Recorder) -> None:
        self.camera = camera
        self._options = options
        self._recorder = recorder
        self._anchor: _Anchor | None = None
        self._scaled = False
        self._begin_segment()

    def _begin_segment(self) -> None:
        self._members: list[_Member] = []
        if self._anchor is not None:
            self._tracker = PointTracker(
                self._anchor.normalised, self._anchor.points, self.camera, self._options.tracker
            )

    def add(self, index: int, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Take the next frame."""
        fault = picture_fault(image)
        if fault:
            self._refuse(index, f"the picture is {fault}: there is nothing to track")
            return
        self._take(index, locally_normalised(image))

    def finish(self) -> None:
        """Solve what is left."""
        while self._members:
            self._close()

    def _take(self, index: int, normalised: UInt8[np.ndarray, "height width"]) -> None:
        if self._anchor is None:
            self._start(index, normalised)
            return
        if len(self._members) >= self._options.max_segment_frames:
            self._close()
        pixels, seen = self._tracker.follow(normalised)
        if not self._enough(seen) and self._members:
            self._close()
            pixels, seen = self._tracker.follow(normalised)
        if not self._enough(seen):
            self._refuse(index, self._loss(normalised, int(seen.sum())))
            return
        self._members.append(_Member(index, normalised, pixels, seen))

    def _start(self, index: int, normalised: UInt8[np.ndarray, "height width"]) -> None:
        points = corners(normalised, self._options.corners)
        if len(points) < self._options.min_points:
            self._refuse(
                index, f"the picture has {len(points)} corners to track; {self._options.min_points} are needed"
            )
            return
        pose = RigidTransform.identity()
        self._anchor = _Anchor(index, pose, np.zeros((6, 6)), normalised, points, np.full(len(points), np.nan))
        self._recorder.give(index, PoseEstimate(True, "", pose, np.zeros((6, 6)), inlier_fraction=1.0, source=SOURCE))
        self._begin_segment()

    def _enough(self, seen: Bool[np.ndarray, " points"]) -> bool:
        return bool(seen.sum() >= max(self._options.min_points, self._options.min_survivors * len(seen)))

    def _loss(self, normalised: UInt8[np.ndarray, "height width"], found: int) -> str:
        assert self._anchor is not None
        why = (
            "the motion is too fast"
            if same_scene(self._anchor.normalised, normalised)
            else "a cut in the video or a leap"
        )
        name = self._recorder.name(self._anchor.index)
        return f"{why}: {found} of {len(self._anchor.points)} points of frame {name!r} were found again"

    def _refuse(self, index: int, reason: str) -> None:
        self._recorder.give(index, PoseEstimate.failure(reason, source=SOURCE))
        self._recorder.tell()

    def _close(self) -> None:
        """Solve the open segment, hand out its estimates, and begin the next one at its last frame.

        A segment that no motion fits is tried again by halves.
        """
        assert self._anchor is not None
        members = self._members
        tracks = Tracks.gathered(self._anchor.points, [(member.pixels, member.seen) for member in members])
        motion = solved_segment(tracks, self.camera, self._options.search, self._options.rule)
        if motion is not None and motion.verdict != "broken":
            self._hand_out(self._anchor, motion, tracks)
        elif len(members) >= _FEWEST_TO_HALVE:
            half = len(members) // 2
            self._members = members[:half]
            self._close()
            for member in members[half:]:
                self._take(member.index, member.normalised)
            return
        else:
            reason = _TOO_FEW if motion is None else motion.warnings[0]
            for member in members:
                self._recorder.give(member.index, PoseEstimate.failure(reason, source=SOURCE))
        self._recorder.tell()
        self._begin_segment()

    def _hand_out(self, anchor: _Anchor, motion: SegmentMotion, tracks: Tracks) -> None:
        scale, warnings = self._scale(motion, anchor)
        solved = np.flatnonzero(motion.solved)
        for index in np.flatnonzero(~motion.solved):
            self._recorder.give(self._members[index].index, PoseEstimate.failure(_TOO_FEW, source=SOURCE))
        for place, index in enumerate(solved):
            step = motion.cam_from_reference[place]
            step = RigidTransform.from_components(scale * step.translation, step.rotation)
            pose = step * anchor.cam_from_world
            spread = _rescaled(motion.covariance[place], scale)
            estimate = PoseEstimate(
                True,
                "",
                pose,
                composed_covariance(step, spread, anchor.covariance),
                inlier_fraction=float(motion.inlier_fraction[place]),
                source=SOURCE,
                warnings=warnings,
            )
            self._recorder.give(self._members[index].index, estimate)
        if solved[-1] == len(self._members) - 1:
            if motion.verdict == "rotation":
                spread[3:, 3:] = _UNSEEN_TRANSLATION**2 * np.eye(3)
            covariance = composed_covariance(step, spread, anchor.covariance)
            self._anchor = self._next_anchor(anchor, motion, tracks, scale, pose, covariance)

    def _scale(self, motion: SegmentMotion, anchor: _Anchor) -> tuple[float, tuple[str, ...]]:
        """The segment's unit in units of the world, from the points whose depth is known in both."""
        if motion.verdict == "rotation":
            return 1.0, motion.warnings
        ratio = motion.inverse_depths / anchor.inverse_depths
        ratio = ratio[np.isfinite(ratio)]
        if len(ratio):
            return float(np.median(ratio)), motion.warnings
        if self._scaled:
            name = self._recorder.name(anchor.index)
            return 1.0, (*motion.warnings, f"scale is not carried over from the frames before {name!r}")
        self._scaled = True
        return 1.0, motion.warnings

    def _next_anchor(
        self,
        anchor: _Anchor,
        motion: SegmentMotion,
        tracks: Tracks,
        scale: float,
        cam_from_world: RigidTransform,
        covariance: Float[np.ndarray, "6 6"],
    ) -> _Anchor:
        """The segment's last frame as the next reference, with the depths of the points that it still sees."""
        known = motion.inverse_depths / scale if motion.verdict == "motion" else anchor.inverse_depths
        carried = tracks.seen[-1] & np.isfinite(known)
        rays = self.camera.rays_at(tracks.reference[carried])
        last_from_anchor = cam_from_world * anchor.cam_from_world.inv()
        depths = last_from_anchor.apply(rays / known[carried, None])[:, 2]
        pixels = tracks.pixels[-1][carried]
        last = self._members[-1]
        fresh = corners(last.normalised, self._options.corners, pixels)
        return _Anchor(
            last.index,
            cam_from_world,
            covariance,
            last.normalised,
            np.concatenate([pixels, fresh]),
            np.concatenate([1.0 / np.maximum(depths, 1e-6), np.full(len(fresh), np.nan)]),
        )


def _rescaled(covariance: Float[np.ndarray, "6 6"], scale: float) -> Float[np.ndarray, "6 6"]:
    """A covariance whose unit of length has become ``scale`` units."""
    unit = np.array([1.0, 1.0, 1.0, scale, scale, scale])
    return covariance * np.outer(unit, unit)
