"""Progress on stderr, so that stdout holds results only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress


class Advance(Protocol):
    """Moves a progress bar by one step."""

    def __call__(self, note: str = "") -> None:
        """Count one more step as done; ``note`` stands behind the bar."""


class Tell(Protocol):
    """Says how far one of several kinds of work is."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` steps; a total of 0 is not known."""


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Advance]:
    """A progress bar that vanishes when done; on a terminal only."""
    with _shown() as progress:
        task = progress.add_task(label, total=total, note="")

        def advance(note: str = "") -> None:
            progress.update(task, advance=1, note=note)

        yield advance


@contextmanager
def progress_meter(label: str) -> Iterator[Tell]:
    """The same for work in several parts, each of which says itself how far it is."""
    with _shown() as progress:
        task = progress.add_task(label, total=None, note="")

        def tell(what: str, done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None, note=what)

        yield tell


def _shown() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
