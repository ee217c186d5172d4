"""Training: from clips that have no poses, the same after an interruption, and never half a file."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from small_networks import FORMS, SMALL, ShiftedWalls, network, patch

from posesplat.learned.clips import Batch, Clip, GapSchedule, SamplingOptions, draw_batch
from posesplat.learned.config import NetworkConfig
from posesplat.learned.network import SplatNetwork
from posesplat.learned.training import SplatTraining, TrainingOptions, train

SAMPLING = SamplingOptions(batch=2, max_context=2, gaps=GapSchedule(2, 2, 4, 0.5))
OPTIONS = TrainingOptions(steps=6, warm_up=2, save_every=3, picture_every=3, log_every=1, sampling=SAMPLING)


def run(
    folder: Path, options: TrainingOptions, config: NetworkConfig = SMALL, resume: Path | None = None
) -> dict[int, float]:
    """Loss by step."""
    train(
        ShiftedWalls(side=2 * patch(config)),
        config,
        options,
        folder,
        resume=resume,
        accelerator="cpu",
        progress_bar=False,
    )
    with (folder / "logs" / "metrics.csv").open() as file:
        return {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file)}


def test_training_resumed_in_the_middle_has_the_loss_curve_of_one_that_was_not(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", OPTIONS)
    assert sorted(whole) == list(range(6))
    # Stopped as by a kill after step 3: the schedule is that of six steps, the file that of step 3.
    from posesplat.learned import training

    class Stopped(Exception):
        pass

    class Breaks(training.WholeCheckpoints):
        def _save(self, trainer: object) -> None:
            super()._save(trainer)
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "WholeCheckpoints", Breaks)
        with pytest.raises(Stopped):
            train(ShiftedWalls(), SMALL, OPTIONS, tmp_path / "cut", accelerator="cpu", progress_bar=False)
    rest = run(tmp_path / "rest", OPTIONS, resume=tmp_path / "cut" / "last.ckpt")
    assert sorted(rest) == [3, 4, 5]
    assert [rest[step] for step in rest] == pytest.approx([whole[step] for step in rest], rel=1e-6)
    assert sorted(path.name for path in (tmp_path / "whole" / "pictures").iterdir()) == ["0000003.png", "0000006.png"]


@pytest.mark.slow
def test_training_killed_at_any_time_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_training_run import *\n"
        f"run(Path({str(tmp_path)!r}), replace(OPTIONS, steps=10_000, save_every=1, picture_every=0))\n"
    )

    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "last.ckpt"
    limit = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    time.sleep(0.33)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    assert state["global_step"] >= 1
    assert any(name.startswith("network.") for name in state["state_dict"])


def test_nothing_that_training_is_given_can_hold_a_pose(tmp_path: Path) -> None:
    """Clips are pictures and lenses; a batch is pictures, lenses and a number: there is no place for a pose."""
    assert {field.name for field in fields(Clip)} == {"images", "intrinsics"}
    assert {field.name for field in fields(Batch)} == {"images", "intrinsics", "context"}
    assert set(vars(ShiftedWalls()[0])) == {"images", "intrinsics"}
    found = run(tmp_path, replace(OPTIONS, steps=40, learning_rate=3e-3, picture_every=0, save_every=40))
    assert sum(found[step] for step in range(36, 40)) < 0.8 * sum(found[step] for step in range(4))


@pytest.mark.parametrize("name", list(FORMS)[1:])
def test_published_networks_train_too(name: str, tmp_path: Path) -> None:
    """Against the same batches without learning, since batches differ more than a few steps change."""
    options = replace(OPTIONS, steps=14, picture_every=0, save_every=14)
    late = range(10, 14)
    still = run(tmp_path / "still", replace(options, learning_rate=0.0), FORMS[name])
    found = run(tmp_path / "learning", replace(options, learning_rate=5e-3), FORMS[name])
    assert all(torch.isfinite(torch.tensor(list(found.values()))))
    assert sum(found[step] for step in late) < 0.95 * sum(still[step] for step in late)


def test_training_goes_on_from_the_weights_of_a_network(tmp_path: Path) -> None:
    """A network given in place of its form is trained itself: a rate of almost nothing leaves it as it was."""
    start = network(SMALL)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    options = replace(OPTIONS, steps=1, learning_rate=1e-12, picture_every=0, save_every=1)
    trained = train(ShiftedWalls(), start, options, tmp_path, accelerator="cpu", progress_bar=False).network
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.slow
def test_two_devices_train_as_one_on_all_their_batches(tmp_path: Path) -> None:
    """Two processes with a batch of one each end with the weights of one that averages their gradients."""
    code = (
        "import sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_training_run import *\n"
        "one = replace(OPTIONS, steps=2, warm_up=1, clip_norm=1e6, sampling=replace(SAMPLING, batch=1),\n"
        "              weights=replace(OPTIONS.weights, warp=0.0))\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "train(ShiftedWalls(), SMALL, one, folder, accelerator='cpu', devices=2, progress_bar=False)\n"
    )
    script = tmp_path / "two.py"
    script.write_text(code)
    subprocess.run([sys.executable, str(script)], check=True, timeout=300, capture_output=True)
    found = torch.load(tmp_path / "last.ckpt", map_location="cpu", weights_only=True)["state_dict"]

    torch.manual_seed(OPTIONS.seed)
    alone = SplatTraining(SplatNetwork(SMALL).train(), OPTIONS)
    optimizer = alone.configure_optimizers()
    sampling, weights = replace(SAMPLING, batch=1), asdict(replace(OPTIONS.weights, warp=0.0))
    for step in range(2):
        alone.progress = step / 2
        rate = OPTIONS.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * step / 2)))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        for device in range(2):
            losses = alone.losses(draw_batch(ShiftedWalls(), sampling, 2 * step + device, step / 2))
            (0.5 * torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()).backward()
        optimizer.step()
    for name, value in alone.network.state_dict().items():
        torch.testing.assert_close(found[f"network.{name}"], value, rtol=1e-3, atol=2e-5, msg=name)
