"""``posesplat doctor``: what is installed, what is missing, and the command that gets it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from posesplat.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from posesplat.cli.installation import Finding

_MARKS = {"ok": "[green]ok[/]", "missing": "[yellow]missing[/]", "broken": "[red]broken[/]", "off": "[dim]-[/]"}


@dataclass(frozen=True)
class Options:
    """How to say it."""

    json: bool = False
    """Print JSON instead of a table."""


def run(options: Options) -> int:
    """Look, print, and say through the exit status whether everything that posesplat cannot do without is there."""
    from posesplat import __version__
    from posesplat.cli.installation import findings, is_sound

    found = findings()
    sound = is_sound(found)
    if options.json:
        record = {"version": __version__, "sound": sound, "findings": [asdict(one) for one in found]}
        sys.stdout.write(json.dumps(record, indent=2) + "\n")
    else:
        _print(found, sound)
    return ExitStatus.ALL_POSED if sound else ExitStatus.NOT_SOUND


def _print(found: list[Finding], sound: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from posesplat import __version__

    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=f"posesplat {__version__}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("part", "", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("found", overflow="fold")
    group = ""
    for one in found:
        table.add_row("" if one.group == group else one.group, one.name, _MARKS[one.state], escape(one.found))
        group = one.group
    Console(highlight=False).print(table)
    cures: dict[str, list[str]] = {}
    for one in found:
        if one.cure:
            cures.setdefault(one.cure, []).append(f"{one.name}: {one.unlocks}" if one.unlocks else one.name)
    if cures:
        console.print("To get what is missing:")
    for cure, reasons in cures.items():
        console.print(f"  {escape(cure)}")
        console.print(f"      {escape('; '.join(dict.fromkeys(reasons)))}", style="dim")
    console.print("The core is sound." if sound else "The core is not sound: see what is marked as broken.")
