"""``posesplat weights list|fetch|where``: which weights there are, where they come from and where they lie."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand


@dataclass(frozen=True)
class List:
    """All weights that have a name."""


@dataclass(frozen=True)
class Fetch:
    """Download weights unless they are here, and check that they are the right ones."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Of posesplat weights list."""


@dataclass(frozen=True)
class Where:
    """The path of a file of weights; nothing is downloaded."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Of posesplat weights list."""


@dataclass(frozen=True)
class Options:
    """What to do with weights."""

    action: OmitSubcommandPrefixes[
        OmitArgPrefixes[
            Annotated[List, subcommand("list")]
            | Annotated[Fetch, subcommand("fetch")]
            | Annotated[Where, subcommand("where")]
        ]
    ]


def run(options: Options) -> int:
    """Print a table, or a path."""
    from posesplat.learned.named_weights import fetched, located, named

    action = options.action
    if isinstance(action, List):
        _list()
    elif isinstance(action, Fetch):
        sys.stdout.write(f"{fetched(named(action.name))}\n")
    else:
        sys.stdout.write(f"{located(action.name)}\n")
    return 0


def _list() -> None:
    from posesplat.learned.named_weights import MISSING, WEIGHTS

    for row in WEIGHTS.values():
        here = "" if row.path.is_file() else " (not fetched)"
        source = "comes with posesplat" if row.source == "package" else row.source
        sys.stdout.write(
            f"{row.name}{here}\n  {row.meaning}\n  source    {source}, revision {row.revision}\n"
            f"  sha256    {row.sha256}\n  size      {row.size_bytes / 1e6:.1f} MB\n  licence   {row.licence}\n"
        )
    sys.stdout.write(f"\n{MISSING}\n")
