from __future__ import annotations

import json
from pathlib import Path

import pytest

from posesplat.cli.exit_status import ExitStatus
from posesplat.cli.main import main
from posesplat.evaluate.protocols import track_suites
from posesplat.evaluate.protocols.report import Column, Table
from posesplat.evaluate.protocols.track_settings import TrackBench


def test_a_quick_run_makes_tables_files_and_a_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "track", "--suite", "rooms", "--quick", "--frames", "3", "--width", "80"]
    places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    assert main([*command, *places, "--methods", "static", "constant", "--json"]) == ExitStatus.ALL_POSED
    record = json.loads(capsys.readouterr().out)
    assert record["benchmark"] == "track" and record["complete"]
    assert record["options"]["settings"]["clips"] == 1 and record["options"]["settings"]["slow_clips"] == 0
    tables = {table["name"]: table["rows"] for table in record["tables"]}
    assert {"rooms/tremor", "rooms/conditions"} <= set(tables)
    assert {row["method"] for row in tables["rooms/tremor"]} == {"static camera", "constant velocity (told 2 frames)"}
    assert json.loads((tmp_path / "out" / "bench_track.json").read_text()) == record
    assert "rolling shutter" in (tmp_path / "out" / "bench_track.md").read_text()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    # 6 amounts of tremor and 9 conditions, of which the plain one is an amount of tremor too.
    assert len(kept) == 14
    assert main([*command, *places, "--methods", "static"]) == ExitStatus.ALL_POSED
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == kept
    assert "static camera" in capsys.readouterr().out


def test_an_interrupted_run_prints_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(bench: TrackBench) -> None:
        bench.add([Table("half", "Half a table", (Column("name", "name"),), ({"name": "first row"},))])
        raise KeyboardInterrupt

    monkeypatch.setitem(track_suites.SUITES, "still", interrupted)
    assert main(["bench", "track", "--suite", "still"]) == ExitStatus.INTERRUPTED
    assert "first row" in capsys.readouterr().out


def test_missing_data_and_bad_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "track", "--suite", "real", "--data", str(tmp_path), "--json"]) == ExitStatus.ALL_POSED
    rows = json.loads(capsys.readouterr().out)["tables"][0]["rows"]
    assert {row["skipped"] for row in rows} >= {"tum_fr1_desk9", "euroc_v101_micro", "still windows"}
    assert main(["bench", "track", "--clips", "0"]) == ExitStatus.BAD_INPUT
    assert "--clips must be at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_camera_that_stood_still_is_seen_to(data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--sequences", "euroc", "--methods", "posesplat", "--pycolmap-clips", "0"]
    command = ["bench", "track", "--suite", "real", "--data", str(data_root), *names, "--json"]
    assert main(command) == ExitStatus.ALL_POSED
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)["tables"][0]["rows"]}
    assert rows["posesplat track"]["verdicts"] == "1 unobservable"
