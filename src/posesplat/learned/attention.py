"""Transformer blocks with rotary positions in two dimensions."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

_BASE = 100.0


def rotary_tables(
    positions: Float[Tensor, "n 2"], head_width: int
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """Cosines and sines that rotate a head's first half by the row and its second half by the column of each token.

    Source: Su et al., RoFormer, arXiv 2104.09864; in two dimensions with base 100 as in CroCo v2, arXiv 2211.10408.
    """
    pairs = head_width // 4
    speeds = _BASE ** (-torch.arange(pairs, device=positions.device, dtype=torch.float32) / pairs)
    angles = positions.float()[:, :, None] * speeds
    angles = torch.cat([angles, angles], dim=-1).flatten(1)
    return angles.cos(), angles.sin()


def rotated(
    values: Float[Tensor, "*b n d"], tables: tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]
) -> Float[Tensor, "*b n d"]:
    """Values turned by their rotary tables."""
    cosines, sines = (table.to(values.dtype) for table in tables)
    first, second = values.unflatten(-1, (2, 2, -1)).unbind(-2)
    partner = torch.stack([-second, first], dim=-2).flatten(-3)
    return values * cosines + partner * sines


class Attention(nn.Module):
    """Multi-head attention of tokens to themselves or to others."""

    def __init__(self, width: int, heads: int, head_norms: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm = nn.LayerNorm(width // heads) if head_norms else None
        self.key_norm = nn.LayerNorm(width // heads) if head_norms else None
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        tokens: Float[Tensor, "b n c"],
        others: Float[Tensor, "b m c"],
        rotary: tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]] | None,
        rotary_others: tuple[Float[Tensor, "m d"], Float[Tensor, "m d"]] | None,
        mask: Bool[Tensor, "n m"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Tokens n attend to others m, where the mask is True; without tables, wherever they are."""
        query = self.query(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(others).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if rotary is not None and rotary_others is not None:
            query, key = rotated(query, rotary), rotated(key, rotary_others)
        found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(found.transpose(1, 2).flatten(2))


class FeedForward(nn.Sequential):
    """The two linear layers of a block."""

    def __init__(self, width: int, factor: int = 4) -> None:
        super().__init__(nn.Linear(width, factor * width), nn.GELU(), nn.Linear(factor * width, width))


class SelfBlock(nn.Module):
    """Self-attention and two linear layers, each on normalised tokens with a way around."""

    def __init__(self, width: int, heads: int, epsilon: float) -> None:
        super().__init__()
        self.norm_attention, self.norm_feed = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.attention, self.feed = Attention(width, heads), FeedForward(width)

    def forward(
        self, tokens: Float[Tensor, "b n c"], rotary: tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]
    ) -> Float[Tensor, "b n c"]:
        """Tokens of one view after the block."""
        normal = self.norm_attention(tokens)
        tokens = tokens + self.attention(normal, normal, rotary, rotary)
        return tokens + self.feed(self.norm_feed(tokens))


class CrossBlock(nn.Module):
    """Self-attention within a view, attention to the tokens of other views, and two linear layers."""

    def __init__(self, width: int, heads: int, epsilon: float) -> None:
        super().__init__()
        self.norm_self, self.norm_cross = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.norm_others, self.norm_feed = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.self_attention, self.cross_attention = Attention(width, heads), Attention(width, heads)
        self.feed = FeedForward(width)

    def forward(
        self,
        tokens: Float[Tensor, "b v n c"],
        others: Float[Tensor, "b m c"],
        rotary: tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]],
        mask: Bool[Tensor, "q m"],
    ) -> Float[Tensor, "b v n c"]:
        """Tokens of v views after the block.

        Args:
            tokens: of the views.
            others: tokens of all views, m = views x n, as they were before the block.
            rotary: tables of one view's tokens; all views have the same.
            mask: which of the q = v n tokens may attend to which of the m.
        """
        batch, views = tokens.shape[:2]
        flat = tokens.flatten(0, 1)
        normal = self.norm_self(flat)
        flat = flat + self.self_attention(normal, normal, rotary, rotary)
        joined = flat.unflatten(0, (batch, views)).flatten(1, 2)
        here, there = (repeated(rotary, count // tokens.shape[2]) for count in (joined.shape[1], others.shape[1]))
        joined = joined + self.cross_attention(self.norm_cross(joined), self.norm_others(others), here, there, mask)
        joined = joined + self.feed(self.norm_feed(joined))
        return joined.unflatten(1, (views, -1))


class ScaledBlock(nn.Module):
    """A self-attention block whose two additions are scaled channel by channel.

    Source: Touvron et al., CaiT, arXiv 2103.17239, as in DINOv2, arXiv 2304.07193, and VGGT, arXiv 2503.11651.
    """

    def __init__(self, width: int, heads: int, epsilon: float, scale: float, head_norms: bool = False) -> None:
        super().__init__()
        self.norm_attention, self.norm_feed = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.attention, self.feed = Attention(width, heads, head_norms), FeedForward(width)
        self.scale_attention = nn.Parameter(torch.full((width,), scale))
        self.scale_feed = nn.Parameter(torch.full((width,), scale))

    def forward(
        self,
        tokens: Float[Tensor, "b n c"],
        rotary: tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]] | None = None,
        mask: Bool[Tensor, "n n"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Tokens after the block."""
        normal = self.norm_attention(tokens)
        tokens = tokens + self.scale_attention * self.attention(normal, normal, rotary, rotary, mask)
        return tokens + self.scale_feed * self.feed(self.norm_feed(tokens))


def repeated(
    tables: tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]], times: int
) -> tuple[Float[Tensor, "m d"], Float[Tensor, "m d"]]:
    """Tables of several views of the same form, one after the other."""
    cosines, sines = tables
    return cosines.repeat(times, 1), sines.repeat(times, 1)
