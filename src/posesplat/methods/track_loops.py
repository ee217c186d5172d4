"""Loops of a tracked video: earlier anchors that a new one sees again, as edges of a pose graph.

The earlier anchor's points are followed straight into the new one's image, from where the poses known so far put them;
the new camera's pose follows from their depths, and the ratio of units from points whose depths both know.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from scipy.spatial.transform import RigidTransform

from posesplat.align.point_tracker import PointTracker, TrackerOptions
from posesplat.align.pose_graph import PoseEdge
from posesplat.align.resection import agreeing, resected, resection_covariances
from posesplat.align.sightings import Sightings
from posesplat.align.tracks import Tracks
from posesplat.geometry.cameras import Camera
from posesplat.methods.track_anchor import Anchor

_log = logging.getLogger(__name__)

UNMEASURED_VARIANCE = 9.0
"""Variance that stands for "not measured" in a log ratio of units: a factor of twenty either way."""
_NORMAL_FROM_MEDIAN = 1.4826
_NEAREST_DEPTH = 1e-3
_LEAST_RATIO_VARIANCE = 1e-8


@dataclass(frozen=True)
class LoopOptions:
    """When an earlier anchor counts as seen again."""

    min_overlap: float = 0.3
    """Share of its points with known depth that must lie within the new image, by the poses known so far."""
    max_turn_deg: float = 40.0
    """Largest angle between the orientations, by the same poses."""
    min_agreeing: int = 40
    """Least number of followed points that agree on a pose."""
    min_inlier_share: float = 0.5
    """Least share of the followed points that agree."""
    max_residual_px: float = 2.0
    """A point agrees when it is seen this near to where the pose puts it."""
    pair_distance_px: float = 2.0
    """Points of both anchors are one when they lie this near to each other in the new image."""
    min_pairs: int = 15
    """With fewer points whose depths both anchors know, the ratio of units counts as unmeasured."""
    inflation: float = 12.0
    """Factor on the variances of poses, since neighbouring points err alike."""
    contrast_error: float = 0.15
    """Standard deviation of a common factor on the contrast of the earlier anchor's inverse depths."""
    scale_inflation: float = 12.0
    """Factor on the variances of ratios of units."""
    tracker: TrackerOptions = field(default_factory=TrackerOptions)
    """How points are followed."""

    def __post_init__(self) -> None:
        shares = (self.min_overlap, self.min_inlier_share)
        lengths = (self.max_turn_deg, self.max_residual_px, self.pair_distance_px)
        if not all(0 < share <= 1 for share in shares) or min(lengths) <= 0:
            raise ValueError(
                "LoopOptions needs min_overlap and min_inlier_share in (0, 1] and max_turn_deg, max_residual_px and "
                f"pair_distance_px > 0; got {self}."
            )
        if self.min_agreeing < 6 or self.min_pairs < 2:
            raise ValueError(f"LoopOptions needs min_agreeing >= 6 and min_pairs >= 2; got {self}.")
        if min(self.inflation, self.scale_inflation) <= 0 or self.contrast_error < 0:
            raise ValueError(f"LoopOptions needs inflations > 0 and contrast_error >= 0; got {self}.")


def loop_edges(
    anchor: Anchor, earlier: Iterable[Anchor], camera: Camera, options: LoopOptions = LoopOptions()
) -> list[PoseEdge]:
    """Edges from earlier anchors that a new one sees again, named by the anchors' indices; doubtful all of them.

    The translation of an edge is in the unit of the earlier anchor's depths, and its ratio is that of the new anchor's
    unit of depths over it.

    Args:
        anchor: the new one.
        earlier: those to compare with; without its parent, to which it has an edge already.
        camera: pinhole of all images.
        options: what counts.
    """
    edges = []
    for other in earlier:
        found = _edge(anchor, other, camera, options)
        if found is not None:
            edges.append(found)
    return edges


def log_unit_ratio(
    log_ratios: Float[np.ndarray, " pairs"], options: LoopOptions = LoopOptions()
) -> tuple[float, float]:
    """The logarithm of b's unit over a's, and its variance, from points whose depths are known in both.

    The median of at least ``min_pairs``; fewer are no measurement: 0, with :data:`UNMEASURED_VARIANCE`.

    Args:
        log_ratios: of each point, the logarithm of its inverse depth in units of b over that in units of a, both in the
            same camera.
        options: how many are needed, and the factor on the variance.
    """
    finite = log_ratios[np.isfinite(log_ratios)]
    if len(finite) < options.min_pairs:
        return 0.0, UNMEASURED_VARIANCE
    middle = float(np.median(finite))
    spread = _NORMAL_FROM_MEDIAN * float(np.median(np.abs(finite - middle)))
    return middle, max(options.scale_inflation * spread**2 / len(finite), _LEAST_RATIO_VARIANCE)


