"""``posesplat train`` from a folder of images to weights that load, and what it refuses."""

from __future__ import annotations

import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from posesplat.cli.main import main
from posesplat.learned.training import WholeCheckpoints
from posesplat.learned.weights import load_network


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five pictures of one wall, each a little to the right of the one before; nothing says where they were taken."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(0, 256, (10, 20, 3), dtype=np.uint8), (160, 80), interpolation=cv2.INTER_NEAREST)
    folder = tmp_path / "data" / "wall"
    folder.mkdir(parents=True)
    for index in range(5):
        cv2.imwrite(str(folder / f"{index}.png"), wall[:64, 6 * index : 6 * index + 64])
    return folder.parent


def test_a_folder_of_images_without_poses_becomes_weights(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["train", str(pictures), "--out", str(out), "--width", "32", "--height", "32", "--batch", "1"]
    command += ["--workers", "0", "--evaluate", "0", "--max-context", "2"]
    assert main([*command, "--steps", "1"]) == 0
    first = load_network(out / "weights.safetensors")
    assert (out / "last.ckpt").is_file()
    assert main([*command, "--steps", "2", "--resume"]) == 0
    second = load_network(out / "weights.safetensors")
    assert torch.load(out / "last.ckpt", map_location="cpu", weights_only=True)["global_step"] == 2
    assert not torch.equal(first.match_embed.weight, second.match_embed.weight)
    command[3] = str(tmp_path / "further")
    command += ["--start", str(out / "weights.safetensors"), "--steps", "1", "--learning-rate", "1e-12"]
    assert main(command) == 0
    further = load_network(tmp_path / "further" / "weights.safetensors")
    torch.testing.assert_close(further.match_embed.weight, second.match_embed.weight)


def test_an_interrupted_training_goes_on_later(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["train", str(pictures), "--out", str(out), "--width", "32", "--height", "32", "--batch", "1"]
    command += ["--workers", "0", "--evaluate", "0", "--max-context", "2", "--steps", "1000"]
    listening = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(
        WholeCheckpoints, "on_train_batch_end", lambda *_: signal.raise_signal(signal.SIGINT), raising=True
    )
    assert main(command) == 130
    assert f"interrupted; {out / 'last.ckpt'} holds what was trained; --resume goes on" in capsys.readouterr().err
    assert torch.load(out / "last.ckpt", map_location="cpu", weights_only=True)["global_step"] == 1
    assert signal.getsignal(signal.SIGINT) is listening
    assert not list(out.rglob(".*"))


def test_what_cannot_be_trained_is_refused(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["train", str(pictures), "--out", out, "--width", "30"]) != 0
    assert "multiples of 8 pixels; got 30" in capsys.readouterr().err
    assert main(["train", str(pictures), "--out", out, "--resume"]) != 0
    assert "Leave --resume out" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none"), "--out", out]) != 0
    assert "Expected a folder of training data" in capsys.readouterr().err
