"""The network: a few unposed images to pixel-aligned Gaussians in the frame of the first view, and every camera."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posesplat.learned.alternating_network import AlternatingNetwork
from posesplat.learned.config import NetworkConfig
from posesplat.learned.decoder import Decoder
from posesplat.learned.dense_head import DenseHead
from posesplat.learned.encoder import Encoder
from posesplat.learned.epipolar import inverse_depths, pose_from_matches
from posesplat.learned.gaussian_head import SplatBatch, splats_from_raw
from posesplat.learned.matching import STRIDE_PX, Descriptors, Matches, cell_places, soft_matches
from posesplat.learned.points import camera_points, canonical_points, guessed_intrinsics, pixel_rays, unprojected
from posesplat.learned.pose_head import PoseHead, inverse_pose, pose_matrix
from posesplat.learned.published_network import PublishedNetwork

MIN_VIEWS, MAX_VIEWS = 2, 10
_MOST_INVERSE = 4.0
_LEAST_LENGTH = 0.1
"""Translations after the epipolar steps are at least this long, so that their length can be learned from zero on."""


@dataclass(frozen=True)
class Prediction:
    """What the network says of a batch; views are in the order in which they were given."""

    splats: SplatBatch
    """Gaussians of the context views, in the frame of the first view; view by view, row by row."""
    points: Float[Tensor, "b c h w 3"]
    """Their centres."""
    raw_points: Float[Tensor, "b c h w k"]
    """What the point head gave."""
    head_cam_from_first: Float[Tensor, "b v 4 4"]
    """Poses as the pose head gives them."""
    cam_from_first: Float[Tensor, "b v 4 4"]
    """Poses after the epipolar steps; the same as the head's where there are none."""
    to_first: Matches | None
    """Matches of each other view's cells in the first view (b, v - 1, n); None without matching."""
    from_first: Matches | None
    """Matches of the first view's cells in each other view (b, v - 1, n)."""


@dataclass(frozen=True)
class Clues:
    """What the matches say, before the decoder; targets have no part in what is said of context views."""

    to_first: Matches
    """Matches of each other view's cells in the first view."""
    from_first: Matches
    """Matches of the first view's cells in each other view."""
    cam_from_first: Float[Tensor, "b v 4 4"]
    """Poses by the matches alone, translations of length 1."""
    tokens: Float[Tensor, "b v n k"]
    """Displacement, place, trust and inverse depth of each token's cells."""
    poses: Float[Tensor, "b v 12"]
    """The poses' numbers."""
    pictures: Float[Tensor, "b v 2 h w"]
    """Inverse depth (in units of 1 / baseline, times trust) and trust of the pixels."""


