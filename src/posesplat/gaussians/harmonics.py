"""Real spherical harmonics of view-dependent colour, in the order and signs of 3D Gaussian Splatting.

Within a degree the order is m = -l .. l, and the Condon-Shortley sign (-1)^m is kept, as in the Inria and gsplat code.
Source: Kerbl et al., 3D Gaussian Splatting, 2023; Sloan, Stupid Spherical Harmonics Tricks, 2008, appendix A2.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32

COEFFICIENT_COUNTS = (1, 4, 9, 16)
"""Number of coefficients for degrees 0 to 3."""

_DEGREE_0 = math.sqrt(1 / (4 * math.pi))
_DEGREE_1 = math.sqrt(3 / (4 * math.pi))
_DEGREE_2 = tuple(math.sqrt(factor / math.pi) for factor in (15 / 4, 5 / 16, 15 / 16))
_DEGREE_3 = tuple(math.sqrt(factor / math.pi) for factor in (35 / 32, 105 / 4, 21 / 32, 7 / 16, 105 / 16))


def sh_basis(directions: Float[np.ndarray, "n 3"], count: int) -> Float32[np.ndarray, "n count"]:
    """The first ``count`` harmonics at each direction, which need not have unit length; a zero one gets degree 0 only.

    Raises:
        ValueError: when ``count`` is not 1, 4, 9 or 16.
    """
    if count not in COEFFICIENT_COUNTS:
        raise ValueError(f"Spherical harmonics must have 1, 4, 9 or 16 coefficients (degree 0 to 3); got {count}.")
    vectors = np.asarray(directions, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=1)
    vectors = vectors / np.where(length > 0, length, 1.0)[:, None]
    x, y, z = vectors.astype(np.float32).T
    basis = np.empty((len(vectors), count), dtype=np.float32)
    basis[:, 0] = _DEGREE_0
    if count > 1:
        basis[:, 1], basis[:, 2], basis[:, 3] = -_DEGREE_1 * y, _DEGREE_1 * z, -_DEGREE_1 * x
    if count > 4:
        a, b, c = _DEGREE_2
        basis[:, 4] = a * x * y
        basis[:, 5] = -a * y * z
        basis[:, 6] = b * (2 * z * z - x * x - y * y)
        basis[:, 7] = -a * x * z
        basis[:, 8] = c * (x * x - y * y)
    if count > 9:
        d, e, f, g, h = _DEGREE_3
        basis[:, 9] = -d * y * (3 * x * x - y * y)
        basis[:, 10] = e * x * y * z
        basis[:, 11] = -f * y * (4 * z * z - x * x - y * y)
        basis[:, 12] = g * z * (2 * z * z - 3 * x * x - 3 * y * y)
        basis[:, 13] = -f * x * (4 * z * z - x * x - y * y)
        basis[:, 14] = h * z * (x * x - y * y)
        basis[:, 15] = -d * x * (x * x - 3 * y * y)
    return basis


def sh_direction_gradient(
    weights: Float[np.ndarray, "n k"], directions: Float[np.ndarray, "n 3"]
) -> Float32[np.ndarray, "n 3"]:
    """Derivative of sum_k weights_k basis_k for each direction, of any length but zero.

    Raises:
        ValueError: when k is not 1, 4, 9 or 16.
    """
    count = weights.shape[1]
    if count not in COEFFICIENT_COUNTS:
        raise ValueError(f"Spherical harmonics must have 1, 4, 9 or 16 coefficients (degree 0 to 3); got {count}.")
    length = np.linalg.norm(directions, axis=1).astype(np.float32)
    length = np.where(length > 0, length, np.float32(1))[:, None]
    unit = np.asarray(directions / length, dtype=np.float32)
    x, y, z = unit.T
    w = np.asarray(weights, dtype=np.float32).T
    slope = np.zeros((3, len(directions)), dtype=np.float32)
    if count > 1:
        slope[0], slope[1], slope[2] = -_DEGREE_1 * w[3], -_DEGREE_1 * w[1], _DEGREE_1 * w[2]
    if count > 4:
        a, b, c = _DEGREE_2
        slope[0] += a * (y * w[4] - z * w[7]) + 2 * x * (c * w[8] - b * w[6])
        slope[1] += a * (x * w[4] - z * w[5]) - 2 * y * (c * w[8] + b * w[6])
        slope[2] += 4 * b * z * w[6] - a * (y * w[5] + x * w[7])
    if count > 9:
        d, e, f, g, h = _DEGREE_3
        xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
        slope[0] += e * yz * w[10] + 2 * xy * (f * w[11] - 3 * d * w[9]) + 2 * xz * (h * w[14] - 3 * g * w[12])
        slope[0] -= f * (4 * zz - 3 * xx - yy) * w[13] + 3 * d * (xx - yy) * w[15]
        slope[1] += e * xz * w[10] + 2 * xy * (f * w[13] + 3 * d * w[15]) - 2 * yz * (h * w[14] + 3 * g * w[12])
        slope[1] -= f * (4 * zz - xx - 3 * yy) * w[11] + 3 * d * (xx - yy) * w[9]
        slope[2] += e * xy * w[10] - 8 * f * (yz * w[11] + xz * w[13])
        slope[2] += 3 * g * (2 * zz - xx - yy) * w[12] + h * (xx - yy) * w[14]
    along = np.sum(slope.T * unit, axis=1, keepdims=True)
    return np.asarray((slope.T - along * unit) / length, dtype=np.float32)


def evaluate_sh(sh: Float32[np.ndarray, "n k 3"], directions: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """RGB in [0, 1] of each coefficient set seen along its direction (from the camera to the Gaussian, any length).

    The colour is 0.5 plus the harmonic sum, clipped, as in 3D Gaussian Splatting.

    Raises:
        ValueError: when the number of coefficients is not 1, 4, 9 or 16.
    """
    basis = sh_basis(directions, sh.shape[1])
    colour = 0.5 + np.einsum("nk,nkc->nc", basis, sh)
    return np.asarray(np.clip(colour, 0, 1), dtype=np.float32)
