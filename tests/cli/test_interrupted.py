"""Runs that are stopped, and disks that take nothing more: the right status, and nothing half-written."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posesplat.cli.main import main

STOPPED_DEMO = """
import os, sys
import posesplat.cli.demo as demo
from posesplat.cli.main import main

def stopped(options, name, advance):
    os.kill(os.getpid(), {number})
    raise AssertionError("not stopped")

demo._clip = stopped
sys.argv = ["posesplat", "demo", "--out", "out"]
sys.exit(main())
"""


def lines_that_write(clip: Path, map_file: Path, folder: Path) -> dict[str, list[str]]:
    a, b = (str(path) for path in sorted((clip / "rgb").iterdir())[:2])
    return {
        "localize": ["localize", str(map_file), str(clip), "--count", "1", "--out", str(folder / "new" / "out")],
        "map": ["map", str(clip), "--out", str(folder / "new" / "map.ply")],
        "pair": ["pair", a, b, "--out", str(folder / "new" / "pair")],
    }


@pytest.mark.parametrize("command", ["localize", "map", "pair"])
def test_an_interruption_while_writing_leaves_nothing(
    clip: Path, map_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    left = []

    def interrupted(self: Path, target: Path) -> None:
        left.extend(tmp_path.rglob("*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    assert main(lines_that_write(clip, map_file, tmp_path)[command]) == 130
    assert left, "it was interrupted while files lay in the folder"
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_quietly(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip(f"no {name} on this system")
    code = STOPPED_DEMO.format(number=int(number))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stderr == "posesplat: interrupted; out was not written\n"
    assert done.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_a_limit_on_the_size_of_files_is_told_and_leaves_nothing(clip: Path, map_file: Path, tmp_path: Path) -> None:
    lines = lines_that_write(clip, map_file, tmp_path)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("command_lines.py")), "none", json.dumps([*lines.values()])],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000)),
    )
    assert done.returncode == 0, done.stderr
    for status, out, err in json.loads(done.stdout):
        assert (status, out) == (2, "")
        assert re.fullmatch(r"posesplat: error: \S+new/\w+(\.ply)?: File too large\. .*another --out.*\n", err), err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", folder], capture_output=True)
    if os.name != "posix" or mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_told_and_leaves_nothing(
    clip: Path, map_file: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for line in lines_that_write(clip, map_file, small_disk).values():
        assert main(line) == 2
        said = capfd.readouterr()
        assert said.out == ""
        assert re.fullmatch(r"posesplat: error: \S+new/\w+(\.ply)?: No space left on device\. Free .*\n", said.err)
        assert list(small_disk.iterdir()) == []


def test_a_read_only_folder_is_told_before_the_work(
    clip: Path, map_file: Path, small_disk: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for line in lines_that_write(clip, map_file, small_disk).values():
        assert main(line) == 2
        said = capfd.readouterr().err
        assert re.fullmatch(r"posesplat: error: .*disk cannot be written \(Read-only.*another --out\.\n", said), said
