"""The paper's data sets as cases: pairs of the right angles, or those of a list, and what is missing is told."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.samples import MissingData
from posesplat.evaluate.protocols import bridge_suites
from posesplat.evaluate.protocols.bridge_lists import LISTS, listed_cases
from posesplat.evaluate.protocols.bridge_suites import BridgeSettings, run_bridge_suites
from posesplat.evaluate.protocols.report import Report

STEP_DEG = 12.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """NAVI with one scene: nine views, each turned 12 degrees further, all pictures different."""
    scene = tmp_path / "navi" / "thing" / "multiview-00-phone"
    (scene / "images").mkdir(parents=True)
    rng, rows = np.random.default_rng(0), []
    for number in range(9):
        image = rng.integers(0, 255, size=(12, 16, 3)).astype(np.uint8)
        cv2.imwrite(str(scene / "images" / f"{number:03d}.jpg"), cv2.resize(image, (64, 48)))
        turn = Rotation.from_euler("y", STEP_DEG * number, degrees=True)
        camera = {"q": turn.as_quat(scalar_first=True).tolist(), "t": [0.0, 0.0, 300.0], "focal_length": 50.0}
        rows.append({"camera": camera, "filename": f"{number:03d}.jpg", "image_size": [48, 64]})
    (scene / "annotations.json").write_text(json.dumps(rows))
    return tmp_path


def test_pairs_that_are_drawn_turn_as_in_the_paper(root: Path) -> None:
    cases = [make() for make in listed_cases("navi", root, 3, 0)]
    for case in cases:
        assert case is not None
        turn = np.degrees(case.b_from_a.rotation.magnitude())
        assert 50.0 < turn < 90.0 and turn / STEP_DEG == pytest.approx(round(turn / STEP_DEG))
        assert case.name.startswith("navi thing/multiview-00-phone 00")
        assert len(case.clips) == 4 and all(len(clip) >= 2 for clip in case.clips)
        # Objects turn before a camera at rest: points at the centre stay there.
        assert np.allclose(case.b_from_a.apply([0.0, 0.0, 300.0]), [0.0, 0.0, 300.0])
    again = [make() for make in listed_cases("navi", root, 3, 0)]
    assert [case.name for case in again if case] == [case.name for case in cases if case]


def test_a_list_wins_and_pairs_without_photographs_between_are_left_out(root: Path) -> None:
    place = "thing/multiview-00-phone/images"
    (root / "navi" / "pairs.txt").write_text(
        f"{place}/000.jpg {place}/008.jpg\n{place}/003.jpg {place}/004.jpg\n{place}/007.jpg {place}/001.jpg\n"
    )
    found = [make() for make in listed_cases("navi", root, 10, 0)]
    assert [None if case is None else case.name.split()[-2] for case in found] == ["000-008", None, "007-001"]
    case = found[0]
    true = RigidTransform.from_components([0.0, 0.0, 300.0], Rotation.from_euler("y", 8 * STEP_DEG, degrees=True))
    assert case is not None
    assert np.allclose(
        case.b_from_a.as_matrix(), (true * RigidTransform.from_translation([0.0, 0.0, 300.0]).inv()).as_matrix()
    )


def test_sets_that_are_missing_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingData, match="scannet"):
        listed_cases("scannet", root, 1, 0)
    monkeypatch.setattr(bridge_suites, "run_trial", lambda case, options: case)
    monkeypatch.setattr(bridge_suites, "_table", lambda name, found: bridge_suites.skipped(name, name, [(name, "")]))
    report = Report("bridge", {})
    run_bridge_suites(BridgeSettings(root, photo_pairs=1), report, ["lists"], lambda *_: None, lambda: None)
    assert [table.name for table in report.tables] == ["bridge lists navi", "bridge lists all", "bridge lists skipped"]
    assert {row["name"] if "name" in row else next(iter(row.values())) for row in report.tables[-1].rows} == (
        set(LISTS) - {"navi"}
    )
