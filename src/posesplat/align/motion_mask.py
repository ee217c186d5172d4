"""Which part of a picture moves by itself, from points that do not follow the scene."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import SmallMotion
from posesplat.align.small_motion_search import point_lengths, with_depths
from posesplat.align.tracks import pixels_at


@dataclass(frozen=True)
class MotionMaskRule:
    """When a point moves by itself, and how far a point speaks for the pixels around it.

    Measured on rooms with a moving board over 20 to 30 % of the picture: 99 % of the board masked, and 5 % of the rest.
    """

    disagreeing: float = 5.0
    """A point moves when its residual exceeds this many times the typical point's,"""
    min_residual_px: float = 1.0
    """and is at least this long: slower movers do no harm, and points on depth edges are no movers."""
    reach: float = 1.0
    """Standard deviation of a point's vote, in mean distances between points."""
    doubt: float = 1.0
    """Votes that every pixel has for standing still: a lone point masks nothing."""
    margin: float = 0.25
    """By how much masked regions grow, in mean distances between points."""

    def __post_init__(self) -> None:
        if self.disagreeing < 1 or self.reach <= 0 or min(self.min_residual_px, self.doubt, self.margin) < 0:
            raise ValueError(
                "MotionMaskRule needs disagreeing >= 1, reach > 0, and min_residual_px, doubt and margin >= 0; "
                f"got {self}."
            )


def scene_residuals(motion: SmallMotion, sightings: Sightings) -> Float[np.ndarray, " points"]:
    """How far each point is from following the scene: its median residual in pixels, at the depth that suits it best.

    Args:
        motion: the poses; its inverse depths are not used, so it may come from other points.
        sightings: all points, also those that an adjustment left out; each seen at least once.
    """
    return point_lengths(with_depths(sightings, motion), sightings)


def moving_points(
    residuals_px: Float[np.ndarray, " points"], rule: MotionMaskRule = MotionMaskRule()
) -> Bool[np.ndarray, " points"]:
    """Which points move by themselves, judged by their residuals; NaN, not seen, counts as still."""
    known = residuals_px[np.isfinite(residuals_px)]
    typical = float(np.median(known)) if len(known) else 0.0
    return np.nan_to_num(residuals_px) > max(rule.disagreeing * typical, rule.min_residual_px)


def motion_mask(
    pixels: Float[np.ndarray, "points 2"],
    moving: Bool[np.ndarray, " points"],
    size: tuple[int, int],
    rule: MotionMaskRule = MotionMaskRule(),
) -> Bool[np.ndarray, "height width"]:
    """True where a picture may be used: everywhere but where points that move outvote those that do not.

    Each point votes with a Gaussian around it. The points' places in a later frame give that frame's mask.

    Args:
        pixels: where the points are in this picture, corner-based; outside of it they have no vote.
        moving: of :func:`moving_points`.
        size: height and width of the picture.
        rule: how votes count.
    """
    import cv2

    height, width = size
    row, column, inside = pixels_at(pixels, size)
    if not (moving & inside).any():
        return np.ones(size, dtype=bool)
    spacing = math.sqrt(height * width / int(inside.sum()))
    spread = rule.reach * spacing

    def votes(chosen: Bool[np.ndarray, " points"]) -> Float32[np.ndarray, "height width"]:
        count = np.zeros(size, dtype=np.float32)
        np.add.at(count, (row[chosen], column[chosen]), np.float32(2.0 * math.pi * spread**2))
        return np.asarray(cv2.GaussianBlur(count, (0, 0), spread, borderType=cv2.BORDER_CONSTANT), np.float32)

    masked = votes(moving & inside) > votes(~moving & inside) + rule.doubt
    radius = round(rule.margin * spacing)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(masked.astype(np.uint8), disc) == 0
