"""Alpha compositing in plain torch: every pixel meets every Gaussian. Slow, of any precision, differentiable as it is.

The same rules as :mod:`posesplat.kernels.gradients` (and gsplat): a footprint blurred by 0.3 pixel^2, alpha between
1/255 and 0.999, an end of the ray when less than 1e-4 of the light is left.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

NEAR = 0.01
BLUR, ALPHA_MIN, ALPHA_MAX, TRANSMITTANCE_MIN = 0.3, 1 / 255, 0.999, 1e-4
_MIN_POWER = -5.55


@dataclass(frozen=True)
class Footprints:
    """Gaussians as one view sees them, near ones first; those that cannot show are left out."""

    centres_px: Float[Tensor, "m 2"]
    """Corner-based."""
    conics: Float[Tensor, "m 3"]
    """Entries uu, uv, vv of the inverse covariances, 1/pixels^2."""
    reaches_px: Float[Tensor, "m 2"]
    """Half sides of the boxes beyond which alpha is below 1/255."""
    depths: Float[Tensor, " m"]
    opacities: Float[Tensor, " m"]
    channels: Float[Tensor, "m c"]

    def select(self, chosen: Tensor) -> Footprints:
        """Those of a mask or of indices, in the same order."""
        return Footprints(*(getattr(self, field.name)[chosen] for field in fields(self)))


def composite_plain(
    means_in_world: Float[Tensor, "n 3"],
    quats_wxyz: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    channels: Float[Tensor, "n c"],
    cam_from_world: Float[Tensor, "4 4"],
    intrinsics_px: Float[Tensor, "3 3"],
    width: int,
    height: int,
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Channels on black, expected depth of the centres, and alpha of one view; memory grows with n h w.

    Source: Kerbl et al., 3D Gaussian Splatting, 2023, equations 3 and 5.
    """
    gaussians = (means_in_world, quats_wxyz, scales, opacities, channels)
    seen = footprints(*gaussians, cam_from_world, intrinsics_px, width, height)
    return composite_part(seen, (0, width), (0, height))


def footprints(
    means_in_world: Float[Tensor, "n 3"],
    quats_wxyz: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    channels: Float[Tensor, "n c"],
    cam_from_world: Float[Tensor, "4 4"],
    intrinsics_px: Float[Tensor, "3 3"],
    width: int,
    height: int,
) -> Footprints:
    """The Gaussians of :func:`composite_plain` projected and sorted."""
    in_cam = means_in_world @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    order = torch.argsort(in_cam[:, 2].detach(), stable=True)
    order = order[(in_cam[order, 2] > NEAR) & (opacities[order] >= ALPHA_MIN)]
    x, y, z = in_cam[order].unbind(1)
    fx, fy = intrinsics_px[0, 0], intrinsics_px[1, 1]
    cx, cy = intrinsics_px[0, 2], intrinsics_px[1, 2]

    axes = cam_from_world[:3, :3] @ rotation_matrices(quats_wxyz[order]) * scales[order, None, :]
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    slope_x = (x / z).clamp(-cx / fx - margin_x, (width - cx) / fx + margin_x)
    slope_y = (y / z).clamp(-cy / fy - margin_y, (height - cy) / fy + margin_y)
    along_u = (axes[:, 0] - slope_x[:, None] * axes[:, 2]) * (fx / z)[:, None]
    along_v = (axes[:, 1] - slope_y[:, None] * axes[:, 2]) * (fy / z)[:, None]
    uu, vv = along_u.square().sum(1) + BLUR, along_v.square().sum(1) + BLUR
    uv = (along_u * along_v).sum(1)
    determinant = uu * vv - uv * uv
    level = 2.0 * torch.log(opacities[order] / ALPHA_MIN).clamp(max=-_MIN_POWER)
    return Footprints(
        torch.stack([fx * x / z + cx, fy * y / z + cy], dim=1),
        torch.stack([vv, -uv, uu], dim=1) / determinant[:, None],
        (level[:, None] * torch.stack([uu, vv], dim=1)).detach().sqrt(),
        z,
        opacities[order],
        channels[order],
    )


def composite_part(
    seen: Footprints, columns: tuple[int, int], rows: tuple[int, int]
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """The pixels of a range of columns and of rows: every one meets every footprint."""
    like = seen.depths
    du = torch.arange(*columns, dtype=like.dtype, device=like.device) + 0.5 - seen.centres_px[:, :1]
    dv = torch.arange(*rows, dtype=like.dtype, device=like.device) + 0.5 - seen.centres_px[:, 1:]
    du, dv = du[:, None, :], dv[:, :, None]
    a, b, c = (entry[:, None, None] for entry in seen.conics.unbind(1))
    power = -0.5 * (a * du * du + c * dv * dv) - b * du * dv
    alpha = seen.opacities[:, None, None] * power.exp()
    alpha = torch.where(
        (alpha >= ALPHA_MIN) & (power > _MIN_POWER), alpha.clamp(max=ALPHA_MAX), torch.zeros_like(alpha)
    )

    left = torch.cumprod(1 - alpha, dim=0)
    before = torch.cat([torch.ones_like(left[:1]), left[:-1]])
    weights = torch.where(left > TRANSMITTANCE_MIN, alpha * before, torch.zeros_like(alpha))
    total = weights.sum(0)
    image = torch.einsum("nhw,nc->hwc", weights, seen.channels)
    depth = torch.einsum("nhw,n->hw", weights, seen.depths) / torch.where(total > 0, total, torch.ones_like(total))
    return image, depth, total


def rotation_matrices(quats_wxyz: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3 3"]:
    """Rotations of quaternions of any length but zero."""
    w, x, y, z = torch.nn.functional.normalize(quats_wxyz, dim=-1).unbind(-1)
    entries = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))
