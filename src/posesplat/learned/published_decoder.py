"""The decoders of SPFSplat and SPFSplatV2: tokens of all views to levels for the dense heads and features of poses."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from posesplat.learned.attention import rotary_tables
from posesplat.learned.config import NetworkConfig
from posesplat.learned.decoder import decoder_blocks, exchanged, visibility
from posesplat.learned.encoder import grid_positions


class PublishedDecoder(nn.Module):
    """Cross-attending blocks, of which the first view has its own.

    ``spfsplat``: views are decoded twice, context views among themselves and, for the poses of targets, all together;
    the feature of a pose is the mean of a view's encoded and decoded tokens. ``spfsplatv2``: once, since context tokens
    see context only; intrinsics and pose have tokens of the encoder's width, and the feature is the pose token.

    Source: SPFSplat, arXiv 2508.01171, and SPFSplatV2, arXiv 2509.17246.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        wide, width, depth = config.encoder_width, config.decoder_width, config.decoder_depth
        self.head_width = width // config.decoder_heads
        self.chosen = (depth // 2 - 1, (3 * depth) // 4 - 1, depth - 1)
        self.embed = nn.Linear(wide, width)
        self.blocks, self.reference_blocks = decoder_blocks(config), decoder_blocks(config)
        self.norm = nn.LayerNorm(width, config.norm_epsilon)
        self.pose_token: nn.Parameter | None = None
        self.intrinsics: nn.Linear | None = None
        if config.form == "spfsplatv2":
            self.pose_token = nn.Parameter(torch.randn(1, 1, 1, wide))
            self.intrinsics = nn.Linear(9, wide) if config.intrinsics_token else None
        self.pose_features = width if config.form == "spfsplatv2" else wide + width

    def forward(
        self,
        encoded: Float[Tensor, "b v n e"],
        rows: int,
        columns: int,
        context: int,
        intrinsics: Float[Tensor, "b v 3 3"] | None,
    ) -> tuple[list[Float[Tensor, "b c p _"]], list[Float[Tensor, "b _ f"]]]:
        """Image tokens of four levels of the context views, the encoder's first, and features of poses.

        Features are those of all views, or, in the form ``spfsplat`` with targets, first those of the context views
        alone and then those of all views together: two sets of poses, each in a frame and a unit of its own.

        Args:
            encoded: the encoder's tokens; image tokens first.
            rows: of tokens in a view.
            columns: of tokens in a view.
            context: how many of the v views are context; the others are targets.
            intrinsics: normalised pinholes, or None if unknown.
        """
        views, count, device = encoded.shape[1], rows * columns, encoded.device
        positions = [grid_positions(rows, columns, device)]
        if self.pose_token is not None:
            parts = [encoded]
            if self.intrinsics is not None and intrinsics is not None:
                parts.append(self.intrinsics(intrinsics.flatten(2).to(encoded.dtype))[:, :, None])
            parts.append(self.pose_token.expand(len(encoded), views, 1, -1).to(encoded.dtype))
            encoded = torch.cat(parts, dim=2)
        extra = encoded.shape[2] - count
        beyond = [[float(rows + place), 0.0] for place in range(extra)]
        positions.append(torch.tensor(beyond, device=device).reshape(extra, 2))
        rotary = rotary_tables(torch.cat(positions), self.head_width)
        if self.pose_token is not None:
            levels = self._decoded(encoded, rotary, visibility(context, views, encoded.shape[2], device))
            return [level[:, :context, :count] for level in (encoded, *levels)], [levels[-1][:, :, -1]]

        def together(tokens: Float[Tensor, "b w n e"]) -> list[Float[Tensor, "b w n c"]]:
            seen = visibility(tokens.shape[1], tokens.shape[1], tokens.shape[2], device)
            return self._decoded(tokens, rotary, seen)

        own = encoded[:, :context]
        levels = together(own)
        features = [_pooled(own, levels[-1], count)]
        if views > context:
            features.append(_pooled(encoded, together(encoded)[-1], count))
        return [level[:, :, :count] for level in (own, *levels)], features

    def _decoded(
        self,
        encoded: Float[Tensor, "b w n e"],
        rotary: tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]],
        mask: Bool[Tensor, "m m"],
    ) -> list[Float[Tensor, "b w n c"]]:
        """The three levels of the decoder that the heads read; the last one is normalised."""
        found = exchanged(self.embed(encoded), self.blocks, self.reference_blocks, rotary, mask)
        half, later, last = (found[index] for index in self.chosen)
        return [half, later, self.norm(last)]


def _pooled(encoded: Float[Tensor, "b w n e"], decoded: Float[Tensor, "b w n c"], count: int) -> Float[Tensor, "b w f"]:
    return torch.cat([encoded[:, :, :count], decoded[:, :, :count]], dim=-1).mean(dim=2)
