"""The image encoder: a vision transformer with rotary positions, shared by all views."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posesplat.learned.attention import SelfBlock, rotary_tables
from posesplat.learned.config import NetworkConfig


def grid_positions(rows: int, columns: int, device: torch.device) -> Float[Tensor, "n 2"]:
    """Row and column of each token of a view, row by row."""
    row, column = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    return torch.stack([row.flatten(), column.flatten()], dim=-1).float()


class Encoder(nn.Module):
    """Patches to tokens.

    Source: Dosovitskiy et al., An image is worth 16x16 words, arXiv 2010.11929; positions as CroCo v2.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.encoder_width
        self.patch_px, self.head_width = config.patch_px, width // config.encoder_heads
        self.patches = nn.Conv2d(3, width, config.patch_px, config.patch_px)
        self.blocks = nn.ModuleList(SelfBlock(width, config.encoder_heads) for _ in range(config.encoder_depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n c"]:
        """Tokens of images in [-1, 1], row by row."""
        grid = self.patches(images)
        rotary = rotary_tables(grid_positions(grid.shape[2], grid.shape[3], images.device), self.head_width)
        tokens = grid.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, rotary)
        return self.norm(tokens)
