"""The tracking of one video: frames are taken one by one, solved in segments, and segments are chained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.align.picture_faults import picture_fault, same_scene
from posesplat.align.point_tracker import PointTracker
from posesplat.align.tracks import corners, evenly_spread, locally_normalised, pixels_at
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import composed_covariance
from posesplat.methods.track_anchor import Anchor, Mask, Member, first_anchor, moved_anchor, tracks_of
from posesplat.methods.track_answer import ADJUSTED, RememberedDepth, SegmentAnswer, TrackAids, answered
from posesplat.methods.track_disocclusion import extended_scene
from posesplat.methods.track_graph import AnchorGraph
from posesplat.methods.track_options import TrackOptions
from posesplat.methods.track_recorder import Recorder
from posesplat.methods.track_segment import SegmentMotion, solved_segment
from posesplat.methods.track_state import TrackState

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
    motion: SegmentMotion | None
    answer: SegmentAnswer | None = None

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
        aids: TrackAids = TrackAids(),
        on_state: Callable[[TrackState], None] | None = None,
    ) -> None:
        self.camera = camera
        self._options = options
        self._recorder = recorder
        self._on_state = on_state
        self.setting = f"{camera} {options}"
        self._anchor: Anchor | None = None
        self._world: Scale | None = None
        self._aids = aids if aids.depth is None else replace(aids, depth=RememberedDepth(aids.depth))
        self._scene = None if options.causal else options.scene
        self._graph = None if options.causal or options.loops is None else AnchorGraph(camera, options.loops)
        self._scenes: list[tuple[int, Gaussians]] = []
        self._units: dict[int, float] = {}
        """Of frames that loops moved: the unit of their reference."""
        self._keeps_frames = self._scene is not None or aids.depth is not None
        self._members: list[Member] = []
        self._solved: _Solved | None = None

    def add(self, index: int, frame: Frame) -> None:
        """Take the next frame, which has an image; ``index`` is its number of the recorder."""
        assert frame.image is not None
        fault = picture_fault(frame.image)
        if fault:
            self._refuse(index, f"the picture is {fault}: there is nothing to track")
            return
        given = self._aids.masks.given
        mask = None if given is None else given.mask(frame)
        normalised = locally_normalised(frame.image)
        nothing = np.zeros((0, 2)), np.zeros(0, dtype=bool)
        self._take(Member(index, normalised, *nothing, mask, frame=frame if self._keeps_frames else None))

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
            self._world,
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
        self._members, self._tracker.state, self._world = list(state.members), state.tracker, state.world

    def finish(self) -> None:
        """Solve what is left."""
        while any(not member.given for member in self._members):
            self._close(lost=True)
        corrected = None if self._graph is None else self._graph.corrected()
        for index, placed in (corrected or {}).items():
            estimate = self._recorder.estimate(index)
            if estimate is not None and estimate.success:
                moved = estimate.replace(cam_from_world=placed.cam_from_world, covariance=placed.covariance)
                self._recorder.give(index, moved)
                self._units[index] = placed.unit

    def _take(self, picture: Member) -> None:
        """Take a picture that has not been compared with the anchor yet."""
        if self._anchor is None:
            self._start(picture)
            return
        counted = self._members if self._options.causal else [one for one in self._members if not one.given]
        if len(counted) >= self._options.max_segment_frames:
            self._close(lost=False)
        member = self._followed(picture)
        while not self._enough(member.seen) and self._members:
            self._close(lost=True)
            member = self._followed(picture)
        if self._enough(member.seen):
            self._members.append(member)
        else:
            self._refuse(picture.index, self._loss(picture.normalised, int(member.seen.sum())))

    def _followed(self, picture: Member) -> Member:
        """Where a picture sees the anchor's points."""
        pixels, seen = self._tracker.follow(picture.normalised)
        if picture.mask is not None:
            seen = seen & inside(picture.mask, pixels)
        return replace(picture, pixels=pixels, seen=seen)

    def _start(self, picture: Member) -> None:
        points = corners(picture.normalised, self._options.corners)
        if picture.mask is not None:
            points = points[inside(picture.mask, points)]
        if len(points) < self._options.min_points:
            least = self._options.min_points
            self._refuse(picture.index, f"the picture has {len(points)} corners to track; {least} are needed")
            return
        pose, exact = RigidTransform.identity(), np.zeros((6, 6))
        told = PoseEstimate(True, "", pose, exact, inlier_fraction=1.0, source=ADJUSTED)
        self._recorder.give(picture.index, told)
        anchor = first_anchor(picture.index, picture.normalised, points, picture.frame)
        if self._graph is not None:
            self._graph.hang(picture.index, anchor, pose, exact)
        self._move_to(anchor)

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
        self._recorder.give(index, PoseEstimate.failure(reason, source=ADJUSTED))
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
        times = np.array([member.index - self._anchor.index for member in members], dtype=np.float64)
        motion = solved_segment(tracks, self.camera, self._options.search, self._options.rule, start, times)
        if motion is None or motion.verdict == "broken":
            return _Solved(members, motion)
        answer = answered(self._anchor, members, motion, self.camera, self._world, self._aids, self._scene)
        return _Solved(members, motion, answer)

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
                self._take(member)
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
                    self._recorder.give(member.index, PoseEstimate.failure(reason, source=ADJUSTED))
            return
        assert solved.answer is not None
        place = 0
        for member, is_solved in zip(solved.members, motion.solved, strict=True):
            if is_solved and not member.given:
                self._tell(member, motion, solved.answer, place)
            elif not member.given:
                self._recorder.give(member.index, PoseEstimate.failure(_TOO_FEW, source=ADJUSTED))
            place += int(is_solved)

    def _tell(self, member: Member, motion: SegmentMotion, answer: SegmentAnswer, place: int) -> None:
        """Give the pose of one solved frame."""
        assert self._anchor is not None
        step, spread = answer.cam_from_reference[place], answer.covariance[place]
        told = PoseEstimate(
            True,
            "",
            step * self._anchor.cam_from_world,
            composed_covariance(step, spread, self._anchor.covariance),
            scale=answer.scale,
            inlier_fraction=float(motion.inlier_fraction[place]),
            source=answer.sources[place],
            warnings=answer.warnings,
        )
        self._recorder.give(member.index, told)
        if self._graph is not None:
            self._graph.hang(member.index, self._anchor, step, spread)

    def _go_on(self, solved: _Solved, lost: bool) -> None:
        """Choose the reference of the next segment."""
        assert self._anchor is not None
        motion, answer, last = solved.believed, solved.answer, solved.members[-1]
        if motion is None or answer is None:
            self._members, self._solved = [], None
            return
        translates = motion.verdict == "motion" or answer.scale.metric
        if translates and self._world is None:
            self._world = answer.scale
            self._recorder.rescale(answer.scale)
        if answer.gaussians is not None:
            self._keep_scene(self._anchor, answer.gaussians, solved)
        depths = answer.inverse_depths if motion.verdict == "motion" else self._anchor.inverse_depths
        anchor = replace(self._anchor, inverse_depths=depths)
        if self._graph is not None and motion.verdict == "motion":
            self._graph.compare(replace(anchor, frame=None))
        if not motion.solved[-1]:
            self._members, self._solved = [], None
            return
        if not lost and last.seen.mean() >= self._options.keep_reference:
            self._anchor = anchor
            chosen = np.flatnonzero(motion.solved)
            chosen = chosen[evenly_spread(len(chosen), self._options.retained_frames)]
            self._members = [replace(solved.members[place], given=True) for place in chosen]
            self._solved = None
            return
        step, spread = answer.cam_from_reference[-1], answer.covariance[-1].copy()
        if not translates:
            spread[3:, 3:] = _UNSEEN_TRANSLATION**2 * np.eye(3)
        pose = step * anchor.cam_from_world
        covariance = composed_covariance(step, spread, anchor.covariance)
        child = moved_anchor(anchor, last, pose, covariance, depths, self.camera, self._options.corners)
        if self._graph is not None:
            self._graph.chain(anchor, child, step, spread, answer.log_unit_variance)
        self._move_to(child)

    def _keep_scene(self, anchor: Anchor, gaussians: Gaussians, solved: _Solved) -> None:
        """Keep the Gaussians of an anchor, in its camera frame; of later segments of the same one only the first."""
        known = {index for index, _ in self._scenes}
        if anchor.index in known or len(known) >= self._options.max_scenes:
            return
        motion, answer, options = solved.motion, solved.answer, self._options.disocclusion
        if options is not None and anchor.frame is not None and motion is not None and answer is not None:
            members = [one for one, is_solved in zip(solved.members, motion.solved, strict=True) if is_solved]
            gaussians = extended_scene(
                gaussians,
                anchor.frame,
                [one.frame for one in members if one.frame is not None],
                answer.cam_from_reference,
                answer.exposures,
                masks=[one.mask for one in members],
                options=options,
            ).gaussians
        self._scenes.append((anchor.index, gaussians))

    def gaussians(self) -> Gaussians | None:
        """What was seen, in the world: the Gaussians of the first references; None where none were made."""
        parts = []
        for index, gaussians in self._scenes:
            estimate = self._recorder.estimate(index)
            if estimate is not None and estimate.cam_from_world is not None:
                unit = self._units.get(index, 1.0)
                parts.append(gaussians.transformed(estimate.cam_from_world.inv(), unit))
        return Gaussians.merge(parts) if parts else None


def _same(first: tuple[Member, ...], second: tuple[Member, ...]) -> bool:
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))


def inside(mask: Mask, pixels: Float[np.ndarray, "points 2"]) -> Bool[np.ndarray, " points"]:
    """Which corner-based pixels lie in the image where the mask is True."""
    row, column, within = pixels_at(pixels, mask.shape)
    within[within] = mask[row[within], column[within]]
    return within
