"""The bench of reconstruct: a truth is scored as one, and a small run gives a whole table."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from posesplat.cli.main import main
from posesplat.datasets.rooms.clips import room_clip
from posesplat.evaluate.protocols import reconstruct_suites
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


def test_a_published_list_is_posed_and_its_targets_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One scene in the layout of RealEstate10K, of exact pictures: the pose is found, the target drawn better than by
    the first view as it is, and the sets that are missing are named.
    """
    clip = room_clip(5_000_031, 5, 128, 128)
    folder = tmp_path / "re10k_test"
    folder.mkdir()
    lens = clip.camera.resized(1, 1)
    cameras = [
        [lens.fx, lens.fy, lens.cx, lens.cy, 0.0, 0.0, *pose.as_matrix()[:3].ravel()] for pose in clip.cam_from_world
    ]
    coded = [cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1] for image in clip.images]
    scene = {"key": "room", "url": "", "timestamps": torch.arange(5), "cameras": torch.tensor(cameras)}
    torch.save([{**scene, "images": [torch.from_numpy(each.copy()) for each in coded]}], folder / "000000.torch")
    (folder / "index.json").write_text(json.dumps({"room": "000000.torch"}))
    index = {"room": {"context": [0, 3], "target": [1], "overlap": 0.4}}
    (folder / "evaluation_index_re10k.json").write_text(json.dumps(index))
    assert main(["bench", "reconstruct", "--suite", "lists", "--data", str(tmp_path), "--json"]) == 0
    tables = {table["name"]: table for table in json.loads(capsys.readouterr().out)["tables"]}
    posed = {row["method"]: row for row in tables["lists/re10k_test/medium"]["rows"]}
    assert posed[OURS]["auc_5"] > 0.6 > posed["identity"]["auc_5"]
    drawn = {row["method"]: row["psnr_db"] for row in tables["lists/re10k_test/medium/views"]["rows"]}
    assert drawn["reconstruct"] > drawn["first view, unmoved"] + 3.0
    missing = " ".join(str(row) for row in tables["lists/skipped"]["rows"])
    assert "acid_test" in missing and "dl3dv_test" in missing


def test_real_pairs_are_scored_with_the_honesty_of_their_covariance(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("POSESPLAT_DATA", raising=False)
    monkeypatch.setattr(reconstruct_suites, "PAIR_SETS", (("icl_livingroom1", (0,), (12,)), ("fox50", (0,), (1,))))
    assert main(["bench", "reconstruct", "--suite", "pairs", "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    rows = {row["method"]: row for row in table["rows"]}
    assert table["title"].startswith("1 pairs") and rows[OURS]["rotation_deg"] < 0.5 < rows["identity"]["rotation_deg"]
    assert any("held 1 of 1 rotations" in note for note in table["notes"])


@pytest.mark.slow
def test_the_ablation_trains_both_ways_from_one_start(capsys: pytest.CaptureFixture[str]) -> None:
    """One step of each: the head of free points is new, so that its Gaussians lie off their pixels."""
    assert main(["bench", "reconstruct", "--suite", "ablation", "--quick", "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    before, *after = table["rows"]
    assert [row["training"] for row in after] == ["1 steps with the reprojection loss", "1 steps without it"]
    assert before["off_px"] > 1.0 and all(np.isfinite(row["rotation_deg"]) for row in table["rows"])
    assert after[0]["off_px"] != after[1]["off_px"]
