"""From pose tokens to camera poses."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def rotation_from_6d(numbers: Float[Tensor, "*n 6"]) -> Float[Tensor, "*n 3 3"]:
    """The rotation whose first two columns are the numbers' two vectors, made orthonormal.

    Source: Zhou et al., On the continuity of rotation representations, arXiv 1812.07035.
    """
    first = nn.functional.normalize(numbers[..., :3], dim=-1)
    second = numbers[..., 3:]
    second = nn.functional.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def pose_matrix(rotation: Float[Tensor, "*n 3 3"], translation: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 4 4"]:
    """Rigid matrices from their parts."""
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 3] = 1.0
    return torch.cat([top, bottom], dim=-2)


def inverse_pose(matrix: Float[Tensor, "*n 4 4"]) -> Float[Tensor, "*n 4 4"]:
    """The inverse of rigid matrices."""
    back = matrix[..., :3, :3].transpose(-1, -2)
    return pose_matrix(back, -(back @ matrix[..., :3, 3:])[..., 0])


class PoseHead(nn.Module):
    """Three linear layers that start at the identity: no translation, no rotation.

    Source: SPFSplatV2, arXiv 2509.17246.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width // 4), nn.GELU()
        )
        self.translation, self.rotation = nn.Linear(width // 4, 3), nn.Linear(width // 4, 6)
        with torch.no_grad():
            self.translation.weight.zero_()
            self.translation.bias.zero_()
            self.rotation.weight.mul_(0.1)
            self.rotation.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, tokens: Float[Tensor, "b v c"]) -> Float[Tensor, "b v 4 4"]:
        """cam_from_first of each view; exactly the identity for the first."""
        hidden = self.hidden(tokens)
        translation, numbers = self.translation(hidden).float(), self.rotation(hidden).float()
        poses = pose_matrix(rotation_from_6d(numbers), translation)
        first = torch.eye(4, device=tokens.device).expand(len(tokens), 1, 4, 4)
        return torch.cat([first, poses[:, 1:]], dim=1)