class SplatNetwork(nn.Module):
    """Encoder, decoder and heads as one :class:`NetworkConfig` says.

    Source: SPFSplat, arXiv 2508.01171, and SPFSplatV2, arXiv 2509.17246; matching and epipolar steps are our own.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.descriptors: Descriptors | None = None
        self.published: PublishedNetwork | AlternatingNetwork | None = None
        if config.published:
            whole = AlternatingNetwork if config.form == "spfsplatv2-l" else PublishedNetwork
            self.published = whole(config)
            return
        width, depth = config.decoder_width, config.decoder_depth
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.levels = (0, depth // 2, (3 * depth) // 4, depth)
        widths = (config.encoder_width, width, width, width)
        point_channels = 1 if config.points == "camera" else 3
        copies = 2 if config.separate_reference else 1
        channels = 8 if config.matching_features else 6  # colours, rays, and what the matches say of depth

        def heads(outputs: int) -> nn.ModuleList:
            return nn.ModuleList(DenseHead(widths, config.head_features, channels, outputs) for _ in range(copies))

        self.point_heads, self.gaussian_heads = heads(point_channels), heads(config.gaussian_channels)
        self.pose_head = PoseHead(width)
        if config.matching_features:
            self.descriptors = Descriptors(config.matching_features)
            per_token = (config.patch_px // STRIDE_PX) ** 2
            self.match_embed = nn.Linear(6 * per_token, width)
            self.pose_embed = nn.Linear(12, width)

    def forward(
        self,
        images: Float[Tensor, "b v 3 h w"],
        context: int,
        intrinsics: Float[Tensor, "b v 3 3"] | None = None,
        given: Float[Tensor, "b v 4 4"] | None = None,
    ) -> Prediction:
        """Gaussians of the first ``context`` views and poses of all.

        Args:
            images: RGB in [0, 1]; sides are multiples of the patch.
            context: how many views make the Gaussians; the rest are target views, posed but not looked at.
            intrinsics: normalised pinholes (first row over the width, second over the height), or None if unknown.
            given: cam_from_first that takes the place of the epipolar steps; lengths of translations stay the head's.

        Raises:
            ValueError: for sizes, numbers of views or missing intrinsics that the network cannot take.
        """
        self._check(images, context, intrinsics)
        if self.published is not None:
            splats, points, raw_points, poses = self.published(images, context, intrinsics)
            return Prediction(splats, points, raw_points, poses, poses, None, None)
        batch, views, _, height, width = images.shape
        rows, columns = height // self.config.patch_px, width // self.config.patch_px
        normal = 2 * images - 1
        encoded = self.encoder(normal.flatten(0, 1)).unflatten(0, (batch, views))
        rays = pixel_rays(height, width, intrinsics, images)
        picture = torch.cat([normal, rays.movedim(-1, 2)], dim=2)
        clues: Clues | None = None
        extra, pose_extra = None, None
        if self.descriptors is not None:
            clues = self._clues(normal, context, intrinsics, given)
            extra = self.match_embed(clues.tokens)
            pose_extra = self.pose_embed(clues.poses)
            picture = torch.cat([picture, clues.pictures], dim=2)
        picture = picture[:, :context]
        levels, pose_tokens = self.decoder(encoded, rows, columns, context, intrinsics, extra, pose_extra)
        levels[0] = encoded
        chosen = [levels[index][:, :context] for index in self.levels]
        with torch.autocast(images.device.type, enabled=False):
            poses = self.pose_head(pose_tokens.float())
            refined = self._refined(poses, clues)
        raw_points = self._dense(self.point_heads, chosen, rows, columns, picture).float()
        raw = self._dense(self.gaussian_heads, chosen, rows, columns, picture).float()
        with torch.autocast(images.device.type, enabled=False):
            seen = refined[:, :context]
            if self.config.points == "camera":
                points = camera_points(raw_points, rays[:, :context], inverse_pose(seen), self.config.initial_depth)
            else:
                points = canonical_points(raw_points, self.config.initial_depth)
            splats = splats_from_raw(raw, points, images[:, :context], seen, rays[:, :context], self.config)
        to_first, from_first = (None, None) if clues is None else (clues.to_first, clues.from_first)
        return Prediction(splats, points, raw_points, poses, refined, to_first, from_first)

    def _check(
        self, images: Float[Tensor, "b v 3 h w"], context: int, intrinsics: Float[Tensor, "b v 3 3"] | None
    ) -> None:
        views, (height, width), patch = images.shape[1], images.shape[-2:], self.config.patch_px
        if not MIN_VIEWS <= views <= MAX_VIEWS or not MIN_VIEWS <= context <= views:
            raise ValueError(
                f"The network takes {MIN_VIEWS} to {MAX_VIEWS} views of which at least {MIN_VIEWS} are context; "
                f"got {views} views and context={context}."
            )
        if height % patch or width % patch:
            raise ValueError(
                f"Image sides must be multiples of the patch of {patch} pixels; got {width} x {height}. "
                "Resize or crop the images."
            )
        if intrinsics is None and self.config.points == "camera":
            raise ValueError(
                "This network predicts depth along rays and needs the intrinsics of every view; got None. "
                "Pass a guess, such as a focal length of the image's width."
            )

    def _dense(
        self,
        heads: nn.ModuleList,
        levels: list[Tensor],
        rows: int,
        columns: int,
        picture: Float[Tensor, "b c k h w"],
    ) -> Float[Tensor, "b c h w o"]:
        """A dense head's values for the context views, the first view by its own head where there is one."""
        groups = [slice(None)] if len(heads) == 1 else [slice(0, 1), slice(1, None)]
        found = []
        for head, views in zip(heads, groups, strict=True):
            part = picture[:, views]
            values = head([level[:, views].flatten(0, 1) for level in levels], rows, columns, part.flatten(0, 1))
            found.append(values.unflatten(0, part.shape[:2]).movedim(2, -1))
        return torch.cat(found, dim=1)

    @torch.no_grad()
    def _clues(
        self,
        normal: Float[Tensor, "b v 3 h w"],
        context: int,
        intrinsics: Float[Tensor, "b v 3 3"] | None,
        given: Float[Tensor, "b v 4 4"] | None,
    ) -> Clues:
        """Matches with the first view both ways, the poses they give, and both as the network takes them in."""
        assert self.descriptors is not None
        batch, views, _, height, width = normal.shape
        rows, columns = height // STRIDE_PX, width // STRIDE_PX
        found = self.descriptors(normal.flatten(0, 1)).unflatten(0, (batch, views))
        with torch.autocast(normal.device.type, enabled=False):
            logits = self.descriptors.logits(found[:, 1:], found[:, :1])
            to_first, from_first = soft_matches(logits, rows, columns, height, width)
            lenses = guessed_intrinsics(height, width, normal) if intrinsics is None else intrinsics
            own = cell_places(rows, columns, normal.device)
            here = unprojected(own.expand(batch, views, -1, 2), lenses).float()
            matched = unprojected(to_first.places, lenses[:, :1].expand(-1, views - 1, -1, -1))
            partners = unprojected(from_first.places, lenses[:, 1:])
            poses = torch.eye(4, device=normal.device).repeat(batch, views, 1, 1)
            if given is None:
                poses[:, 1:] = self._epipolar(matched, here[:, 1:], to_first.weights)
            else:
                way = nn.functional.normalize(given[:, 1:, :3, 3], dim=-1)
                poses[:, 1:] = pose_matrix(given[:, 1:, :3, :3], way)
            flat = poses[:, 1:].flatten(0, 1)
            _, inverse = inverse_depths(flat, matched.flatten(0, 1), here[:, 1:].flatten(0, 1))
            first = here[:, :1].expand(-1, views - 1, -1, -1).flatten(0, 1)
            inverse_first, _ = inverse_depths(flat, first, partners.flatten(0, 1))
            trusted = from_first.weights[:, : context - 1] + 1e-6
            share = trusted / trusted.sum(1, keepdim=True)

            def joined(of_first: Tensor, of_others: Tensor) -> Tensor:
                of_first = (share[..., None] * of_first[:, : context - 1]).sum(1, keepdim=True)
                return torch.cat([of_first, of_others], dim=1)

            places = joined(from_first.places, to_first.places)
            trust = torch.cat([trusted.amax(1, keepdim=True), to_first.weights], dim=1)[..., None]
            shape = (batch, views - 1, rows * columns, 1)
            depths = joined(inverse_first.view(shape), inverse.view(shape)).clamp(max=_MOST_INVERSE)
            entries = torch.cat([(places - own) * trust, places * trust, trust, depths * trust], dim=-1)
            step = self.config.patch_px // STRIDE_PX
            tokens = entries.unflatten(2, (rows // step, step, columns // step, step))
            tokens = tokens.permute(0, 1, 2, 4, 3, 5, 6).flatten(4).flatten(2, 3)
            maps = torch.cat([depths * trust, trust], dim=-1).transpose(2, 3).unflatten(3, (rows, columns))
            maps = nn.functional.interpolate(
                maps.flatten(0, 1), size=(height, width), mode="bilinear", align_corners=False
            ).unflatten(0, (batch, views))
            return Clues(to_first, from_first, poses, tokens, poses[..., :3, :].flatten(2), maps)

    def _epipolar(
        self, first: Float[Tensor, "b v n 3"], second: Float[Tensor, "b v n 3"], weights: Float[Tensor, "b v n"]
    ) -> Float[Tensor, "b v 4 4"]:
        rays, steps = (first.flatten(0, 1), second.flatten(0, 1)), self.config.epipolar_steps
        found = pose_from_matches(*rays, weights.flatten(0, 1), steps)
        return found.unflatten(0, first.shape[:2])

    def _refined(self, poses: Float[Tensor, "b v 4 4"], clues: Clues | None) -> Float[Tensor, "b v 4 4"]:
        """The epipolar poses with the head's length of the translation, through which alone a gradient passes."""
        if clues is None or not self.config.epipolar_steps:
            return poses
        length = poses[:, 1:, :3, 3].norm(dim=-1, keepdim=True)
        length = length + (length.clamp(min=_LEAST_LENGTH) - length).detach()
        found = clues.cam_from_first[:, 1:]
        return torch.cat([poses[:, :1], pose_matrix(found[..., :3, :3], found[..., :3, 3] * length)], dim=1)
