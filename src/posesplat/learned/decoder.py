"""The decoder: views exchange what they see. Context views see context views only; target views see every view."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from posesplat.learned.attention import CrossBlock, rotary_tables
from posesplat.learned.config import NetworkConfig
from posesplat.learned.encoder import grid_positions


def visibility(context: int, views: int, tokens: int, device: torch.device, own: bool = False) -> Bool[Tensor, "m m"]:
    """Which tokens may attend to which tokens of other views, for ``views`` views of ``tokens`` tokens each.

    Args:
        context: how many views are context; the others are targets.
        views: all of them.
        tokens: of a view.
        device: where the mask lies.
        own: whether they may attend to those of their own view as well.

    Source: SPFSplatV2, arXiv 2509.17246, masked attention.
    """
    view = torch.arange(views, device=device)
    seen = (view[None] < context) | (view[:, None] >= context)
    if not own:
        seen &= view[:, None] != view[None]
    return seen.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)


def exchanged(
    tokens: Float[Tensor, "b v n c"],
    blocks: nn.ModuleList,
    reference_blocks: nn.ModuleList | None,
    rotary: tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]],
    mask: Bool[Tensor, "m m"],
) -> list[Float[Tensor, "b v n c"]]:
    """The tokens of all views after each block; the first view has its own blocks where there are such."""
    size, levels = tokens.shape[2], []
    for index, block in enumerate(blocks):
        others = tokens.flatten(1, 2)
        if reference_blocks is None:
            tokens = block(tokens, others, rotary, mask)
        else:
            first = reference_blocks[index](tokens[:, :1], others, rotary, mask[:size])
            tokens = torch.cat([first, block(tokens[:, 1:], others, rotary, mask[size:])], dim=1)
        levels.append(tokens)
    return levels


def decoder_blocks(config: NetworkConfig) -> nn.ModuleList:
    """One stack of blocks."""
    width, heads, epsilon = config.decoder_width, config.decoder_heads, config.norm_epsilon
    return nn.ModuleList(CrossBlock(width, heads, epsilon) for _ in range(config.decoder_depth))


class Decoder(nn.Module):
    """Cross-attending blocks over the tokens of all views, each with a pose token and perhaps an intrinsics token."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.head_width = width // config.decoder_heads
        self.embed = nn.Linear(config.encoder_width, width)
        self.pose_token = nn.Parameter(0.02 * torch.randn(width))
        self.intrinsics = nn.Linear(9, width) if config.intrinsics_token else None
        self.blocks = decoder_blocks(config)
        self.reference_blocks: nn.ModuleList | None = None
        self.reference_mark: nn.Parameter | None = None
        if config.separate_reference:
            self.reference_blocks = decoder_blocks(config)
        else:
            self.reference_mark = nn.Parameter(0.02 * torch.randn(width))
        self.norm = nn.LayerNorm(width, config.norm_epsilon)

    def forward(
        self,
        encoded: Float[Tensor, "b v n e"],
        rows: int,
        columns: int,
        context: int,
        intrinsics: Float[Tensor, "b v 3 3"] | None,
        extra: Float[Tensor, "b v n c"] | None = None,
        pose_extra: Float[Tensor, "b v c"] | None = None,
    ) -> tuple[list[Float[Tensor, "b v n c"]], Float[Tensor, "b v c"]]:
        """Image tokens of every level (the first is the input) and the final pose tokens.

        Args:
            encoded: the encoder's tokens.
            rows: of tokens in a view.
            columns: of tokens in a view.
            context: how many of the v views are context; the others are targets.
            intrinsics: normalised pinholes (first row over the width, second over the height), or None.
            extra: added to the image tokens at the start.
            pose_extra: added to the pose tokens at the start.
        """
        batch, views, count, _ = encoded.shape
        tokens = self.embed(encoded)
        if extra is not None:
            tokens = tokens + extra
        pose_tokens = self.pose_token.expand(batch, views, 1, -1).to(tokens.dtype)
        if pose_extra is not None:
            pose_tokens = pose_tokens + pose_extra[:, :, None]
        parts = [tokens, pose_tokens]
        grid = grid_positions(rows, columns, encoded.device)
        positions = [grid, torch.tensor([[float(rows), 0.0]], device=encoded.device)]
        if self.intrinsics is not None and intrinsics is not None:
            parts.append(self.intrinsics(intrinsics.flatten(2).to(tokens.dtype))[:, :, None])
            positions.append(torch.tensor([[float(rows), 1.0]], device=encoded.device))
        tokens = torch.cat(parts, dim=2)
        if self.reference_mark is not None:
            is_first = (torch.arange(views, device=encoded.device) == 0)[:, None, None]
            tokens = tokens + is_first * self.reference_mark
        rotary = rotary_tables(torch.cat(positions), self.head_width)
        mask = visibility(context, views, tokens.shape[2], encoded.device)
        levels = [tokens, *exchanged(tokens, self.blocks, self.reference_blocks, rotary, mask)]
        levels[-1] = self.norm(levels[-1])
        return [level[:, :, :count] for level in levels], levels[-1][:, :, count]
