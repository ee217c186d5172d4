"""posesplat bridge: the output folder is the contract, exit statuses, and money."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from posesplat.cli.main import main
from posesplat.evaluate.protocols.bridge_rooms import BridgeCase, room_case
from posesplat.evaluate.protocols.bridge_trials import pose_error
from posesplat.geometry.cameras import Camera
from posesplat.io.formats import read_trajectory


@pytest.fixture(scope="module")
def case() -> BridgeCase:
    return room_case(4, "50-65", width=224, frames=5, kinds=("true", "object"))


@pytest.fixture(scope="module")
def folder(case: BridgeCase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A.png, B.png and clips/ with two clips, the second one backwards."""
    root = tmp_path_factory.mktemp("bridge")
    for name, image in (("A", case.a.image), ("B", case.b.image)):
        cv2.imwrite(str(root / f"{name}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    for name, clip in (("one", case.clips[0]), ("two_ba", case.clips[1][::-1])):
        (root / "clips" / name).mkdir(parents=True)
        for index, image in enumerate(clip):
            cv2.imwrite(str(root / "clips" / name / f"{index}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return root


def arguments(case: BridgeCase, folder: Path, out: Path, *more: str) -> list[str]:
    camera = case.a.camera
    numbers = ",".join(repr(x) for x in (camera.fx, camera.fy, camera.cx, camera.cy))
    ends = [str(folder / "A.png"), str(folder / "B.png")]
    rest = ["--camera", numbers, "--cache", str(folder / "cache"), "--out", str(out)]
    return ["bridge", *ends, *rest, "--subsets", "2", "--workers", "1", *more]


def test_the_output_folder_is_the_contract(
    case: BridgeCase, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run = arguments(case, folder, out, "--inbetween", str(folder / "clips"), "--json")
    assert main(run) == 0
    record = json.loads((out / "result.json").read_text())
    assert json.loads(capsys.readouterr().out) == record
    assert set(record["files"]) == {
        "trajectory.txt",
        "result.json",
        "report.html",
        "seen/000000.jpg",
        "seen/000001.jpg",
    }
    bridged = record["bridge"]
    pose = np.array(bridged["b_from_a"])
    assert np.allclose(pose, record["frames"][1]["cam_from_world"])
    turn = (np.trace(pose[:3, :3] @ case.b_from_a.rotation.as_matrix().T) - 1) / 2
    assert np.degrees(np.arccos(np.clip(turn, -1, 1))) < 8.0
    assert bridged["probability_within_15_deg"] > 0.5
    assert [clip["frames"] for clip in bridged["clips"]] == [5, 5]
    assert len(bridged["hypotheses"]) == 5 and bridged["hypotheses"][-1]["source"] == "the pair alone"
    written = read_trajectory(out / "trajectory.txt")
    assert pose_error(written[1].cam_from_world, case.b_from_a)[0] < 8.0
    page = (out / "report.html").read_text()
    for words in ("Hypotheses on the sphere", "D_total", "clip 1: stored clip 1", "the pair alone", "<svg"):
        assert words in page
    assert 'src="http' not in page and 'href="http' not in page


def test_both_cameras_and_the_matcher_are_used(
    case: BridgeCase, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """B is half as large and has its own camera; the pair alone rests on the matches of a file."""
    other = case.b.camera.resized(112, 84)
    image = cv2.resize(cv2.imread(str(folder / "B.png")), (112, 84), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "B.png"), image)
    rows = np.random.default_rng(0).uniform(1, 80, size=(20, 4))
    np.savetxt(tmp_path / "matches.txt", rows)
    run = arguments(case, folder, tmp_path / "out", "--inbetween", str(folder / "clips"), "--json", "--no-report")
    run[2] = str(tmp_path / "B.png")
    camera_b = ",".join(repr(x) for x in (other.fx, other.fy, other.cx, other.cy))
    run += ["--camera-b", camera_b, "--matcher", f"file:{tmp_path / 'matches.txt'}", "--min-probability", "0"]
    assert main([*run, "--subsets", "1"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["bridge"]["matcher"] == "file matches.txt"
    assert record["bridge"]["focal_px"] == pytest.approx([case.a.camera.fx, other.fx])
    pose = np.array(record["bridge"]["b_from_a"])
    turn = (np.trace(pose[:3, :3] @ case.b_from_a.rotation.as_matrix().T) - 1) / 2
    assert np.degrees(np.arccos(np.clip(turn, -1, 1))) < 12.0


def test_stored_clips_may_have_their_own_camera(case: BridgeCase, folder: Path) -> None:
    from posesplat.cli.bridge import Options, _clip_camera
    from posesplat.providers.inbetween.open import open_inbetween

    options = Options(folder / "A.png", folder / "B.png", folder / "out", camera_clips="200,201,100,80")
    found = _clip_camera(options, open_inbetween(str(folder / "clips")))
    assert found == Camera(200.0, 201.0, 100.0, 80.0, 224, 168)


def test_what_cannot_be_posed_has_exit_status_4(
    case: BridgeCase, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = arguments(case, folder, tmp_path / "out", "--inbetween", str(folder / "clips"), "--no-report")
    run += ["--min-probability", "0.9999"]
    assert main(run) == 4
    assert "do not agree" in " ".join(capsys.readouterr().out.split())
    frames = json.loads((tmp_path / "out" / "result.json").read_text())["frames"]
    assert not frames[1]["success"] and frames[1]["cam_from_world"] is None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--inbetween", "nowhere"), "--inbetween must be one of"),
        (("--estimator", "magic"), "--estimator must be one of"),
        (("--inbetween", "luma"), "--image-urls"),
        (("--images", "2"), "--images must be at least 3"),
        (("--camera-clips", "9,9,9,9"), "--camera-clips is for a folder of clips"),
    ],
)
def test_bad_input_is_told_in_one_line(
    case: BridgeCase,
    folder: Path,
    tmp_path: Path,
    more: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments(case, folder, tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_services_are_not_paid_without_consent(
    case: BridgeCase,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("httpx")
    monkeypatch.setenv("RUNWAYML_API_SECRET", "key-that-nobody-may-see")
    monkeypatch.setenv("RUNWAYML_BASE_URL", "http://127.0.0.1:9")
    assert main(arguments(case, folder, tmp_path / "out", "--inbetween", "runway")) == 2
    error = capsys.readouterr().err
    assert "4 clips of runway cost about 1.00 US dollars" in error and "--max-cost-usd" in error
    assert "key-that-nobody" not in error
