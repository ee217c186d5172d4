"""Runs command lines in an environment that lacks packages, as a program: PACKAGES then JSON lists of arguments."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution
from typing import Any

from posesplat.cli.main import main


class Without:
    """Finds modules and the versions of what is installed where Python does, but for some packages."""

    def __init__(self, packages: set[str]) -> None:
        self.packages = packages

    def find_distributions(self, context: Any) -> Iterable[Distribution]:
        return () if context.name in self.packages else PathFinder.find_distributions(context)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return None if name.split(".")[0] in self.packages else PathFinder.find_spec(name, path, target)


def run() -> None:
    sys.meta_path[sys.meta_path.index(PathFinder)] = Without(set(sys.argv[1].split(",")))
    answers = []
    for arguments in json.loads(sys.argv[2]):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(arguments)
        answers.append([int(status), out.getvalue(), err.getvalue()])
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    run()
