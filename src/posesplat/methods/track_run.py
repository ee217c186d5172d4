"""The tracking of one video: frames are taken one by one, solved in segments, and segments are chained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.align.picture_faults import picture_fault, same_scene
from posesplat.align.point_tracker import PointTracker
from posesplat.align.tracks import Tracks, corners, locally_normalised
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.poses import composed_covariance
from posesplat.methods.track_anchor import Anchor, Mask, Member, first_anchor, known_depths, moved_anchor, tracks_of
from posesplat.methods.track_options import TrackOptions
from posesplat.methods.track_recorder import Recorder
from posesplat.methods.track_segment import SegmentMotion, solved_segment
from posesplat.methods.track_state import TrackState

SOURCE = "small motion"
"""The ``source`` of all estimates."""
_TOO_FEW = "too few points agree on a motion"
_FEWEST_TO_HALVE = 4
_UNSEEN_TRANSLATION = 1e-3
"""How far, in median depths, a camera may have moved in a segment without its translation showing."""
_SEARCHED_ANEW = frozenset({1, 2, 3, 5, 8, 13, 21, 34})
"""Numbers of frames after which a growing segment is searched from all starts, not from its last solution alone."""


@dataclass(frozen=True)
class _Solved:
    """The open segment's frames and their motion."""

    members: tuple[Member, ...]
    tracks: Tracks
    motion: SegmentMotion | None

    @property
    def believed(self) -> SegmentMotion | None:
        return None if self.motion is None or self.motion.verdict == "broken" else self.motion


