from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from posesplat.cli.main import main
from posesplat.datasets.samples import SAMPLE_NAMES
from posesplat.evaluate.protocols.held_out import HeldOut, answered_trajectory
from posesplat.gaussians.splat_map import SplatMap
from posesplat.io.formats import read_trajectory

RIVALS = {"GICP", "point-to-plane ICP", "identity", "constant velocity"}
OURS = "ours: colour + depth"


def checked(out: Path, clips: tuple[str, ...]) -> dict[str, dict[str, dict]]:
    """The rows of every clip's table by method, after a look at all files."""
    record = json.loads((out / "result.json").read_text())
    assert record["command"] == "demo"
    assert [clip["name"] for clip in record["clips"]] == list(clips)
    for name in record["files"]:
        assert (out / name).is_file()
    page = (out / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    picture = cv2.imread(str(out / "overview.png"))
    assert picture.shape[1] > 1000
    assert (out / "overview.png").stat().st_size < 300_000
    tables = {}
    for clip in record["clips"]:
        rows = {row["method"]: row for row in clip["methods"]}
        assert rows.keys() > RIVALS
        assert any(name.startswith("GSplatLoc") for name in rows)
        assert all(name in page for name in rows)
        scene = SplatMap.load(out / clip["name"] / "map.ply")
        assert len(scene.gaussians) == clip["gaussians"]
        found = read_trajectory(out / clip["name"] / "result.json")
        assert not {view.name for view in scene.views} & set(found.names)
        assert [answer["name"] for answer in rows[OURS]["answers"]] == list(found.names)
        tables[clip["name"]] = rows
    return tables


def test_the_quick_demo_writes_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--quick", "--out", str(out)]) == 0
    rows = checked(out, SAMPLE_NAMES[:1])[SAMPLE_NAMES[0]]
    assert rows[OURS]["median_translation_mm"] < 0.5 * rows["identity"]["median_translation_mm"]
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows)
    assert "report.html" in printed


@pytest.mark.slow
def test_the_demo_beats_the_published_method_and_standing_still(tmp_path: Path) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    for rows in checked(tmp_path / "demo", SAMPLE_NAMES).values():
        published = next(row for name, row in rows.items() if name.startswith("GSplatLoc"))
        for rival in (rows["identity"], published):
            for key in ("median_translation_mm", "rms_translation_mm", "median_rotation_deg", "rms_rotation_deg"):
                assert rows[OURS][key] < rival[key]


def test_held_out_frames_are_not_in_the_map() -> None:
    from posesplat.datasets.samples import sample_sequence

    frames = sample_sequence(SAMPLE_NAMES[1])
    held_out = HeldOut.split(frames, map_every=2, most_queries=4)
    assert held_out.map_indices == tuple(range(0, 16, 2))
    assert len(held_out.query_indices) == 4
    assert not set(held_out.map_indices) & set(held_out.query_indices)
    poses = frames.cam_from_world
    assert poses is not None
    for index, query in held_out.queries():
        assert min(np.linalg.norm((query.start * poses[k].inv()).translation) for k in held_out.map_indices) < 1e-12
        assert query.true is poses[index]
        assert query.history == (poses[index - 2], poses[index - 1])
    assert HeldOut.split(frames[:3], map_every=2).query_indices == (1,)
    with pytest.raises(ValueError, match="must be left"):
        HeldOut.split(frames, map_every=1)
    assert len(answered_trajectory([], "none")[0]) == 0


@pytest.mark.parametrize("options", [("--frames", "0"), ("--gsplatloc-steps", "1"), ("--out", "{file}")])
def test_wrong_options_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["demo", *(part.format(file=tmp_path / "file") for part in options)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
