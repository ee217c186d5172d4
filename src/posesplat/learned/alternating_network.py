"""SPFSplatV2-L, layer for layer as published: from images to Gaussians and poses by the backbone of VGGT."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posesplat.learned.alternating_decoder import AlternatingDecoder
from posesplat.learned.camera_head import CameraHead
from posesplat.learned.config import NetworkConfig
from posesplat.learned.dpt_head import PlacedDptHead
from posesplat.learned.gaussian_head import SplatBatch, published_splats
from posesplat.learned.patch_encoder import PatchEncoder
from posesplat.learned.points import log_points
from posesplat.learned.published_pose_head import relative_to_first


class AlternatingNetwork(nn.Module):
    """The parts; all views have the same heads.

    Source: Huang and Mikolajczyk, SPFSplatV2, arXiv 2509.17246; Wang et al., VGGT, arXiv 2503.11651.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = PatchEncoder(config), AlternatingDecoder(config)
        self.pose_head = CameraHead(2 * config.decoder_width, config.decoder_heads)
        self.point_head = PlacedDptHead(config, 4, sees_image=False)
        self.gaussian_head = PlacedDptHead(config, config.gaussian_channels, sees_image=True)

    def forward(
        self, images: Float[Tensor, "b v 3 h w"], context: int, intrinsics: Float[Tensor, "b v 3 3"] | None
    ) -> tuple[SplatBatch, Float[Tensor, "b c h w 3"], Float[Tensor, "b c h w k"], Float[Tensor, "b v 4 4"]]:
        """As :meth:`posesplat.learned.published_network.PublishedNetwork.forward`; raw points have a fourth number."""
        batch, views, _, height, width = images.shape
        rows, columns = height // self.config.patch_px, width // self.config.patch_px
        encoded = self.encoder(images.flatten(0, 1)).unflatten(0, (batch, views))
        levels, features = self.decoder(encoded, rows, columns, context, intrinsics)
        with torch.autocast(images.device.type, enabled=False):
            tokens, seen = [level.flatten(0, 1).float() for level in levels], images[:, :context].flatten(0, 1).float()

            def dense(head: nn.Module) -> Float[Tensor, "b c h w o"]:
                return head(tokens, rows, columns, seen).unflatten(0, (batch, context)).movedim(2, -1)

            raw_points = dense(self.point_head)
            points = log_points(raw_points[..., :3])
            splats = published_splats(dense(self.gaussian_head), points, self.config)
            poses = relative_to_first(self.pose_head(features.float()))
        return splats, points, raw_points, poses
