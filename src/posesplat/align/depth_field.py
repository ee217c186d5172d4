"""Fields of inverse depth over an image: drawn through scattered points, and smoothed where the image says little.

Inverse depth is affine in the pixel on a plane, and an affine field costs the membrane nothing in its interior, so
slanted planes stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int32
from scipy.interpolate import NearestNDInterpolator
from scipy.spatial import Delaunay, QhullError

_LEAST = 1e-9


@dataclass(frozen=True)
class Links:
    """How strongly neighbouring pixels are held together; zero between different surfaces."""

    across: Float32[np.ndarray, "h w1"]
    """Between each pixel and the one to its right."""
    down: Float32[np.ndarray, "h1 w"]
    """Between each pixel and the one below."""


def links_of(
    image: Float32[np.ndarray, "h w"],
    field: Float32[np.ndarray, "h w"],
    stiffness: float,
    image_step: float,
    largest_ratio: float,
) -> Links:
    """Links that give way at steps of the image, and where the field itself has one already.

    Args:
        image: guides where surfaces end.
        field: positive values, as they are now.
        stiffness: of a link where neither has a step.
        image_step: the link falls by e at a step of this many grey levels.
        largest_ratio: the link is a half where neighbours of the field differ by this share.
    """

    def links(grey_step: Float32[np.ndarray, "a b"], ratio: Float32[np.ndarray, "a b"]) -> Float32[np.ndarray, "a b"]:
        held = stiffness * np.exp(-np.abs(grey_step) / image_step) / (1.0 + (ratio / largest_ratio) ** 2)
        return np.asarray(held, dtype=np.float32)

    return Links(
        links(image[:, 1:] - image[:, :-1], field[:, 1:] / field[:, :-1] - 1.0),
        links(image[1:] - image[:-1], field[1:] / field[:-1] - 1.0),
    )


def smoothed_field(
    information: Float32[np.ndarray, "h w"],
    target: Float32[np.ndarray, "h w"],
    links: Links,
    start: Float32[np.ndarray, "h w"],
    steps: int,
) -> Float32[np.ndarray, "h w"]:
    """The field of least sum of information (x - target)^2 + link (x - neighbour)^2: conjugate gradients.

    Args:
        information: how well each pixel is known; inverse variance, 0 = not at all.
        target: measured values.
        links: how neighbours hold together, inverse variance of their difference.
        start: where to begin; what is far from any information moves little in a few steps.
        steps: most steps.
    """

    def product(x: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        result = information * x
        pull = links.across * (x[:, 1:] - x[:, :-1])
        result[:, 1:] += pull
        result[:, :-1] -= pull
        pull = links.down * (x[1:] - x[:-1])
        result[1:] += pull
        result[:-1] -= pull
        return result

    diagonal = information.copy()
    diagonal[:, 1:] += links.across
    diagonal[:, :-1] += links.across
    diagonal[1:] += links.down
    diagonal[:-1] += links.down
    np.maximum(diagonal, np.float32(_LEAST), out=diagonal)
    field = start.copy()
    residual = information * target - product(field)
    scaled = residual / diagonal
    direction, size = scaled.copy(), _dot(residual, scaled)
    least = 1e-12 * max(_dot(information * target, target), _LEAST)
    for _ in range(steps):
        if size <= least:
            break
        moved = product(direction)
        length = np.float32(size / _dot(direction, moved))
        field += length * direction
        residual -= length * moved
        scaled = residual / diagonal
        before, size = size, _dot(residual, scaled)
        direction = scaled + np.float32(size / before) * direction
    return field


def _dot(a: Float32[np.ndarray, "h w"], b: Float32[np.ndarray, "h w"]) -> float:
    """Sum of products, without BLAS, whose threads would wait for each other longer than they work."""
    return float((a * b).sum())


def scattered_field(
    pixels: Float[np.ndarray, "n 2"], values: Float[np.ndarray, " n"], height: int, width: int
) -> Float32[np.ndarray, "h w"]:
    """Values of points over a whole image: linear between them, that of the nearest beyond.

    Args:
        pixels: places of the points, corner-based.
        values: at the points.
        height: of the image.
        width: of the image.

    Raises:
        ValueError: without points.
    """
    if not len(pixels):
        raise ValueError("scattered_field needs at least one point; got none. Leave the image out.")
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    field = np.full((height, width), np.nan)
    try:
        corners = Delaunay(pixels).simplices
    except (QhullError, ValueError):  # fewer than three points, or all on one line
        corners = np.zeros((0, 3), dtype=np.int64)
    if len(corners):
        slopes, triangle = _slopes(pixels[corners], values[corners]), _rasterised(pixels[corners], height, width)
        inside = triangle >= 0
        across, down, offset = slopes[triangle[inside]].T
        field[inside] = across * columns[inside] + down * rows[inside] + offset
    beyond = ~np.isfinite(field)
    if beyond.any():
        field[beyond] = NearestNDInterpolator(pixels, values)(columns[beyond], rows[beyond])
    return np.asarray(field, dtype=np.float32)


def _slopes(places: Float[np.ndarray, "t 3 2"], values: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 3"]:
    """Coefficients (a, b, c) of a u + b v + c through three values each; not finite where corners lie on a line."""
    (u1, v1), (u2, v2) = ((places[:, k] - places[:, 0]).T for k in (1, 2))
    d1, d2 = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        across, down = (d1 * v2 - d2 * v1) / (u1 * v2 - u2 * v1), (d2 * u1 - d1 * u2) / (u1 * v2 - u2 * v1)
        return np.column_stack([across, down, values[:, 0] - across * places[:, 0, 0] - down * places[:, 0, 1]])


def _rasterised(places: Float[np.ndarray, "t 3 2"], height: int, width: int) -> Int32[np.ndarray, "h w"]:
    """The triangle that each pixel lies in or touches; -1 beyond all of them."""
    import cv2

    triangle = np.full((height, width), -1, dtype=np.int32)
    fraction_bits = 4
    drawn = np.rint((places - 0.5) * 2**fraction_bits).astype(np.int32)
    for index, corners in enumerate(drawn):
        cv2.fillConvexPoly(triangle, corners, index, cv2.LINE_8, fraction_bits)
    return triangle
