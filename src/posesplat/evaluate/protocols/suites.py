"""The suites of ``bench localize`` by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from posesplat.evaluate.protocols import coverage, refusals, rooms, sequences, speed
from posesplat.evaluate.protocols.settings import Bench

SUITES: dict[str, Callable[[Bench], None]] = {
    "rooms": rooms.run,
    "real": sequences.run,
    "covariance": coverage.run,
    "failures": refusals.run,
    "speed": speed.run,
}
"""In the order in which ``all`` runs them."""


def run_suites(bench: Bench, names: Sequence[str]) -> None:
    """Run suites one after the other; their tables are in the bench's report, also after an interrupt.

    Raises:
        ValueError: for an unknown name, or when no method was left to measure.
    """
    unknown = [name for name in names if name not in SUITES]
    if unknown or not names:
        raise ValueError(f"Suites must be among {', '.join(SUITES)}; got {', '.join(names) or 'none'}.")
    for name in names:
        SUITES[name](bench)
    if not bench.report.tables:
        asked = ", ".join((*bench.settings.methods, *bench.settings.sequences))
        raise ValueError(f"Nothing was measured: no method and no sequence of these suites is called {asked}.")
    bench.report.complete = True
