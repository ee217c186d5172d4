"""How much of one image another one shows, from depth and true pose."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.cameras import Camera
from posesplat.geometry.covisibility import covisible

Level = Literal["> 70 %", "40-70 %", "15-40 %"]
LEVELS: dict[Level, tuple[float, float]] = {"> 70 %": (0.7, 1.01), "40-70 %": (0.4, 0.7), "15-40 %": (0.15, 0.4)}
"""Shares of image A's pixels that image B sees, from the lower bound to below the upper one."""
_FEWEST = 20


def overlap(
    depth_a: Float[np.ndarray, "height_a width_a"],
    camera_a: Camera,
    depth_b: Float[np.ndarray, "height_b width_b"],
    camera_b: Camera,
    b_from_a: RigidTransform,
    step: int = 8,
) -> float:
    """The share of A's pixels whose surface point B sees.

    A point counts as seen when it projects into B and B's depth there is not smaller by more than 5 %. Pixels of A
    without depth, and points that fall where B has none, are left out of both counts.

    Args:
        depth_a: metres along the optical axis, 0 where unknown.
        camera_a: pinhole of A.
        depth_b: as ``depth_a``.
        camera_b: pinhole of B.
        b_from_a: the pose.
        step: every ``step``-th pixel of A in x and y is asked.

    Returns:
        a share in [0, 1]; NaN when fewer than 20 pixels could be asked.
    """
    found = covisible(depth_a, camera_a, depth_b, camera_b, b_from_a, step)
    return found.share if np.count_nonzero(found.known) >= _FEWEST else float("nan")


def level_of(share: float) -> Level | None:
    """The level that an overlap belongs to; None below 15 % and for NaN."""
    return next((level for level, (low, high) in LEVELS.items() if low <= share < high), None)
