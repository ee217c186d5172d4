"""The tile rasteriser that the kernels are compared with: plain compositing, only in pieces."""

from __future__ import annotations

import pytest
import torch

from posesplat.evaluate.protocols.rasteriser_process import CONTENDERS, pixel_aligned_scene, rendered
from posesplat.evaluate.protocols.rasteriser_speed import run_rasterisers
from posesplat.evaluate.protocols.report import Report
from posesplat.evaluate.tile_rasteriser import composite_tiles
from posesplat.learned.plain_rasteriser import composite_plain


def scene(dtype: torch.dtype = torch.float64, count: int = 60) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(4)
    parts = [
        torch.rand(count, 3, generator=g) * torch.tensor([2.4, 2.0, 1.5]) + torch.tensor([-1.2, -1.0, 1.5]),
        torch.randn(count, 4, generator=g),
        torch.rand(count, 3, generator=g) * 0.1 + 0.02,
        torch.rand(count, generator=g) * 0.98 + 0.01,
        torch.rand(count, 3, generator=g),
        torch.eye(4),
    ]
    lens = torch.tensor([[25.0, 0.0, 13.0], [0.0, 23.0, 11.0], [0.0, 0.0, 1.0]])
    return [*(part.to(dtype).requires_grad_() for part in parts), lens.to(dtype)]


@pytest.mark.parametrize("tile_px", [5, 16, 64])
def test_tiles_of_any_size_are_the_whole_picture_with_its_gradients(tile_px: int) -> None:
    whole, tiled = scene(), scene()
    expected = composite_plain(*whole, 27, 22)
    found = composite_tiles(*tiled, 27, 22, tile_px)
    g = torch.Generator().manual_seed(1)
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape and (one - other).abs().max() < 1e-12
        weights = torch.randn(one.shape, generator=g, dtype=one.dtype)
        (one * weights).sum().backward(retain_graph=True)
        (other * weights).sum().backward(retain_graph=True)
    for one, other in zip(whole[:6], tiled[:6], strict=True):
        assert one.grad.abs().max() > 0 and (one.grad - other.grad).norm() < 1e-9 * one.grad.norm()


def test_tiles_that_nothing_meets_are_black() -> None:
    parts = scene()
    parts[0] = (parts[0].detach() * 0.1 + torch.tensor([0.0, 0.0, 3.0])).requires_grad_()
    image, depth, alpha = composite_tiles(*parts, 64, 64)
    assert image[40:].abs().max() == 0 and depth[40:].max() == 0 and alpha[40:].max() == 0 and alpha.max() > 0


def test_both_rasterisers_draw_the_timed_scene_alike() -> None:
    parts = pixel_aligned_scene(48)
    assert len(parts[0]) == 2 * 48 * 48
    ours, rival = (rendered(contender, parts, 48) for contender in CONTENDERS)
    for one, other in zip(ours, rival, strict=True):
        assert (one - other).abs().mean() < 1e-4 * other.abs().mean()


def test_the_comparison_reports_time_memory_and_equal_gradients() -> None:
    report = Report("reconstruct", {})
    run_rasterisers(32, 1, report, lambda what, done, total: None)
    ours, rival = report.tables[0].rows
    assert ours["times_ours"] == 1.0 and rival["times_ours"] > 1.0
    assert ours["mean_gradient"] == pytest.approx(rival["mean_gradient"], rel=1e-2)
    assert min(row["peak_mb"] - row["loaded_mb"] for row in (ours, rival)) >= 0 and ours["loaded_mb"] > 50
