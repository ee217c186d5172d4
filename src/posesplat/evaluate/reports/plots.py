"""Plots of trajectories and errors as SVG that takes the colours of the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.tracks import evenly_spread

NO_PLOTS = "Plots were left out: matplotlib is not installed. pip install 'posesplat[report]' adds them."
BLUE, ORANGE, GREEN, GREY = "#3a86d0", "#e0831a", "#2f9e62", "#8b949e"
_INK = "#010203"
"""Stands for the page's own text colour until the SVG is written."""
MOST_DRAWN = 500
"""Frames of a video that a plot shows; longer ones are thinned evenly."""
_MOST_MARKED = 200
"""Frames that get a marker each."""
_MOST_DIRECTIONS = 60
"""Viewing directions drawn of one path."""
View = Literal["above", "behind"]


@dataclass(frozen=True)
class Track:
    """Camera poses that belong together in a plot."""

    label: str
    cam_from_world: RigidTransform
    """Shape (n,)."""
    color: str
    marker: str = "o"
    line: bool = True
    """Whether to join them."""

    def thinned(self) -> Track:
        """At most :data:`MOST_DRAWN` of the poses; a long path is drawn without markers."""
        count = len(np.atleast_2d(self.cam_from_world.translation))
        if count <= _MOST_MARKED:
            return self
        kept = self.cam_from_world[evenly_spread(count, MOST_DRAWN)]
        return replace(self, cam_from_world=kept, marker="" if self.line else self.marker)


@dataclass(frozen=True)
class MethodErrors:
    """One method's errors on some frames."""

    label: str
    translation_mm: tuple[float, ...]
    rotation_deg: tuple[float, ...]
    ours: bool = False
    """Whether it stands out."""


def have_matplotlib() -> bool:
    """Whether plots can be made."""
    return find_spec("matplotlib") is not None


def trajectory_figure(tracks: Sequence[Track], unit: str = "m", views: Sequence[View] = ("above",)) -> Any:
    """Camera centres and viewing directions from above (along the cameras' mean vertical) or from behind; a Figure.

    From behind, ahead points into the picture: right is to the right and up is up, as in the images.

    Args:
        tracks: what is drawn, later ones on top; long ones are thinned.
        unit: of the world.
        views: one drawing each, side by side.
    """
    tracks = [track.thinned() for track in tracks]
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 4.6 if len(views) == 1 else 3.9), layout="constrained")
        for axes, view in zip(figure.subplots(1, len(views), squeeze=False)[0], views, strict=True):
            _draw_tracks(axes, tracks, _AXES[view](tracks), unit)
            if len(views) > 1:
                axes.set_title(f"from {view}", fontsize=9)
        if len(views) == 1:
            axes.legend(loc="best")
        else:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(tracks))
        return figure


def _draw_tracks(axes: Any, tracks: Sequence[Track], across_and_up: tuple[Axis, Axis], unit: str) -> None:
    across, up = across_and_up
    centres = np.concatenate([np.atleast_2d(track.cam_from_world.inv().translation) for track in tracks])
    extent = float(np.ptp(centres[:, [across[0], up[0]]], axis=0).max()) or 1.0
    for track in tracks:
        world_from_cam = track.cam_from_world.inv()
        x, y = _coordinates(np.atleast_2d(world_from_cam.translation), across, up)
        dx, dy = _coordinates(np.atleast_2d(world_from_cam.rotation.apply([0.0, 0.0, 1.0])), across, up)
        axes.plot(x, y, track.marker + ("-" if track.line else ""), color=track.color, label=track.label, ms=5, lw=1.2)
        looking = evenly_spread(len(x), _MOST_DIRECTIONS)
        x, y, dx, dy = x[looking], y[looking], 0.1 * extent * dx[looking], 0.1 * extent * dy[looking]
        gap = np.full_like(x, np.nan)
        strokes = np.stack([np.stack([x, y], -1), np.stack([x + dx, y + dy], -1), np.stack([gap, gap], -1)], axis=1)
        axes.plot(*strokes.reshape(-1, 2).T, color=track.color, lw=0.8, alpha=0.7)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(f"{_axis_name(across)} ({unit})")
    axes.set_ylabel(f"{_axis_name(up)} ({unit})")


@dataclass(frozen=True)
class Components:
    """Three components over the frames of a video; NaN where there is nothing to draw."""

    label: str
    """What they are, with their unit."""
    names: tuple[str, str, str]
    """Of the components."""
    values: Float[np.ndarray, "n 3"]
    deviations: Float[np.ndarray, "n 3"]
    """Standard deviations of the values, NaN where unknown."""
    true: Float[np.ndarray, "n 3"] | None = None
    """The same components of the truth."""


