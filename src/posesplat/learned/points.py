"""Rays, points and pixels in torch; image places are normalised, corner-based: (0, 0) top left, (1, 1) bottom right."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from posesplat.learned.matching import cell_places

_NEAREST = 0.02
_MAX_LOG = 3.0


def unprojected(places: Float[Tensor, "*b n 2"], intrinsics: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b n 3"]:
    """Rays through image places, third coordinate 1."""
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], dim=-1)[..., None, :]
    slopes = (places - intrinsics[..., None, :2, 2]) / focal
    return torch.cat([slopes, torch.ones_like(slopes[..., :1])], dim=-1)


def projected(
    points_in_cam: Float[Tensor, "*b n 3"], intrinsics: Float[Tensor, "*b 3 3"]
) -> tuple[Float[Tensor, "*b n 2"], Float[Tensor, "*b n"]]:
    """Image places of points, and their depths; depths below 0.02 count as 0.02 in the division."""
    depth = points_in_cam[..., 2]
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], dim=-1)[..., None, :]
    slopes = points_in_cam[..., :2] / depth.clamp(min=_NEAREST)[..., None]
    return slopes * focal + intrinsics[..., None, :2, 2], depth


def moved(points: Float[Tensor, "*b n 3"], b_from_a: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b n 3"]:
    """Points in frame a told in frame b."""
    return points @ b_from_a[..., :3, :3].transpose(-1, -2) + b_from_a[..., None, :3, 3]


def pixel_rays(
    height: int, width: int, intrinsics: Float[Tensor, "b v 3 3"] | None, like: Float[Tensor, "b v _ _ _"]
) -> Float[Tensor, "b v h w 3"]:
    """Rays of the pixel centres; without intrinsics, those of a camera whose focal length is the image's width."""
    batch, views = like.shape[:2]
    if intrinsics is None:
        intrinsics = guessed_intrinsics(height, width, like)
    places = cell_places(height, width, like.device).expand(batch, views, -1, 2)
    return unprojected(places, intrinsics.float()).unflatten(2, (height, width))


def guessed_intrinsics(height: int, width: int, like: Float[Tensor, "b v _ _ _"]) -> Float[Tensor, "b v 3 3"]:
    """Pinholes in the middle of the image whose focal length is the image's width."""
    guess = torch.tensor([[1.0, 0.0, 0.5], [0.0, width / height, 0.5], [0.0, 0.0, 1.0]], device=like.device)
    return guess.expand(*like.shape[:2], 3, 3)


def camera_points(
    raw: Float[Tensor, "b c h w 1"],
    rays: Float[Tensor, "b c h w 3"],
    first_from_cam: Float[Tensor, "b c 4 4"],
    initial_depth: float,
) -> Float[Tensor, "b c h w 3"]:
    """Points at a depth of initial_depth exp(raw) along the pixels' rays, in the frame of the first view."""
    depth = initial_depth * raw.clamp(-_MAX_LOG, _MAX_LOG).exp()
    height, width = rays.shape[2:4]
    return moved((depth * rays).flatten(2, 3), first_from_cam).unflatten(2, (height, width))


def canonical_points(raw: Float[Tensor, "b c h w 3"], initial_depth: float) -> Float[Tensor, "b c h w 3"]:
    """Points of :func:`exponential_points` of the raw vector plus one along z that gives ``initial_depth`` at first."""
    return exponential_points(raw + raw.new_tensor([0.0, 0.0, math.log1p(initial_depth)]))


def exponential_points(vectors: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Points x / |x| (exp |x| - 1).

    Source: DUSt3R, arXiv 2312.14132, as used by SPFSplat.
    """
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / length.clamp(min=1e-8) * torch.expm1(length)


def log_points(vectors: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Points whose coordinates are told by sign(x) log(1 + |x|).

    Source: VGGT, arXiv 2503.11651.
    """
    return vectors.sign() * torch.expm1(vectors.abs())


def camera_depth(
    points_in_first: Float[Tensor, "b c h w 3"], cam_from_first: Float[Tensor, "b c 4 4"]
) -> Float[Tensor, "b c h w"]:
    """Depth of each view's own points in that view, at least 0.02."""
    axis = cam_from_first[..., 2, :3]
    depth = torch.einsum("bchwk,bck->bchw", points_in_first, axis) + cam_from_first[..., 2, 3][..., None, None]
    return depth.clamp(min=_NEAREST)
