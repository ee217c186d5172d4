from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from posesplat.cli.commands import COMMANDS
from posesplat.cli.main import main

BASH = shutil.which("bash")
ASK = """
source "$1"; shift
PATH=$(dirname "$1"):$PATH; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
function=$(complete -p posesplat | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" posesplat
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "posesplat", "completion", "bash"], capture_output=True, text=True, check=True
    )
    path = tmp_path_factory.mktemp("completion") / "posesplat"
    path.write_text(done.stdout)
    return path


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["loc"], {"localize"}),
        (["localize", "--obj"], {"--objective"}),
        (["localize", "map.ply", "clip", "--objective", ""], {"auto", "plane", "colour", "joint", "gsplatloc"}),
        (["bench", "ker"], {"kernel"}),
        (["bench", "track", "--pyc"], {"--pycolmap-clips"}),
        (["localize", "my_m"], {"my_map.ply"}),
        (["localize", "my_map.ply", "clip", "--out", "my_o"], {"my_output"}),
        (["nothing", "zz"], set()),
    ],
)
def test_bash_completes(script: Path, tmp_path: Path, words: list[str], expected: set[str]) -> None:
    (tmp_path / "my_map.ply").touch()
    (tmp_path / "my_output").mkdir()
    line = [str(BASH), "--norc", "-c", ASK, "ask", str(script), sys.executable, "posesplat", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert {word for word in done.stdout.splitlines() if word} == expected
    assert done.stderr == ""


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_bash_completes_every_command(script: Path, tmp_path: Path) -> None:
    line = [str(BASH), "--norc", "-c", ASK, "ask", str(script), sys.executable, "posesplat", ""]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert set(done.stdout.split()) >= set(COMMANDS)


@pytest.mark.parametrize(("shell", "mark"), [("zsh", "#compdef posesplat"), ("fish", "complete --no-files --command")])
def test_other_shells_have_their_script(capsys: pytest.CaptureFixture[str], shell: str, mark: str) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert mark in text
    assert "gsplatloc" in text