def motion_figure(times: Float[np.ndarray, " n"], time_label: str, parts: Sequence[Components]) -> Any:
    """Components over time with bands of two standard deviations, one drawing a part; a Figure.

    The axis follows the values: where bands are much wider than the motion, they leave the drawing.
    """
    drawn = evenly_spread(len(times), MOST_DRAWN)
    marker = "o" if len(times) <= _MOST_MARKED else ""
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 0.5 + 2.2 * len(parts)), layout="constrained")
        for axes, part in zip(figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0], parts, strict=True):
            for column, color in enumerate((BLUE, ORANGE, GREEN)):
                value, width = part.values[drawn, column], 2 * part.deviations[drawn, column]
                axes.fill_between(times[drawn], value - width, value + width, color=color, alpha=0.22, lw=0)
                axes.plot(times[drawn], value, marker=marker, ms=3, color=color, lw=1.2, label=part.names[column])
            if part.true is not None:
                lines = axes.plot(times[drawn], part.true[drawn], "--", color=_INK, lw=0.8)
                lines[0].set_label("truth")
            limits = _limits_of_motion(part)
            if limits is not None:
                axes.set_ylim(*limits)
            axes.set_ylabel(part.label)
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.1)
        axes.set_xlabel(time_label)
        return figure


def _limits_of_motion(part: Components) -> tuple[float, float] | None:
    """Ends of an axis that shows all values, and their bands as far as these do not dwarf them."""
    lines = [part.values] if part.true is None else [part.values, part.true]
    known = np.concatenate([line[np.isfinite(line)] for line in lines])
    if not len(known):
        return None
    low, high = float(known.min()), float(known.max())
    widths = 2 * part.deviations[np.isfinite(part.deviations) & np.isfinite(part.values)]
    widest = float(widths.max()) if len(widths) else 0.0
    margin = min(widest, max(high - low, 2 * float(np.median(widths)) if len(widths) else 0.0))
    margin += 0.05 * (high - low) or 1e-6
    return low - margin, high + margin


def error_figure(
    labels: Sequence[str],
    translation: Float[np.ndarray, " n"],
    rotation_deg: Float[np.ndarray, " n"],
    translation_sigma: Float[np.ndarray, " n"],
    rotation_sigma_deg: Float[np.ndarray, " n"],
    unit: str = "m",
    times: Float[np.ndarray, " n"] | None = None,
    time_label: str = "frame",
) -> Any:
    """Errors over frames with the band that two standard deviations of the covariance span; a Figure.

    Args:
        labels: names of the frames.
        translation: error of the camera centre in ``unit``, NaN where unknown; left out when it is so everywhere.
        rotation_deg: error of the rotation.
        translation_sigma: expected length of the error, NaN where there is no covariance.
        rotation_sigma_deg: the same for rotation.
        unit: of the world.
        times: of the frames; their numbers when None.
        time_label: what ``times`` are.
    """
    drawn = evenly_spread(len(labels), MOST_DRAWN)
    line = "o-" if len(labels) <= _MOST_MARKED else "-"
    factor, shown = (1e3, "mm") if unit == "m" else (1.0, unit)
    with _style():
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        parts = [
            (factor * translation, factor * translation_sigma, f"translation ({shown})"),
            (rotation_deg, rotation_sigma_deg, "rotation (deg)"),
        ]
        if len(labels) and np.isnan(translation).all():
            parts = parts[1:]
        figure = Figure(figsize=(7.2, 2.2 * len(parts)), layout="constrained")
        drawings = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
        upper, lower = drawings[0], drawings[-1]
        index = (np.arange(len(labels)) if times is None else times)[drawn]
        for axes, (error, sigma, name) in zip(drawings, parts, strict=True):
            band = 2 * sigma[drawn]
            axes.fill_between(index, 0, band, color=BLUE, alpha=0.22, lw=0, step="mid", label="2 sigma expected")
            axes.plot(index, error[drawn], line, color=ORANGE, ms=4, lw=1.2, label="error")
            axes.set_ylabel(name)
            axes.set_ylim(bottom=0)
        lower.set_xlabel(time_label)
        if times is None:
            lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        upper.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
        return figure


def method_figure(methods: Sequence[MethodErrors]) -> Any:
    """Errors of several methods on the same frames, one dot a frame and a bar at the median; a Figure."""
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 0.6 + 0.34 * len(methods)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        draw_methods(left, methods, "translation_mm")
        draw_methods(right, methods, "rotation_deg")
        right.tick_params(labelleft=False)
        return figure


