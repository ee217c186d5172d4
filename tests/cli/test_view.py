from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from listening import listening
from posesplat.cli.main import main

START_S = 120
"""A loaded machine needs long to import what a viewer needs."""


@contextmanager
def viewer(*arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A running ``posesplat view`` and the line that it prints first."""
    command = [sys.executable, "-m", "posesplat", "view", *arguments]
    pipes: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A test run in the background of a shell ignores Ctrl-C, and so would its children.
    with subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


def test_view_serves_a_page_on_the_loopback_until_it_is_interrupted(map_file: Path) -> None:
    with viewer(str(map_file), "--port", "0", "--max-splats", "500") as (process, line):
        found = re.match(r"(http://127\.0\.0\.1:(\d+)) shows room; Ctrl-C ends\n", line)
        assert found, line
        with urllib.request.urlopen(found[1], timeout=START_S) as answer:
            assert b"<title>Viser</title>" in answer.read()
        assert listening(int(found[2])) == {"127.0.0.1"}
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=START_S)
    assert (process.returncode, out, err) == (0, "", "posesplat: viewer closed\n")


def test_view_writes_one_page(map_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sub" / "room.html"
    assert (
        main(["view", str(map_file), str(map_file), "--html", str(file), "--max-splats", "900", "--threads", "1"]) == 0
    )
    page = file.read_text()
    assert capsys.readouterr().out == f"{file}: {len(page) / 1e6:.1f} MB; any browser opens it, without network\n"
    assert "__VISER_EMBED_DATA__" in page
    assert [path.name for path in tmp_path.rglob("*")] == ["sub", "room.html"]
    # Nothing outside: the only addresses are names of XML spaces and of licences in comments.
    assert re.findall(r"<(?:script|img|iframe|link)[^>]*(?:src|href)=\"?'?(?!data:)([^\s\"'>]+)", page) == []


def test_view_finds_the_map_that_localize_was_given(
    clip: Path, map_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found"
    arguments = ["localize", str(map_file), str(clip), "--every", "3", "--out", str(out), "--threads", "1"]
    assert main([*arguments, "--pictures", "1"]) == 0
    report = (out / "report.html").read_text()
    assert report.count("<iframe") == 1
    assert "__VISER_EMBED_DATA__" in report
    assert len(report) < 4e6
    assert sorted(path.name for path in (out / "seen").iterdir()) == ["000000.jpg", "000001.jpg"]
    capsys.readouterr()
    assert main(["view", str(out), "--html", str(tmp_path / "a.html"), "--threads", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    with_map = (tmp_path / "a.html").stat().st_size
    map_file.rename(tmp_path / "moved.ply")
    try:
        assert main(["view", str(out), "--html", str(tmp_path / "b.html"), "--threads", "1"]) == 0
        assert with_map > (tmp_path / "b.html").stat().st_size + 10_000
        assert main(["view", str(out), "--map", str(tmp_path / "moved.ply"), "--html", str(tmp_path / "c.html")]) == 0
        assert (tmp_path / "c.html").stat().st_size == pytest.approx(with_map, rel=0.01)
    finally:
        (tmp_path / "moved.ply").rename(map_file)


def test_view_says_that_a_port_is_taken(map_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["view", str(map_file), "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert re.search(rf"Port {port} of 127.0.0.1 cannot be used .*--port 0", error), error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["."], "must hold result.json"),
        (["{map}", "--port", "70000"], "between 0 and 65535"),
        (["{map}", "--host", "no.such.host.invalid"], "--host must be an address of this machine"),
        (["{map}", "--max-splats", "0"], "--max-splats must be at least 1"),
        ([], "at least one output folder"),
    ],
)
def test_view_refuses_with_one_line(
    map_file: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["view", *(argument.replace("{map}", str(map_file)) for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_without_viser_view_and_reports_say_how_to_get_it(
    clip: Path,
    map_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("posesplat.viewer.server.find_spec", lambda name: None)
    assert main(["view", str(map_file)]) == 2
    assert "pip install 'posesplat[viewer]'" in capsys.readouterr().err
    out = tmp_path / "found"
    arguments = ["localize", str(map_file), str(clip), "--every", "5", "--out", str(out), "--threads", "1"]
    assert main([*arguments, "--pictures", "1"]) == 0
    report = (out / "report.html").read_text()
    assert "pip install &#x27;posesplat[viewer]&#x27;" in report
    assert "<iframe" not in report
    assert report.count('<img alt="first view"') == 1
