"""``report.html`` of ``bench pair``: every table, and how precision falls as more answers are accepted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from posesplat.evaluate.protocols.pair_contenders import OURS
from posesplat.evaluate.protocols.pair_flags import WANTED_PRECISION, precision_recall
from posesplat.evaluate.protocols.report import Report, Row, Table
from posesplat.evaluate.reports import plots
from posesplat.evaluate.reports.page import HtmlTable, Page
from posesplat.files import write_text

PAGE = "report.html"
_MOST_CURVES = 6


@dataclass(frozen=True)
class FlagCurve:
    """Precision against recall of one method's answers, surest first."""

    label: str
    """The method."""
    recall: Float[np.ndarray, " n"]
    """Accepted good answers among all good ones."""
    precision: Float[np.ndarray, " n"]
    """Good answers among the accepted."""
    ours: bool = False
    """Whether it stands out."""


def write_pair_page(report: Report, folder: Path) -> Path:
    """Write the page of a benchmark of pairs whole or not at all; its path."""
    path = folder / PAGE
    write_text(path, pair_page(report))
    return path


def pair_page(report: Report) -> str:
    """The page of what has been measured so far."""
    page = Page(
        "posesplat bench pair",
        "The relative pose of two images: ours where it was measured, and its rivals, on the same frames and matches.",
    )
    place = report.environment
    page.add_facts({key: str(place[key]) for key in ("version", "commit", "date", "host", "cpu", "threads", "load")})
    if not report.complete:
        page.add_warning("The run is not complete: this page shows what was done by then.")
    curves = {table.name: flag_curves(table.rows) for table in report.tables}
    if not plots.have_matplotlib():
        page.add_text(plots.NO_PLOTS)
    for table in report.tables:
        page.add_heading(table.title, 2 if "/" not in table.name or table.name.count("/") == 1 else 3)
        page.add_table(_html(table))
        for note in table.notes:
            page.add_text(note)
        of_answers = curves.get(table.name.removesuffix("/flags"), [])
        if table.name.endswith("/flags") and of_answers and plots.have_matplotlib():
            caption = (
                "Precision among accepted answers against the share of good answers accepted, over all thresholds on "
                f"each method's score; the line marks {WANTED_PRECISION:.0%}."
            )
            page.add_plot(plots.svg(curve_figure(of_answers)), caption)
    page.add_heading("Options")
    page.add_code(json.dumps(report.options, indent=2))
    return page.html()


def flag_curves(rows: Sequence[Row]) -> list[FlagCurve]:
    """The curves of all methods of a table of errors, from the trials in its rows; ours and the best others."""
    answers: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        answers.setdefault(str(row.get("method")), []).extend(row.get("trials") or [])
    found = []
    for method, trials in answers.items():
        scores = np.array([np.nan if trial["sureness"] is None else trial["sureness"] for trial in trials], dtype=float)
        precision, recall = precision_recall(scores, np.array([trial["good"] for trial in trials], dtype=bool))
        if len(recall):
            found.append(FlagCurve(method, recall, precision, method == OURS))
    found.sort(key=lambda curve: (not curve.ours, -float(np.trapezoid(curve.precision, curve.recall))))
    return found[:_MOST_CURVES]


def curve_figure(curves: Sequence[FlagCurve]) -> Any:
    """Precision over recall, one line a method; a Figure."""
    with plots.page_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        axes = figure.subplots()
        colours = [plots.ORANGE, plots.GREEN, plots.GREY, "#b4508f", "#7a6a53", "#5b6570"]
        for place, curve in enumerate(curves):
            colour = plots.BLUE if curve.ours else colours[place % len(colours)]
            axes.plot(curve.recall, curve.precision, label=curve.label, color=colour, lw=2.2 if curve.ours else 1.2)
        axes.axhline(WANTED_PRECISION, color=plots.GREY, lw=0.8, ls="--")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=min(0.5, *(float(curve.precision.min()) for curve in curves)), top=1.01)
        axes.set_xlabel("recall of good answers")
        axes.set_ylabel("precision")
        axes.legend(loc="lower left")
        return figure


def _html(table: Table) -> HtmlTable:
    words = tuple(column.heading for column in table.columns if not column.spec)
    cells = tuple(tuple(row) for row in table.cells())
    ours = frozenset(index for index, row in enumerate(table.rows) if row.get("method") == OURS)
    return HtmlTable(tuple(column.heading for column in table.columns), cells, words, ours)