def draw_methods(axes: Any, methods: Sequence[MethodErrors], which: Literal["translation_mm", "rotation_deg"]) -> None:
    """Draw one kind of error of several methods, the first on top, on a logarithmic axis."""
    for row, method in enumerate(reversed(methods)):
        errors = np.maximum(np.asarray(getattr(method, which), dtype=np.float64), 1e-4)
        color = BLUE if method.ours else GREY
        axes.plot(errors, np.full(len(errors), row), "o", color=color, ms=4.5, alpha=0.55, mew=0)
        axes.plot([np.median(errors)], [row], "|", color=color, ms=15, mew=2.6)
    axes.set_yticks(range(len(methods)), [method.label for method in reversed(methods)])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(-0.6, len(methods) - 0.4)
    axes.set_xlabel({"translation_mm": "translation error (mm)", "rotation_deg": "rotation error (deg)"}[which])
    axes.grid(axis="y", alpha=0)


def svg(figure: Any) -> str:
    """An SVG element that scales with the page, its ink in the page's text colour."""
    buffer = io.StringIO()
    with _style():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"(font: [\d.]+px)[^;\"]*", r"\1 system-ui, sans-serif", text)
    for side in ("height", "width"):
        text = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", text, count=1)
    return text


def png(figure: Any, dpi: int = 110) -> bytes:
    """The figure as a PNG file on white; for figures made in :func:`printed_style`."""
    buffer = io.BytesIO()
    with printed_style():
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()


def page_style() -> AbstractContextManager:
    """The style of figures that are drawn into a page."""
    return _style()


def printed_style() -> AbstractContextManager:
    """The style of figures that stand on white instead of in a page."""
    return _style("#1c2128")


def _style(ink: str = _INK) -> AbstractContextManager:
    from matplotlib import rc_context

    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return rc_context(
        dict.fromkeys(inked, ink)
        | {
            "font.size": 9,
            "font.family": "sans-serif",
            "svg.fonttype": "none",
            "svg.hashsalt": "posesplat",
            "axes.facecolor": "none",
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": GREY,
            "grid.alpha": 0.3,
            "legend.frameon": False,
        }
    )


Axis = tuple[int, int]
"""A world axis (0, 1, 2) and its sign."""


def _seen_from_above(tracks: Sequence[Track]) -> tuple[Axis, Axis]:
    """The world axes that point right and ahead for an eye above the cameras; the third is nearest to vertical."""
    vertical, sign = _nearest_axis(tracks, (0.0, 1.0, 0.0))
    first, second = (vertical + 1) % 3, (vertical + 2) % 3
    # right x ahead must point up, towards the eye, or the view is mirrored.
    return ((first, 1), (second, 1)) if sign < 0 else ((second, 1), (first, 1))


def _seen_from_behind(tracks: Sequence[Track]) -> tuple[Axis, Axis]:
    """The world axes that point right and up for an eye behind the cameras; the third is nearest to their ahead."""
    ahead, sign = _nearest_axis(tracks, (0.0, 0.0, 1.0))
    vertical, downwards = _nearest_axis(tracks, (0.0, 1.0, 0.0), but=ahead)
    across = 3 - ahead - vertical
    up = np.eye(3)[vertical] * -downwards
    # right x up must point backwards, towards the eye, or the view is mirrored.
    right = np.cross(np.eye(3)[ahead] * sign, up)
    return (across, int(np.sign(right[across]))), (vertical, -downwards)


def _nearest_axis(
    tracks: Sequence[Track], direction: tuple[float, float, float], but: int | None = None
) -> tuple[int, int]:
    """The world axis nearest to the mean of a direction of the cameras, and its sign."""
    turned = [np.atleast_2d(track.cam_from_world.inv().rotation.apply(direction)) for track in tracks]
    mean = np.mean(np.concatenate(turned), axis=0)
    if but is not None:
        mean[but] = 0.0
    axis = int(np.argmax(np.abs(mean)))
    return axis, 1 if mean[axis] >= 0 else -1


_AXES: dict[str, Callable[[Sequence[Track]], tuple[Axis, Axis]]] = {
    "above": _seen_from_above,
    "behind": _seen_from_behind,
}


def _coordinates(vectors: Float[np.ndarray, "n 3"], right: Axis, ahead: Axis) -> tuple[np.ndarray, np.ndarray]:
    return vectors[:, right[0]] * right[1], vectors[:, ahead[0]] * ahead[1]


def _axis_name(axis: Axis) -> str:
    return ("" if axis[1] > 0 else "-") + "xyz"[axis[0]]
