"""Where the refinement of a pair may start: poses from random samples of its matches, and their depths.

Each function takes matches with depths and gives b_from_a or None; none of them needs to be right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.global_start import KeypointStartOptions, absolute_pose
from posesplat.align.matched_depths import MatchedDepths, Side
from posesplat.align.relative_pose import relative_pose
from posesplat.geometry import poses


@dataclass(frozen=True)
class PairStartOptions:
    """Thresholds of the random samples."""

    max_epipolar_px: float = 1.5
    """Five points: a match agrees within this Sampson error."""
    max_reprojection_px: float = 8.0
    """Resection: a match agrees within this distance. Depth of one image may be off, so this is wide."""
    max_gap: float = 0.03
    """Rigid motion: two points are one within this share of their depth."""
    min_inliers: int = 6
    """Fewest matches that must agree."""
    samples: int = 600
    """Triples that the rigid motion is computed from."""
    max_iterations: int = 5000
    """Most samples of five points, and of three for resection."""
    seed: int = 0
    """Of all samples."""

    def __post_init__(self) -> None:
        if min(self.max_epipolar_px, self.max_reprojection_px, self.max_gap) <= 0 or self.samples < 1:
            raise ValueError(f"PairStartOptions needs thresholds above 0 and at least 1 sample; got {self}.")
        if self.min_inliers < 3:
            raise ValueError(f"PairStartOptions.min_inliers must be at least 3; got {self.min_inliers}.")


_FEWEST_RATIOS = 3

Start = Callable[[MatchedDepths, PairStartOptions], RigidTransform | None]
"""Anything that makes a pose of a pair's matches."""


def five_point(matched: MatchedDepths, options: PairStartOptions = PairStartOptions()) -> RigidTransform | None:
    """The essential matrix of five points, its translation as long as the depths say; length 1 without any depth.

    Where the depths of both images tell a length, the answer is their geometric mean.
    """
    pose, agrees = relative_pose(
        matched.matches,
        matched.a.camera,
        matched.b.camera,
        max_epipolar_px=options.max_epipolar_px,
        min_points=options.min_inliers,
        max_iterations=options.max_iterations,
        seed=options.seed,
    )
    if pose is None or not matched.metric:
        return pose
    length = length_by_depth(matched, pose, agrees)
    return None if length is None else poses.rescaled(pose, length)


def length_by_depth(matched: MatchedDepths, b_from_a: RigidTransform, agrees: Bool[np.ndarray, " n"]) -> float | None:
    """The geometric mean of :func:`lengths_by_depth`, of those that depths tell; None where they tell none."""
    told = [length for length in lengths_by_depth(matched, b_from_a, agrees) if length is not None]
    return float(np.exp(np.mean(np.log(told)))) if told else None


def lengths_by_depth(
    matched: MatchedDepths, b_from_a: RigidTransform, agrees: Bool[np.ndarray, " n"]
) -> tuple[float | None, float | None]:
    """By what factor a translation must grow to fit the depths of A alone, and those of B alone; None without depths.

    It is the median ratio of the depths to those of the triangulated points.

    Args:
        matched: matches with depths.
        b_from_a: a pose whose rotation and direction of translation are right.
        agrees: the matches that count.
    """
    factors: list[float | None] = []
    triangulated = triangulated_depths(matched.a.rays, matched.b.rays, b_from_a)
    for side, depths in zip((matched.a, matched.b), triangulated, strict=True):
        usable = agrees & side.known & (depths > 0)
        enough = usable.sum() >= _FEWEST_RATIOS
        factors.append(float(np.median(side.depths[usable] / depths[usable])) if enough else None)
    return factors[0], factors[1]


def resection_of_b(matched: MatchedDepths, options: PairStartOptions = PairStartOptions()) -> RigidTransform | None:
    """The camera of B from the points of A's depth and where B sees them (PnP)."""
    return _resection(matched.a, matched.b, matched.matches.pixels_b, options)


def resection_of_a(matched: MatchedDepths, options: PairStartOptions = PairStartOptions()) -> RigidTransform | None:
    """The camera of A from the points of B's depth and where A sees them (PnP)."""
    a_from_b = _resection(matched.b, matched.a, matched.matches.pixels_a, options)
    return None if a_from_b is None else a_from_b.inv()


