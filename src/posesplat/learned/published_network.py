"""SPFSplat and SPFSplatV2, layer for layer as published: encoder, decoder and heads, images to Gaussians and poses.

Only the form is theirs. Poses are told as cam_from_first, targets do not change what is said of context views, and
images need not be square.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posesplat.learned.config import NetworkConfig
from posesplat.learned.dpt_head import DptGaussianHead, DptPointHead
from posesplat.learned.encoder import Encoder
from posesplat.learned.gaussian_head import SplatBatch, published_splats
from posesplat.learned.points import exponential_points
from posesplat.learned.published_decoder import PublishedDecoder
from posesplat.learned.published_pose_head import PublishedPoseHead, relative_to_first, with_unit_baseline


class PublishedNetwork(nn.Module):
    """The parts; of heads there are two, for the first view and for the others.

    Source: Huang and Mikolajczyk, SPFSplat, arXiv 2508.01171, and SPFSplatV2, arXiv 2509.17246.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), PublishedDecoder(config)
        self.point_heads = nn.ModuleList(DptPointHead(config) for _ in range(2))
        self.gaussian_heads = nn.ModuleList(DptGaussianHead(config) for _ in range(2))
        self.unit_baseline = config.form == "spfsplat"
        width = self.decoder.pose_features
        self.pose_heads = nn.ModuleList(PublishedPoseHead(width, self.unit_baseline) for _ in range(2))

    def forward(
        self, images: Float[Tensor, "b v 3 h w"], context: int, intrinsics: Float[Tensor, "b v 3 3"] | None
    ) -> tuple[SplatBatch, Float[Tensor, "b c h w 3"], Float[Tensor, "b c h w 3"], Float[Tensor, "b v 4 4"]]:
        """Gaussians, points and raw points of the context views in the frame of the first, and cam_from_first of all.

        Args:
            images: RGB in [0, 1]; sides are multiples of the patch.
            context: how many views are context.
            intrinsics: normalised pinholes, or None if unknown: then there is no token of them.
        """
        batch, views, _, height, width = images.shape
        rows, columns = height // self.config.patch_px, width // self.config.patch_px
        normal = 2 * images - 1
        lenses = None if intrinsics is None else intrinsics.flatten(0, 1)
        encoded = self.encoder(normal.flatten(0, 1), lenses).unflatten(0, (batch, views))
        levels, features = self.decoder(encoded, rows, columns, context, intrinsics)
        with torch.autocast(images.device.type, enabled=False):
            levels, seen = [level.float() for level in levels], normal[:, :context].float()
            raw_points = _dense(self.point_heads, levels, rows, columns, seen)
            points = exponential_points(raw_points)
            splats = published_splats(_dense(self.gaussian_heads, levels, rows, columns, seen), points, self.config)
            found = [self._poses(each.float(), context) for each in features]
            poses = torch.cat([found[0][:, :context], found[-1][:, context:]], dim=1)
        return splats, points, raw_points, poses

    def _poses(self, features: Float[Tensor, "b w f"], context: int) -> Float[Tensor, "b w 4 4"]:
        first, others = self.pose_heads
        poses = relative_to_first(torch.cat([first(features[:, :1]), others(features[:, 1:])], dim=1))
        return with_unit_baseline(poses, context - 1) if self.unit_baseline else poses


def _dense(
    heads: nn.ModuleList,
    levels: list[Float[Tensor, "b c n _"]],
    rows: int,
    columns: int,
    pictures: Float[Tensor, "b c 3 h w"],
) -> Float[Tensor, "b c h w o"]:
    """Values at the pixels of the context views, the first view by its own head."""
    found = []
    for head, views in zip(heads, (slice(0, 1), slice(1, None)), strict=True):
        part = pictures[:, views]
        values = head([level[:, views].flatten(0, 1) for level in levels], rows, columns, part.flatten(0, 1))
        found.append(values.unflatten(0, part.shape[:2]).movedim(2, -1))
    return torch.cat(found, dim=1)
