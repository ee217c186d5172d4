"""Covariance of an estimated pose from how the gradient scatters over the image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from posesplat.kernels.splatting import NormalEquations

_MERGED = (3, 2, 1)
"""Kernel blocks a side in an independent block, the largest that leaves enough of them."""

_ENOUGH_BLOCKS = 24


def gradient_scatter(term: NormalEquations) -> Float[np.ndarray, "d d"]:
    """Covariance of a term's gradient: blocks of pixels are independent, pixels within a block need not be.

    Large blocks see errors that are alike over a region: of calibration, of timing, of the map.
    Source: Cameron and Miller, A practitioner's guide to cluster-robust inference, 2015, equation 11.
    """
    blocks = term.block_gradients
    if blocks is None:
        return np.zeros_like(term.hessian)
    unknowns = blocks.shape[2]
    for merged in _MERGED:
        used = _merged(blocks, merged)
        if len(used) >= _ENOUGH_BLOCKS:
            break
    count = len(used)
    if count <= unknowns + 1:
        return np.zeros_like(term.hessian)
    centred = used - used.mean(axis=0)
    return centred.T @ centred * (count / (count - unknowns))


def _merged(blocks: Float[np.ndarray, "rows columns d"], side: int) -> Float[np.ndarray, "n d"]:
    """Sums over squares of blocks, without the empty ones."""
    rows, columns, unknowns = blocks.shape
    padded = np.pad(blocks, ((0, -rows % side), (0, -columns % side), (0, 0)))
    squares = padded.reshape(padded.shape[0] // side, side, padded.shape[1] // side, side, unknowns)
    sums = squares.sum(axis=(1, 3)).reshape(-1, unknowns)
    return sums[np.abs(sums).max(axis=1) > 0]


def information_weight(term: NormalEquations, least_newton_ratio: float) -> float:
    """The weight at which a term's normal equations count as information, so that different kinds add up.

    A term's gradient scatters more than its Hessian says, by its noise and by the correlation of its pixels; the
    weight is the inverse of that ratio, averaged over the unknowns.
    """
    if term.covered == 0:
        return 0.0
    scatter, diagonal = gradient_scatter(term), np.sqrt(np.maximum(np.diag(term.hessian), 1e-300))
    hessian = term.hessian / diagonal[:, None] / diagonal[None, :]
    scatter = scatter / diagonal[:, None] / diagonal[None, :]
    values, vectors = np.linalg.eigh(hessian)
    informed = values > 1e-6 * max(float(values.max()), 1e-300)
    along = np.einsum("ki,kl,li->i", vectors, scatter, vectors)[informed] / values[informed]
    ratio = float(np.mean(along)) if informed.any() else 0.0
    return term.newton_ratio(least_newton_ratio) / ratio if ratio > 0 else 1.0


def sandwich(hessian: Float[np.ndarray, "8 8"], scatter: Float[np.ndarray, "8 8"]) -> Float[np.ndarray, "6 6"] | None:
    """H^-1 S H^-1 over pose and exposure, reduced to the pose; None when the pose is not determined at all."""
    diagonal = np.diag(hessian)
    active = diagonal > 1e-12 * max(float(diagonal.max()), 1e-300)
    if not active[:6].all():
        return None
    scale = 1.0 / np.sqrt(diagonal[active])
    normalised = hessian[np.ix_(active, active)] * scale[:, None] * scale[None, :]
    if np.linalg.eigvalsh(normalised)[0] < 1e-9:
        return None
    inverse = np.linalg.inv(normalised) * scale[:, None] * scale[None, :]
    covariance = inverse @ scatter[np.ix_(active, active)] @ inverse
    return np.asarray(0.5 * (covariance + covariance.T))[:6, :6]
