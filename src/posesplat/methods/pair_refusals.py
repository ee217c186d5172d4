"""Why the pose of two images is not told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.match_alignment import epipolar_inliers
from posesplat.align.matched_depths import MatchedDepths
from posesplat.align.pair_starts import lengths_by_depth
from posesplat.align.repetition import self_similarity
from posesplat.geometry.frame import Frame
from posesplat.kernels.threads import side_by_side
from posesplat.methods.pair_dense import DenseFit

_UNIT_RATIO = 3.0
"""Ratio of the two images' depths, for the same points, that is no mistake of a sensor or network but of a unit."""
_LARGEST = (2.0, 0.15)
"""Standard deviations of an answer: degrees, and a share of its translation (or 5 % of the median depth)."""
_LARGEST_WITHOUT_DEPTH = (3.0, 0.2)
"""The same of a covariance that has grown for few cells, since few matches fit wrong poses by chance."""
_FEWEST_FOR_UNITS = 20
"""Matches near their epipolar lines from which the units of depth are judged."""

_REPEATS = 0.4
"""Share of keypoints with likes in their own image from which a scene repeats itself."""
_BEYOND_REPETITION = 0.35
"""Share of the matches that must agree there; off by a period, at most 0.31 did in 60 pairs of repeated rooms ..."""
_EXACT = 0.993
"""... or share of the depths that must agree both ways; 0.996 or more did at right poses."""

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


def repeating(a: Frame, b: Frame, inlier_fraction: float, dense: Sequence[DenseFit]) -> str:
    """Why a pose may be off by a whole period of the scene; empty where it hardly is.

    Args:
        a: image A.
        b: image B.
        inlier_fraction: share of the matches that agree with the pose.
        dense: its refinements by rendering, where there are any.
    """
    if inlier_fraction >= _BEYOND_REPETITION:
        return ""
    if len(dense) == 2 and min(fit.inlier_fraction for fit in dense) >= _EXACT:
        return ""
    share = min(side_by_side(self_similarity, (a, b)))
    if share < _REPEATS:
        return ""
    return (
        f"The scene repeats itself: {share:.0%} of the keypoints have likes in their own image, and "
        f"{inlier_fraction:.0%} of the matches agree, so that the pose may be off by a whole period. Take views that "
        "share something that is there only once."
    )


def undetermined(
    b_from_a: RigidTransform,
    covariance: Float[np.ndarray, "6 6"],
    median_depth: float | None = None,
    *,
    free_length: bool = False,
) -> str:
    """Why a pose is too weakly determined to be used; empty when it is determined.

    Args:
        b_from_a: the pose.
        covariance: as it was estimated; without depth, with what it grows by for having been estimated from little.
        median_depth: of the scene; None without depth.
        free_length: the length of the translation need not be determined, its direction alone.
    """
    turn = float(np.degrees(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])))
    length = float(np.linalg.norm(b_from_a.translation))
    along = np.asarray(b_from_a.translation) / length if free_length and length > 0 else np.zeros(3)
    across = np.eye(3) - np.outer(along, along)
    shift = float(np.sqrt(np.linalg.eigvalsh(across @ covariance[3:, 3:] @ across)[-1]))
    largest_turn, share = _LARGEST_WITHOUT_DEPTH if median_depth is None else _LARGEST
    if turn <= largest_turn and shift <= max(share * length, 0.05 * (median_depth or 0.0)):
        return ""
    return (
        f"The pose is not determined: its standard deviation is {turn:.2g} deg and {shift:.2g} for a translation of "
        f"{length:.2g}. The matches cover too little of the images, or too flat a part of the scene."
    )