def rigid_motion(matched: MatchedDepths, options: PairStartOptions = PairStartOptions()) -> RigidTransform | None:
    """The motion of three points that are known in both cameras which most others follow.

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
    """
    both = np.flatnonzero(matched.a.known & matched.b.known)
    if len(both) < max(options.min_inliers, 3):
        return None
    points_a, points_b = matched.a.points[both], matched.b.points[both]
    reach = options.max_gap * 0.5 * (matched.a.depths[both] + matched.b.depths[both])
    rng = np.random.default_rng(options.seed)
    triples = rng.integers(0, len(both), (options.samples, 3))
    triples = triples[(np.diff(np.sort(triples, axis=1), axis=1) > 0).all(axis=1)]
    if not len(triples):
        return None
    rotations, translations = _rigid(points_a[triples], points_b[triples])
    moved = np.einsum("sij,nj->sni", rotations, points_a) + translations[:, None, :]
    squared = np.sum((moved - points_b) ** 2, axis=2) / reach**2
    score = np.sum(np.maximum(1.0 - squared, 0.0), axis=1)
    best = int(np.argmax(score))
    rotation, translation = rotations[best], translations[best]
    for _ in range(3):
        gaps = np.linalg.norm(points_a @ rotation.T + translation - points_b, axis=1) / reach
        agrees = gaps < 1.0
        if agrees.sum() < options.min_inliers:
            return None
        turned, shifted = _rigid(points_a[None, agrees], points_b[None, agrees])
        rotation, translation = turned[0], shifted[0]
    return RigidTransform.from_components(translation, Rotation.from_matrix(rotation))


def standing_still(matched: MatchedDepths, options: PairStartOptions = PairStartOptions()) -> RigidTransform | None:
    """No motion: the start that small motions need no samples for."""
    return RigidTransform.identity() if matched.metric else None


STARTS: dict[str, Start] = {
    "five points": five_point,
    "resection of B": resection_of_b,
    "resection of A": resection_of_a,
    "rigid motion": rigid_motion,
    "standing still": standing_still,
}
"""All starts by name, in the order in which they are tried."""


def _resection(
    known: Side, seen: Side, pixels: Float[np.ndarray, "n 2"], options: PairStartOptions
) -> RigidTransform | None:
    usable = known.known
    return absolute_pose(
        seen.camera,
        pixels[usable],
        known.points[usable],
        options.seed,
        KeypointStartOptions(
            max_reprojection_error=options.max_reprojection_px / seen.camera.width,
            min_inliers=options.min_inliers,
            max_iterations=options.max_iterations,
        ),
    )


def _rigid(
    points_a: Float[np.ndarray, "s n 3"], points_b: Float[np.ndarray, "s n 3"]
) -> tuple[Float[np.ndarray, "s 3 3"], Float[np.ndarray, "s 3"]]:
    """Rotations and translations that bring points of A closest to points of B."""
    centre_a, centre_b = points_a.mean(axis=1), points_b.mean(axis=1)
    spread = np.einsum("sni,snj->sij", points_b - centre_b[:, None], points_a - centre_a[:, None])
    left, _, right = np.linalg.svd(spread)
    left[:, :, 2] *= np.sign(np.linalg.det(left) * np.linalg.det(right))[:, None]
    rotations = left @ right
    return rotations, centre_b - np.einsum("sij,sj->si", rotations, centre_a)


def triangulated_depths(
    rays_a: Float[np.ndarray, "n 3"], rays_b: Float[np.ndarray, "n 3"], b_from_a: RigidTransform
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Depths in both cameras at which two rays are closest."""
    turned = b_from_a.rotation.apply(rays_a)
    translation = np.asarray(b_from_a.translation)
    aa, ab, bb = np.sum(turned**2, axis=1), np.sum(turned * rays_b, axis=1), np.sum(rays_b**2, axis=1)
    at, bt = turned @ translation, rays_b @ translation
    determinant = np.maximum(aa * bb - ab**2, 1e-12)
    return (ab * bt - bb * at) / determinant, (aa * bt - ab * at) / determinant
