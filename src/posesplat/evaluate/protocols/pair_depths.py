"""The depth that contenders are given: a sensor's, or what a network that sees one image might say.

The monocular model is a simple one: real networks err object by object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter

DepthKind = Literal["sensor", "monocular", "monocular-common", "none"]
MEASURED: tuple[DepthKind, ...] = ("sensor", "monocular", "monocular-common")
"""The kinds of depth of the sets that have depth."""


@dataclass(frozen=True)
class MonocularModel:
    """Sizes of the errors of :func:`monocular_like`."""

    scale: float = 0.08
    """Standard deviation of the logarithm of the factor on a whole image."""
    bias: float = 0.05
    """Standard deviation of the logarithm of the smooth field, at its grid points."""
    grid: tuple[int, int] = (3, 4)
    """Rows and columns of the field's random grid, bicubic between its points."""
    blur_px: float = 3.0
    """Standard deviation of the Gaussian that blurs inverse depth."""


def monocular_like(
    depth: Float[np.ndarray, "height width"],
    seed: int,
    common_scale: bool = False,
    model: MonocularModel = MonocularModel(),
) -> Float32[np.ndarray, "height width"]:
    """Depth in metres as a network might estimate it: scaled, smoothly bent, and blurred at edges.

    Args:
        depth: metres, 0 where unknown; unknown pixels stay so and do not bleed into the blur.
        seed: of the scale and the field; the field is the same whether or not there is a scale.
        common_scale: True for a factor of exactly 1, so that two images agree in it.
        model: sizes of the errors.
    """
    import cv2

    rng = np.random.default_rng([seed, 11])
    factor = np.exp(model.scale * rng.standard_normal())
    coarse = model.bias * rng.standard_normal(model.grid)
    height, width = depth.shape
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    known = depth > 0
    inverse = np.divide(1.0, depth, out=np.zeros(depth.shape), where=known)
    weight = gaussian_filter(known.astype(np.float64), model.blur_px)
    blurred = gaussian_filter(inverse, model.blur_px) / np.maximum(weight, 1e-9)
    bent = np.divide(np.exp(field), blurred, out=np.zeros(depth.shape), where=known & (blurred > 0))
    return (bent if common_scale else factor * bent).astype(np.float32)