@dataclass(frozen=True)
class _Sighting:
    """Where a camera saw an earlier anchor's points, and the pose that follows."""

    points: Int[np.ndarray, " seen"]
    """Indices of the earlier anchor's points."""
    pixels: Float[np.ndarray, "seen 2"]
    """In the new image."""
    agree: Bool[np.ndarray, " seen"]
    """Which agree with the pose."""
    motion: RigidTransform
    """new_from_earlier."""
    covariance: Float[np.ndarray, "6 6"]


def _edge(anchor: Anchor, other: Anchor, camera: Camera, options: LoopOptions) -> PoseEdge | None:
    """The edge from ``other`` to ``anchor``; None when it is not seen again."""
    guess = anchor.cam_from_world * other.cam_from_world.inv()
    if guess.rotation.magnitude() > np.radians(options.max_turn_deg):
        return None
    if _in_view(other, guess, camera)[0].sum() < options.min_overlap * other.known.sum():
        return None
    seen = _seen_again(anchor, other, guess, camera, options)
    if seen is not None:
        # Once more from the pose found, which reaches points that drift had put too far away.
        seen = _seen_again(anchor, other, seen.motion, camera, options)
    if seen is None:
        return None
    count, share = int(seen.agree.sum()), float(seen.agree.mean())
    _log.debug("frames %d and %d: %d points agree, a share of %.2f", other.index, anchor.index, count, share)
    if count < options.min_agreeing or share < options.min_inlier_share:
        return None
    ratio, variance = log_unit_ratio(_log_ratios(anchor, other, seen, camera, options), options)
    covariance = np.zeros((7, 7))
    covariance[:6, :6], covariance[6, 6] = seen.covariance, variance
    return PoseEdge(other.index, anchor.index, seen.motion, ratio, covariance, doubtful=True)


def _points_in_new(
    other: Anchor, points: Int[np.ndarray, " points"], motion: RigidTransform, camera: Camera
) -> Float[np.ndarray, "points 3"]:
    """An earlier anchor's points in the new camera, in the unit of their depths."""
    return motion.apply(camera.rays_at(other.points[points]) / other.inverse_depths[points, None])


def _in_view(
    other: Anchor, motion: RigidTransform, camera: Camera
) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, "points 2"]]:
    """Which points of an earlier anchor lie within the new image, and where."""
    points = np.flatnonzero(other.known)
    places = camera.project(_points_in_new(other, points, motion, camera))
    inside = np.all((places > 0) & (places < np.array([camera.width, camera.height])), axis=1)
    return points[inside], places[inside]


def _seen_again(
    anchor: Anchor, other: Anchor, guess: RigidTransform, camera: Camera, options: LoopOptions
) -> _Sighting | None:
    """An earlier anchor's points, followed into the new image from where a pose puts them; None when few are found."""
    points, places = _in_view(other, guess, camera)
    if len(points) < options.min_agreeing:
        return None
    tracker = PointTracker(other.normalised, other.points[points], camera, options.tracker)
    tracker.expect(places)
    pixels, found = tracker.follow(anchor.normalised)
    points, pixels = points[found], pixels[found]
    if len(points) < options.min_agreeing:
        return None
    seen = np.ones(len(points), dtype=bool)
    sightings = Sightings.of(Tracks.gathered(other.points[points], [(pixels, seen)]), camera)
    motion = resected(sightings, other.inverse_depths[points], RigidTransform.concatenate([guess]))
    agree = agreeing(motion, sightings, options.max_residual_px)[0]
    covariance = resection_covariances(motion, sightings, options.inflation, options.contrast_error)[0]
    return _Sighting(points, pixels, agree, motion.cam_from_reference()[0], covariance)


def _log_ratios(
    anchor: Anchor, other: Anchor, seen: _Sighting, camera: Camera, options: LoopOptions
) -> Float[np.ndarray, " pairs"]:
    """Log ratios of inverse depths in the new camera, in its own unit over the earlier anchor's, of common points."""
    own = np.flatnonzero(anchor.known)
    if not len(own) or not seen.agree.any():
        return np.zeros(0)
    pixels, points = seen.pixels[seen.agree], seen.points[seen.agree]
    gap, nearest = (np.asarray(part) for part in KDTree(anchor.points[own]).query(pixels))
    paired = gap <= options.pair_distance_px
    depths = _points_in_new(other, points[paired], seen.motion, camera)[:, 2]
    return np.asarray(np.log(anchor.inverse_depths[own[nearest[paired]]] * np.maximum(depths, _NEAREST_DEPTH)))
