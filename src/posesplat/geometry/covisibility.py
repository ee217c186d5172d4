"""Which pixels of one image show surfaces that another image shows, too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.cameras import Camera

_OCCLUDED = 0.05
"""A surface is hidden when the other image's depth there is smaller by more than this share."""


@dataclass(frozen=True)
class Covisibility:
    """What is known of every pixel of image A."""

    known: Bool[np.ndarray, "rows columns"]
    """Pixels that can be judged: A has depth there, and B has some where they fall, or they fall outside of B."""
    seen: Bool[np.ndarray, "rows columns"]
    """Pixels whose surface point B sees."""

    @property
    def share(self) -> float:
        """Share of the known pixels that B sees; NaN when there are none."""
        known = int(np.count_nonzero(self.known))
        return int(np.count_nonzero(self.seen)) / known if known else float("nan")


def covisible(
    depth_a: Float[np.ndarray, "height_a width_a"],
    camera_a: Camera,
    depth_b: Float[np.ndarray, "height_b width_b"],
    camera_b: Camera,
    b_from_a: RigidTransform,
    step: int = 1,
) -> Covisibility:
    """Which of A's pixels B sees.

    A point counts as seen when it projects into B and B's depth there is not smaller by more than 5 %.

    Args:
        depth_a: metres along the optical axis, 0 where unknown.
        camera_a: pinhole of A.
        depth_b: as ``depth_a``.
        camera_b: pinhole of B.
        b_from_a: the pose.
        step: every ``step``-th pixel of A in x and y is asked, and the answer is that much smaller.
    """
    depth = np.asarray(depth_a)[step // 2 :: step, step // 2 :: step]
    measured = depth > 0
    points_in_b = b_from_a.apply(camera_a.rays(step)[measured].astype(np.float64) * depth[measured][:, None])
    pixels = camera_b.project(points_in_b)
    with np.errstate(invalid="ignore"):
        inside = np.all((pixels >= 0) & (pixels < (camera_b.width, camera_b.height)), axis=1)
    columns, rows = np.floor(pixels[inside]).astype(np.int64).T
    there = np.asarray(depth_b)[rows, columns]
    visible = np.zeros(len(points_in_b), dtype=bool)
    visible[inside] = (there > 0) & (points_in_b[inside, 2] <= (1.0 + _OCCLUDED) * there)
    judged = np.ones(len(points_in_b), dtype=bool)
    judged[inside] = there > 0
    known, seen = np.zeros(depth.shape, dtype=bool), np.zeros(depth.shape, dtype=bool)
    known[measured], seen[measured] = judged, visible
    return Covisibility(known, seen)
