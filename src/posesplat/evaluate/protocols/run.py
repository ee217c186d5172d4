"""One run of a benchmark: what all its suites share, where results go, and how progress is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from posesplat.evaluate.protocols.report import Report, Table

_LOG = logging.getLogger(__name__)

SettingsT = TypeVar("SettingsT")


@dataclass
class Run(Generic[SettingsT]):
    """One run of a benchmark: its settings, its report, and whom to tell how far it is."""

    settings: SettingsT
    report: Report
    on_progress: Callable[[str, int, int], None] = field(default=lambda what, done, total: None)
    """Called with what is being done, the number of parts done, and their total."""
    on_tables: Callable[[], None] = field(default=lambda: None)
    """Called when tables have been added to the report, so that a long run can save what it has."""

    def add(self, tables: Sequence[Table]) -> None:
        """Report finished tables."""
        self.report.tables.extend(tables)
        for table in tables:
            _LOG.info("measured: %s", table.title)
        self.on_tables()

    def advancing(self, what: str, total: int) -> Callable[[], None]:
        """A function to call after each of ``total`` parts."""
        done = 0
        self.on_progress(what, 0, total)

        def advance() -> None:
            nonlocal done
            done += 1
            self.on_progress(what, done, total)

        return advance
