"""View-dependent colour of spherical harmonics in torch: the twin of :mod:`posesplat.gaussians.harmonics`."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

DEGREE_0 = math.sqrt(1 / (4 * math.pi))
_DEGREE_1 = math.sqrt(3 / (4 * math.pi))
_DEGREE_2 = tuple(math.sqrt(factor / math.pi) for factor in (15 / 4, 5 / 16, 15 / 16))
_DEGREE_3 = tuple(math.sqrt(factor / math.pi) for factor in (35 / 32, 105 / 4, 21 / 32, 7 / 16, 105 / 16))
_DEGREE_4 = tuple(math.sqrt(factor / math.pi) for factor in (315 / 16, 315 / 32, 45 / 16, 45 / 32, 9 / 256))
COUNTS = (1, 4, 9, 16, 25)


def sh_basis(directions: Float[Tensor, "*n 3"], count: int) -> Float[Tensor, "*n count"]:
    """The first ``count`` real harmonics (1, 4, 9, 16 or 25) at directions of any length but zero.

    Raises:
        ValueError: for another count.
    """
    if count not in COUNTS:
        raise ValueError(f"Spherical harmonics must have 1, 4, 9, 16 or 25 coefficients (degree 0 to 4); got {count}.")
    x, y, z = torch.nn.functional.normalize(directions, dim=-1).unbind(-1)
    terms = [torch.full_like(x, DEGREE_0)]
    if count > 1:
        terms += [-_DEGREE_1 * y, _DEGREE_1 * z, -_DEGREE_1 * x]
    xx, yy, zz = x * x, y * y, z * z
    if count > 4:
        a, b, c = _DEGREE_2
        terms += [a * x * y, -a * y * z, b * (2 * zz - xx - yy), -a * x * z, c * (xx - yy)]
    if count > 9:
        d, e, f, g, h = _DEGREE_3
        terms += [
            -d * y * (3 * xx - yy),
            e * x * y * z,
            -f * y * (4 * zz - xx - yy),
            g * z * (2 * zz - 3 * xx - 3 * yy),
        ]
        terms += [-f * x * (4 * zz - xx - yy), h * z * (xx - yy), -d * x * (xx - 3 * yy)]
    if count > 16:
        p, q, r, s, t = _DEGREE_4
        terms += [p * x * y * (xx - yy), -q * y * z * (3 * xx - yy), r * x * y * (7 * zz - 1)]
        terms += [-s * y * z * (7 * zz - 3), t * (35 * zz * zz - 30 * zz + 3), -s * x * z * (7 * zz - 3)]
        terms += [0.5 * r * (xx - yy) * (7 * zz - 1), -q * x * z * (xx - 3 * yy)]
        terms += [0.25 * p * (xx * (xx - 3 * yy) - yy * (3 * xx - yy))]
    return torch.stack(terms, dim=-1)


def view_colours(
    harmonics: Float[Tensor, "b n k 3"], means_in_world: Float[Tensor, "b n 3"], centres_in_world: Float[Tensor, "b 3"]
) -> Float[Tensor, "b n 3"]:
    """RGB, at least 0, of Gaussians seen from one camera centre a scene: 0.5 plus the harmonic sum."""
    basis = sh_basis(means_in_world - centres_in_world[:, None], harmonics.shape[2])
    return (0.5 + torch.einsum("bnk,bnkc->bnc", basis, harmonics)).clamp(min=0)
