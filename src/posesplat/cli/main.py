"""The ``posesplat`` command: finds the command that is asked for, runs it, and turns its errors into one line.

Nothing heavy is imported before the command is known, so that ``posesplat --help`` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence

from posesplat import __version__
from posesplat.cli.commands import COMMANDS
from posesplat.cli.exit_status import ExitStatus

_GLOBAL_FLAGS = {"-v": "verbose", "--verbose": "verbose", "--debug": "debug"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``posesplat`` with ``argv`` (``sys.argv[1:]`` by default) and return its exit status."""
    arguments, flags = _without_global_flags(list(sys.argv[1:] if argv is None else argv))
    debug = "debug" in flags or os.environ.get("POSESPLAT_DEBUG", "") not in ("", "0")
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO if "verbose" in flags else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        force=True,
    )
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        sys.stderr.write("posesplat: interrupted\n")
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        # As after `posesplat ... | head`. Python flushes stdout once more at exit and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.READER_LEFT
    except (ValueError, OSError) as error:
        if debug:
            raise
        sys.stderr.write(f"posesplat: error: {_one_line(error)}\n")
        return ExitStatus.BAD_INPUT


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        (sys.stdout if arguments else sys.stderr).write(_usage())
        return ExitStatus.ALL_POSED if arguments else ExitStatus.BAD_INPUT
    if arguments[0] == "--version":
        sys.stdout.write(f"posesplat {__version__}\n")
        return ExitStatus.ALL_POSED
    name, *rest = arguments
    if name not in COMMANDS:
        raise ValueError(f"unknown command {name!r}; expected one of: {', '.join(COMMANDS)}. See posesplat --help.")
    command = importlib.import_module(COMMANDS[name].module)

    import tyro

    try:
        options = tyro.cli(
            command.Options,
            args=rest,
            prog=f"posesplat {name}",
            description=COMMANDS[name].summary,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except SystemExit as request:
        return int(request.code or 0)
    return int(command.run(options))


def _without_global_flags(arguments: list[str]) -> tuple[list[str], set[str]]:
    """The arguments less -v, --verbose and --debug, which stand anywhere before a ``--``; and which of them came."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags = {_GLOBAL_FLAGS[argument] for argument in arguments[:end] if argument in _GLOBAL_FLAGS}
    return [argument for argument in arguments[:end] if argument not in _GLOBAL_FLAGS] + arguments[end:], flags


def _usage() -> str:
    width = max(map(len, COMMANDS)) + 2
    commands = "\n".join(f"  {name:<{width}}{command.summary}" for name, command in COMMANDS.items())
    return (
        "usage: posesplat COMMAND ...\n\n"
        "Where was the camera? Poses from 3D Gaussians.\n\n"
        f"commands (posesplat COMMAND --help for their options):\n{commands}\n\n"
        "options:\n"
        "  -h, --help     show this help\n"
        "  --version      show the version\n"
        "  -v, --verbose  say what is being done\n"
        "  --debug        say more, and show where an error comes from (also POSESPLAT_DEBUG=1)\n\n"
        "exit status: 0 all frames posed, 3 some not, 4 none, 2 bad usage or input\n"
    )


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
