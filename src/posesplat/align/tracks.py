"""What is tracked: images that do not change with exposure, corners in them, and where they were seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

NORMAL_MEAN = 128.0
"""Local mean of normalised images."""
NORMAL_CONTRAST = 45.0
"""Local standard deviation of normalised images."""
_SPREAD_PX = 12.0
_SHRINK = 4
_FLOOR = 60.0


@dataclass(frozen=True)
class CornerOptions:
    """Which points of a reference image are followed."""

    max_points: int = 1500
    """Most points."""
    min_corner: float = 0.02
    """Least strength of a corner, as a share of the strong corners of the image (their 99th percentile)."""
    spacing_px: int = 5
    """Corners are the strongest within this distance along rows and columns."""
    margin_px: int = 25
    """Distance kept from the image's edges: beside them, local normalisation depends on what the edge cuts off."""
    grid: tuple[int, int] = (8, 6)
    """Columns and rows of the cells among which the points are shared out."""

    def __post_init__(self) -> None:
        if min(self.max_points, self.spacing_px, *self.grid) < 1 or self.margin_px < 1 or not 0 < self.min_corner < 1:
            raise ValueError(
                "CornerOptions needs max_points, spacing_px, margin_px and grid of at least 1 and min_corner in "
                f"(0, 1); got {self}."
            )


@dataclass(frozen=True)
class Tracks:
    """Where points of a reference image were seen in later frames."""

    reference: Float[np.ndarray, "points 2"]
    """The points in the reference image, corner-based pixels."""
    pixels: Float[np.ndarray, "frames points 2"]
    """The points in the later frames; meaningless where not seen."""
    seen: Bool[np.ndarray, "frames points"]
    """Which points were followed into which frame."""

    @staticmethod
    def gathered(
        reference: Float[np.ndarray, "points 2"],
        frames: Sequence[tuple[Float[np.ndarray, "points 2"], Bool[np.ndarray, " points"]]],
    ) -> Tracks:
        """Tracks from what ``PointTracker.follow`` gave for each later frame; there may be none."""
        count = len(reference)
        pixels = np.array([pixels for pixels, _ in frames], dtype=np.float64).reshape(-1, count, 2)
        seen = np.array([seen for _, seen in frames], dtype=bool).reshape(-1, count)
        return Tracks(reference, pixels, seen)

    def select(self, points: Bool[np.ndarray, " points"] | Int[np.ndarray, " chosen"] | slice) -> Tracks:
        """Some of the points, in all frames."""
        return Tracks(self.reference[points], self.pixels[:, points], self.seen[:, points])

    def frames(self, chosen: Bool[np.ndarray, " frames"] | Int[np.ndarray, " chosen"]) -> Tracks:
        """All points, in some of the later frames."""
        return Tracks(self.reference, self.pixels[chosen], self.seen[chosen])


def locally_normalised(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width"]:
    """The grey image with local mean 128 and local contrast 45, which changes of exposure leave alone.

    I' = 128 + 45 (I - G I) / sqrt(G (I - G I)^2 + 60), G a Gaussian of 12 pixels; the 60 keeps noise of flat regions
    small. G is applied at a quarter of the size, where it differs by less than rounding.
    """
    import cv2

    height, width = image.shape[:2]
    small = (max(width // _SHRINK, 1), max(height // _SHRINK, 1))

    def blurred(values: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
        reduced = cv2.GaussianBlur(
            cv2.resize(values, small, interpolation=cv2.INTER_AREA), (0, 0), _SPREAD_PX / _SHRINK
        )
        return cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR)

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = grey - blurred(grey)
    normalised = NORMAL_MEAN + NORMAL_CONTRAST * detail / np.sqrt(blurred(detail * detail) + _FLOOR)
    return np.clip(np.rint(normalised), 0, 255).astype(np.uint8)


def evenly_spread(count: int, most: int) -> Int[np.ndarray, " chosen"]:
    """At most so many of the indices of ``count`` things, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def pixels_at(
    places: Float[np.ndarray, "n 2"], size: tuple[int, int]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Row and column of the pixels that hold corner-based places, and which lie in an image of (height, width)."""
    column, row = np.floor(places).astype(np.intp).T
    height, width = size
    return row, column, (row >= 0) & (row < height) & (column >= 0) & (column < width)


def kept_margin(margin_px: float, height: int, width: int) -> float:
    """The distance kept from an image's edges: as asked for, but no more than a sixteenth of the shorter side."""
    return min(margin_px, min(height, width) / 16)


def corners(
    normalised: UInt8[np.ndarray, "height width"],
    options: CornerOptions = CornerOptions(),
    avoid: Float[np.ndarray, "taken 2"] | None = None,
) -> Float[np.ndarray, "points 2"]:
    """Corners spread over the image, in corner-based pixels: each cell's strongest first, then each cell's second.

    Args:
        normalised: of :func:`locally_normalised`.
        options: how many and how strong.
        avoid: points that are followed already, which count against ``max_points``.
    """
    import cv2

    height, width = normalised.shape
    strength = cv2.cornerMinEigenVal(normalised, 5)
    square = np.ones((2 * options.spacing_px + 1,) * 2, np.uint8)
    least = options.min_corner * float(np.percentile(strength, 99))
    is_corner = (strength == cv2.dilate(strength, square)) & (strength > least)
    margin = int(kept_margin(options.margin_px, height, width))
    is_corner[:margin] = is_corner[-margin:] = False
    is_corner[:, :margin] = is_corner[:, -margin:] = False
    wanted = options.max_points
    if avoid is not None and len(avoid):
        free = np.ones((height, width), np.uint8)
        row, column, inside = pixels_at(avoid, (height, width))
        free[row[inside], column[inside]] = 0
        is_corner &= cv2.erode(free, square) > 0
        wanted = max(wanted - len(avoid), 0)
    row, column = np.nonzero(is_corner)
    grid_columns, grid_rows = options.grid
    cell = row * grid_rows // height * grid_columns + column * grid_columns // width
    by_cell = np.lexsort((-strength[row, column], cell))
    rank = np.arange(len(by_cell)) - np.searchsorted(cell[by_cell], cell[by_cell])
    chosen = by_cell[np.argsort(rank, kind="stable")][:wanted]
    return np.column_stack([column[chosen], row[chosen]]) + 0.5
