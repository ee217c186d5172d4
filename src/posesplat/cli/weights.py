"""``posesplat weights list|fetch|where|convert``: which weights there are, where they come from and where they lie."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

UNKNOWN = "unknown: not fetched; download it by hand, then --weights FILE, or posesplat weights convert"


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
class Convert:
    """Write an official checkpoint of SPFSplat, SPFSplatV2 or SPFSplatV2-L as weights of ours, of half the size."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """A .ckpt or .safetensors file as it was published."""
    out: Annotated[Path, arg(metavar="OUT")]
    """The .safetensors file to write."""
    intrinsics: Literal["auto", "token", "none"] = "auto"
    """Whether the network was trained with intrinsics; auto: by whether their layer was ever trained."""


@dataclass(frozen=True)
class Options:
    """What to do with weights."""

    action: OmitSubcommandPrefixes[
        OmitArgPrefixes[
            Annotated[List, subcommand("list")]
            | Annotated[Fetch, subcommand("fetch")]
            | Annotated[Where, subcommand("where")]
            | Annotated[Convert, subcommand("convert")]
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
    elif isinstance(action, Convert):
        _convert(action)
    else:
        sys.stdout.write(f"{located(action.name)}\n")
    return 0


def _convert(action: Convert) -> None:
    from posesplat.cli.extras import require
    from posesplat.io.results import check_place

    require("learned")
    if action.out.suffix != ".safetensors":
        raise ValueError(f"--out must name a .safetensors file; got {action.out}. Give it that ending.")
    if action.out.exists():
        raise ValueError(f"--out must be a new file; {action.out} exists. Choose another --out.")
    check_place(action.out.parent)
    from posesplat.learned.weights import convert_weights

    network = convert_weights(action.file, action.out, action.intrinsics)
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    token = "with" if network.config.intrinsics_token else "without"
    sys.stdout.write(
        f"{action.out}: {network.config.form} of {count:.0f} million parameters, {token} a token of the intrinsics\n"
    )


def _list() -> None:
    from posesplat.learned.named_weights import WEIGHTS, megabytes

    for row in WEIGHTS.values():
        here = "" if row.path.is_file() else " (not here)" if row.sha256 is None else " (not fetched)"
        source = "comes with posesplat" if row.source == "package" else row.source
        sys.stdout.write(
            f"{row.name}{here}\n  {row.meaning}\n  source    {source}, revision {row.revision}\n"
            f"  sha256    {row.sha256 or UNKNOWN}\n  size      {megabytes(row)}\n  licence   {row.licence}\n"
        )
