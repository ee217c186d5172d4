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
        epsilon = config.norm_epsilon
        self.patches = nn.Conv2d(3, width, config.patch_px, config.patch_px)
        self.intrinsics = nn.Linear(9, width) if config.form == "spfsplat" and config.intrinsics_token else None
        self.blocks = nn.ModuleList(
            SelfBlock(width, config.encoder_heads, epsilon) for _ in range(config.encoder_depth)
        )
        self.norm = nn.LayerNorm(width, epsilon)

    def forward(
        self, images: Float[Tensor, "b 3 h w"], intrinsics: Float[Tensor, "b 3 3"] | None = None
    ) -> Float[Tensor, "b n c"]:
        """Tokens of images in [-1, 1], row by row; in the form ``spfsplat`` the last one is that of the intrinsics.

        Args:
            images: RGB.
            intrinsics: normalised pinholes, or None if unknown; other forms take no notice of them here.
        """
        grid = self.patches(images)
        rows, columns = grid.shape[2:]
        positions, tokens = grid_positions(rows, columns, images.device), grid.flatten(2).transpose(1, 2)
        if self.intrinsics is not None and intrinsics is not None:
            tokens = torch.cat([tokens, self.intrinsics(intrinsics.flatten(1).to(tokens.dtype))[:, None]], dim=1)
            positions = torch.cat([positions, positions.new_tensor([[float(rows), 0.0]])])
        rotary = rotary_tables(positions, self.head_width)
        for block in self.blocks:
            tokens = block(tokens, rotary)
        return self.norm(tokens)