class Run:
    """The state between two frames: an anchor and the frames of its segment, kept until the segment is solved."""

    def __init__(
        self,
        camera: Camera,
        options: TrackOptions,
        recorder: Recorder,
        on_state: Callable[[TrackState], None] | None = None,
    ) -> None:
        self.camera = camera
        self._options = options
        self._recorder = recorder
        self._on_state = on_state
        self.setting = f"{camera} {options}"
        self._anchor: Anchor | None = None
        self._scaled = False
        self._members: list[Member] = []
        self._solved: _Solved | None = None

    def add(self, index: int, image: UInt8[np.ndarray, "height width 3"], mask: Mask | None = None) -> None:
        """Take the next frame.

        Args:
            index: its number, of the recorder.
            image: RGB.
            mask: True where points may be; everywhere when left out.
        """
        fault = picture_fault(image)
        if fault:
            self._refuse(index, f"the picture is {fault}: there is nothing to track")
            return
        self._take(index, locally_normalised(image), mask)

    def skip(self, index: int, reason: str) -> None:
        """Refuse a frame that has no picture."""
        self._refuse(index, reason)

    def settle(self) -> None:
        """Tell the pose of the newest frame from those up to it, and leave its segment open."""
        waiting = [member for member in self._members if not member.given]
        if self._anchor is None or not waiting:
            return
        solved = self._solve()
        self._hand_out(solved)
        self._members = [replace(member, given=True) for member in self._members]
        self._solved = replace(solved, members=tuple(self._members))
        self._recorder.tell()

    def state(self) -> TrackState | None:
        """What the video can be continued from; None while frames wait for others, or there is no reference."""
        if self._anchor is None or any(not member.given for member in self._members):
            return None
        return TrackState(
            self.setting,
            self._recorder.trajectory(),
            self._anchor,
            tuple(self._members),
            self._tracker.state,
            self._scaled,
        )

    def restore(self, state: TrackState) -> None:
        """Go on where another run stopped.

        Raises:
            ValueError: when that run had another camera or other options.
        """
        if state.setting != self.setting:
            raise ValueError(
                f"A run can only be continued with its own camera and options, {state.setting}; got {self.setting}. "
                "Start anew, or give the same ones."
            )
        self._move_to(state.anchor)
        self._members, self._tracker.state, self._scaled = list(state.members), state.tracker, state.scaled

    def finish(self) -> None:
        """Solve what is left."""
        while any(not member.given for member in self._members):
            self._close(lost=True)

    def _take(self, index: int, normalised: UInt8[np.ndarray, "height width"], mask: Mask | None) -> None:
        if self._anchor is None:
            self._start(index, normalised, mask)
            return
        if sum(not member.given for member in self._members) >= self._options.max_segment_frames or (
            self._options.causal and len(self._members) >= self._options.max_segment_frames
        ):
            self._close(lost=False)
        pixels, seen = self._follow(normalised, mask)
        while not self._enough(seen) and self._members:
            self._close(lost=True)
            pixels, seen = self._follow(normalised, mask)
        if not self._enough(seen):
            self._refuse(index, self._loss(normalised, int(seen.sum())))
            return
        self._members.append(Member(index, normalised, pixels, seen, mask))

    def _follow(
        self, normalised: UInt8[np.ndarray, "height width"], mask: Mask | None
    ) -> tuple[Float[np.ndarray, "points 2"], Bool[np.ndarray, " points"]]:
        pixels, seen = self._tracker.follow(normalised)
        return pixels, seen if mask is None else seen & inside(mask, pixels)

    def _start(self, index: int, normalised: UInt8[np.ndarray, "height width"], mask: Mask | None) -> None:
        points = corners(normalised, self._options.corners)
        if mask is not None:
            points = points[inside(mask, points)]
        if len(points) < self._options.min_points:
            self._refuse(
                index, f"the picture has {len(points)} corners to track; {self._options.min_points} are needed"
            )
            return
        pose, exact = RigidTransform.identity(), np.zeros((6, 6))
        self._recorder.give(index, PoseEstimate(True, "", pose, exact, inlier_fraction=1.0, source=SOURCE))
        self._move_to(first_anchor(index, normalised, points, None))

    def _move_to(self, anchor: Anchor) -> None:
        """Begin a segment at another reference."""
        self._anchor = anchor
        self._tracker = PointTracker(anchor.normalised, anchor.points, self.camera, self._options.tracker)
        self._members = []
        self._solved = None

    def _enough(self, seen: Bool[np.ndarray, " points"]) -> bool:
        return bool(seen.sum() >= max(self._options.min_points, self._options.min_survivors * len(seen)))

    def _loss(self, normalised: UInt8[np.ndarray, "height width"], found: int) -> str:
        assert self._anchor is not None
        fast = same_scene(self._anchor.normalised, normalised)
        why = "the motion is too fast" if fast else "a cut in the video or a leap"
        name = self._recorder.name(self._anchor.index)
        return f"{why}: {found} of {len(self._anchor.points)} points of frame {name!r} were found again"

    def _refuse(self, index: int, reason: str) -> None:
        self._recorder.give(index, PoseEstimate.failure(reason, source=SOURCE))
        self._recorder.tell()

    def _solve(self) -> _Solved:
        """The motion of the open segment, begun from what is known of it."""
        assert self._anchor is not None
        members = tuple(self._members)
        if self._solved is not None and _same(self._solved.members, members):
            return self._solved
        tracks = tracks_of(self._anchor, members)
        before = self._solved.believed if self._solved is not None and self._options.causal else None
        start = before if before is not None and len(members) not in _SEARCHED_ANEW else None
        motion = solved_segment(tracks, self.camera, self._options.search, self._options.rule, start)
        return _Solved(members, tracks, motion)

    def _close(self, lost: bool) -> None:
        """Solve the open segment, tell its poses, and begin the next one.

        The next one has the same reference while most of its points are still found, otherwise the segment's last
        frame. A segment that no motion fits is tried again by halves.

        Args:
            lost: whether the reference cannot be used any longer.
        """
        assert self._anchor is not None
        solved = self._solve()
        waiting = [member for member in solved.members if not member.given]
        if solved.believed is None and len(waiting) >= _FEWEST_TO_HALVE:
            kept = [member for member in solved.members if member.given]
            half = len(waiting) // 2
            self._members, self._solved = kept + waiting[:half], None
            self._close(lost=False)
            for member in waiting[half:]:
                self._take(member.index, member.normalised, member.mask)
            return
        self._hand_out(solved)
        self._recorder.tell()
        self._go_on(solved, lost)
        state = self.state() if self._on_state is not None else None
        if self._on_state is not None and state is not None:
            self._on_state(state)

    def _hand_out(self, solved: _Solved) -> None:
        """Give the poses of the frames that have none yet."""
        assert self._anchor is not None
        motion = solved.believed
        if motion is None:
            reason = _TOO_FEW if solved.motion is None else solved.motion.warnings[0]
            for member in solved.members:
                if not member.given:
                    self._recorder.give(member.index, PoseEstimate.failure(reason, source=SOURCE))
            return
        scale, warnings = self._scale(motion)
        place = 0
        for member, is_solved in zip(solved.members, motion.solved, strict=True):
            if is_solved and not member.given:
                pose, covariance = self._placed(motion, place, scale)
                told = PoseEstimate(
                    True,
                    "",
                    pose,
                    covariance,
                    inlier_fraction=float(motion.inlier_fraction[place]),
                    source=SOURCE,
                    warnings=warnings,
                )
                self._recorder.give(member.index, told)
            elif not member.given:
                self._recorder.give(member.index, PoseEstimate.failure(_TOO_FEW, source=SOURCE))
            place += int(is_solved)

    def _placed(
        self, motion: SegmentMotion, place: int, scale: float, hidden: bool = False
    ) -> tuple[RigidTransform, Float[np.ndarray, "6 6"]]:
        """Pose in the world and covariance of a solved frame.

        ``hidden`` replaces an unobservable translation's variance by what a camera may move without its showing.
        """
        assert self._anchor is not None
        step = motion.cam_from_reference[place]
        step = RigidTransform.from_components(scale * step.translation, step.rotation)
        spread = _rescaled(motion.covariance[place], scale)
        if hidden and motion.verdict == "rotation":
            spread[3:, 3:] = _UNSEEN_TRANSLATION**2 * np.eye(3)
        anchor = self._anchor
        return step * anchor.cam_from_world, composed_covariance(step, spread, anchor.covariance)

    def _scale(self, motion: SegmentMotion) -> tuple[float, tuple[str, ...]]:
        """The segment's unit in units of the world, from the points whose depth is known in both."""
        assert self._anchor is not None
        if motion.verdict == "rotation":
            return 1.0, motion.warnings
        ratio = motion.inverse_depths / self._anchor.inverse_depths
        ratio = ratio[np.isfinite(ratio)]
        if len(ratio):
            return float(np.median(ratio)), motion.warnings
        if self._scaled:
            name = self._recorder.name(self._anchor.index)
            return 1.0, (*motion.warnings, f"scale is not carried over from the frames before {name!r}")
        return 1.0, motion.warnings

    def _go_on(self, solved: _Solved, lost: bool) -> None:
        """Choose the reference of the next segment."""
        assert self._anchor is not None
        motion, last = solved.believed, solved.members[-1]
        if motion is None or not motion.solved[-1]:
            self._members, self._solved = [], None
            return
        scale, _ = self._scale(motion)
        self._scaled |= motion.verdict == "motion"
        depths = known_depths(self._anchor, motion, scale)
        if not lost and last.seen.mean() >= self._options.keep_reference:
            self._anchor = replace(self._anchor, inverse_depths=depths)
            chosen = np.flatnonzero(motion.solved)
            count = min(self._options.retained_frames, len(chosen))
            chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, count).round().astype(np.intp))]
            self._members = [replace(solved.members[place], given=True) for place in chosen]
            self._solved = None
            return
        pose, covariance = self._placed(motion, int(motion.solved.sum()) - 1, scale, hidden=True)
        self._move_to(moved_anchor(self._anchor, last, pose, covariance, depths, self.camera, self._options.corners))


def _same(first: tuple[Member, ...], second: tuple[Member, ...]) -> bool:
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))


def inside(mask: Mask, pixels: Float[np.ndarray, "points 2"]) -> Bool[np.ndarray, " points"]:
    """Which corner-based pixels lie in the image where the mask is True."""
    height, width = mask.shape
    column, row = np.floor(pixels).astype(np.intp).T
    within = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return within & mask[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]


def _rescaled(covariance: Float[np.ndarray, "6 6"], scale: float) -> Float[np.ndarray, "6 6"]:
    """A covariance whose unit of length has become ``scale`` units."""
    unit = np.array([1.0, 1.0, 1.0, scale, scale, scale])
    return covariance * np.outer(unit, unit)
