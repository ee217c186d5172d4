"""Why the pose of two images is not told."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.match_alignment import epipolar_inliers
from posesplat.align.matched_depths import MatchedDepths
from posesplat.align.pair_starts import lengths_by_depth

_UNIT_RATIO = 3.0
"""Ratio of the two images' depths, for the same points, that is no mistake of a sensor or network but of a unit."""
_LARGEST_TURN_DEG = 2.0
_LARGEST_SHIFT = 0.15
"""Standard deviations of an answer: degrees, and a share of its translation (or 5 % of the median depth)."""
_FEWEST_FOR_UNITS = 20
"""Matches near their epipolar lines from which the units of depth are judged."""

BRIDGE = (
    "If the images hardly overlap, in-between frames may connect them: see `posesplat bridge`. "
    "If they do, try another matcher."
)
"""What to do about images that share too little."""


def unlike_depths(matched: MatchedDepths, starts: dict[str, RigidTransform]) -> str:
    """Why the depths of the two images cannot both be metres; empty when they can be."""
    pose = starts.get("five points")
    if pose is None:
        return ""
    agrees = epipolar_inliers(matched, pose)
    first, second = lengths_by_depth(matched, pose, agrees)
    if first is None or second is None or agrees.sum() < _FEWEST_FOR_UNITS:
        return ""
    ratio = float(np.exp(abs(np.log(first / second))))
    if ratio < _UNIT_RATIO:
        return ""
    return (
        f"The depths of the two images disagree by a factor of {ratio:.3g} for the same points: one of them is not in "
        "metres. Check its depth scale."
    )


def undetermined(b_from_a: RigidTransform, covariance: Float[np.ndarray, "6 6"], median_depth: float) -> str:
    """Why a pose is too weakly determined to be used; empty when it is determined.

    Args:
        b_from_a: the pose.
        covariance: as it was estimated, without what it grows by for having been estimated from little.
        median_depth: of the scene.
    """
    turn = float(np.degrees(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])))
    shift = float(np.sqrt(np.linalg.eigvalsh(covariance[3:, 3:])[-1]))
    length = float(np.linalg.norm(b_from_a.translation))
    if turn <= _LARGEST_TURN_DEG and shift <= max(_LARGEST_SHIFT * length, 0.05 * median_depth):
        return ""
    return (
        f"The pose is not determined: its standard deviation is {turn:.2g} deg and {shift:.2g} for a translation of "
        f"{length:.2g}. The matches cover too little of the images, or too flat a part of the scene."
    )
