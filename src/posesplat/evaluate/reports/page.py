"""One HTML page without outside resources: headings, facts, tables, plots and pictures in one look for all commands."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from posesplat.evaluate.reports.pictures import Picture
from posesplat.evaluate.run_record import RunRecord

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --soft: #5b6570; --line: #d7dce2; --page: #ffffff; --panel: #f5f7f9;
  --accent: #2f6fb3; --bad: #b3362b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #9aa5b1; --line: #39414a; --page: #15191e;
  --panel: #1d232a; --accent: #6aa9e9; --bad: #ef8277; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 66rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .5rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
.soft, figcaption, .facts dt { color: var(--soft); }
.warning { border-left: 4px solid var(--bad); padding: .4rem .8rem; background: var(--panel); }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .7rem 1.2rem; margin: 1rem 0;
  padding: .9rem 1rem; background: var(--panel); border-radius: .5rem; }
.facts div { min-width: 0; } .facts dt { font-size: .8rem; } .facts dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow: auto; max-height: 36rem; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { position: sticky; top: 0; background: var(--panel); font-weight: 600; }
th.text, td.text { text-align: left; white-space: normal; min-width: 9rem; }
tr:last-child td { border-bottom: 0; } tr.strong td { font-weight: 600; } tr.bad td { color: var(--bad); }
figure { margin: 1rem 0; } figcaption { font-size: .85rem; margin-top: .3rem; }
.plot { overflow-x: auto; } .plot figcaption { position: sticky; left: 0; }
.plot svg { display: block; width: 100%; min-width: 28rem; max-width: 46rem; height: auto; color: var(--ink); }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.5rem, 1fr)); gap: .6rem; }
.row figure { margin: .3rem 0; } .row img { display: block; width: 100%; height: auto; border-radius: .35rem; }
.wide img { display: block; width: 100%; height: auto; border-radius: .5rem; border: 1px solid var(--line); }
.view summary { position: relative; cursor: pointer; list-style: none; } .view[open] summary img { display: none; }
.view summary::-webkit-details-marker { display: none; }
.view summary span { position: absolute; right: 1rem; top: 1rem; padding: .45rem 1.1rem;
  border-radius: 2rem; background: var(--accent); color: #ffffff; font-weight: 600; white-space: nowrap; }
.view[open] summary span { position: static; display: inline-block; margin-bottom: .4rem; }
.view[open] summary span::after { content: " (click to close)"; font-weight: 400; }
.view div { height: 34rem; max-height: 85vh; border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
.view iframe { width: 100%; height: 100%; border: 0; display: block; pointer-events: none; background: #ffffff; }
.view div:focus-within { outline: 2px solid var(--accent); }
.view div:focus iframe, .view div:focus-within iframe { pointer-events: auto; }
.more summary { cursor: pointer; color: var(--accent); margin-top: 2.4rem; }
code { font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { background: var(--panel); border-radius: .5rem; padding: .7rem 1rem; overflow: auto; }
"""

_TOGGLE = (
    "const view = this.querySelector('iframe'); "
    "if (this.open) view.srcdoc = view.dataset.page; else view.removeAttribute('srcdoc');"
)
"""Runs an inner page only while it is open."""


@dataclass(frozen=True)
class HtmlTable:
    """Rows of text under headings; columns named in ``text_columns`` are left-aligned and may wrap."""

    headings: tuple[str, ...]
    """From left to right."""
    rows: tuple[tuple[str, ...], ...]
    """One cell a heading."""
    text_columns: tuple[str, ...] = ()
    """Headings of columns that hold words."""
    strong_rows: frozenset[int] = frozenset()
    """Rows that stand out."""
    bad_rows: frozenset[int] = frozenset()
    """Rows of refusals."""

    def html(self) -> str:
        """The table in a box that scrolls on its own."""

        def cell(tag: str, heading: str, text: str) -> str:
            kind = ' class="text"' if heading in self.text_columns else ""
            return f"<{tag}{kind}>{escape(text)}</{tag}>"

        lines = ["<tr>" + "".join(cell("th", heading, heading) for heading in self.headings) + "</tr>"]
        for index, row in enumerate(self.rows):
            kinds = " ".join(
                name for name, rows in (("strong", self.strong_rows), ("bad", self.bad_rows)) if index in rows
            )
            cells = "".join(cell("td", heading, text) for heading, text in zip(self.headings, row, strict=True))
            lines.append(f'<tr class="{kinds}">{cells}</tr>' if kinds else f"<tr>{cells}</tr>")
        return '<div class="scroll"><table>\n' + "\n".join(lines) + "\n</table></div>"


