"""``posesplat completion SHELL``: a script with which a shell completes commands, options and their values."""

from __future__ import annotations

import importlib
import io
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from tyro.conf import FlagCreatePairsOff, Positional, arg, subcommand

from posesplat.cli.commands import COMMANDS

Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True)
class Options:
    """Which shell.

    bash: posesplat completion bash > ~/.local/share/bash-completion/completions/posesplat
    zsh: posesplat completion zsh > a folder of $fpath, named _posesplat
    fish: posesplat completion fish > ~/.config/fish/completions/posesplat.fish
    """

    shell: Annotated[Positional[Shell], arg(metavar="bash|zsh|fish")]
    """The shell that will read the script; start it anew afterwards."""


def run(options: Options) -> int:
    """Print the script."""
    sys.stdout.write(completion_script(options.shell))
    return 0


def completion_script(shell: Shell) -> str:
    """The script that makes a shell complete what follows ``posesplat``."""
    import tyro

    kinds = [
        Annotated[importlib.import_module(command.module).Options, subcommand(name, description=command.summary)]
        for name, command in COMMANDS.items()
    ]
    any_command: Any = Union[tuple(kinds)]  # noqa: UP007 (made of a list)
    script = io.StringIO()
    with redirect_stdout(script):
        try:
            tyro.cli(
                any_command,
                prog="posesplat",
                args=["--tyro-print-completion", shell],
                config=(FlagCreatePairsOff,),
            )
        except SystemExit as end:
            if end.code:
                raise
    return _with_file_names(script.getvalue()) if shell == "bash" else script.getvalue()


def _with_file_names(script: str) -> str:
    """Bash completes file names where nothing else fits, as for MAP and FRAMES."""
    marker = '"$completions" == "__TYRO_COMPLETE_FILES__"'
    word = '"${COMP_WORDS[COMP_CWORD]}"'
    script = script.replace(marker, f'-z "$completions" || {marker}')
    return script.replace('compgen -f -- "$cur"', f"compgen -f -- {word}").replace(
        "complete -F", "complete -o filenames -F"
    )
