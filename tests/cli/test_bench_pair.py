from __future__ import annotations

import json
from pathlib import Path

import pytest

from posesplat.cli.exit_status import ExitStatus
from posesplat.cli.main import main


def test_a_quick_run_makes_tables_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "pair", "--suite", "rooms", "--quick", "--width", "160", "--depths", "sensor"]
    out = ["--methods", "five-point", "pnp", "--out", str(tmp_path), "--json"]
    assert main([*command, *out]) == ExitStatus.ALL_POSED
    record = json.loads(capsys.readouterr().out)
    assert record["benchmark"] == "pair" and record["complete"]
    assert record["options"]["settings"]["rooms"] == 1 and record["options"]["settings"]["kinds"] == ["sensor"]
    names = {table["name"] for table in record["tables"]}
    assert {"rooms/sensor", "rooms/sensor/best", "rooms/sensor/flags", "rooms/sensor/time"} <= names
    assert json.loads((tmp_path / "bench_pair.json").read_text())["tables"] == record["tables"]
    page = (tmp_path / "report.html").read_text()
    assert "five-point + depth scale" in page and "precision" in page and "<svg" in page
    assert "five-point" in (tmp_path / "bench_pair.md").read_text()


def test_bad_sizes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "pair", "--pairs", "0"]) == ExitStatus.BAD_INPUT
    assert "at least 1" in capsys.readouterr().err
