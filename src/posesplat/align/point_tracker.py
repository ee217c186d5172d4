"""Points of a reference image followed through later frames.

Every frame is matched with the reference itself, so errors do not add up. It is first turned back to the reference's
orientation: a window that is rolled or slanted against its template is found beside its true place, by an amount that
is particular to the point and proportional to the turn, which looks like parallax. Source: Lucas and Kanade's tracker
in pyramids (Bouguet, 2001), as OpenCV has it. Where a frame is too far from the last one, or too blurred, for that,
dense flow (Kroeger et al., Fast optical flow using dense inverse search, 2016) tells the turn and stands in for points
that are not found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8

from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import rotation_only
from posesplat.align.tracks import NORMAL_CONTRAST, Tracks, kept_margin
from posesplat.geometry.cameras import Camera
from posesplat.kernels.threads import side_by_side, thread_count

_FEWEST_FOR_ROTATION = 12
_ENOUGH_RAD = 1e-6
_ROUGH_ROUND_TRIP_PX = 2.0
_EXACT_PX, _ROUGHLY_PX = 0.003, 0.03
"""Last steps of points that are measured, and of those that are only asked whether they lead back."""
_WORTH_A_THREAD = 100
"""Fewest points that a thread is begun for."""
_ALIKE = NORMAL_CONTRAST / 3
"""Mean difference of two squares, in grey levels: 3 to 10 where a point was found, 25 and more where it was not."""


@dataclass(frozen=True)
class TrackerOptions:
    """How points are followed."""

    window_px: int = 31
    """Side of the square that is compared."""
    max_round_trip_px: float = 0.7
    """A point is lost when following it back ends farther than this from where it started."""
    coarse_points: int = 300
    """Points that tell how the frame is turned."""
    coarse_window_px: int = 21
    """Side of the square that is compared for them."""
    coarse_levels: int = 3
    """Halvings of the image above the full size for them; each doubles the motion between frames that is followed."""
    fine_levels: int = 1
    """The same for all points, in the frame turned back."""
    margin_px: float = 25.0
    """A point this near to the frame's edge is not seen: local normalisation pulls it along with the edge."""

    rescue_share: float = 0.3
    """Dense flow helps when fewer than this share of the points is found; 0 switches it off."""

    def __post_init__(self) -> None:
        sides = (self.window_px, self.coarse_window_px)
        if min(sides) < 5 or not all(side % 2 for side in sides) or min(self.coarse_levels, self.fine_levels) < 0:
            raise ValueError(
                f"TrackerOptions needs odd windows of at least 5 pixels and levels of at least 0; got {self}."
            )
        if self.max_round_trip_px <= 0 or self.coarse_points < _FEWEST_FOR_ROTATION:
            raise ValueError(
                f"TrackerOptions needs max_round_trip_px > 0 and coarse_points >= {_FEWEST_FOR_ROTATION}; got {self}."
            )


@dataclass(frozen=True)
class TrackerState:
    """Where a tracker last saw its points."""

    rotation: Float[np.ndarray, "3 3"]
    """Of the last frame against the reference."""
    shifted: Float[np.ndarray, "points 2"]
    """Where the points were last seen, in a frame turned back to the reference."""
    last: UInt8[np.ndarray, "height width"]
    """The last frame, locally normalised."""
    last_pixels: Float[np.ndarray, "points 2"]
    """Where the points are in it."""
    last_seen: Bool[np.ndarray, " points"]
    """Which were found in it."""


@dataclass(frozen=True)
class _Found:
    """Where the points are in a frame turned back to the reference."""

    rotation: Float[np.ndarray, "3 3"]
    """Of the frame against the reference."""
    shifted: Float[np.ndarray, "points 2"]
    """The points in the frame turned back, corner-based pixels."""
    seen: Bool[np.ndarray, " points"]
    """Which were found and came back."""


