"""The ``posesplat`` command: finds the command that is asked for, runs it, and turns its errors into one line.

Nothing heavy is imported before the command is known, so that ``posesplat --help`` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence

from posesplat import __version__
from posesplat.cli.commands import COMMANDS
from posesplat.cli.exit_status import ExitStatus

_GLOBAL_FLAGS = {"-v": "verbose", "--verbose": "verbose", "--debug": "debug"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``posesplat`` with ``argv`` (``sys.argv[1:]`` by default) and return its exit status."""
    if argv is None:
        _end_as_interruption()
    arguments, flags = _without_global_flags(list(sys.argv[1:] if argv is None else argv))
    debug = "debug" in flags or os.environ.get("POSESPLAT_DEBUG", "") not in ("", "0")
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO if "verbose" in flags else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        force=True,
    )
    # Decoders of OpenCV would write to stderr themselves what an error of ours says.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
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
    except (ValueError, OSError, ImportError, MemoryError) as error:
        from posesplat.cli.error_line import error_line

        line = error_line(error)
        if debug or line is None:
            raise
        sys.stderr.write(f"posesplat: error: {line}\n")
        return ExitStatus.BAD_INPUT


def _end_as_interruption() -> None:
    """Let a batch queue's end of time and a closed terminal do what Ctrl-C does, so that nothing stays half-written."""
    owner = os.getpid()

    def stop(number: int, frame: object) -> None:
        if os.getpid() == owner:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        (sys.stdout if arguments else sys.stderr).write(_usage())
        return ExitStatus.ALL_POSED if arguments else ExitStatus.BAD_INPUT
    if arguments[0] == "--version":
        sys.stdout.write(f"posesplat {__version__}\n")
        return ExitStatus.ALL_POSED
    name, *rest = arguments
    if name not in COMMANDS:
        raise ValueError(_unknown(name))
    command = importlib.import_module(COMMANDS[name].module)

    from posesplat.cli.limits import check_limits
    from posesplat.cli.parsing import parsed

    try:
        options = parsed(command.Options, name, rest, COMMANDS[name].summary)
    except SystemExit as request:
        return int(request.code or 0)
    check_limits(options)
    return int(command.run(options))


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    return f"unknown command {name!r}; expected one of: {', '.join(COMMANDS)}.{guess} See posesplat --help."


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
        "exit status: 0 all frames posed, 3 some not, 4 none, 2 bad usage or input, 130 interrupted\n"
    )


if __name__ == "__main__":
    sys.exit(main())
