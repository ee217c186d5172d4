"""What the report of a tracked video says in words and tables: unit, summary, camera, remarks, errors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.frame_errors import standard_deviations
from posesplat.evaluate.reports.page import HtmlTable, number_text
from posesplat.evaluate.tracking_errors import TrackingErrors, observable
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.calibrate import CameraEstimate

_NAMES_SHOWN = 3
_LARGE_M = 1.0
"""Motions from this extent on are told in metres, smaller ones in millimetres."""
_SMALL_UNITS = 0.1
"""Motions below this extent are told in thousandths of the median depth."""


@dataclass(frozen=True)
class Unit:
    """What lengths of a trajectory are."""

    metric: bool
    """Whether all posed frames are in metres."""
    source: str
    """What the unit is, and who says so."""
    extent: float
    """Largest distance of an observable camera centre from the first, in the unit."""
    known: bool
    """Whether any translation is observable."""
    mixed: bool
    """Whether frames differ in their unit."""

    @staticmethod
    def of(trajectory: Trajectory) -> Unit:
        """The unit of a trajectory."""
        scales = Counter(estimate.scale for estimate in trajectory if estimate.success)
        metric = bool(scales) and all(scale.metric for scale in scales)
        parts = [
            (f"metres, from {scale.source}" if scale.metric else "unknown")
            + (f": {n} frames" if len(scales) > 1 else "")
            for scale, n in scales.most_common()
        ]
        source = "; ".join(parts) if metric or len(scales) > 1 else "unknown: 1 = median depth of the first frame"
        seen = trajectory.select(observable(trajectory))
        centres = seen.world_from_cam().translation if len(seen) else np.zeros((1, 3))
        extent = float(np.linalg.norm(centres - centres[0], axis=1).max())
        return Unit(metric, source, extent, len(seen) > 1, len(scales) > 1 and not metric)

    @property
    def sentence(self) -> str:
        """One sentence about unit and world."""
        lengths = "The scale is not known: lengths are in units of the first frame's median depth"
        if self.metric:
            lengths = f"Lengths are {self.source}"
        elif not self.known:
            lengths = "Only rotations are known"
        elif self.mixed:
            lengths = "Lengths are metres in some of the frames only"
        return f"{lengths}. The world is the camera frame of the first posed frame: x right, y down, z ahead."

    @property
    def drawn(self) -> tuple[float, str]:
        """Factor and name of the unit in plots and facts, for the size of the motion."""
        if self.metric:
            return (1e3, "mm") if self.extent < _LARGE_M else (1.0, "m")
        if self.mixed:
            return 1.0, "units"
        return (1e3, "1/1000 depth") if self.extent < _SMALL_UNITS else (1.0, "depths")

    def text(self, length: float, spec: str = ".3g") -> str:
        """A length in words."""
        factor, name = self.drawn
        if self.metric or self.mixed:
            return f"{factor * length:{spec}} {name}"
        return f"{factor * length:{spec}}{'/1000 of the median depth' if factor > 1 else ' median depths'}"


def summary_facts(trajectory: Trajectory, unit: Unit) -> dict[str, str]:
    """The numbers that a reader looks for first."""
    posed, seen = trajectory.successes(), trajectory.select(observable(trajectory))
    facts = {"posed": f"{len(posed)} of {len(trajectory)}"}
    times, label = times_of(trajectory)
    if label == "time (s)":
        facts["length of the video"] = f"{times[-1]:.3g} s"
    for source, (count, stretches) in segments(trajectory).items():
        runs = f"in {stretches} unbroken stretch{'es' if stretches > 1 else ''}"
        facts[f"posed by {source}"] = f"{_frames(count)} {runs}"
    if not len(posed):
        return facts
    facts["scale"] = unit.source if unit.known or unit.metric else "unknown: no translation is observable"
    if len(posed) > 1:
        rest, unseen = len(posed) - 1, int(np.count_nonzero(~observable(posed)[1:]))
        if unseen:
            share = f"in {unseen} of {rest} posed frames after the first ({100 * unseen / rest:.0f} %)"
            facts["translation unobservable"] = share
    if len(seen) > 1:
        facts["farthest from the first frame"] = unit.text(unit.extent)
    first = posed[0].cam_from_world
    turned = (posed.cam_from_world() * first.inv()).rotation.magnitude() if first is not None else np.zeros(1)
    facts["largest turn"] = f"{np.degrees(turned.max()):.3g} deg"
    # The first frame is the world, which it fits exactly: it has no sigma to speak of.
    sigmas = [
        [standard_deviations(estimate)[place] for estimate in part][1:] for place, part in enumerate((seen, posed))
    ]
    shown = (
        unit.text(float(np.median(sigmas[0])), ".2g") if sigmas[0] else "",
        f"{np.median(sigmas[1] or [0]):.2g} deg",
    )
    if len(posed) > 1 and np.isfinite(np.concatenate(sigmas)).all():
        facts["median sigma"] = ", ".join(filter(None, shown))
    return facts


def camera_facts(frames: FrameSequence, found: CameraEstimate | None) -> dict[str, str]:
    """The camera that was used, and how sure it is where it was found from the video."""
    used = frames.camera
    facts = {
        "image": f"{used.width} x {used.height}",
        "focal lengths": f"{used.fx:.1f}, {used.fy:.1f} px",
        "principal point": f"{used.cx:.1f}, {used.cy:.1f} px",
    }
    if found is None:
        return facts | {"camera": "given"}
    if not found.success:
        return facts | {"camera": f"not found from the video: {found.reason}"}
    low, high = found.focal_interval_px
    return facts | {
        "camera": f"found from {found.frames} frames of the video",
        "focal length, 95 % interval": f"{low:.1f} to {high:.1f} px",
    }


def segments(trajectory: Trajectory) -> dict[str, tuple[int, int]]:
    """Posed frames by the stage that posed them: how many, and in how many unbroken stretches."""
    found: dict[str, tuple[int, int]] = {}
    before = None
    for estimate in trajectory:
        source = (estimate.source or "unnamed stage") if estimate.success else None
        if source is not None:
            count, stretches = found.get(source, (0, 0))
            found[source] = (count + 1, stretches + int(source != before))
        before = source
    return found


@dataclass(frozen=True)
class RemarkGroup:
    """Frames that were refused, or warned about, for one reason."""

    refused: bool
    """False for a warning."""
    text: str
    """Of the first such frame."""
    varies: bool
    """Whether numbers or names in the text differ between the frames."""
    names: tuple[str, ...]
    """All the frames, in order."""


def remark_pattern(text: str) -> str:
    """A remark with a sign in place of each number and quoted name."""
    return re.sub(r"'[^']*'|[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "#", text)


def grouped_remarks(trajectory: Trajectory) -> tuple[RemarkGroup, ...]:
    """Refusals, then warnings, the commonest first; texts that differ in numbers and quoted names alone are one."""
    groups: dict[tuple[bool, str], list[tuple[str, str]]] = {}
    for name, estimate in zip(trajectory.names, trajectory, strict=True):
        told = [(not estimate.success, estimate.reason)] if not estimate.success else []
        for refused, text in (*told, *((False, warning) for warning in estimate.warnings)):
            groups.setdefault((refused, remark_pattern(text)), []).append((name, text))
    ordered = sorted(groups.items(), key=lambda item: (not item[0][0], -len(item[1])))
    return tuple(
        RemarkGroup(
            refused, told[0][1], len({text for _, text in told}) > 1, tuple(dict.fromkeys(name for name, _ in told))
        )
        for (refused, _), told in ordered
    )


def remark_table(groups: Sequence[RemarkGroup]) -> HtmlTable:
    """One row a reason."""
    rows = []
    for group in groups:
        first, more = ", ".join(group.names[:_NAMES_SHOWN]), len(group.names) - _NAMES_SHOWN
        text = group.text + (" (the first frame's words; numbers differ)" if group.varies else "")
        names = first + (f" and {more} more" if more > 0 else "")
        rows.append(("refused" if group.refused else "warned", text, str(len(group.names)), names))
    refused = frozenset(index for index, group in enumerate(groups) if group.refused)
    return HtmlTable(
        ("result", "reason", "frames", "which"), tuple(rows), ("result", "reason", "which"), bad_rows=refused
    )


def error_table(errors: TrackingErrors) -> HtmlTable:
    """ATE and RPE of the answer, and of a static camera and the straight line on the same frames."""
    rows = tuple(
        (
            path.label,
            number_text(1e3 * path.ate),
            number_text(1e3 * path.rpe),
            number_text(path.rpe_deg),
            number_text(path.first_deg),
        )
        for path in errors.paths
    )
    headings = ("path", "ATE mm", "RPE mm", "RPE deg", "RMS turn error deg")
    return HtmlTable(headings, rows, ("path",), strong_rows=frozenset({0}))


def truth_note(errors: TrackingErrors) -> str:
    """What the numbers of :func:`error_table` are, in a few sentences."""
    centres = int(np.isfinite(errors.translation).sum())
    fit = "rotation, translation and scale" if errors.with_scale else "rotation and translation"
    told = "Translations are not compared: too few are observable, or the true camera never moved. "
    if centres:
        told = f"ATE is the distance of camera centres in {_frames(centres)} after the best {fit}. "
    return (
        f"Root mean squares. {told}RPE is the error of the motion from one compared frame to the next, the turn error "
        f"that of the rotation against the first frame, in {_frames(int(np.isfinite(errors.rotation_deg).sum()))}. The "
        "static camera's errors are the size of the motion; the line is told both true ends. True lengths are metres."
    )


def times_of(trajectory: Trajectory) -> tuple[Float[np.ndarray, " n"], str]:
    """Seconds since the first frame, or the frames' numbers where there is no clock; and which they are."""
    times = trajectory.timestamps
    numbers = np.arange(len(times), dtype=np.float64)
    if len(times) < 2 or np.array_equal(times, numbers) or not (np.diff(times) > 0).all():
        return numbers, "frame"
    return times - times[0], "time (s)"


def _frames(count: int) -> str:
    return f"{count:,} frame" + ("s" if count != 1 else "")
