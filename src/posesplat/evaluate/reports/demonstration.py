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
from posesplat.evaluate.reports.frame_pictures import ShownFrame, add_frame_pictures
from posesplat.evaluate.reports.localization import SIGMA_NOTE, add_plots, frame_table, shown_frames
from posesplat.evaluate.reports.page import HtmlTable, Page, SceneView
from posesplat.evaluate.run_record import RunRecord
from posesplat.gaussians.splat_map import SplatMap

HEADINGS = ("method", "found", "mm", "RMS mm", "deg", "RMS deg", "ms")
_NEARLY_WHITE = 244


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
                f"{row['queries'] - row['failed']} of {row['queries']}",
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


def demonstration_report(
    run: RunRecord, clips: Sequence[ClipResult], notes: Sequence[str], view: SceneView | None = None
) -> str:
    """The HTML page of the demo, without outside resources; ``view`` shows all clips in three dimensions."""
    page = Page(
        "posesplat demo",
        "Maps of 3D Gaussians are built from some frames of two real RGB-D clips; the other frames are then found in "
        "them, by this package and by what it should be compared with.",
    )
    page.add_run(run)
    page.add_view(view)
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
        figure = Figure(figsize=(12.6, 2.45 * len(clips)), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.03, h_pad=0.05)
        grid = figure.subplots(len(clips), 4, squeeze=False, width_ratios=(1, 1, 1, 1.1))
        for row, clip in zip(grid, clips, strict=True):
            for axes, picture in zip(
                row[:3], clip.pictures[0].comparison.colour if clip.pictures else (), strict=False
            ):
                axes.imshow(picture.rgb[::2, ::2])
            for axes in row[:3]:
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            row[0].set_ylabel(f"{clip.name}\n{len(clip.held_out.query_indices)} held-out frames")
            plots.draw_methods(row[3], clip.method_errors(), "translation_mm")
        for axes, title in zip(grid[0], ("map, rendered at the found pose", "seen", "difference"), strict=False):
            axes.set_title(title, fontsize=10)
        for axes in grid[:-1, 3]:
            axes.set_xlabel("")
    return _with_fewer_colours(plots.png(figure, dpi=100))


def _with_fewer_colours(png: bytes) -> bytes:
    """The same picture with a palette, a third of the size."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    # The plots' own colours cover few pixels: given some more, they keep their place in the palette.
    swatches = ["#ffffff", plots.BLUE, plots.ORANGE, plots.GREEN, plots.GREY]
    sampled = Image.new("RGB", (picture.width, picture.height + 8 * len(swatches)))
    sampled.paste(picture)
    for index, color in enumerate(swatches):
        sampled.paste(color, (0, picture.height + 8 * index, picture.width, picture.height + 8 * (index + 1)))
    colours = np.array(sampled.quantize(256).getpalette()).reshape(-1, 3)
    colours[colours.min(axis=1) >= _NEARLY_WHITE] = 255
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours.ravel().tolist())
    buffer = io.BytesIO()
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
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
