"""Dense prediction transformer heads as the published networks have them: points, and the numbers of Gaussians."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posesplat.learned.config import NetworkConfig
from posesplat.learned.dense_head import ResidualUnit

_OPACITY, _REAL_PART = 0, 4
"""Channels of a Gaussian's opacity and of its quaternion's real part."""
_PLACE_BASE, _PLACE_WEIGHT = 100.0, 0.1
_LAST_FEATURES = 32


class FusionBlock(nn.Module):
    """A finer level joins a coarser one; the sum is refined and enlarged. The coarsest level joins none."""

    def __init__(self, features: int, joins: bool, around_activated: bool) -> None:
        super().__init__()
        relu = nn.functional.relu
        self.join = ResidualUnit(features, relu, around_activated) if joins else None
        self.refine = ResidualUnit(features, relu, around_activated)
        self.out = nn.Conv2d(features, features, 1)

    def forward(
        self,
        coarse: Float[Tensor, "b c h w"],
        fine: Float[Tensor, "b c h w"] | None = None,
        size: tuple[int, int] | None = None,
    ) -> Float[Tensor, "b c hh ww"]:
        """The fused grid, of twice the size or of the one that is given."""
        if self.join is not None and fine is not None:
            coarse = coarse + self.join(fine)
        return self.out(_enlarged(self.refine(coarse), size))


class DptTrunk(nn.Module):
    """Tokens of four levels at 4, 2, 1 and 1/2 times the grid of tokens, fused from coarse to fine.

    ``placed``: with normalised tokens and sinusoids of the places added, as in VGGT, arXiv 2503.11651; else as in
    DUSt3R, arXiv 2312.14132.

    Source: Ranftl et al., Vision transformers for dense prediction, arXiv 2103.13413.
    """

    def __init__(self, widths: Sequence[int], counts: Sequence[int], features: int, placed: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(widths[0]) if placed else None
        self.project = nn.ModuleList(nn.Conv2d(width, count, 1) for width, count in zip(widths, counts, strict=True))
        self.resize = nn.ModuleList(
            [
                nn.ConvTranspose2d(counts[0], counts[0], 4, 4),
                nn.ConvTranspose2d(counts[1], counts[1], 2, 2),
                nn.Identity(),
                nn.Conv2d(counts[3], counts[3], 3, 2, padding=1),
            ]
        )
        self.bring = nn.ModuleList(nn.Conv2d(count, features, 3, padding=1, bias=False) for count in counts)
        self.fuse = nn.ModuleList(FusionBlock(features, level < 3, around_activated=placed) for level in range(4))

    def forward(self, levels: Sequence[Float[Tensor, "b n _"]], rows: int, columns: int) -> Float[Tensor, "b c hh ww"]:
        """Features at eight times the grid of tokens from four levels, the first one first.

        Args:
            levels: tokens, row by row.
            rows: of tokens.
            columns: of tokens.
        """
        grids = []
        for tokens, project, resize, bring in zip(levels, self.project, self.resize, self.bring, strict=True):
            if self.norm is not None:
                tokens = self.norm(tokens)
            grid = project(tokens.transpose(1, 2).unflatten(2, (rows, columns)))
            if self.norm is not None:
                grid = with_places(grid, columns / rows)
            grids.append(bring(resize(grid)))
        size = None if self.norm is None else (rows, columns)
        fused = self.fuse[3](grids[3], None, size)[:, :, :rows, :columns]
        for level in (2, 1, 0):
            fused = self.fuse[level](fused, grids[level])
        return fused


class DptPointHead(nn.Module):
    """A vector for every pixel, from tokens alone."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        features, half = config.head_features, config.head_features // 2
        self.trunk = _trunk(config)
        self.first, self.second = nn.Conv2d(features, half, 3, padding=1), nn.Conv2d(half, half, 3, padding=1)
        self.out = nn.Conv2d(half, 3, 1)
        with torch.no_grad():
            self.out.bias.copy_(torch.tensor([0.0, 0.0, math.log1p(config.initial_depth)]))

    def forward(
        self, levels: Sequence[Float[Tensor, "b n _"]], rows: int, columns: int, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b 3 h w"]:
        """Vectors at the pixels of the images, which only say how many there are."""
        grid = _enlarged(self.first(self.trunk(levels, rows, columns)), None)
        return self.out(nn.functional.relu(self.second(grid)))


class DptGaussianHead(nn.Module):
    """The raw numbers of a Gaussian for every pixel, from tokens and the image.

    The published training drops a tenth of the features before the last layer. Here none is dropped, so that a training
    that is resumed goes on as if it had not been interrupted.

    Source: NoPoSplat, arXiv 2410.24207, as in SPFSplat.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        features = config.head_features
        self.trunk = _trunk(config)
        self.image = nn.Conv2d(3, features, 7, padding=3)
        self.mix = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.out = nn.Conv2d(features, config.gaussian_channels, 1)
        _begin_as_spheres(self.out)

    def forward(
        self, levels: Sequence[Float[Tensor, "b n _"]], rows: int, columns: int, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b o h w"]:
        """Channels at the pixels of the images, RGB in [-1, 1]."""
        grid = _enlarged(self.trunk(levels, rows, columns), None) + nn.functional.relu(self.image(images))
        return self.out(nn.functional.relu(self.mix(grid)))


class PlacedDptHead(nn.Module):
    """Values for every pixel from tokens of the alternating decoder, and of the image where it is looked at.

    Source: VGGT, arXiv 2503.11651, as in SPFSplatV2-L, arXiv 2509.17246.
    """

    def __init__(self, config: NetworkConfig, out_channels: int, sees_image: bool) -> None:
        super().__init__()
        features, half = config.head_features, config.head_features // 2
        counts = [config.head_level_features * factor for factor in (1, 2, 4, 4)]
        self.trunk = DptTrunk([2 * config.decoder_width] * 4, counts, features, placed=True)
        self.first = nn.Conv2d(features, half, 3, padding=1)
        self.image = nn.Conv2d(3, half, 7, padding=3) if sees_image else None
        self.second = nn.Conv2d(half, _LAST_FEATURES, 3, padding=1)
        self.out = nn.Conv2d(_LAST_FEATURES, out_channels, 1)
        if sees_image:
            _begin_as_spheres(self.out)
        else:
            with torch.no_grad():
                self.out.bias[2] = math.log1p(config.initial_depth)

    def forward(
        self, levels: Sequence[Float[Tensor, "b n _"]], rows: int, columns: int, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b o h w"]:
        """Values at the pixels of the images, RGB in [0, 1]."""
        height, width = images.shape[-2:]
        grid = _enlarged(self.first(self.trunk(levels, rows, columns)), (height, width))
        if self.image is not None:
            grid = grid + nn.functional.relu(self.image(images))
        return self.out(nn.functional.relu(self.second(with_places(grid, width / height))))


def with_places(grid: Float[Tensor, "b c h w"], aspect: float) -> Float[Tensor, "b c h w"]:
    """A grid plus a tenth of sinusoids of its places, which are told in halves of the picture's diagonal.

    Args:
        grid: channels in fours: sines and cosines of x, then of y.
        aspect: width over height of the picture.
    """
    count, height, width = grid.shape[1:]
    diagonal = math.hypot(aspect, 1.0)
    speeds = _PLACE_BASE ** -(torch.arange(count // 4, dtype=torch.float64, device=grid.device) / (count // 4))
    parts = []
    for span, steps, along in ((aspect / diagonal, width, (1, width)), (1.0 / diagonal, height, (height, 1))):
        end = span * (steps - 1) / steps
        angles = speeds[:, None] * torch.linspace(-end, end, steps, device=grid.device).double()
        both = torch.cat([angles.sin(), angles.cos()]).unflatten(1, along)
        parts.append(both.expand(-1, height, width))
    return grid + _PLACE_WEIGHT * torch.cat(parts).to(grid.dtype)


def _trunk(config: NetworkConfig) -> DptTrunk:
    widths = (config.encoder_width, *[config.decoder_width] * 3)
    counts = [config.head_level_features * 2**level for level in range(4)]
    return DptTrunk(widths, counts, config.head_features, placed=False)


def _begin_as_spheres(out: nn.Conv2d) -> None:
    with torch.no_grad():
        assert out.bias is not None
        out.bias[[_OPACITY, _REAL_PART]] = 1.0


def _enlarged(grid: Float[Tensor, "b c h w"], size: tuple[int, int] | None) -> Float[Tensor, "b c hh ww"]:
    """A grid of the given size, or of twice its own."""
    if size is None:
        size = (2 * grid.shape[2], 2 * grid.shape[3])
    found: Tensor = nn.functional.interpolate(grid, size=size, mode="bilinear", align_corners=True)
    return found
