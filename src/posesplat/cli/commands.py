"""The commands of ``posesplat`` and where they live.

A command is a module with a frozen dataclass ``Options`` (a docstring under every field; tyro makes the command line of
it) and a function ``run(options) -> int`` that returns the exit status. Its heavy imports belong inside ``run``.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One entry of the table of commands."""

    module: str
    """Module that holds ``Options`` and ``run``; imported when the command is called."""
    summary: str
    """One line for ``posesplat --help``."""


COMMANDS: dict[str, Command] = {
    "evaluate": Command("posesplat.cli.evaluate", "Judge an estimated trajectory by the true one: ATE, RPE, speed."),
}
