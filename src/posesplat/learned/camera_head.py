"""The pose head of SPFSplatV2-L: poses of all views, corrected four times."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posesplat.learned.attention import ScaledBlock
from posesplat.learned.pose_head import pose_matrix

CAMERA_BLOCKS = 4
_ROUNDS, _EPSILON, _SCALE = 4, 1e-5, 0.01
_NUMBERS = 9
"""Translation 3, quaternion 4 (x, y, z, w), field of view 2, of which no use is made."""


class CameraHead(nn.Module):
    """Blocks over the views' features, modulated by the poses so far.

    As published, the blocks let every view see every other, so that targets have a little part in context poses.

    Source: VGGT, arXiv 2503.11651.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_in, self.norm_out = nn.LayerNorm(width, _EPSILON), nn.LayerNorm(width, _EPSILON)
        self.no_pose = nn.Parameter(torch.zeros(1, 1, _NUMBERS))
        self.embed = nn.Linear(_NUMBERS, width)
        self.modulation = nn.Linear(width, 3 * width)
        self.plain_norm = nn.LayerNorm(width, 1e-6, elementwise_affine=False)
        self.blocks = nn.ModuleList(ScaledBlock(width, heads, _EPSILON, _SCALE) for _ in range(CAMERA_BLOCKS))
        self.first, self.second = nn.Linear(width, width // 2), nn.Linear(width // 2, _NUMBERS)
        with torch.no_grad():
            self.second.bias[6] = 1.0

    def forward(self, features: Float[Tensor, "b v f"]) -> Float[Tensor, "b v 4 4"]:
        """cam_from_canonical of each view."""
        features = self.norm_in(features)
        normal = self.plain_norm(features)
        found = self.no_pose.expand(*features.shape[:2], -1)
        for turn in range(_ROUNDS):
            shift, scale, gate = self.modulation(
                nn.functional.silu(self.embed(found.detach() if turn else found))
            ).chunk(3, dim=-1)
            tokens = gate * (normal * (1 + scale) + shift) + features
            for block in self.blocks:
                tokens = block(tokens)
            change = self.second(nn.functional.gelu(self.first(self.norm_out(tokens))))
            found = change if not turn else found.detach() + change
        return pose_matrix(rotation_from_xyzw(found[..., 3:7]), found[..., :3])


def rotation_from_xyzw(quats_xyzw: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3 3"]:
    """Rotations of quaternions of any length but zero."""
    vector, real = quats_xyzw[..., :3], quats_xyzw[..., 3]
    x, y, z = vector.unbind(-1)
    none = torch.zeros_like(x)
    cross = torch.stack([none, -z, y, z, none, -x, -y, x, none], dim=-1).unflatten(-1, (3, 3))
    double = 2.0 / quats_xyzw.square().sum(-1)[..., None, None]
    turn = real[..., None, None] * cross + cross @ cross
    return torch.eye(3, device=x.device, dtype=x.dtype) + double * turn
