"""The pose heads of SPFSplat and SPFSplatV2, and the frame and unit in which their poses are told."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posesplat.learned.pose_head import inverse_pose, pose_matrix, rotation_from_6d

LEAST_SCALE, MOST_SCALE = 0.01, 4.0
"""Range of the factor by which a homogeneous translation is enlarged, of which 1 is what a raw value of 0 gives."""
_SHORTEST = 1e-8


class PublishedPoseHead(nn.Module):
    """Three linear layers to a camera pose in a frame of the network's own; they start without rotation.

    With a homogeneous translation its fourth number is a divisor between 1 / 4 and 100, as in ACE; without, the
    translation starts at zero.

    Source: SPFSplat, arXiv 2508.01171; SPFSplatV2, arXiv 2509.17246; the divisor: Brachmann et al., arXiv 2305.14059.
    """

    def __init__(self, width: int, homogeneous: bool) -> None:
        super().__init__()
        self.homogeneous = homogeneous
        self.hidden = nn.Sequential(
            nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, width // 4), nn.ReLU()
        )
        self.translation, self.rotation = nn.Linear(width // 4, 4 if homogeneous else 3), nn.Linear(width // 4, 6)
        with torch.no_grad():
            self.rotation.weight.zero_()
            self.rotation.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))
            if not homogeneous:
                self.translation.weight.zero_()
                self.translation.bias.zero_()

    def forward(self, features: Float[Tensor, "b v f"]) -> Float[Tensor, "b v 4 4"]:
        """cam_from_canonical of each view; the layers give where the camera is and the first two axes of that frame."""
        hidden = self.hidden(features)
        place = self.translation(hidden)
        if self.homogeneous:
            beta = math.log(2) / (1 - 1 / MOST_SCALE)
            divisor = nn.functional.softplus(place[..., 3:], beta=beta) + 1 / MOST_SCALE
            place = place[..., :3] / divisor.clamp(max=1 / LEAST_SCALE)
        cam_from_canonical = rotation_from_6d(self.rotation(hidden))
        return pose_matrix(cam_from_canonical, -(cam_from_canonical @ place[..., None])[..., 0])


def relative_to_first(cam_from_canonical: Float[Tensor, "b v 4 4"]) -> Float[Tensor, "b v 4 4"]:
    """cam_from_first; exactly the identity for the first view."""
    found = cam_from_canonical[:, 1:] @ inverse_pose(cam_from_canonical[:, :1])
    first = torch.eye(4, device=found.device, dtype=found.dtype).expand(len(found), 1, 4, 4)
    return torch.cat([first, found], dim=1)


def with_unit_baseline(cam_from_first: Float[Tensor, "b v 4 4"], last: int) -> Float[Tensor, "b v 4 4"]:
    """Poses in the unit of length in which the camera of view ``last`` is one away from that of the first."""
    length = cam_from_first[:, last, :3, 3].norm(dim=-1).clamp(min=_SHORTEST)
    return pose_matrix(cam_from_first[..., :3, :3], cam_from_first[..., :3, 3] / length[:, None, None])
