"""Gaussians as viser draws them: thinned by importance, in the numbers that its half-precision covariances can hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from posesplat.gaussians.gaussians import Gaussians

_LARGEST_VARIANCE = 2000.0
"""Of the bulk of the splats in the stretched world: far below the largest half-precision number, 65504."""
_LARGEST_STORED = 6e4
_BULK = 99.0
"""Percent of the splats that decide how far the world is stretched."""
_WITHOUT_COLOUR = np.array([0.62, 0.66, 0.72])
_DARKEST = 0.35
"""Brightness of a surface seen edge-on, of splats without colour."""
_PAGE_BITS = 13
"""Bits of a coordinate's mantissa that a page keeps: 5 m to 0.3 mm."""


@dataclass(frozen=True)
class SplatArrays:
    """What viser's ``add_gaussian_splats`` takes."""

    centers: Float32[np.ndarray, "n 3"]
    """Stretched: in the world they are ``scale`` times these."""
    covariances: Float32[np.ndarray, "n 3 3"]
    """Of the stretched splats."""
    rgbs: Float32[np.ndarray, "n 3"]
    """Between 0 and 1."""
    opacities: Float32[np.ndarray, "n 1"]
    """Between 0 and 1."""
    scale: float
    """Length in the world of a unit of ``centers``."""


def thinned(gaussians: Gaussians, most: int) -> Gaussians:
    """At most so many of the Gaussians, drawn by how much they can show, and wide enough to stand for the others.

    A Gaussian's importance is its opacity times the area of its two longer axes. It is kept with a probability p that
    is proportional to that, at most 1, by systematic sampling in the order of the file (so that neighbours thin out
    evenly, and the same call gives the same Gaussians); one that is kept grows to 1 / p of its area.

    Raises:
        ValueError: when nothing may be kept.
    """
    if most < 1:
        raise ValueError(f"At least one Gaussian must be kept; got a limit of {most}. Leave them out altogether.")
    if len(gaussians) <= most:
        return gaussians
    axes = np.sort(gaussians.scales.astype(np.float64), axis=1)
    importance = gaussians.opacities * axes[:, 1] * axes[:, 2]
    probability = _probabilities(importance, most)
    steps = np.floor(np.cumsum(probability) + 0.5)
    kept = np.flatnonzero(np.diff(steps, prepend=0.0) > 0)[:most]
    grown = 1.0 / np.sqrt(probability[kept])
    few = gaussians.select(kept)
    wider = few.scales * grown[:, None]
    # The shortest axis is the thickness of a surface, which does not grow.
    shortest = few.scales == few.scales.min(axis=1, keepdims=True)
    return replace(few, scales=np.where(shortest & (few.scales < wider), few.scales, wider).astype(np.float32))


def _probabilities(importance: np.ndarray, most: int) -> np.ndarray:
    """Proportional to importance, at most 1, of sum ``most``."""
    importance = np.maximum(importance, 1e-12 * importance.max() if importance.max() > 0 else 1.0)
    certain = np.zeros(len(importance), dtype=bool)
    while True:
        probability = np.where(certain, 1.0, importance)
        probability[~certain] *= (most - certain.sum()) / importance[~certain].sum()
        over = probability > 1.0
        if not over.any():
            return probability
        certain |= over


def splat_arrays(gaussians: Gaussians, compact: bool = False) -> SplatArrays:
    """The arrays that viser draws.

    Args:
        gaussians: colour is that of no direction in particular; without colour, surfaces are shaded grey by normal.
        compact: round centres so that they pack well into a page.
    """
    variances = np.square(gaussians.scales.astype(np.float64).max(axis=1))
    bulk = float(np.percentile(variances, _BULK)) if len(variances) else 1.0
    stretch = 2.0 ** np.floor(0.5 * np.log2(_LARGEST_VARIANCE / max(bulk, 1e-30)))
    scales = np.minimum(stretch * gaussians.scales.astype(np.float64), np.sqrt(_LARGEST_STORED))
    axes = gaussians.rotations().as_matrix() * scales[:, None, :]
    centers = (stretch * gaussians.means_in_world.astype(np.float64)).astype(np.float32)
    rgbs = gaussians.rgb() if gaussians.has_color else _shaded(gaussians)
    return SplatArrays(
        _rounded(centers) if compact else centers,
        (axes @ np.swapaxes(axes, 1, 2)).astype(np.float32),
        rgbs.clip(0, 1).astype(np.float32),
        gaussians.opacities.reshape(-1, 1).astype(np.float32),
        float(1.0 / stretch),
    )


def _shaded(gaussians: Gaussians) -> Float32[np.ndarray, "n 3"]:
    """Grey, brighter where the surface faces a lamp that shines along (1, 2, 3)."""
    lamp = np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0)
    facing = np.abs(gaussians.normals().astype(np.float64) @ lamp)
    return np.asarray((_DARKEST + (1 - _DARKEST) * facing[:, None]) * _WITHOUT_COLOUR, dtype=np.float32)


def _rounded(values: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """The same numbers with the last bits of the mantissa 0."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, _PAGE_BITS)), exponent - _PAGE_BITS), dtype=np.float32)
