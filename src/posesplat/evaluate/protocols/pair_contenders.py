"""Everything that answers a pair: ours, the rivals, and doing nothing.

A contender is a name and a function from a :class:`Question` to a :class:`Rated` answer. To add one, write such a
function and put it into :func:`contenders`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from scipy.spatial.transform import RigidTransform

from posesplat.evaluate import pair_match_rivals, pair_ours, pair_rivals
from posesplat.evaluate.cloud_map import Denoiser
from posesplat.evaluate.pair_rivals import Rated
from posesplat.evaluate.protocols.pair_depths import DepthKind
from posesplat.evaluate.protocols.reference import denoised
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.methods.pair_options import PairOptions

OURS = "posesplat pair"
MATCHES_ONLY = "posesplat pair, matches only"
IDENTITY = "identity"
FIVE_POINT = "five-point + depth scale"
PNP = "PnP, both ways"
RIGID = "3D-3D RANSAC"
POINTS = "matched points"
GICP_IDENTITY = "GICP from identity"
GICP_START = "GICP 30/10 cm from matched points"
GICP_CLOSE = "matches, then GICP 6 cm"
GICP_SMOOTHED = "matches, then GICP 6 cm, smoothed"
MONOCULAR_TIGHT = "monocular depth 16/2 px"
MONOCULAR = "monocular depth 16/4 px"
POSELIB = "PoseLib monocular depth 16/4 px"
GARPS = "garps (published objective)"


@dataclass(frozen=True, eq=False)
class Question:
    """What a contender is given."""

    a: Frame
    """Image A, with depth where the condition has any."""
    b: Frame
    """Image B."""
    matches: Matches
    """The same for all contenders."""
    kind: DepthKind
    """What the depth is; a user knows that."""
    exact_cameras: bool = False
    """Whether the cameras are known exactly; a user knows that, too."""

    @cached_property
    def points(self) -> Answer:
        """What several rivals start from, found once; whoever uses it pays for it."""
        return _timed(lambda: pair_match_rivals.point_pairs(self.a, self.b, self.matches, self.measured))

    @property
    def measured(self) -> bool:
        """Whether depth comes from a sensor."""
        return self.kind == "sensor"


@dataclass(frozen=True)
class Contender:
    """A way to find the pose of a pair."""

    name: str
    """As it stands in the tables."""
    solve: Callable[[Question], Rated]
    """May raise ValueError for a pair that it cannot take: that is a refusal."""
    ours: bool = False
    """Whether the others are compared with it."""
    matched: bool = True
    """Whether it uses the matches, whose time is then part of its own."""
    needs_depth: bool = True
    """Whether it is left out where there is no depth."""
    from_points: bool = False
    """Whether it starts from :attr:`Question.points`, whose time is then part of its own."""
    measured_only: bool = False
    """Whether it is left out where depth is not a sensor's: slow, and of no use there."""

    def takes(self, kind: DepthKind) -> bool:
        """Whether it is asked under a kind of depth."""
        return not (self.needs_depth and kind == "none") and not (self.measured_only and kind != "sensor")


@dataclass(frozen=True)
class Answer:
    """A rated answer and what it cost, matching not included."""

    rated: Rated
    """The answer."""
    cpu_s: float
    """Processor time, all threads."""
    wall_s: float
    """Wall time."""


def contenders(names: Sequence[str] = ()) -> list[Contender]:
    """All contenders whose name contains one of ``names``, whatever the case; all of them for none.

    Ours, PoseLib's monocular solver and garps are among them where they are installed.
    """
    everyone = [*_ours(), *_rivals()]
    return [one for one in everyone if not names or any(name.lower() in one.name.lower() for name in names)]


def answer(contender: Contender, question: Question) -> Answer:
    """The contender's answer to a question; what it cannot take it refuses."""
    if contender.from_points:
        began = question.points
        rest = _timed(lambda: contender.solve(question))
        return Answer(rest.rated, rest.cpu_s + began.cpu_s, rest.wall_s + began.wall_s)
    return _timed(lambda: contender.solve(question))


def _timed(solve: Callable[[], Rated]) -> Answer:
    began, began_cpu = time.perf_counter(), time.process_time()
    try:
        rated = solve()
    except ValueError as error:
        rated = Rated(PoseEstimate.failure(f"{type(error).__name__}: {error}"), 0.0)
    return Answer(rated, time.process_time() - began_cpu, time.perf_counter() - began)


def _rivals() -> list[Contender]:
    found = [
        Contender(IDENTITY, _identity, matched=False, needs_depth=False),
        Contender(FIVE_POINT, _matched(pair_rivals.five_point), needs_depth=False),
        Contender(PNP, _matched(pair_rivals.perspective)),
        Contender(RIGID, _matched(pair_rivals.rigid_ransac)),
        Contender(MONOCULAR_TIGHT, _matched(partial(_monocular, epipolar_px=2.0))),
        Contender(MONOCULAR, _matched(partial(_monocular, epipolar_px=4.0))),
        Contender(POINTS, _points, from_points=True),
        Contender(GICP_IDENTITY, _from_identity, matched=False),
        Contender(GICP_START, partial(_registered, distances_m=(0.3, 0.1)), from_points=True, measured_only=True),
        Contender(GICP_CLOSE, partial(_registered, distances_m=(0.06,)), from_points=True),
        Contender(
            GICP_SMOOTHED,
            partial(_registered, distances_m=(0.06,), denoise=_smoothed),
            from_points=True,
            measured_only=True,
        ),
    ]
    if _has_poselib_solver():
        solve = partial(pair_match_rivals.poselib_monocular, reprojection_px=16.0, epipolar_px=4.0)
        found.append(Contender(POSELIB, _matched(solve)))
    found.append(Contender(GARPS, _garps, from_points=True))
    return found


def _ours() -> list[Contender]:
    return [
        Contender(OURS, _pair, ours=True, needs_depth=False),
        Contender(MATCHES_ONLY, partial(_pair, dense=False), ours=True, measured_only=True),
    ]


def _has_poselib_solver() -> bool:
    import poselib

    return hasattr(poselib, "estimate_monodepth_relative_pose")


def _matched(solve: Callable[[Frame, Frame, Matches], Rated]) -> Callable[[Question], Rated]:
    return lambda question: solve(question.a, question.b, question.matches)


def _identity(question: Question) -> Rated:
    return Rated(PoseEstimate(True, "", RigidTransform.identity(), source=IDENTITY))


def _monocular(a: Frame, b: Frame, matches: Matches, epipolar_px: float) -> Rated:
    return pair_match_rivals.monocular_depth_pose(a, b, matches, 16.0, epipolar_px)


def _points(question: Question) -> Rated:
    return question.points.rated


def _from_identity(question: Question) -> Rated:
    return pair_rivals.registered(question.a, question.b, RigidTransform.identity(), (1.0, 0.4, 0.15), _smoothed)


def _registered(question: Question, distances_m: Sequence[float], denoise: Denoiser | None = None) -> Rated:
    return pair_rivals.then_registered(_points(question), question.a, question.b, distances_m, denoise)


def _smoothed(frame: Frame) -> Frame:
    """As our own maps are."""
    return denoised(frame, "smoothed", threads=1)


def _pair(question: Question, dense: bool = True) -> Rated:
    options = PairOptions(dense=dense)
    if question.exact_cameras:
        options = replace(options, calibration_error=0.0)
    return pair_ours.posesplat_pair(question.a, question.b, question.matches, question.measured, options)


def _garps(question: Question) -> Rated:
    return pair_ours.garps(question.a, question.b, _points(question))
