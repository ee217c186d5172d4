"""GSplatLoc's loss between two depth images and its exact derivative: depth and depth edges, both by their L1 norm."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_EDGE_FLOOR = 1e-6
"""Added under the root of the Sobel magnitude, as kornia does, which keeps it differentiable at 0."""


def depth_loss(
    rendered: Float[np.ndarray, "h w"], observed: Float[np.ndarray, "h w"], depth_weight: float = 0.8
) -> tuple[float, Float[np.ndarray, "h w"]]:
    """The mean over all pixels of w |D - D_q| + (1 - w) |S(D) - S(D_q)|, and its derivative by D.

    Args:
        rendered: D in metres, 0 where pixels are not compared.
        observed: D_q in metres, 0 at the same pixels.
        depth_weight: w in [0, 1].
    """
    x, y = sobel_gradients(rendered)
    edges = _magnitude(x, y)
    gap, edge_gap = rendered - observed, edges - _magnitude(*sobel_gradients(observed))
    depth_term = np.abs(gap).mean(dtype=np.float64)
    edge_term = np.abs(edge_gap).mean(dtype=np.float64)
    by_edges = np.sign(edge_gap) / edges
    by_depth = depth_weight * np.sign(gap) + (1 - depth_weight) * sobel_adjoint(by_edges * x, by_edges * y)
    return float(depth_weight * depth_term + (1 - depth_weight) * edge_term), by_depth / rendered.size


def sobel_magnitude(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """sqrt(x^2 + y^2 + 1e-6) of the Sobel gradients, as ``kornia.filters.sobel`` defines it."""
    return _magnitude(*sobel_gradients(image))


def sobel_gradients(image: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Sobel filters over 8 (the sum of their absolute values) in x and y; the border is repeated outwards."""
    padded = np.pad(image, 1, mode="edge")
    smooth_y = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    smooth_x = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return (smooth_y[:, 2:] - smooth_y[:, :-2]) / 8, (smooth_x[2:] - smooth_x[:-2]) / 8


def sobel_adjoint(x: Float[np.ndarray, "h w"], y: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """The transpose of :func:`sobel_gradients`: <sobel_gradients(a), (x, y)> = <a, sobel_adjoint(x, y)>."""
    height, width = x.shape
    smooth_y = np.zeros((height, width + 2), dtype=x.dtype)
    smooth_y[:, 2:] = x / 8
    smooth_y[:, :-2] -= x / 8
    smooth_x = np.zeros((height + 2, width), dtype=x.dtype)
    smooth_x[2:] = y / 8
    smooth_x[:-2] -= y / 8
    padded = np.zeros((height + 2, width + 2), dtype=x.dtype)
    for offset, weight in enumerate((1, 2, 1)):
        padded[offset : offset + height] += weight * smooth_y
        padded[:, offset : offset + width] += weight * smooth_x
    padded[1] += padded[0]
    padded[-2] += padded[-1]
    padded[:, 1] += padded[:, 0]
    padded[:, -2] += padded[:, -1]
    return padded[1:-1, 1:-1]


def _magnitude(x: Float[np.ndarray, "h w"], y: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    return np.asarray(np.sqrt(x**2 + y**2 + _EDGE_FLOOR))
