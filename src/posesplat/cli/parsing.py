"""Options from a command line by tyro, with what is wrong in it said in one line."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

_FRAME = "╭╮╰╯│─━ -\t"
_WIDE = "1000"
_EMPTY_ALLOWED = ("--caption", "--export")


class WrongUsage(ValueError):
    """A command line that does not fit the command."""


def parsed(options: type, name: str, arguments: Sequence[str], summary: str) -> Any:
    """The options of a command.

    Args:
        options: its dataclass.
        name: of the command.
        arguments: that follow the name.
        summary: of the command, for its help.

    Raises:
        SystemExit: after the help was shown.
        WrongUsage: naming the argument, what it takes, and where to read more.
    """
    import tyro

    def parse() -> Any:
        return tyro.cli(
            options,
            args=list(arguments),
            prog=f"posesplat {name}",
            description=summary,
            config=(tyro.conf.FlagCreatePairsOff,),
        )

    if {"-h", "--help"} & set(arguments):
        return parse()
    _refuse_empty(arguments)
    said = io.StringIO()
    try:
        with redirect_stderr(said), _columns(_WIDE):
            return parse()
    except SystemExit as refusal:
        if not refusal.code:
            raise
        raise WrongUsage(f"{_reason(said.getvalue())} See posesplat {name} --help.") from None


def _refuse_empty(arguments: Sequence[str]) -> None:
    """An empty argument is a shell variable that is not set; as a path it would mean the current folder."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if (not argument and before not in _EMPTY_ALLOWED) or argument == "--out=":
            place = before if before.startswith("--") and not argument else argument.rstrip("=") or "An argument"
            raise WrongUsage(f"{place} must not be empty; got ''. Is a variable of the shell not set?")


@contextmanager
def _columns(width: str) -> Iterator[None]:
    """Lines of that length, so that no word of a message is broken."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = width
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _reason(text: str) -> str:
    """What tyro's framed message says, in a sentence or two."""
    lines = [line.strip("╭╮╰╯│─━\n\r").rstrip() for line in text.splitlines()]
    lines = [line for line in lines if line.strip(_FRAME)]
    words = [line.strip() for line in lines]
    page = " ".join(words)
    missing = [_without_help(lines, index) for index, line in enumerate(words) if line.startswith("Missing from")]
    if missing:
        names = [name for group in missing for name in group]
        return f"{' and '.join(names)} must be given; got nothing for {'it' if len(names) == 1 else 'them'}."
    unknown = re.search(r"Unrecognized options: (.+?)(?: Perhaps you meant:? (-\S+)| For full| Available|$)", page)
    if unknown:
        guess = f" Did you mean {unknown[2]}?" if unknown[2] else ""
        subcommands = re.search(r"Available subcommands: (.+?)(?: For full|$)", page)
        expected = f" Expected one of: {subcommands[1]}." if subcommands else ""
        return f"There is no argument {unknown[1].replace(', ', ' ').strip()} here.{expected}{guess}"
    value = re.search(r"Error parsing (\S+?):", page)
    if value:
        return _wrong_value(value[1], page)
    plain = re.sub(r" ?For full helptext.*$", "", " ".join(words[1:]) or page)
    return plain[:1].upper() + plain[1:] + ("" if plain.endswith(".") else ".")


def _without_help(lines: list[str], start: int) -> list[str]:
    """The names below the heading at ``start``; their descriptions are indented further."""
    depths = [len(line) - len(line.lstrip()) for line in lines]
    below = start + 1
    names = []
    for index in range(below, len(lines)):
        if depths[index] < depths[below] or lines[index].strip().startswith("Missing from"):
            break
        if depths[index] == depths[below]:
            names.append(lines[index].strip())
    return names


def _wrong_value(option: str, page: str) -> str:
    given = re.search(r"(?:from|got:?) (\['.*?'\])", page) or re.search(r": ('[^']*')", page)
    takes = re.search(rf"Argument helptext:.*?{re.escape(option)} (\S+(?: \S+\}})?)", page)
    form = takes[1].replace("{None}|", "").replace("|{None}", "").strip("{}") if takes else "another value"
    got = given[1].strip("[]").replace("'", "").replace(",", "") if given else "something else"
    return f"{option} takes {form}; got {got!r}."
