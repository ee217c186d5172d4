"""What a benchmark hands over: tables with all that is needed to repeat them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posesplat.evaluate.protocols.environment import environment
from posesplat.files import write_text

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    key: str
    """Its name in the rows and in JSON; ends in the unit where there is one."""
    heading: str
    """What people read."""
    spec: str = ""
    """Format specification of its numbers."""

    def text(self, row: Row) -> str:
        """The cell of a row as people read it; a dash where there is no value."""
        value = row.get(self.key)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "-"
        return format(value, self.spec) if self.spec and not isinstance(value, str) else str(value)


@dataclass(frozen=True)
class Table:
    """Rows under headings."""

    name: str
    """Identifies the table in JSON, such as ``rooms/box_room/kinect``."""
    title: str
    """What the table shows, in one line."""
    columns: tuple[Column, ...]
    """From left to right."""
    rows: tuple[Row, ...]
    """Values by column key; other keys are in JSON only."""
    notes: tuple[str, ...] = ()
    """What must be known to read the table rightly."""

    def cells(self) -> list[list[str]]:
        """The text of every cell."""
        return [[column.text(row) for column in self.columns] for row in self.rows]

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record; numbers that are not finite become null."""
        return {
            "name": self.name,
            "title": self.title,
            "rows": [{key: _plain(value) for key, value in row.items()} for row in self.rows],
            "notes": list(self.notes),
        }

    def to_markdown(self) -> str:
        """A Markdown section."""
        lines = [[column.heading for column in self.columns], ["---" for _ in self.columns], *self.cells()]
        table = "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
        return f"## {self.title}\n\n{table}\n" + "".join(f"\n{note}\n" for note in self.notes)


@dataclass
class Report:
    """The tables of one run, collected as they come, so that an interrupted run keeps what is done."""

    name: str
    """The benchmark, such as ``localize``; also the base name of its files."""
    options: dict[str, Any]
    """What it was asked, JSON-ready."""
    threads: int | None = None
    """Threads as asked for."""
    tables: list[Table] = field(default_factory=list)
    """So far."""
    complete: bool = False
    """False while tables or queries are missing, as after an interrupt."""
    environment: dict[str, Any] = field(init=False)
    """Where it ran; see :func:`posesplat.evaluate.protocols.environment.environment`."""

    def __post_init__(self) -> None:
        self.environment = environment(self.threads)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record of everything."""
        return {
            "benchmark": self.name,
            "complete": self.complete,
            "environment": self.environment,
            "options": self.options,
            "tables": [table.to_json() for table in self.tables],
        }

    def to_markdown(self) -> str:
        """A Markdown page of everything."""
        where = ", ".join(f"{key} {value}" for key, value in self.environment.items() if key != "packages")
        state = "" if self.complete else "\n**Not complete: the run was interrupted.**\n"
        tables = "\n".join(table.to_markdown() for table in self.tables)
        return f"# posesplat bench {self.name}\n{state}\n{where}\n\nOptions: `{json.dumps(self.options)}`\n\n{tables}"

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write ``bench_NAME.json`` and ``bench_NAME.md``, each whole or not at all."""
        page, record = folder / f"bench_{self.name}.md", folder / f"bench_{self.name}.json"
        write_text(record, json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")
        write_text(page, self.to_markdown())
        return record, page


def skipped(name: str, title: str, reasons: Sequence[tuple[str, str]]) -> Table:
    """A table that says what could not be measured, and why."""
    columns = (Column("skipped", "skipped"), Column("reason", "reason"))
    return Table(name, title, columns, tuple({"skipped": what, "reason": why} for what, why in reasons))


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
