"""Plots of trajectories and errors as SVG that takes the colours of the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

NO_PLOTS = "Plots were left out: matplotlib is not installed. pip install 'posesplat[report]' adds them."
BLUE, ORANGE, GREEN, GREY = "#3a86d0", "#e0831a", "#2f9e62", "#8b949e"
_INK = "#010203"
"""Stands for the page's own text colour until the SVG is written."""


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


def trajectory_figure(tracks: Sequence[Track], unit: str = "m") -> Any:
    """Camera centres and viewing directions seen from above (along the cameras' mean vertical); a Figure."""
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.add_subplot()
        right, ahead = _seen_from_above(tracks)
        centres = np.concatenate([np.atleast_2d(track.cam_from_world.inv().translation) for track in tracks])
        extent = float(np.ptp(centres[:, [right[0], ahead[0]]], axis=0).max()) or 1.0
        for track in tracks:
            world_from_cam = track.cam_from_world.inv()
            x, y = _coordinates(np.atleast_2d(world_from_cam.translation), right, ahead)
            dx, dy = _coordinates(np.atleast_2d(world_from_cam.rotation.apply([0.0, 0.0, 1.0])), right, ahead)
            axes.plot(
                x, y, track.marker + ("-" if track.line else ""), color=track.color, label=track.label, ms=5, lw=1.2
            )
            ticks = np.stack([np.stack([x, y], -1), np.stack([x + 0.1 * extent * dx, y + 0.1 * extent * dy], -1)], 1)
            for tick in ticks:
                axes.plot(*tick.T, color=track.color, lw=0.8, alpha=0.7)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel(f"{_axis_name(right)} ({unit})")
        axes.set_ylabel(f"{_axis_name(ahead)} ({unit})")
        axes.legend(loc="best")
        return figure


def error_figure(
    labels: Sequence[str],
    translation: Float[np.ndarray, " n"],
    rotation_deg: Float[np.ndarray, " n"],
    translation_sigma: Float[np.ndarray, " n"],
    rotation_sigma_deg: Float[np.ndarray, " n"],
    unit: str = "m",
) -> Any:
    """Errors over frames with the band that two standard deviations of the covariance span; a Figure.

    Args:
        labels: names of the frames.
        translation: error of the camera centre in ``unit``, NaN where unknown.
        rotation_deg: error of the rotation.
        translation_sigma: expected length of the error, NaN where there is no covariance.
        rotation_sigma_deg: the same for rotation.
        unit: of the world.
    """
    factor, shown = (1e3, "mm") if unit == "m" else (1.0, unit)
    with _style():
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        index = np.arange(len(labels))
        for axes, error, sigma, name in (
            (upper, factor * translation, factor * translation_sigma, f"translation ({shown})"),
            (lower, rotation_deg, rotation_sigma_deg, "rotation (deg)"),
        ):
            axes.fill_between(index, 0, 2 * sigma, color=BLUE, alpha=0.22, lw=0, step="mid", label="2 sigma expected")
            axes.plot(index, error, "o-", color=ORANGE, ms=4, lw=1.2, label="error")
            axes.set_ylabel(name)
            axes.set_ylim(bottom=0)
        lower.set_xlabel("frame")
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
    down = np.mean(
        np.concatenate([np.atleast_2d(track.cam_from_world.inv().rotation.apply([0.0, 1.0, 0.0])) for track in tracks]),
        axis=0,
    )
    vertical = int(np.argmax(np.abs(down)))
    first, second = (vertical + 1) % 3, (vertical + 2) % 3
    # right x ahead must point up, towards the eye, or the view is mirrored.
    return ((first, 1), (second, 1)) if down[vertical] < 0 else ((second, 1), (first, 1))


def _coordinates(vectors: Float[np.ndarray, "n 3"], right: Axis, ahead: Axis) -> tuple[np.ndarray, np.ndarray]:
    return vectors[:, right[0]] * right[1], vectors[:, ahead[0]] * ahead[1]


def _axis_name(axis: Axis) -> str:
    return ("" if axis[1] > 0 else "-") + "xyz"[axis[0]]
