"""The image encoder of SPFSplatV2-L: a vision transformer with learned positions and registers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posesplat.learned.attention import ScaledBlock
from posesplat.learned.config import NetworkConfig

REGISTERS = 4
_EPSILON = 1e-6
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PatchEncoder(nn.Module):
    """Patches to tokens.

    Source: DINOv2, arXiv 2304.07193, with registers, arXiv 2309.16588, as in VGGT, arXiv 2503.11651.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, self.grid = config.encoder_width, config.position_grid
        self.patches = nn.Conv2d(3, width, config.patch_px, config.patch_px)
        self.summary_token = nn.Parameter(torch.zeros(1, 1, width))
        self.registers = nn.Parameter(1e-6 * torch.randn(1, REGISTERS, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + self.grid**2, width))
        self.blocks = nn.ModuleList(
            ScaledBlock(width, config.encoder_heads, _EPSILON, 1.0) for _ in range(config.encoder_depth)
        )
        self.norm = nn.LayerNorm(width, _EPSILON)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n c"]:
        """Tokens of images in [0, 1], row by row."""
        mean, spread = (images.new_tensor(values)[:, None, None] for values in (_MEAN, _SPREAD))
        grid = self.patches((images - mean) / spread)
        tokens = grid.flatten(2).transpose(1, 2) + self._positions_of(grid.shape[2], grid.shape[3]).to(grid.dtype)
        summary = (self.summary_token + self.positions[:, :1]).expand(len(tokens), -1, -1).to(tokens.dtype)
        registers = self.registers.expand(len(tokens), -1, -1).to(tokens.dtype)
        tokens = torch.cat([summary, registers, tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 1 + REGISTERS :]

    def _positions_of(self, rows: int, columns: int) -> Float[Tensor, "1 n c"]:
        """The learned positions, of a square of patches, brought to another grid."""
        learned = self.positions[:, 1:]
        if (rows, columns) == (self.grid, self.grid):
            return learned
        square = learned.float().transpose(1, 2).unflatten(2, (self.grid, self.grid))
        fitted = nn.functional.interpolate(square, size=(rows, columns), mode="bicubic", antialias=True)
        return fitted.flatten(2).transpose(1, 2)
