"""A process of its own that renders pixel-aligned Gaussians forward and backward: BACKEND SIDE REPEATS.

It tells processor time and peak memory; a process each, since a peak never falls.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Literal, get_args

import numpy as np

from posesplat.datasets.rooms.clips import room_clip
from posesplat.evaluate.protocols.peak_memory import peak_mb

Contender = Literal["kernels", "tiles"]
CONTENDERS: tuple[Contender, ...] = get_args(Contender)
_ROOM = 5_000_031
_GAP = 3
_FOOTPRINT = 0.7
"""Standard deviation of a Gaussian in pixels of its own view, as that of an untrained network."""


def pixel_aligned_scene(side: int) -> tuple[Any, ...]:
    """What a network of two views gives: a Gaussian for every pixel of both, and a view between to be drawn.

    Args:
        side: of the square images, pixels; the scene has 2 side^2 Gaussians.

    Returns:
        Means, quaternions, scales, opacities, colours, cam_from_world and intrinsics in pixels, as torch tensors.
    """
    import torch

    clip = room_clip(_ROOM, _GAP, side, side, depth=True)
    assert clip.depth is not None
    means, scales, colours = [], [], []
    for view in (0, _GAP - 1):
        depth = clip.depth[view]
        points = (clip.camera.rays() * depth[..., None]).reshape(-1, 3)
        means.append(clip.cam_from_world[view].inv().apply(points))
        scales.append(np.repeat(_FOOTPRINT / clip.camera.fx * depth.reshape(-1, 1), 3, axis=1))
        colours.append(clip.images[view].reshape(-1, 3) / 255.0)
    count = 2 * side * side
    rng = np.random.default_rng(0)
    arrays = (
        np.concatenate(means),
        np.array([1.0, 0.0, 0.0, 0.0]) + 0.1 * rng.normal(size=(count, 4)),
        np.concatenate(scales),
        rng.uniform(0.5, 0.95, count),
        np.concatenate(colours),
        clip.cam_from_world[1].as_matrix(),
        clip.camera.matrix,
    )
    return tuple(torch.from_numpy(np.asarray(array, dtype=np.float32)) for array in arrays)


def rendered(contender: Contender, scene: tuple[Any, ...], side: int) -> tuple[Any, ...]:
    """Channels, depth and alpha of the view, by one of CONTENDERS."""
    from posesplat.evaluate.tile_rasteriser import composite_tiles
    from posesplat.learned.rasterise import rasterise

    means, quats, scales, opacities, colours, pose, lens = scene
    if contender == "tiles":
        return composite_tiles(means, quats, scales, opacities, colours, pose, lens, side, side)
    gaussians = (means[None], quats[None], scales[None], opacities[None], colours[None])
    drawn = rasterise(*gaussians, pose[None, None], lens[None, None], side, side)
    return drawn.channels[0, 0], drawn.depth[0, 0], drawn.alpha[0, 0]


def main(arguments: list[str]) -> None:
    """Render and write one JSON object to stdout."""
    import torch

    contender, side, repeats = arguments[0], int(arguments[1]), int(arguments[2])
    if contender not in CONTENDERS:
        raise ValueError(f"A rasteriser must be one of {', '.join(CONTENDERS)}; got {contender!r}.")
    torch.set_num_threads(1)
    scene = pixel_aligned_scene(side)
    leaves = tuple(part.requires_grad_() for part in scene[:6])
    loaded, forward, backward = peak_mb(), [], []
    for _ in range(repeats):
        began = time.process_time()
        channels, depth, alpha = rendered(contender, (*leaves, scene[6]), side)
        between = time.process_time()
        (channels.square().mean() + 0.1 * depth.mean() + 0.1 * alpha.mean()).backward()
        forward.append(1e3 * (between - began))
        backward.append(1e3 * (time.process_time() - between))
    record = {
        "forward_ms": float(np.median(forward)),
        "backward_ms": float(np.median(backward)),
        "loaded_mb": loaded,
        "peak_mb": peak_mb(),
        "gaussians": len(scene[0]),
        "mean_colour": float(channels.detach().mean()),
        "mean_gradient": float(leaves[0].grad.abs().mean()) / repeats,
    }
    sys.stdout.write(json.dumps(record))


if __name__ == "__main__":
    main(sys.argv[1:])
