"""Official checkpoints in small: the published names with numbers that anyone can make again, and what comes out.

``official_layouts.json.gz`` holds name and shape of every tensor of the authors' models at the published size and at a
small one. ``official_outputs.npz`` holds what their models, run outside of this project at the small size with these
numbers, make of these images: every 61st Gaussian and all camera-to-world poses. The models were put together from
encoder_spfsplat.py, encoder_spfsplatv2.py, encoder_spfsplatv2l.py, backbone_masked_croco.py, aggregator.py,
camera_head.py, pose_head.py and dpt_head.py of ranrhuang/SPFSplatV2 (74349e7) and the files of NoPoSplat, DUSt3R,
CroCo, VGGT and DINOv2 on which these stand.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from posesplat.learned.config import Form, NetworkConfig

STRIDE = 61
_HERE = Path(__file__).parent
_CONSTANTS = {
    "max_scale": 4.0,
    "min_scale": 0.01,
    "max_inv_scale": 0.25,
    "min_inv_scale": 100.0,
    "h_beta": math.log(2) / 0.75,
}


@dataclass(frozen=True)
class Case:
    """One run of the authors' network."""

    name: str
    form: Form
    views: int
    context: int
    height: int
    width: int
    token: bool


CASES = (
    Case("v2", "spfsplatv2", 4, 2, 48, 64, True),
    Case("v2_no_intrinsics", "spfsplatv2", 3, 3, 48, 64, False),
    Case("v1", "spfsplat", 5, 3, 48, 48, True),
    Case("v1_no_intrinsics", "spfsplat", 2, 2, 48, 48, False),
    Case("v2l", "spfsplatv2-l", 4, 2, 42, 56, True),
    Case("v2l_no_intrinsics", "spfsplatv2-l", 3, 3, 70, 70, False),
)


def small(form: Form) -> NetworkConfig:
    """The size of the runs."""
    if form == "spfsplatv2-l":
        return NetworkConfig(
            form=form,
            patch_px=14,
            encoder_width=64,
            encoder_depth=2,
            encoder_heads=2,
            decoder_width=64,
            decoder_depth=6,
            decoder_heads=2,
            head_features=16,
            head_level_features=8,
            position_grid=5,
        )
    return NetworkConfig(
        form=form,
        encoder_width=64,
        encoder_depth=2,
        encoder_heads=2,
        decoder_width=48,
        decoder_depth=4,
        decoder_heads=3,
        head_features=16,
        head_level_features=6,
    )


def layout(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes: of a form as published, or of ``small`` and a form."""
    found = json.loads(gzip.decompress((_HERE / "official_layouts.json.gz").read_bytes()))[name]
    return {key: tuple(shape) for key, shape in found.items()}


def numbers(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers for a tensor, by its name; all are exact in half precision but for the constants."""
    last = name.rpartition(".")[2]
    if last in _CONSTANTS:
        return torch.tensor([_CONSTANTS[last]])
    name = re.sub(r"layer_rn\.(\d)", lambda found: f"layer{int(found[1]) + 1}_rn", name)
    whole = np.random.default_rng(zlib.crc32(name.encode())).integers(-127, 128, shape).astype(np.float32)
    if "norm" in name:
        return torch.from_numpy(whole / 1024 + (last == "weight"))
    if any(part in name for part in ("intrinsic", "token", "pos_embed", "gamma", "fc_t.bias")):
        return torch.from_numpy(whole / 128)
    if len(shape) == 1:
        return torch.from_numpy(whole / 1024)
    larger = 8.0 if "dpt.head.4" in name or "output_conv2.2" in name else 1.0
    return torch.from_numpy(
        whole / 128 * np.float32(larger * 2.0 ** -round(0.5 * math.log2(math.prod(shape[1:])) - 0.5))
    )


def state(form: Form) -> dict[str, torch.Tensor]:
    """The ``state_dict`` of a small official checkpoint."""
    return {name: numbers(name, shape) for name, shape in layout(f"small {form}").items()}


def views(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and normalised intrinsics of a run."""
    rng = np.random.default_rng(case.views)
    images = rng.integers(0, 256, (1, case.views, 3, case.height, case.width)).astype(np.float32) / np.float32(255)
    lens = torch.tensor([[0.9, 0.0, 0.5], [0.0, 1.1, 0.5], [0.0, 0.0, 1.0]]).repeat(1, case.views, 1, 1)
    lens[:, :, 0, 0] += 0.05 * torch.arange(case.views)
    return torch.from_numpy(images), lens


def outputs(case: Case) -> dict[str, torch.Tensor]:
    """What the authors' network made of these views."""
    with np.load(_HERE / "official_outputs.npz") as found:
        names = ("means", "scales", "rotations", "opacities", "harmonics", "camera_to_world")
        return {name: torch.from_numpy(found[f"{case.name}/{name}"]) for name in names}
