from __future__ import annotations

import json
from pathlib import Path

import pytest

from posesplat.cli.exit_status import ExitStatus
from posesplat.cli.main import main
from posesplat.evaluate.protocols import suites
from posesplat.evaluate.protocols.report import Column, Table
from posesplat.evaluate.protocols.settings import Bench


def test_missing_data_are_rows_of_a_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    status = main(["bench", "localize", "--suite", "real", "--data", str(tmp_path), "--json", "--out", str(out)])
    printed = capsys.readouterr().out
    record = json.loads(printed)
    assert status == ExitStatus.ALL_POSED
    assert record["benchmark"] == "localize"
    assert record["complete"]
    assert all("no such folder" in row["reason"] for row in record["tables"][0]["rows"])
    assert record["options"]["settings"]["queries"] == 30
    assert json.loads((out / "bench_localize.json").read_text()) == record
    assert "tum_fr1_rpy" in (out / "bench_localize.md").read_text()


def test_quick_needs_few_queries_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "localize", "--suite", "real", "--data", str(tmp_path), "--quick", "--stride", "7", "--json"]
    assert main(command) == ExitStatus.ALL_POSED
    settings = json.loads(capsys.readouterr().out)["options"]["settings"]
    assert (settings["queries"], settings["stride"]) == (4, 7)


def test_kernel_times_are_a_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "kernel", "--runs", "1", "--widths", "160", "--strides", "8", "--threads", "1"]
    assert main([*command, "--json"]) == ExitStatus.ALL_POSED
    rows = json.loads(capsys.readouterr().out)["tables"][0]["rows"]
    assert [row["size"] for row in rows] == ["160 x 120"] * 4
    assert main(command) == ExitStatus.ALL_POSED
    printed = capsys.readouterr().out
    assert all(row["kernel"] in printed for row in rows)


def test_bad_sizes_are_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "kernel", "--widths", "100"]) == ExitStatus.BAD_INPUT
    assert "widths among" in capsys.readouterr().err
    assert main(["bench", "localize", "--queries", "0"]) == ExitStatus.BAD_INPUT


def test_an_interrupted_run_prints_what_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(bench: Bench) -> None:
        bench.add([Table("half", "Half a table", (Column("name", "name"),), ({"name": "first row"},))])
        raise KeyboardInterrupt

    monkeypatch.setitem(suites.SUITES, "rooms", interrupted)
    status = main(["bench", "localize", "--suite", "rooms", "--out", str(tmp_path)])
    captured = capsys.readouterr()
    assert status == ExitStatus.INTERRUPTED
    assert "first row" in captured.out
    assert "interrupted" in captured.err
    assert not json.loads((tmp_path / "bench_localize.json").read_text())["complete"]


def test_a_long_run_saves_each_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(bench: Bench) -> None:
        bench.add([Table("half", "Half a table", (Column("name", "name"),), ({"name": "first row"},))])
        raise RuntimeError("a bug")

    monkeypatch.setitem(suites.SUITES, "rooms", broken)
    with pytest.raises(RuntimeError):
        main(["bench", "localize", "--suite", "rooms", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "bench_localize.json").read_text())
    assert [table["name"] for table in record["tables"]] == ["half"]
    assert not record["complete"]


def test_help_names_both_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == ExitStatus.ALL_POSED
    printed = capsys.readouterr().out
    assert "localize" in printed
    assert "kernel" in printed


@pytest.mark.slow
def test_a_real_clip(data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--sequences", "desk9", "--methods", "identity", "constant"]
    command = ["bench", "localize", "--suite", "real", "--data", str(data_root), *names, "--json"]
    assert main(command) == ExitStatus.ALL_POSED
    tables = {table["name"]: table["rows"] for table in json.loads(capsys.readouterr().out)["tables"]}
    step = {row["method"]: row for row in tables["real/tum_fr1_desk9/step"]}
    # The camera moves by 13.6 mm and 1.28 degrees between frames (median over the clip's ground truth file).
    assert step["identity"]["median_translation_mm"] == pytest.approx(13.6, abs=0.5)
    assert step["identity"]["median_rotation_deg"] == pytest.approx(1.28, abs=0.05)
