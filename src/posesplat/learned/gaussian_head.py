"""From the raw numbers of the dense heads to Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posesplat.learned.config import NetworkConfig
from posesplat.learned.harmonics import DEGREE_0
from posesplat.learned.points import camera_depth

_OPACITY_SHIFT = 1.0
_MAX_LOG_SCALE = 2.5


@dataclass(frozen=True)
class SplatBatch:
    """Gaussians of a batch of scenes in the frames of their first views."""

    means: Float[Tensor, "b n 3"]
    """Centres."""
    quats_wxyz: Float[Tensor, "b n 4"]
    """Orientations, of unit length."""
    scales: Float[Tensor, "b n 3"]
    """Standard deviations."""
    opacities: Float[Tensor, "b n"]
    """In (0, 1)."""
    harmonics: Float[Tensor, "b n k 3"]
    """Spherical harmonics of the colour."""


def splats_from_raw(
    raw: Float[Tensor, "b c h w o"],
    points_in_first: Float[Tensor, "b c h w 3"],
    images: Float[Tensor, "b c 3 h w"],
    cam_from_first: Float[Tensor, "b c 4 4"],
    rays: Float[Tensor, "b c h w 3"],
    config: NetworkConfig,
) -> SplatBatch:
    """Gaussians from raw channels: opacity 1, scale 3, quaternion 4, harmonics.

    Args:
        raw: the channels.
        points_in_first: the centres.
        images: RGB in [0, 1] of the context views.
        cam_from_first: their poses; no gradient passes through the Gaussians' size and orientation.
        rays: of their pixels.
        config: the network's; see ``residual_splats``.

    Source: SPFSplat, arXiv 2508.01171; degrees above 0 are damped by 0.1 x 0.25^degree as there.
    """
    opacity, scale, quat, colour = raw.split([1, 3, 4, 3 * config.sh_count], dim=-1)
    quat = quat + quat.new_tensor([1.0, 0.0, 0.0, 0.0])
    harmonics = _damped(colour.unflatten(-1, (config.sh_count, 3)), config.sh_degree)
    pose = cam_from_first.detach()
    if config.residual_splats:
        spacing = rays[:, :, 0, 1, 0] - rays[:, :, 0, 0, 0]
        footprint = camera_depth(points_in_first, pose) * spacing[..., None, None]
        scales = 0.7 * footprint[..., None] * scale.clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE).exp()
        picture = (images.movedim(2, -1) - 0.5) / DEGREE_0
        harmonics = torch.cat([0.2 * harmonics[..., :1, :] + picture[..., None, :], harmonics[..., 1:, :]], dim=-2)
        turn = quats_from_rotations(pose[..., :3, :3].transpose(-1, -2))
        quat = quat_product(turn[:, :, None, None].expand_as(quat), quat)
    else:
        scales = 0.001 * nn.functional.softplus(scale)
    return SplatBatch(
        points_in_first.flatten(1, 3),
        nn.functional.normalize(quat.flatten(1, 3), dim=-1),
        scales.clamp(max=config.max_scale).flatten(1, 3),
        (opacity + _OPACITY_SHIFT).sigmoid().flatten(1, 4),
        harmonics.flatten(1, 3),
    )


def published_splats(
    raw: Float[Tensor, "b c h w o"], points_in_first: Float[Tensor, "b c h w 3"], config: NetworkConfig
) -> SplatBatch:
    """Gaussians from the raw channels of a published form: opacity 1, scale 3, quaternion 4 (w, x, y, z), harmonics.

    The harmonics come colour by colour. The quaternion's order is the one in which the published renderer takes it; the
    covariances beside it there, which nothing draws, read the same numbers as (x, y, z, w). The published opacity
    mapping is the identity.

    Args:
        raw: the channels.
        points_in_first: the centres.
        config: the network's.

    Source: SPFSplat, arXiv 2508.01171, and NoPoSplat, arXiv 2410.24207.
    """
    opacity, scale, quat, colour = raw.split([1, 3, 4, 3 * config.sh_count], dim=-1)
    harmonics = colour.unflatten(-1, (3, config.sh_count)).transpose(-1, -2)
    return SplatBatch(
        points_in_first.flatten(1, 3),
        nn.functional.normalize(quat.flatten(1, 3), dim=-1),
        (0.001 * nn.functional.softplus(scale)).clamp(max=config.max_scale).flatten(1, 3),
        opacity.sigmoid().flatten(1, 4),
        _damped(harmonics, config.sh_degree).flatten(1, 3),
    )


def _damped(harmonics: Float[Tensor, "*n k 3"], degree: int) -> Float[Tensor, "*n k 3"]:
    factors = [1.0] + [0.1 * 0.25**each for each in range(1, degree + 1) for _ in range(2 * each + 1)]
    return harmonics * harmonics.new_tensor(factors)[:, None]


def quat_product(first_wxyz: Float[Tensor, "*n 4"], second_wxyz: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """The quaternion of the second rotation followed by the first."""
    scalar, vector = first_wxyz[..., :1], first_wxyz[..., 1:]
    scalar_2, vector_2 = second_wxyz[..., :1], second_wxyz[..., 1:]
    real = scalar * scalar_2 - (vector * vector_2).sum(-1, keepdim=True)
    return torch.cat([real, scalar * vector_2 + scalar_2 * vector + torch.linalg.cross(vector, vector_2)], dim=-1)


def quats_from_rotations(rotations: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 4"]:
    """Unit quaternions (w, x, y, z) of rotations.

    Each row of q q^T times four is the quaternion times four of one of its entries: the row of the largest is exact.
    """
    m = rotations
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    w = torch.stack(
        [1 + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1
    )
    rows = [w]
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        row: list[Tensor] = [w[..., 1 + axis], *[torch.empty(0)] * 3]
        row[1 + axis] = 1 + 2 * m[..., axis, axis] - trace
        row[1 + one] = m[..., axis, one] + m[..., one, axis]
        row[1 + two] = m[..., axis, two] + m[..., two, axis]
        rows.append(torch.stack(row, dim=-1))
    table = torch.stack(rows, dim=-2)
    largest = table.diagonal(dim1=-2, dim2=-1).argmax(-1)
    chosen = table.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4))[..., 0, :]
    return nn.functional.normalize(chosen, dim=-1)
