"""The suites of ``bench localize`` by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from posesplat.evaluate.protocols import coverage, refusals, rooms, sequences, speed
from posesplat.evaluate.protocols.run import Run
from posesplat.evaluate.protocols.settings import Bench

SUITES: dict[str, Callable[[Bench], None]] = {
    "rooms": rooms.run,
    "real": sequences.run,
    "covariance": coverage.run,
    "failures": refusals.run,
    "speed": speed.run,
}
"""In the order in which ``all`` runs them."""


RunT = TypeVar("RunT", bound=Run)


def run_suites(bench: Bench, names: Sequence[str]) -> None:
    """Run suites of ``bench localize``; see :func:`run_in_turn`."""
    words = (*bench.settings.methods, *bench.settings.sequences)
    run_in_turn(bench, SUITES, names, words)


def run_in_turn(
    bench: RunT, suites: Mapping[str, Callable[[RunT], None]], names: Sequence[str], words: Sequence[str]
) -> None:
    """Run suites one after the other; their tables are in the bench's report, also after an interrupt.

    Args:
        bench: what they are given.
        suites: by name.
        names: which of them.
        words: what methods or sequences were restricted to, for the message when nothing is left.

    Raises:
        ValueError: for an unknown name, or when no method was left to measure.
    """
    unknown = [name for name in names if name not in suites]
    if unknown or not names:
        raise ValueError(f"Suites must be among {', '.join(suites)}; got {', '.join(names) or 'none'}.")
    for name in names:
        suites[name](bench)
    if not bench.report.tables:
        asked = ", ".join(words)
        raise ValueError(f"Nothing was measured: no method and no sequence of these suites is called {asked}.")
    bench.report.complete = True
