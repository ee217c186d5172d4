"""A perceptual difference from a file: it is what was saved, moves the loss, and anything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_networks import SMALL, ShiftedWalls, network

from posesplat.learned.clips import SamplingOptions, draw_batch
from posesplat.learned.perceptual import open_perceptual
from posesplat.learned.training import SplatTraining, TrainingOptions


class EdgeDifference(torch.nn.Module):
    """Mean squared difference of neighbouring pixels' differences, an image each."""

    def forward(self, drawn: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        edges = (drawn - seen)[..., 1:] - (drawn - seen)[..., :-1]
        return edges.square().mean(dim=(1, 2, 3))


class Brightness(torch.nn.Module):
    """No difference: equal images do not give 0."""

    def forward(self, drawn: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        return drawn.mean() + seen.mean()


def saved(module: torch.nn.Module, path: Path) -> Path:
    torch.export.save(torch.export.export(module, (torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32))), path)
    return path


def test_the_difference_is_that_of_the_file_and_enters_the_loss(tmp_path: Path) -> None:
    difference = open_perceptual(saved(EdgeDifference(), tmp_path / "edges.pt2"), 2, 32, 32)
    drawn, seen = torch.rand(2, 3, 32, 32, requires_grad=True), torch.rand(2, 3, 32, 32)
    found = difference(drawn, seen)
    assert float(found.detach()) == pytest.approx(float(EdgeDifference()(drawn, seen).mean().detach()), rel=1e-6)
    found.backward()
    assert drawn.grad is not None and float(drawn.grad.abs().sum()) > 0
    batch = draw_batch(ShiftedWalls(), SamplingOptions(batch=2), 0, 0.0)
    training = SplatTraining(network(SMALL), TrainingOptions(), difference)
    losses = training.losses(batch)
    assert float(losses["perceptual"].detach()) > 0
    assert not any("perceptual" in name for name in training.state_dict())


def test_anything_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No perceptual difference there"):
        open_perceptual(tmp_path / "none.pt2", 2, 32, 32)
    (tmp_path / "text.pt2").write_text("hello")
    with pytest.raises(ValueError, match="cannot be opened"):
        open_perceptual(tmp_path / "text.pt2", 2, 32, 32)
    with pytest.raises(ValueError, match="for equal images"):
        open_perceptual(saved(Brightness(), tmp_path / "brightness.pt2"), 2, 32, 32)
    with pytest.raises(ValueError, match="does not take 4 images of 64 x 48"):
        open_perceptual(saved(EdgeDifference(), tmp_path / "edges.pt2"), 4, 48, 64)