@dataclass(frozen=True)
class SceneView:
    """A page in three dimensions inside a report, or a picture alone and why."""

    html: str | None
    """A whole page without outside resources."""
    note: str
    """What it shows and how it is handled, or how to get it."""
    poster: Picture
    """Its first view."""


@dataclass
class Page:
    """A page that grows from top to bottom."""

    title: str
    """Its heading."""
    lead: str = ""
    """One or two sentences under the heading."""
    _parts: list[str] = field(default_factory=list, init=False)

    def add_run(self, run: RunRecord) -> None:
        """What was run, where and when."""
        place = run.environment
        self.add_facts(
            {
                "command": f"posesplat {run.command}",
                "version": " ".join(filter(None, (place["version"], place.get("commit")))),
                "date": run.started.strftime("%Y-%m-%d %H:%M UTC"),
                "duration": f"{run.duration_s:.1f} s",
                "host": place["host"],
                "processor": place.get("cpu") or "unknown",
                "threads": f"{place['threads']} of {place.get('cpus')}",
                "seed": "none needed" if run.seed is None else str(run.seed),
            }
        )
        if run.interrupted:
            self.add_warning("The run was interrupted: this report shows the frames done by then.")

    def add_options(self, run: RunRecord) -> None:
        """What the run was asked, one value under its own name however deep it lies; opens when it is clicked."""
        self._parts.append('<details class="more"><summary>All options of this run</summary>')
        self.add_facts(dict(_flat_options(run.options)))
        self._parts.append("</details>")

    def add_facts(self, facts: dict[str, str]) -> None:
        """Short values under their names."""
        items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
        self._parts.append(f'<dl class="facts">{items}</dl>')

    def add_heading(self, text: str, level: int = 2) -> None:
        """A section, or a subsection for level 3."""
        self._parts.append(f"<h{level}>{escape(text)}</h{level}>")

    def add_text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def add_warning(self, text: str) -> None:
        """A paragraph that must not be missed."""
        self._parts.append(f'<p class="warning">{escape(text)}</p>')

    def add_code(self, text: str) -> None:
        """Lines to be typed."""
        self._parts.append(f"<pre><code>{escape(text)}</code></pre>")

    def add_table(self, table: HtmlTable) -> None:
        """A table."""
        self._parts.append(table.html())

    def add_plot(self, svg: str, caption: str) -> None:
        """An inline SVG."""
        self._parts.append(f'<figure class="plot">{svg}<figcaption>{escape(caption)}</figcaption></figure>')

    def add_pictures(self, pictures: Sequence[Picture], caption: str = "") -> None:
        """Pictures in a row, which wraps on narrow screens."""
        figures = "".join(
            f'<figure style="max-width: {picture.largest_width}px">{_image(picture)}'
            f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
            for picture in pictures
        )
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f'<figure><div class="row">{figures}</div>{below}</figure>')

    def add_view(self, view: SceneView | None, heading: str = "In three dimensions", level: int = 2) -> None:
        """A picture that opens as a page within the page; nothing for None.

        The inner page costs nothing before it is opened, and takes mouse and wheel only while it has the focus, so
        that readers scroll past it.
        """
        if view is None:
            return
        self.add_heading(heading, level)
        inner = _image(view.poster)
        if view.html is not None:
            inner = (
                f'<details class="view" ontoggle="{escape(_TOGGLE)}"><summary>{inner}'
                "<span>Open in three dimensions</span></summary>"
                f'<div tabindex="0"><iframe title="{escape(heading)}" data-page="{escape(view.html)}"></iframe></div>'
                "</details>"
            )
        self._parts.append(f'<figure class="wide">{inner}<figcaption>{escape(view.note)}</figcaption></figure>')

    def html(self) -> str:
        """The whole page."""
        lead = f'<p class="soft">{escape(self.lead)}</p>\n' if self.lead else ""
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f"<h1>{escape(self.title)}</h1>\n{lead}" + "\n".join(self._parts) + "\n</body>\n</html>\n"
        )


def _image(picture: Picture) -> str:
    data = base64.b64encode(picture.jpeg()).decode()
    return f'<img alt="{escape(picture.caption)}" src="data:image/jpeg;base64,{data}">'


def _flat_options(options: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in options.items():
        if isinstance(value, dict) and value:
            yield from _flat_options(value, f"{above}{name}.")
        else:
            yield above + name, _option_text(value)


def _option_text(value: Any) -> str:
    """An option as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_option_text, value)) or "none"
    return "none" if value in (None, "", {}) else str(value)


def number_text(value: float, spec: str = ".3g") -> str:
    """A number for a table; a dash for NaN."""
    return "-" if math.isnan(value) else format(value, spec)