class PointTracker:
    """Follows points of one reference image from frame to frame; holds the reference and the last frame."""

    def __init__(
        self,
        normalised: UInt8[np.ndarray, "height width"],
        points: Float[np.ndarray, "points 2"],
        camera: Camera,
        options: TrackerOptions = TrackerOptions(),
    ) -> None:
        """Take the reference.

        Args:
            normalised: the reference image, of :func:`posesplat.align.tracks.locally_normalised`.
            points: where to follow, corner-based pixels, the best first.
            camera: pinhole of all images.
            options: how.
        """
        self.points = points
        self._reference = normalised
        self._camera = camera
        self._options = options
        self.state = TrackerState(np.eye(3), points, normalised, points, np.ones(len(points), dtype=bool))
        self._leapt = False
        """Whether the next frame is not like the last one, so that even coarse windows must be turned back."""

    def expect(self, pixels: Float[np.ndarray, "points 2"]) -> None:
        """Say where the points will be in the next frame, when that is known from elsewhere; corner-based pixels.

        So a frame is followed that is turned or shifted much farther than from one frame to the next.

        Raises:
            ValueError: when there is not one finite place for each point.
        """
        if pixels.shape != self.points.shape or not np.isfinite(pixels).all():
            raise ValueError(
                f"PointTracker.expect needs a finite place for each of {len(self.points)} points; got shape "
                f"{pixels.shape}, {int(np.isfinite(pixels).all(axis=-1).sum())} of them finite. Leave out points that "
                "cannot be seen."
            )
        rotation = self._rotation_of(self.points, pixels)
        if rotation is not None:
            self.state = replace(self.state, rotation=rotation, shifted=self._turned(pixels, rotation.T))
            self._leapt = True

    def follow(
        self, normalised: UInt8[np.ndarray, "height width"]
    ) -> tuple[Float[np.ndarray, "points 2"], Bool[np.ndarray, " points"]]:
        """Where the points are in the next frame (corner-based pixels), and which were found and came back."""
        options = self._options
        rotation = self._turn(normalised)
        found = None if rotation is None else self._found(normalised, rotation, self.state.shifted)
        if (
            len(self.points)
            and options.rescue_share > 0
            and (found is None or found.seen.mean() < options.rescue_share)
        ):
            rescued = self._rescued(normalised)
            if rescued is not None and (found is None or rescued.seen.sum() > found.seen.sum()):
                found = rescued
        if found is None:
            return self.points, np.zeros(len(self.points), dtype=bool)
        pixels = self._turned(found.shifted, found.rotation)
        size = np.array([self._camera.width, self._camera.height])
        margin = kept_margin(options.margin_px, self._camera.height, self._camera.width)
        seen = found.seen & np.all((pixels > margin) & (pixels < size - margin), axis=1)
        if seen.any():
            shifted = np.where(seen[:, None], found.shifted, self.state.shifted)
            self.state = TrackerState(found.rotation, shifted, normalised, pixels, seen)
            self._leapt = False
        return pixels, seen

    def _found(
        self,
        normalised: UInt8[np.ndarray, "height width"],
        rotation: Float[np.ndarray, "3 3"],
        guess: Float[np.ndarray, "points 2"],
    ) -> _Found:
        """The points in a frame whose rotation is known; ``guess`` is in the frame turned back."""
        options = self._options
        turned_back = self._turned_back(normalised, rotation)
        there, seen = self._round_trip(turned_back, self.points, guess, options.window_px, options.fine_levels)
        return _Found(rotation, there, seen)

    def _rescued(self, normalised: UInt8[np.ndarray, "height width"]) -> _Found | None:
        """The points in a frame that is far from the last one, or blurred, by dense flow; None when it is lost."""
        there, seen = _dense_flow(self.state.last, normalised, self.state.last_pixels, _ROUGH_ROUND_TRIP_PX)
        seen &= self.state.last_seen
        rotation = self._rotation_of(self.points[seen], there[seen])
        if rotation is None:
            return None
        guess = self.state.shifted.copy()
        guess[seen] = self._turned(there[seen], rotation.T)
        found = self._found(normalised, rotation, guess)
        turned_back = self._turned_back(normalised, rotation)
        dense, agree = _dense_flow(self._reference, turned_back, self.points, self._options.max_round_trip_px)
        agree &= ~found.seen
        return _Found(rotation, np.where(agree[:, None], dense, found.shifted), found.seen | agree)

    def _turn(self, normalised: UInt8[np.ndarray, "height width"]) -> Float[np.ndarray, "3 3"] | None:
        """Rotation of the frame against the reference, from its strongest points; None when too few are found."""
        options = self._options
        few = slice(options.coarse_points)
        guess = self.state.shifted[few]
        if self._leapt:
            normalised = self._turned_back(normalised, self.state.rotation)
        else:
            guess = self._turned(guess, self.state.rotation)
        there, seen = self._round_trip(
            normalised, self.points[few], guess, options.coarse_window_px, options.coarse_levels
        )
        if self._leapt:
            there = self._turned(there, self.state.rotation)
        return self._rotation_of(self.points[few][seen], there[seen])

    def _rotation_of(
        self, points: Float[np.ndarray, "found 2"], there: Float[np.ndarray, "found 2"]
    ) -> Float[np.ndarray, "3 3"] | None:
        """The rotation that moves points of the reference to where they were found; None when they are too few."""
        if len(points) < _FEWEST_FOR_ROTATION:
            return None
        found = Tracks(points, there[None], np.ones((1, len(points)), dtype=bool))
        turned = rotation_only(Sightings.of(found, self._camera), self.state.rotation[None], tolerance=_ENOUGH_RAD)
        return turned.rotations[0]

    def _turned_back(
        self, normalised: UInt8[np.ndarray, "height width"], rotation: Float[np.ndarray, "3 3"]
    ) -> UInt8[np.ndarray, "height width"]:
        """The frame as a camera of the reference's orientation would see it."""
        import cv2

        matrix = self._camera.opencv_matrix
        frame_from_reference = matrix @ rotation @ np.linalg.inv(matrix)
        size = (self._camera.width, self._camera.height)
        # Linear, not cubic: OpenCV rounds the places of a cubic warp, which moved whole frames by up to 0.04 pixels.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpPerspective(normalised, frame_from_reference, size, flags=flags, borderValue=128), np.uint8
        )

    def _turned(
        self, pixels: Float[np.ndarray, "points 2"], rotation: Float[np.ndarray, "3 3"]
    ) -> Float[np.ndarray, "points 2"]:
        """Pixels of the reference's orientation as pixels of a camera turned by ``rotation``."""
        focal, centre = np.array([self._camera.fx, self._camera.fy]), np.array([self._camera.cx, self._camera.cy])
        rays = self._camera.rays_at(pixels) @ rotation.T
        return rays[:, :2] / np.maximum(rays[:, 2:], 1e-3) * focal + centre

    def _round_trip(
        self,
        image: UInt8[np.ndarray, "height width"],
        points: Float[np.ndarray, "points 2"],
        guess: Float[np.ndarray, "points 2"],
        side: int,
        levels: int,
    ) -> tuple[Float[np.ndarray, "points 2"], Bool[np.ndarray, " points"]]:
        """Points of the reference in an image, and which of them lead back to where they came from."""
        if not len(points):
            return points, np.zeros(0, dtype=bool)
        there, seen, difference = self._one_round_trip(image, points, guess, side, 0)
        # Most points moved little; only those that do not look like themselves need halved images.
        lost = np.flatnonzero(~seen | (difference > _ALIKE))
        if levels and len(lost):
            there[lost], seen[lost], _ = self._one_round_trip(image, points[lost], guess[lost], side, levels)
        return there, seen

    def _one_round_trip(
        self,
        image: UInt8[np.ndarray, "height width"],
        points: Float[np.ndarray, "points 2"],
        guess: Float[np.ndarray, "points 2"],
        side: int,
        levels: int,
    ) -> tuple[Float[np.ndarray, "points 2"], Bool[np.ndarray, " points"], Float[np.ndarray, " points"]]:
        """The same with so many halvings of the images, and how much the squares differ, in grey levels."""

        def followed(part: slice) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, " n"], Float[np.ndarray, " n"]]:
            there, found, difference = _flow(self._reference, image, points[part], guess[part], side, levels, _EXACT_PX)
            back, returned, _ = _flow(image, self._reference, there, points[part], side, levels, _ROUGHLY_PX)
            gap = np.linalg.norm(back - points[part], axis=1)
            return there, found & returned & (gap < self._options.max_round_trip_px), difference

        # Points are followed each for itself, so that the number of threads changes nothing.
        share = max(-(-len(points) // thread_count()), _WORTH_A_THREAD)
        found = side_by_side(followed, [slice(start, start + share) for start in range(0, len(points), share)])
        there, seen, difference = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return there, seen, difference


def _flow(
    source: UInt8[np.ndarray, "height width"],
    target: UInt8[np.ndarray, "height width"],
    points: Float[np.ndarray, "points 2"],
    guess: Float[np.ndarray, "points 2"],
    side: int,
    levels: int,
    enough_px: float,
) -> tuple[Float[np.ndarray, "points 2"], Bool[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Corner-based places of points of one image in another, which were found, and mean differences of the squares.

    The last step of each point is shorter than ``enough_px``.
    """
    import cv2

    # OpenCV's pixel centres are whole numbers.
    start, there = ((place - 0.5).astype(np.float32, order="C").reshape(-1, 1, 2) for place in (points, guess))
    there, found, difference = cv2.calcOpticalFlowPyrLK(
        source,
        target,
        start,
        there,
        winSize=(side, side),
        maxLevel=levels,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, enough_px),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    is_found = found[:, 0] > 0
    return there[:, 0].astype(np.float64) + 0.5, is_found, np.where(is_found, difference[:, 0], np.inf)


def _dense_flow(
    source: UInt8[np.ndarray, "height width"],
    target: UInt8[np.ndarray, "height width"],
    points: Float[np.ndarray, "points 2"],
    max_round_trip_px: float,
) -> tuple[Float[np.ndarray, "points 2"], Bool[np.ndarray, " points"]]:
    """Corner-based places of points of one image in another by dense flow, and which of them lead back."""
    import cv2

    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there = points + _sampled(np.asarray(flow.calc(source, target, None)), points)
    back = there + _sampled(np.asarray(flow.calc(target, source, None)), there)
    height, width = source.shape
    inside = np.all((there > 0) & (there < (width, height)), axis=1)
    return there, inside & (np.linalg.norm(back - points, axis=1) < max_round_trip_px)


def _sampled(
    flow: Float[np.ndarray, "height width 2"], points: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "points 2"]:
    """A flow field between its pixels' centres."""
    import cv2

    place = (points - 0.5).astype(np.float32)[:, None]
    field = cv2.remap(flow, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(field, np.float64).reshape(-1, 2)
