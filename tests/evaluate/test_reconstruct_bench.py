"""The bench of reconstruct: a truth is scored as one, and a small run gives a whole table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from posesplat.cli.main import main
from posesplat.evaluate.protocols.reconstruct_suites import OURS, _row


def test_errors_become_the_published_numbers() -> None:
    # SuperGlue's pose_auc by hand: one of two errors at 2.5 deg gives half of (1 - 2.5 / 10 / 2) below 10 deg.
    row = _row("x", np.array([[2.5, 1.0], [180.0, 90.0]]), 3.0)
    assert row["auc_10"] == pytest.approx(0.5 * (1.0 - 0.25 / 2))
    assert row["posed"] == 0.5 and row["gross"] == 0.0 and row["ms"] == 1500.0


def test_a_small_run_gives_a_whole_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "reconstruct", "--suite", "rooms", "--pairs", "1", "--out", str(tmp_path), "--json"]
    assert main(command) == 0
    record = json.loads(capsys.readouterr().out)
    rows = {row["method"]: row for row in record["tables"][0]["rows"]}
    assert record["complete"] and {
        OURS,
        "identity",
        "SIFT, five points (PoseLib)",
        "SIFT, five points (COLMAP)",
        "network: refined",
    } <= set(rows)
    assert rows["identity"]["rotation_deg"] > 1.0
    assert (tmp_path / "bench_reconstruct.md").is_file()


def test_photos_need_data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("POSESPLAT_DATA", raising=False)
    assert main(["bench", "reconstruct", "--suite", "photos"]) == 2
    assert "needs --data or POSESPLAT_DATA" in capsys.readouterr().err
