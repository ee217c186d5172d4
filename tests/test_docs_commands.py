"""Every command and every piece of Python on the README and the pages of docs/ is run, or at least parsed."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tyro
from scipy.spatial.transform import RigidTransform

from docs_pages import NOT_RUN, PAGES, ROOT, Block, beside_blocks, blocks_of
from posesplat.cli.commands import COMMANDS
from posesplat.geometry.poses import exp

OTHER_TOOLS = {"make install", "make demo", "make test", ". .venv/bin/activate"}
"""Lines without a title that are tried elsewhere: by continuous integration."""
CONVENTIONS = ROOT / "docs" / "conventions.md"
"""Its one block is run by the test that knows what must come out."""
SYNOPSES = {"posesplat COMMAND --help", "posesplat view {...}"}
"""What begins like a command in running text and is none: any command's help, a comment in a PLY file."""


LIMIT_S = 300
"""A page takes a few seconds; a machine that does other things as well may need far longer."""
RUNNER = """
import json, shlex, sys
from posesplat.cli.main import main
names = {"__name__": "page"}
for language, step in json.load(sys.stdin):
    if language == "python":
        exec(compile(step, "page", "exec"), names)
        continue
    for words in step:
        status = main(words)
        if status:
            sys.exit(f"posesplat {shlex.join(words)}: exit status {int(status)}")
"""


def commands(block: Block) -> list[list[str]]:
    """The words of the commands of a block, less ``posesplat``."""
    words = [shlex.split(line, comments=True) for line in block.lines()]
    return [command[1:] for command in words if command[0] == "posesplat"]


@functools.cache
def parse(*words: str) -> None:
    """Let the real command line read the words, without running anything."""
    assert words[0] in COMMANDS, f"there is no command {words[0]!r}"
    options = importlib.import_module(COMMANDS[words[0]].module).Options
    complaint = io.StringIO()
    with contextlib.redirect_stdout(complaint), contextlib.redirect_stderr(complaint):
        try:
            tyro.cli(options, args=words[1:], config=(tyro.conf.FlagCreatePairsOff,))
        except SystemExit as request:
            assert request.code == 0, f"posesplat {shlex.join(words)}: {complaint.getvalue()}"


def mentioned(page: Path) -> list[str]:
    """Commands in running text: inline code that begins with ``posesplat`` and has options or operands."""
    spans = (" ".join(span.split()) for span in re.findall(r"`(posesplat [^`]+)`", beside_blocks(page)))
    return [span for span in spans if span not in SYNOPSES]


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages name, made by a process that does not check types, which is quicker."""
    folder = tmp_path_factory.mktemp("pages") / "inputs"
    folder.mkdir()
    make = f"import sys, pathlib; sys.path.insert(0, {str(Path(__file__).parent)!r}); import docs_pages; "
    command = [sys.executable, "-c", f"{make} docs_pages.write_inputs(pathlib.Path({str(folder)!r}))"]
    subprocess.run(command, env=os.environ | {"POSESPLAT_THREADS": "1"}, check=True, timeout=LIMIT_S)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_stand_where_they_are_found(page: Path) -> None:
    """In a block marked ``sh``, with nothing else beside them unless a title says what the block needs."""
    for block in blocks_of(page):
        assert not block.title or block.title in NOT_RUN, f"{page.name}: {block.title!r} is no known reason"
        for line in block.lines():
            if block.language == "sh":
                assert block.title or line.startswith("posesplat ") or line in OTHER_TOOLS, f"{page.name}: {line}"
            else:
                assert not line.startswith("posesplat "), f"{page.name}: mark the block of {line!r} as sh"
    indented = re.findall(r"^(?: {4}|\t)\s*(?:posesplat |>>> ).*", beside_blocks(page), re.MULTILINE)
    assert indented == [], f"{page.name}: fence these lines"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_that_is_not_run_is_one(page: Path) -> None:
    for block in blocks_of(page):
        for words in commands(block) if block.title else []:
            parse(*words)
    for span in mentioned(page):
        words = shlex.split(span.partition(" > ")[0])[1:]
        if len(words) > 1:
            parse(*words)
        else:
            assert words[0] in COMMANDS, f"{page.name}: {span}"


def test_a_wrong_command_is_noticed() -> None:
    for words in (["tracks", "a.mp4"], ["track", "a.mp4", "--out", "x", "--no-such-option"], ["map", "frames"]):
        with pytest.raises(AssertionError):
            parse(*words)


def run(blocks: list[Block], inputs: Path, folder: Path, ask: str = "") -> str:
    """Run blocks in order in a copy of the inputs, as a user would: Python's names last from one block to the next.

    One process for all of them, which does not check types as the tests themselves do and takes half the time.
    """
    shutil.copytree(inputs, folder / "here")
    steps = [[block.language, block.text if block.language == "python" else commands(block)] for block in blocks]
    environment = os.environ | {"POSESPLAT_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps([*steps, ["python", ask]]),
        cwd=folder / "here",
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if page != CONVENTIONS], ids=lambda page: page.stem)
def test_pages_run(page: Path, inputs: Path, tmp_path: Path) -> None:
    blocks = [block for block in blocks_of(page) if block.language in ("sh", "python")]
    for block in blocks:
        if block.language == "python":
            compile(block.text, page.name, "exec")
    run([block for block in blocks if not block.title], inputs, tmp_path)


def test_a_command_that_fails_and_python_that_fails_are_noticed(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="nothing at missing"):
        run([Block("sh", "", "posesplat track missing.mp4 --out found")], inputs, tmp_path / "a")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run([Block("python", "", "x = 0"), Block("python", "", "1 / x")], inputs, tmp_path / "b")


def test_the_python_of_conventions_turns_a_covariance_into_the_world(inputs: Path, tmp_path: Path) -> None:
    """The uncertainty of the camera's place, by drawing poses and by the covariance that the page computes."""
    blocks = [block for block in blocks_of(CONVENTIONS) if block.language == "python"]
    ask = """
import json
told = (found.cam_from_world.as_matrix(), found.covariance, covariance_of_world_from_cam)
print(json.dumps([matrix.tolist() for matrix in told]))
"""
    matrix, covariance, turned = map(np.array, json.loads(run(blocks, inputs, tmp_path, ask).splitlines()[-1]))
    pose = RigidTransform.from_matrix(matrix)
    drawn = np.random.default_rng(0).multivariate_normal(np.zeros(6), covariance, 4000)
    centres = np.array([(exp(xi) * pose).inv().translation for xi in drawn])
    # exp(eta) * world_from_cam moves the centre c by v + omega x c to first order.
    c = pose.inv().translation
    lever = np.array([[0, c[2], -c[1]], [-c[2], 0, c[0]], [c[1], -c[0], 0]])
    jacobian = np.hstack([lever, np.eye(3)])
    expected = np.sqrt(np.diag(jacobian @ turned @ jacobian.T))
    np.testing.assert_allclose(centres.std(axis=0), expected, rtol=0.05)
