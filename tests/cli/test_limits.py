from __future__ import annotations

import dataclasses
import importlib
import math
from typing import Any, get_args, get_type_hints

import pytest

from posesplat.cli.commands import COMMANDS
from posesplat.cli.limits import LIMITS, check_limits


def numbers_of(kind: Any) -> dict[str, list[float]]:
    """Names and default numbers of all options below a type, in dataclasses, unions and annotations."""
    found: dict[str, list[float]] = {}
    if not dataclasses.is_dataclass(kind):
        parts = [numbers_of(part) for part in get_args(kind)]
    elif not kind.__module__.startswith("posesplat.cli."):
        parts = []
    else:
        hints = get_type_hints(kind)
        parts = [numbers_of(hint) for hint in hints.values()]
        for field in dataclasses.fields(kind):
            values = field.default if isinstance(field.default, tuple) else (field.default,)
            defaults = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
            if defaults or {int, float} & {hints[field.name], *get_args(hints[field.name])}:
                found[field.name] = defaults
    for part in parts:
        for name, defaults in part.items():
            found[name] = [*found.get(name, []), *defaults]
    return found


NUMBERS = {name: numbers_of(importlib.import_module(command.module).Options) for name, command in COMMANDS.items()}


def test_every_limit_is_of_an_option() -> None:
    assert LIMITS.keys() <= {name for options in NUMBERS.values() for name in options}


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults_are_within_their_limits(command: str) -> None:
    for name, defaults in NUMBERS[command].items():
        least, most = LIMITS.get(name, (-math.inf, math.inf))
        assert all(least <= value <= most for value in defaults), name


@dataclasses.dataclass(frozen=True)
class Asked:
    seed: int | None = 0
    threads: tuple[int, ...] = (1, 2)
    weight: float = 1.0
    quick: bool = False


def test_limits_include_their_ends_and_none_is_no_number() -> None:
    for asked in (Asked(), Asked(seed=None), Asked(seed=2**31 - 1), Asked(threads=(1024,)), Asked(weight=-math.inf)):
        check_limits(asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(seed=2**31), r"--seed must be between 0 and 2147483647; got 2147483648"),
        (Asked(threads=(1, 0)), r"--threads must be between 1 and 1024; got 0"),
        (Asked(weight=math.nan), r"--weight must be a number; got nan"),
    ],
)
def test_what_is_out_of_its_limits_is_named(asked: Asked, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_limits(asked)
