"""Networks and clips small enough for a test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from posesplat.learned.clips import Clip
from posesplat.learned.config import NetworkConfig
from posesplat.learned.network import SplatNetwork

SMALL = NetworkConfig(
    patch_px=8,
    encoder_width=32,
    encoder_depth=1,
    encoder_heads=2,
    decoder_width=32,
    decoder_depth=3,
    decoder_heads=2,
    separate_reference=False,
    head_features=8,
    sh_degree=0,
    points="camera",
    matching_features=16,
    epipolar_steps=5,
    initial_depth=2.5,
    residual_splats=True,
)
CANONICAL = replace(
    SMALL,
    separate_reference=True,
    sh_degree=2,
    points="canonical",
    matching_features=0,
    epipolar_steps=0,
    residual_splats=False,
)
PUBLISHED = replace(CANONICAL, form="spfsplatv2", patch_px=16, head_level_features=4)
PUBLISHED_V1 = replace(PUBLISHED, form="spfsplat")
PUBLISHED_L = replace(PUBLISHED, form="spfsplatv2-l", patch_px=14, decoder_depth=6, position_grid=3)
FORMS = {
    "tiny": SMALL,
    "canonical": CANONICAL,
    "spfsplatv2": PUBLISHED,
    "spfsplat": PUBLISHED_V1,
    "spfsplatv2-l": PUBLISHED_L,
}


def network(config: NetworkConfig, seed: int = 0) -> SplatNetwork:
    """A network whose heads say something, as after some training."""
    torch.manual_seed(seed)
    found = SplatNetwork(config).eval()
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if "pose_head" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return found


def patch(config: NetworkConfig) -> int:
    """Side of a square image that a network takes."""
    return 14 if config.form == "spfsplatv2-l" else 16


def views(count: int, height: int = 32, width: int = 48, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of noise and their intrinsics."""
    generator = torch.Generator().manual_seed(count)
    lens = torch.tensor([[0.8, 0.0, 0.52], [0.0, 0.9, 0.47], [0.0, 0.0, 1.0]])
    return torch.rand(batch, count, 3, height, width, generator=generator), lens.repeat(batch, count, 1, 1)


class ShiftedWalls:
    """Clips of one flat textured wall each, before which a camera moves sideways; there are no poses to be had."""

    def __init__(self, count: int = 6, frames: int = 5, side: int = 32) -> None:
        rng = np.random.default_rng(5)
        lens = np.array([[0.9, 0.0, 0.5], [0.0, 0.9, 0.5], [0.0, 0.0, 1.0]], dtype=np.float32)
        self.clips = []
        for _ in range(count):
            wall = rng.integers(0, 256, (side // 4, side // 2, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
            images = np.stack([wall[:, 2 * frame : 2 * frame + side] for frame in range(frames)])
            self.clips.append(Clip(images, np.repeat(lens[None], frames, axis=0)))

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        return self.clips[index]


def random_rotation(seed: int, degrees: float) -> np.ndarray:
    """A rotation by an angle about a random axis."""
    axis = np.random.default_rng(seed).normal(size=3)
    return Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
