"""Images as networks take them, without torchvision, and their answers at another size."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8


def network_input(
    image: UInt8[np.ndarray, "height width 3"],
    size: tuple[int, int],
    mean: list[float],
    deviation: list[float],
    *,
    antialias: bool,
) -> Any:
    """An image as a tensor of shape (1, 3, rows, columns): colours in [0, 1], normalised, then resized bilinearly.

    Args:
        image: RGB.
        size: columns and rows that the network sees; both images cover the same area.
        mean: of each colour.
        deviation: of each colour.
        antialias: whether shrinking averages over all pixels.
    """
    import torch

    centre, spread = np.array(mean, np.float32), np.array(deviation, np.float32)
    values = (image.astype(np.float32) / np.float32(255) - centre) / spread
    tensor = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]
    return torch.nn.functional.interpolate(
        tensor, (size[1], size[0]), mode="bilinear", align_corners=False, antialias=antialias
    )


def resized(values: Float32[np.ndarray, "h w *c"], width: int, height: int) -> Float32[np.ndarray, "h2 w2 *c"]:
    """Values at another size, bilinear between pixel centres, so that both images cover the same area."""
    import cv2

    if values.shape[:2] == (height, width):
        return values
    out = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(out, np.float32).reshape(height, width, *values.shape[2:])
