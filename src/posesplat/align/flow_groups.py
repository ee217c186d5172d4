"""Two groups of points by how they move in the image: a thing that moves on its own, and the scene behind it.

A board that drifts before a scene is a near board before a far scene as long as the scene's own parallax is small: one
rigid motion then explains both, badly, and no robust loss objects. The groups are made from the image motion alone, so
that each can be asked whether it would rather move by itself (:mod:`posesplat.align.small_motion_search`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import SmallMotion
from posesplat.align.tracks import evenly_spread

_NEIGHBOURS = 9
_ROUNDS = 10
_SQUARES = 8
"""Squares along the longer side of the image by which spread is counted."""
_MOST_FRAMES = 12
_CAPPED = 0.9


def flow_groups(turned: SmallMotion, sightings: Sightings) -> Bool[np.ndarray, " points"]:
    """Which points move unlike the others: the group of two that takes less room in the image; maybe empty.

    Two medians (k-medians) of what a pure rotation leaves of the points' paths, after a median over neighbours in the
    image: things hang together, and a point that was lost on its way does not make a group.

    Args:
        turned: of :func:`posesplat.align.small_motion.rotation_only`.
        sightings: what it was fitted to.
    """
    none = np.zeros(len(sightings.rays), dtype=bool)
    if len(sightings.rays) <= _NEIGHBOURS:
        return none
    paths = _smooth_paths(turned, sightings)
    best, least = none, np.inf
    for start in _starts(paths):
        group, cost = _two_medians(paths, start)
        if cost < least:
            best, least = group, cost
    return ~best if spread(sightings, best) > spread(sightings, ~best) else best


def spread(sightings: Sightings, chosen: Bool[np.ndarray, " points"]) -> float:
    """Share of the image's squares that points hold, each square shared by all its points."""
    pixels = sightings.rays[:, :2] * sightings.focal
    low, extent = pixels.min(axis=0), max(float(np.ptp(pixels, axis=0).max()), 1e-9)
    column, row = np.minimum((pixels - low) / extent * _SQUARES, _SQUARES - 1).astype(np.intp).T
    square = row * _SQUARES + column
    count = np.bincount(square, minlength=_SQUARES**2)
    held = np.bincount(square, chosen, minlength=_SQUARES**2)
    used = count > 0
    return float(np.mean(held[used] / count[used]))


def _smooth_paths(turned: SmallMotion, sightings: Sightings) -> Float[np.ndarray, "values points"]:
    """What rotation leaves of each point's path, in pixels: the median over the nearest points of the image."""
    frames = len(sightings.seen)
    chosen = evenly_spread(frames, _MOST_FRAMES)
    residuals = turned.residuals(sightings)[chosen]
    seen = sightings.seen[chosen]
    _, nearest = KDTree(sightings.rays[:, :2]).query(sightings.rays[:, :2], k=_NEIGHBOURS)
    # Unseen places go to the end of the order, and the median is taken of the others.
    known = seen[:, nearest].sum(axis=2)
    ordered = np.sort(np.where(seen[:, None], residuals, np.inf)[:, :, nearest], axis=3)
    middle = np.broadcast_to((np.maximum(known, 1) // 2)[:, None, :, None], (*ordered.shape[:3], 1))
    paths = np.take_along_axis(ordered, middle, axis=3)[..., 0]
    paths = np.where(np.isfinite(paths), paths, 0.0)
    return paths.reshape(-1, paths.shape[2])


def _starts(paths: Float[np.ndarray, "values points"]) -> list[Bool[np.ndarray, " points"]]:
    """First guesses: the two ends of the direction in which paths differ most, and the paths far from the median."""
    apart = paths - np.median(paths, axis=1, keepdims=True)
    lengths = np.linalg.norm(apart, axis=0)
    capped = apart * np.minimum(1.0, np.quantile(lengths, _CAPPED) / np.maximum(lengths, 1e-12))
    _, directions = np.linalg.eigh(capped @ capped.T)
    along = directions[:, -1] @ capped
    return [along > np.quantile(along, [0.05, 0.95]).mean(), lengths > 0.5 * np.quantile(lengths, 0.97)]


def _two_medians(
    paths: Float[np.ndarray, "values points"], group: Bool[np.ndarray, " points"]
) -> tuple[Bool[np.ndarray, " points"], float]:
    """The second group and the sum of distances to the nearer median; an infinite one when a group dies out."""
    cost = np.inf
    for _ in range(_ROUNDS):
        if group.all() or not group.any():
            return np.zeros_like(group), np.inf
        own, other = (
            np.linalg.norm(paths - np.median(paths[:, part], axis=1, keepdims=True), axis=0) for part in (~group, group)
        )
        cost = float(np.minimum(own, other).sum())
        moved = other < own
        if (moved == group).all():
            break
        group = moved
    return group, cost
