from __future__ import annotations

import dataclasses
import importlib
import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from posesplat.cli import main as cli
from posesplat.cli.commands import COMMANDS, Command
from posesplat.cli.exit_status import ExitStatus

FAKE_COMMAND = '''
from dataclasses import dataclass
import logging, sys

@dataclass(frozen=True)
class Options:
    """What to do."""
    mood: str = "fine"
    """How it ends."""

def run(options):
    logging.getLogger("posesplat.fake").info("mood %s", options.mood)
    if options.mood == "value":
        raise ValueError("depth must be in metres;\\n  got millimetres")
    if options.mood == "file":
        open("/nowhere/map.ply")
    if options.mood == "folder":
        raise FileNotFoundError("frames: no images in this folder")
    if options.mood == "stop":
        raise KeyboardInterrupt
    if options.mood == "bug":
        raise RuntimeError("a bug of ours")
    return {"fine": 0, "some": 3, "none": 4}[options.mood]
'''


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake_command.py").write_text(FAKE_COMMAND)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(COMMANDS, "fake", Command("fake_command", "Does what it is told."))
    monkeypatch.delenv("POSESPLAT_DEBUG", raising=False)


def posesplat(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "posesplat", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_follows_the_pattern(name: str) -> None:
    module = importlib.import_module(COMMANDS[name].module)
    assert dataclasses.is_dataclass(module.Options)
    assert module.Options.__dataclass_params__.frozen
    assert callable(module.run)
    assert COMMANDS[name].summary.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    module = importlib.import_module(COMMANDS[name].module)
    for option in dataclasses.fields(module.Options):
        if "--" + option.name.replace("_", "-") not in text:
            assert option.default is dataclasses.MISSING, f"{option.name} is missing in the help"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in text
        assert command.summary in text


def test_no_command_shows_the_help_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: posesplat COMMAND")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from posesplat.cli.main import main; main(['--help']); "
        "sys.exit(','.join({'numpy', 'scipy', 'tyro', 'rich', 'torch', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "\n"


def test_help_is_quick() -> None:
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert posesplat("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.4


def test_version_is_that_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert posesplat("--version").stdout == f"posesplat {project['version']}\n"


@pytest.mark.parametrize(("mood", "status"), [("fine", 0), ("some", 3), ("none", 4)])
def test_the_status_of_a_command_is_passed_on(fake: None, mood: str, status: int) -> None:
    assert cli.main(["fake", "--mood", mood]) == status


@pytest.mark.parametrize(
    ("mood", "line"),
    [
        ("value", "posesplat: error: depth must be in metres; got millimetres\n"),
        ("file", "posesplat: error: /nowhere/map.ply: No such file or directory. Check the path.\n"),
        ("folder", "posesplat: error: frames: no images in this folder\n"),
    ],
)
def test_wrong_input_is_one_line(fake: None, capsys: pytest.CaptureFixture[str], mood: str, line: str) -> None:
    assert cli.main(["fake", "--mood", mood]) == 2
    captured = capsys.readouterr()
    assert captured.err == line
    assert captured.out == ""


def test_debug_shows_where_an_error_comes_from(fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="depth must be in metres"):
        cli.main(["fake", "--mood", "value", "--debug"])
    monkeypatch.setenv("POSESPLAT_DEBUG", "1")
    with pytest.raises(ValueError, match="depth must be in metres"):
        cli.main(["fake", "--mood", "value"])
    monkeypatch.setenv("POSESPLAT_DEBUG", "0")
    assert cli.main(["fake", "--mood", "value"]) == 2


def test_a_bug_is_not_hidden(fake: None) -> None:
    with pytest.raises(RuntimeError, match="a bug of ours"):
        cli.main(["fake", "--mood", "bug"])


def test_interruption_is_quiet(fake: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fake", "--mood", "stop"]) == 130
    assert capsys.readouterr().err == "posesplat: interrupted\n"


def test_verbose_says_what_is_done(fake: None, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["fake"])
    assert capsys.readouterr().err == ""
    cli.main(["-v", "fake"])
    assert capsys.readouterr().err == "INFO posesplat.fake: mood fine\n"


@pytest.mark.parametrize("arguments", [["fake", "--moood", "fine"], ["fake", "extra"], ["evaluate"]])
def test_a_misspelt_command_line_is_refused(
    fake: None, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert arguments[0] in captured.err


def test_an_unknown_command_is_one_line() -> None:
    done = posesplat("localise")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("posesplat: error: unknown command 'localise'; expected one of: ")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_traceback() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "posesplat", "--help"], stdout=write_end, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write_end)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.parametrize(("posed", "frames", "status"), [(5, 5, 0), (4, 5, 3), (0, 5, 4), (0, 0, 4)])
def test_exit_statuses(posed: int, frames: int, status: int) -> None:
    assert ExitStatus.of(posed, frames) == status
