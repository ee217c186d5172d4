"""The report of the demo: held-out frames of real clips, ours and the others side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from posesplat.evaluate.frame_errors import FrameErrors
from posesplat.evaluate.protocols.held_out import HeldOut, answered_trajectory
from posesplat.evaluate.protocols.report import Row
from posesplat.evaluate.protocols.trials import FALLBACK, Answer, Method, error_row, grouped
from posesplat.evaluate.reports import plots
from posesplat.evaluate.reports.localization import (
    SIGMA_NOTE,
    add_frame_pictures,
    add_plots,
    ShownFrame,
    frame_table,
    shown_frames,
)
from posesplat.evaluate.reports.page import HtmlTable, Page
from posesplat.evaluate.run_record import RunRecord
from posesplat.gaussians.splat_map import SplatMap

HEADINGS = ("method", "frames", "failed", "median mm", "RMS mm", "median deg", "RMS deg", "ms a frame")
_PALETTE = 200


@dataclass(frozen=True)
class ClipResult:
    """What the demo found on one clip."""

    name: str
    title: str
    """What the clip shows and who made it, one line."""
    held_out: HeldOut
    scene: SplatMap
    map_seconds: float
    methods: tuple[Method, ...]
    answers: tuple[Answer, ...]
    shown: str
    """The method whose frames are shown."""
    threads: int | None = None

    @cached_property
    def pictures(self) -> tuple[ShownFrame, ...]:
        """One frame as the map shows it."""
        trajectory, _ = answered_trajectory(self.answers, self.shown)
        queries = self.held_out.frames.subset(self.held_out.query_indices[: len(trajectory)])
        return tuple(shown_frames(self.scene, queries, trajectory, 1, self.threads))

    def rows(self) -> list[Row]:
        """The summary of each method that answered, in the order of ``methods``."""
        by_method = grouped(self.answers).get("", {})
        return [error_row(by_method[method.name]) for method in self.methods if method.name in by_method]

    def cells(self) -> list[tuple[str, ...]]:
        """The same as text, under :data:`HEADINGS`."""
        return [
            (
                row["method"],
                str(row["queries"]),
                str(row["failed"]),
                f"{row['median_translation_mm']:.2f}",
                f"{row['rms_translation_mm']:.2f}",
                f"{row['median_rotation_deg']:.3f}",
                f"{row['rms_rotation_deg']:.3f}",
                f"{row['median_ms']:.0f}" if row["median_ms"] > 0 else "-",
            )
            for row in self.rows()
        ]

    def method_errors(self) -> list[plots.MethodErrors]:
        """Each method's errors for a plot."""
        by_method = grouped(self.answers).get("", {})
        return [
            plots.MethodErrors(
                method.name,
                tuple(answer.errors[0] for answer in by_method[method.name]),
                tuple(answer.errors[1] for answer in by_method[method.name]),
                method.ours,
            )
            for method in self.methods
            if method.name in by_method
        ]


def demonstration_report(run: RunRecord, clips: Sequence[ClipResult], notes: Sequence[str]) -> str:
    """The HTML page of the demo, without outside resources."""
    page = Page(
        "posesplat demo",
        "Maps of 3D Gaussians are built from some frames of two real RGB-D clips; the other frames are then found in "
        "them, by this package and by what it should be compared with.",
    )
    page.add_run(run)
    for clip in clips:
        _add_clip(page, clip)
    page.add_heading("How to read this")
    for note in (*notes, FALLBACK, SIGMA_NOTE):
        page.add_text(note)
    return page.html()


def _add_clip(page: Page, clip: ClipResult) -> None:
    page.add_heading(clip.name)
    page.add_text(clip.title)
    page.add_facts(
        {
            "frames in the map": str(len(clip.held_out.map_indices)),
            "Gaussians": f"{len(clip.scene.gaussians):,}",
            "map built in": f"{clip.map_seconds:.1f} s",
            "frames asked for": str(len(clip.held_out.query_indices)),
        }
    )
    ours = frozenset(
        index for index, row in enumerate(clip.rows()) if any(m.ours and m.name == row["method"] for m in clip.methods)
    )
    page.add_table(HtmlTable(HEADINGS, tuple(clip.cells()), ("method",), strong_rows=ours))
    if plots.have_matplotlib():
        svg = plots.svg(plots.method_figure(clip.method_errors()))
        page.add_plot(svg, "One dot a frame, a bar at the median; blue is ours. Logarithmic axes.")
    trajectory, true = answered_trajectory(clip.answers, clip.shown)
    if not len(trajectory):
        return
    errors = FrameErrors.of(trajectory, true)
    add_plots(page, clip.scene, trajectory, true, errors, level=3)
    page.add_heading(f"Frames, {clip.shown}", 3)
    page.add_table(frame_table(trajectory, errors, clip.scene.metric))
    add_frame_pictures(page, clip.pictures, level=3)


def overview_png(clips: Sequence[ClipResult]) -> bytes:
    """One picture of the demo: for each clip a frame rendered, seen and compared, and the errors of all methods."""
    from matplotlib.figure import Figure

    with plots.printed_style():
        figure = Figure(figsize=(12.6, 2.75 * len(clips)), layout="constrained")
        grid = figure.subplots(len(clips), 4, squeeze=False, width_ratios=(1, 1, 1, 1.15))
        for row, clip in zip(grid, clips, strict=True):
            _draw_overview(row, clip)
        figure.get_layout_engine().set(w_pad=0.04, h_pad=0.06)
    return _with_fewer_colours(plots.png(figure, dpi=100))


def _draw_overview(row: Any, clip: ClipResult) -> None:
    titles = ("map rendered at the found pose", "seen by the camera", "difference x 6")
    for axes, title in zip(row[:3], titles, strict=True):
        axes.set_axis_off()
        axes.set_title(title, fontsize=9)
    for frame in clip.pictures:
        for axes, picture in zip(row[:3], frame.comparison.colour, strict=False):
            axes.imshow(picture.rgb[::2, ::2])
    row[0].set_title(f"{clip.name}: {titles[0]}", fontsize=9)
    plots.draw_methods(row[3], clip.method_errors(), "translation_mm")
    row[3].set_title(f"{len(clip.held_out.query_indices)} held-out frames", fontsize=9)


def _with_fewer_colours(png: bytes) -> bytes:
    """The same picture with a palette, a third of the size."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(_PALETTE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def clip_json(clip: ClipResult) -> dict[str, Any]:
    """A JSON-ready record of one clip: every method's summary and its errors frame by frame."""
    by_method = grouped(clip.answers).get("", {})
    methods = []
    for row in clip.rows():
        frames = [
            {
                "name": answer.query.frame.name,
                "success": answer.estimate.success,
                "reason": answer.estimate.reason,
                "translation_mm": answer.errors[0],
                "rotation_deg": answer.errors[1],
            }
            for answer in by_method[row["method"]]
        ]
        summary = {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}
        methods.append({**summary, "answers": frames})
    return {
        "name": clip.name,
        "map_frames": len(clip.held_out.map_indices),
        "gaussians": len(clip.scene.gaussians),
        "map_seconds": round(clip.map_seconds, 3),
        "methods": methods,
    }
