"""Dense prediction from tokens of several levels: one value vector for every pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

_FACTORS = (4.0, 2.0, 1.0, 0.5)


class ResidualUnit(nn.Module):
    """Two convolutions with a way around, each after an activation.

    The way around begins before the first activation or, as in VGGT, after it.
    """

    def __init__(
        self, features: int, activation: Callable[[Tensor], Tensor] = nn.functional.gelu, around_activated: bool = False
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)
        self.activation, self.around_activated = activation, around_activated

    def forward(self, grid: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The grid plus what the convolutions add."""
        active = self.activation(grid)
        return (active if self.around_activated else grid) + self.second(self.activation(self.first(active)))


class DenseHead(nn.Module):
    """Tokens of four levels, brought to four resolutions and fused from coarse to fine, with the image at the end.

    Source: Ranftl et al., Vision transformers for dense prediction, arXiv 2103.13413; the image joins as in SPFSplat.
    """

    def __init__(self, widths: Sequence[int], features: int, image_channels: int, out_channels: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(width, features, 1) for width in widths)
        self.refine = nn.ModuleList(ResidualUnit(features) for _ in widths)
        self.image = nn.Conv2d(image_channels, features, 3, padding=1)
        self.mix = nn.Conv2d(features, features, 3, padding=1)
        self.out = nn.Conv2d(features, out_channels, 1)

    def forward(
        self, levels: Sequence[Float[Tensor, "b n _"]], rows: int, columns: int, image: Float[Tensor, "b k h w"]
    ) -> Float[Tensor, "b o h w"]:
        """Values at the pixels of ``image`` from four levels of tokens, fine first.

        Args:
            levels: tokens, row by row.
            rows: of tokens.
            columns: of tokens.
            image: per-pixel channels that join at full resolution.
        """
        grids = []
        for tokens, project, factor in zip(levels, self.project, _FACTORS, strict=True):
            grid = project(tokens.transpose(1, 2).unflatten(2, (rows, columns)))
            size = (max(1, round(rows * factor)), max(1, round(columns * factor)))
            grids.append(_resized(grid, (size[0], size[1])))
        fused = self.refine[-1](grids[-1])
        for grid, refine in zip(grids[-2::-1], list(self.refine)[-2::-1], strict=True):
            fused = refine(grid + _resized(fused, (grid.shape[2], grid.shape[3])))
        fused = _resized(fused, (image.shape[2], image.shape[3])) + self.image(image)
        return self.out(nn.functional.gelu(fused + self.mix(nn.functional.gelu(fused))))


def _resized(grid: Float[Tensor, "b c _ _"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    if (grid.shape[2], grid.shape[3]) == size:
        return grid
    found: Tensor = torch.nn.functional.interpolate(grid, size=size, mode="bilinear", align_corners=False)
    return found
