"""The decoder of SPFSplatV2-L: attention within each view and among all views, in turns."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posesplat.learned.attention import ScaledBlock, repeated, rotary_tables
from posesplat.learned.config import NetworkConfig
from posesplat.learned.decoder import visibility
from posesplat.learned.encoder import grid_positions
from posesplat.learned.patch_encoder import REGISTERS

_EPSILON, _SCALE = 1e-5, 0.01


class AlternatingDecoder(nn.Module):
    """Pairs of blocks; context tokens see context only, target tokens see all.

    Tokens of a view: of the intrinsics, where they are known, of the camera, registers, patches. The first view has its
    own camera token and registers. As published, the feature of a view's pose is its *first* token: that of the
    intrinsics where there is one.

    Source: VGGT, arXiv 2503.11651; SPFSplatV2-L, arXiv 2509.17246.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, depth = config.decoder_width, config.decoder_depth
        self.head_width = width // config.decoder_heads
        self.chosen = (depth // 6, depth // 2 - 1, (3 * depth) // 4 - 1, depth - 1)
        self.camera_token = nn.Parameter(1e-6 * torch.randn(1, 2, 1, width))
        self.registers = nn.Parameter(1e-6 * torch.randn(1, 2, REGISTERS, width))
        self.intrinsics = nn.Linear(9, width) if config.intrinsics_token else None

        def blocks() -> nn.ModuleList:
            one = (width, config.decoder_heads, _EPSILON, _SCALE)
            return nn.ModuleList(ScaledBlock(*one, head_norms=True) for _ in range(depth))

        self.view_blocks, self.all_blocks = blocks(), blocks()

    def forward(
        self,
        encoded: Float[Tensor, "b v n e"],
        rows: int,
        columns: int,
        context: int,
        intrinsics: Float[Tensor, "b v 3 3"] | None,
    ) -> tuple[list[Float[Tensor, "b c n f"]], Float[Tensor, "b v f"]]:
        """Patch tokens of four levels of the context views, and the features of all poses.

        Args:
            encoded: the encoder's tokens of patches.
            rows: of patches in a view.
            columns: of patches in a view.
            context: how many of the v views are context; the others are targets.
            intrinsics: normalised pinholes, or None if unknown.
        """
        batch, views, count, _ = encoded.shape
        parts = [_of_views(self.camera_token, batch, views), _of_views(self.registers, batch, views), encoded]
        if self.intrinsics is not None and intrinsics is not None:
            parts.insert(0, self.intrinsics(intrinsics.flatten(2).to(encoded.dtype))[:, :, None])
        tokens = torch.cat([part.to(encoded.dtype) for part in parts], dim=2)
        size = tokens.shape[2]
        grid = grid_positions(rows, columns, encoded.device)
        rotary = rotary_tables(torch.cat([grid.new_zeros(size - count, 2), grid + 1]), self.head_width)
        rotary_of_all = repeated(rotary, views)
        mask = None if context == views else visibility(context, views, size, encoded.device, own=True)
        levels = []
        for index, (of_view, of_all) in enumerate(zip(self.view_blocks, self.all_blocks, strict=True)):
            within = of_view(tokens.flatten(0, 1), rotary).unflatten(0, (batch, views))
            tokens = of_all(within.flatten(1, 2), rotary_of_all, mask).unflatten(1, (views, size))
            if index in self.chosen:
                levels.append(torch.cat([within, tokens], dim=-1))
        return [level[:, :context, size - count :] for level in levels], levels[-1][:, :, 0]


def _of_views(pair: Float[Tensor, "1 2 k c"], batch: int, views: int) -> Float[Tensor, "b v k c"]:
    """The first of a pair of tokens for the first view, the second for the others."""
    return torch.cat([pair[:, :1], pair[:, 1:].expand(-1, views - 1, -1, -1)], dim=1).expand(batch, -1, -1, -1)
