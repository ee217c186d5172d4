"""What runs on CUDA gives what the CPU gives: rasteriser, gradients, network, a training. Needs a GPU and gsplat."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from small_networks import PUBLISHED, SMALL, ShiftedWalls, network, views
from test_rasterise import HEIGHT, NAMES, WIDTH, along_rigid_motions, objective, scene

from posesplat.learned.clips import GapSchedule, SamplingOptions
from posesplat.learned.config import NetworkConfig
from posesplat.learned.rasterise import rasterise
from posesplat.learned.training import TrainingOptions, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def on_cuda(parts: list[torch.Tensor]) -> list[torch.Tensor]:
    return [part.detach().cuda().requires_grad_(part.requires_grad) for part in parts]


def test_gsplat_draws_and_differentiates_as_the_kernels_do() -> None:
    pytest.importorskip("gsplat", reason="needs gsplat: pip install 'posesplat[cuda]'")
    ours = scene(torch.float32)
    theirs = on_cuda(ours)
    drawn = rasterise(*ours, WIDTH, HEIGHT, backend="kernels")
    twin = rasterise(*theirs, WIDTH, HEIGHT, backend="gsplat")
    for name in ("channels", "depth", "alpha"):
        assert (getattr(drawn, name) - getattr(twin, name).cpu()).abs().max() < 1e-3, name
    objective(ours, "kernels").backward()
    g = torch.Generator().manual_seed(9)
    weights = torch.randn(1, 2, HEIGHT, WIDTH, 5, generator=g).cuda()
    (torch.cat([twin.channels, twin.depth[..., None], twin.alpha[..., None]], dim=-1) * weights).sum().backward()
    for name, mine, other in zip(NAMES, ours, theirs, strict=False):
        found, expected = mine.grad, other.grad.cpu()
        if name == "pose":
            found, expected = (along_rigid_motions(by, mine.detach()) for by in (found, expected))
        assert (found - expected).norm() < 1e-3 * expected.norm(), name


@pytest.mark.parametrize("config", [SMALL, PUBLISHED], ids=["small", "published"])
def test_the_network_says_the_same_on_both(config: NetworkConfig) -> None:
    images, lenses = views(3)
    net = network(config)
    with torch.no_grad():
        here = net(images, 3, lenses)
        there = net.cuda()(images.cuda(), 3, lenses.cuda())
    for name in ("head_cam_from_first", "raw_points"):
        gap = (getattr(here, name) - getattr(there, name).cpu()).abs().max()
        assert gap < 2e-3, name


def test_a_training_on_cuda_brings_the_loss_down(tmp_path: Path) -> None:
    pytest.importorskip("gsplat", reason="needs gsplat: pip install 'posesplat[cuda]'")
    sampling = SamplingOptions(batch=4, max_context=2, gaps=GapSchedule(2, 2, 4, 0.5))
    options = TrainingOptions(
        steps=60, warm_up=5, learning_rate=2e-3, save_every=60, picture_every=0, log_every=1, sampling=sampling
    )
    train(ShiftedWalls(), SMALL, options, tmp_path, accelerator="cuda", progress_bar=False)
    with (tmp_path / "logs" / "metrics.csv").open() as file:
        loss = [float(row["loss"]) for row in csv.DictReader(file)]
    assert sum(loss[-10:]) < 0.8 * sum(loss[:10])
