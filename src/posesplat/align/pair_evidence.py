"""What the two real images themselves say about a relative pose that was found by other means, term by term.

Every count is compared with what the same number of random matches would give: the matches with their partners
exchanged. So a term near 0 says nothing, and terms of different pairs can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import RigidTransform

from posesplat.align.match_alignment import MatchRefineOptions, MatchState, fit_at, refine_matches
from posesplat.align.matched_depths import MatchedDepths, MatchNoise
from posesplat.align.pair_starts import lengths_by_depth
from posesplat.geometry.cameras import Camera
from posesplat.geometry.matches import Matches
from posesplat.geometry.poses import rescaled

EVIDENCE = {
    "epipolar": "matches near their epipolar lines after a small refinement, in standard deviations above chance",
    "moved_deg": "how far that refinement turned the pose",
    "reprojection": "matches that a turn alone brings to about their place, in standard deviations above chance",
    "overlap": "share of image A that lies in image B after a turn alone",
    "unmet": "that share, the smaller the more matches confirm it: images that overlap must match",
    "cheirality": "share of the matches near their epipolar lines that lie before both cameras",
    "depth": "matches that agree with measured depths as well, in standard deviations above chance",
    "points": "points that the in-between frames' reconstruction rests on",
    "shared_points": "points of it that both real images see",
    "residual_px": "median reprojection error of it",
}
"""Terms that a hypothesis may have, and what they mean. Callers may add their own, such as a photometric one."""

_SHUFFLES = 2
_MOST = 200
"""Matches that are asked, evenly chosen."""
_ENOUGH = 10.0
"""Matches above chance that halve what an overlap leaves unmet."""
_SCHEDULE = MatchRefineOptions(cutoffs=(36.0, 9.0), iterations=4)
_REACH = 0.04
"""Half width, as a share of image B's width, within which a turn alone places a match."""
_FEWEST = 6


@dataclass(frozen=True)
class PairView:
    """The two images' matches, and their depths where those are known."""

    matches: Matches
    """With outliers; ratio tests may be lax."""
    camera_a: Camera
    camera_b: Camera
    depth_a: Float32[np.ndarray, "ha wa"] | None = None
    """Metres, 0 where unknown."""
    depth_b: Float32[np.ndarray, "hb wb"] | None = None
    pixel_px: float = 2.0
    """Standard deviation of a matched place."""

    def matched(self, matches: Matches, *, depths: bool) -> MatchedDepths:
        """Matches of the two images with or without their depths."""
        noise = MatchNoise(self.pixel_px, 0.02, 0.002)
        measured = (self.depth_a, self.depth_b) if depths else (None, None)
        return MatchedDepths.of(matches, self.camera_a, self.camera_b, *measured, noise)


def pair_evidence(view: PairView, b_from_a: RigidTransform, *, translation_observed: bool = True) -> dict[str, float]:
    """The terms of :data:`EVIDENCE` that the real images give for a pose; those that nothing is known of are left out.

    Args:
        view: the images' matches.
        b_from_a: the pose; only the direction of its translation counts.
        translation_observed: False leaves out what depends on the translation.
    """
    overlap = turned_overlap(view, b_from_a)
    if len(view.matches) < _FEWEST:
        return {"overlap": overlap, "unmet": overlap}
    chosen = np.unique(np.linspace(0, len(view.matches) - 1, _MOST).round().astype(np.intp))
    view = replace(view, matches=view.matches.select(chosen))
    count = _turned_count(view, view.matches, b_from_a)
    excess, terms = _above_chance(view, "reprojection", count, lambda matches: _turned_count(view, matches, b_from_a))
    length = float(np.linalg.norm(b_from_a.translation))
    if translation_observed and length > 0:
        pose = rescaled(b_from_a, 1.0 / length)
        count, terms["moved_deg"] = _epipolar_count(view, view.matches, pose)
        more, term = _above_chance(view, "epipolar", count, lambda matches: _epipolar_count(view, matches, pose)[0])
        terms |= term
        # Epipolar lines of a wrong pose pass near many matches: what a turn does not place counts for a third.
        excess = max(excess, more / 3.0)
        share = _before_both(view, pose)
        if share is not None:
            terms["cheirality"] = share
        if view.depth_a is not None or view.depth_b is not None:
            count = _depth_count(view, view.matches, pose)
            terms |= _above_chance(view, "depth", count, lambda matches: _depth_count(view, matches, pose))[1]
    return {**terms, "overlap": overlap, "unmet": overlap / (1.0 + max(excess, 0.0) / _ENOUGH)}


