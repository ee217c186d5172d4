"""Everything that turns the frames of a clip into a trajectory: ours, structure from motion, and baselines.

A contender is a name and a function from a :class:`TrackClip` to an :class:`Answer`. To add one, write such a function
and put it into :func:`contenders`; one that takes nothing but frames is wrapped by :func:`on_frames`, one that also
takes the first frame's depth finds it in ``clip.first_depth``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.smallgs_options import SmallgsOptions
from posesplat.evaluate.protocols.track_clips import TrackClip
from posesplat.evaluate.sfm_rivals import SETTINGS, SfmRival
from posesplat.evaluate.two_view_rival import two_view_trajectory
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.smallgs import track_smallgs
from posesplat.methods.track import track
from posesplat.methods.track_answer import TrackAids
from posesplat.methods.track_options import TrackOptions
from posesplat.providers.depth.measured import SensorDepth

OURS = "posesplat track"
CAUSAL = "posesplat track, live"
POINTS = "posesplat track, points only"
WITH_DEPTH = "posesplat track, depth of frame 1"
SMALLGS = "smallgs (published, depth of frame 1)"
_SMALLGS_WIDTH = 128
"""Pixels a row at which the published method runs: its own 512 takes an hour a clip on one processor."""
STATIC = "static camera"
LINE = "line between true ends (told the ends)"
VELOCITY = "constant velocity (told 2 frames)"
TWO_VIEW = "two-view + PnP"
PYCOLMAP = "pycolmap"
"""What the names of all settings of pycolmap begin with."""


@dataclass(frozen=True)
class Answer:
    """A trajectory and what it cost."""

    trajectory: Trajectory
    """One estimate a frame of the clip."""
    cpu_s: float
    """Seconds of processor time, of all threads."""

    @property
    def remark(self) -> str:
        """The commonest reason or first warning of its frames; empty when there is none."""
        said = [estimate.reason or next(iter(estimate.warnings), "") for estimate in self.trajectory]
        counts = Counter(words for words in said if words)
        return counts.most_common(1)[0][0] if counts else ""


@dataclass(frozen=True)
class Contender:
    """A way to find the trajectory of a clip."""

    name: str
    """As it stands in the tables."""
    solve: Callable[[TrackClip], Answer]
    """May raise ValueError for a clip it cannot take: that is a refusal of all frames."""
    ours: bool = False
    """Whether the others are compared with it."""
    told: bool = False
    """Whether it is told true poses: a bound for judging the others, not a method."""
    slow: bool = False
    """Whether it answers only a few clips of each condition."""


def on_frames(solve: Callable[[Sequence[Frame]], Trajectory]) -> Callable[[TrackClip], Answer]:
    """A function of frames as a contender's ``solve``, with its processor time."""

    def timed(clip: TrackClip) -> Answer:
        began = time.process_time()
        trajectory = solve(clip.frames)
        return Answer(trajectory, time.process_time() - began)

    return timed


def contenders(threads: int | None = None, names: Sequence[str] = ()) -> list[Contender]:
    """All contenders whose name contains one of ``names``, whatever the case; all of them for none.

    Args:
        threads: of the programs that have several.
        names: words.
    """
    rival = SfmRival(threads or 1)
    everyone = [
        Contender(OURS, on_frames(track), ours=True),
        Contender(POINTS, on_frames(_points_only), ours=True),
        Contender(CAUSAL, on_frames(_live), ours=True, slow=True),
        Contender(WITH_DEPTH, _with_depth, ours=True),
        Contender(SMALLGS, _smallgs, slow=True),
        Contender(STATIC, _told(static_camera), told=True),
        Contender(LINE, _told(line_between_ends), told=True),
        Contender(VELOCITY, _told(constant_velocity), told=True),
        Contender(TWO_VIEW, on_frames(two_view_trajectory)),
        *(Contender(f"{PYCOLMAP} {name}", _sfm(rival, name), slow=True) for name in SETTINGS),
    ]
    return [one for one in everyone if not names or any(name.lower() in one.name.lower() for name in names)]


def _points_only(frames: Sequence[Frame]) -> Trajectory:
    return track(frames, TrackOptions(scene=None))


def _live(frames: Sequence[Frame]) -> Trajectory:
    return track(frames, TrackOptions(causal=True))


def _measured(clip: TrackClip) -> list[Frame]:
    """The clip with depth in its first frame.

    Raises:
        ValueError: where there is none.
    """
    if clip.first_depth is None:
        raise ValueError("this clip has no depth")
    return [replace(clip.frames[0], depth=clip.first_depth), *clip.frames[1:]]


def _with_depth(clip: TrackClip) -> Answer:
    frames = _measured(clip)
    return on_frames(lambda _: track(frames, aids=TrackAids(SensorDepth())))(clip)


def _smallgs(clip: TrackClip) -> Answer:
    """One segment from the first frame, since only that one has depth."""
    frames = _measured(clip)
    options = SmallgsOptions(image_width=_SMALLGS_WIDTH, segment_frames=max(len(frames) - 1, 1))
    return on_frames(lambda _: track_smallgs(frames, options=options))(clip)


def answer(contender: Contender, clip: TrackClip) -> Answer:
    """The contender's answer to a clip; what it cannot take it refuses."""
    began = time.process_time()
    try:
        return contender.solve(clip)
    except ValueError as error:
        return Answer(refused(clip, f"{type(error).__name__}: {error}"), time.process_time() - began)


def refused(clip: TrackClip, reason: str) -> Trajectory:
    """No poses at all."""
    failure = PoseEstimate.failure(reason)
    return Trajectory((failure,) * len(clip.frames), clip.trajectory.timestamps, clip.trajectory.names)


def static_camera(true: RigidTransform) -> RigidTransform:
    """The first pose again and again; after alignment its error is the size of the motion."""
    return RigidTransform.concatenate([true[0]] * len(true))


def line_between_ends(true: RigidTransform) -> RigidTransform:
    """Straight line and constant angular rate from the true first to the true last pose: a bound, not a method."""
    return _moved_on(true[0], true[-1], np.linspace(0.0, 1.0, len(true)))


def constant_velocity(true: RigidTransform) -> RigidTransform:
    """The true motion from the first to the second frame, over and over."""
    return _moved_on(true[0], true[min(1, len(true) - 1)], np.arange(len(true), dtype=np.float64))


def _told(baseline: Callable[[RigidTransform], RigidTransform]) -> Callable[[TrackClip], Answer]:
    return lambda clip: Answer(clip.answered(baseline(clip.cam_from_world)), 0.0)


def _sfm(rival: SfmRival, name: str) -> Callable[[TrackClip], Answer]:
    def solve(clip: TrackClip) -> Answer:
        trajectory, cpu_s = rival.solve(name, clip.frames)
        return Answer(trajectory, cpu_s)

    return solve


def _moved_on(start: RigidTransform, end: RigidTransform, fractions: np.ndarray) -> RigidTransform:
    """Centres on the straight line through two poses, orientations at a constant rate; fraction 0 is the start."""
    first, last = start.inv(), end.inv()
    centres = first.translation + fractions[:, None] * (last.translation - first.translation)
    turn = (first.rotation.inv() * last.rotation).as_rotvec()
    return RigidTransform.from_components(
        centres, first.rotation * Rotation.from_rotvec(fractions[:, None] * turn)
    ).inv()