def turned_overlap(view: PairView, b_from_a: RigidTransform) -> float:
    """Share of image A that lies within image B after the turn alone, as if everything were far away."""
    camera = view.camera_a
    columns, rows = np.meshgrid((np.arange(16) + 0.5) * camera.width / 16, (np.arange(12) + 0.5) * camera.height / 12)
    turned = b_from_a.rotation.apply(camera.rays_at(np.stack([columns, rows], axis=-1).reshape(-1, 2)))
    before = turned[:, 2] > 0
    turned[~before] = [0.0, 0.0, 1.0]
    places = view.camera_b.project(turned)
    inside = ((places > 0) & (places < [view.camera_b.width, view.camera_b.height])).all(axis=1)
    return float(np.mean(before & inside))


def _above_chance(
    view: PairView, name: str, count: float, counted: Callable[[Matches], float]
) -> tuple[float, dict[str, float]]:
    """count - chance, and (count - chance) / sqrt(chance + 1) as a term; chance is the count of shuffled matches."""
    rng = np.random.default_rng(len(view.matches))
    matches = view.matches
    by_chance = []
    for _ in range(_SHUFFLES):
        order = rng.permutation(len(matches))
        by_chance.append(counted(Matches(matches.pixels_a, matches.pixels_b[order], matches.scores)))
    chance = float(np.mean(by_chance))
    return count - chance, {name: float((count - chance) / np.sqrt(chance + 1.0))}


def _turned_count(view: PairView, matches: Matches, b_from_a: RigidTransform) -> float:
    turned = b_from_a.rotation.apply(view.camera_a.rays_at(matches.pixels_a))
    before = turned[:, 2] > 0
    turned[~before] = [0.0, 0.0, 1.0]
    gaps = np.linalg.norm(view.camera_b.project(turned) - matches.pixels_b, axis=1)
    reach = _REACH * view.camera_b.width
    return float(np.sum(np.where(before, 1.0 / (1.0 + (gaps / reach) ** 4), 0.0)))


def _epipolar_count(view: PairView, matches: Matches, pose: RigidTransform) -> tuple[float, float]:
    """Soft inliers after a refinement from the pose, and how far it turned."""
    matched = view.matched(matches, depths=False)
    fit = refine_matches(matched, pose, _SCHEDULE)
    moved = float(np.degrees((fit.state.b_from_a.rotation * pose.rotation.inv()).magnitude()))
    return fit.soft_inliers, moved


def _depth_count(view: PairView, matches: Matches, pose: RigidTransform) -> float:
    """Soft inliers with depths, the translation as long as they say."""
    matched = view.matched(matches, depths=True)
    lengths = [one for one in lengths_by_depth(matched, pose, np.ones(len(matches), dtype=bool)) if one is not None]
    if not lengths:
        return 0.0
    scaled = rescaled(pose, float(np.exp(np.mean(np.log(lengths)))))
    return fit_at(matched, MatchState.at(scaled, matched.noise)).soft_inliers


def _before_both(view: PairView, pose: RigidTransform) -> float | None:
    """Share of the matches near their epipolar lines whose rays meet before both cameras; None where there are few."""
    matched = view.matched(view.matches, depths=False)
    near = fit_at(matched, MatchState.at(pose, matched.noise)).inliers
    if near.sum() < _FEWEST:
        return None
    turned: Float[np.ndarray, "n 3"] = pose.rotation.apply(matched.a.rays[near])
    rays_b = matched.b.rays[near]
    # z_b r_b = z_a R r_a + t in the least squares sense.
    aa, bb, ab = (turned**2).sum(1), (rays_b**2).sum(1), (turned * rays_b).sum(1)
    at, bt = turned @ pose.translation, rays_b @ pose.translation
    determinant = np.maximum(aa * bb - ab**2, 1e-12)
    z_a = (ab * bt - bb * at) / determinant
    z_b = (aa * bt - ab * at) / determinant
    return float(np.mean((z_a > 0) & (z_b > 0)))
