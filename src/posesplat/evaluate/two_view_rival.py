"""The textbook way to a trajectory: two views by the essential matrix, points from them, all other views by PnP.

Tracks are those of :class:`posesplat.align.point_tracker.PointTracker`, minimal solvers and RANSAC are PoseLib's.
Source: Hartley and Zisserman, Multiple View Geometry, 2004, chapters 9, 12 and 18.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.global_start import KeypointStartOptions, absolute_pose
from posesplat.align.point_tracker import PointTracker
from posesplat.align.relative_pose import relative_pose
from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import rotation_only
from posesplat.align.tracks import Tracks, corners, locally_normalised
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.geometry.trajectory import Trajectory

SOURCE = "two-view + PnP"


@dataclass(frozen=True)
class TwoViewOptions:
    """Thresholds of the two RANSACs."""

    max_epipolar_px: float = 1.0
    """A pair agrees with an essential matrix within this Sampson error."""
    max_reprojection_px: float = 2.0
    """A point agrees with a pose within this distance."""
    min_points: int = 20
    """Fewest points of a two-view model and of a pose."""
    seed: int = 0
    """Of both RANSACs."""

    def __post_init__(self) -> None:
        if min(self.max_epipolar_px, self.max_reprojection_px) <= 0 or self.min_points < 6:
            raise ValueError(f"TwoViewOptions needs thresholds above 0 px and min_points of at least 6; got {self}.")


def two_view_trajectory(frames: Sequence[Frame], options: TwoViewOptions = TwoViewOptions()) -> Trajectory:
    """Poses of frames that show one scene, up to scale; the world is the first camera.

    Args:
        frames: with images, at least two, of one camera.
        options: thresholds.

    Raises:
        ValueError: for fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError(f"Two-view geometry needs at least two frames; got {len(frames)}.")
    images = [locally_normalised(np.asarray(frame.image)) for frame in frames]
    points, camera = corners(images[0]), frames[0].camera
    tracker = PointTracker(images[0], points, camera)
    tracks = Tracks.gathered(points, [tracker.follow(image) for image in images[1:]])
    estimates = (
        PoseEstimate(True, "", RigidTransform.identity(), source=SOURCE),
        *tracked_poses(tracks, camera, options),
    )
    return Trajectory(estimates, np.array([frame.timestamp for frame in frames]), tuple(frame.name for frame in frames))


def tracked_poses(tracks: Tracks, camera: Camera, options: TwoViewOptions = TwoViewOptions()) -> list[PoseEstimate]:
    """One estimate for each later frame of the tracks, cam_from_reference; the widest frame's translation is 1 long."""
    widest = _widest(tracks, camera, options.min_points)
    if widest is None:
        return [_failure(f"fewer than {options.min_points} points are followed")] * len(tracks.pixels)
    both = tracks.seen[widest]
    first, second = tracks.reference[both], tracks.pixels[widest][both]
    pose, agrees = relative_pose(
        Matches(first, second, np.ones(len(first))),
        camera,
        camera,
        max_epipolar_px=options.max_epipolar_px,
        min_points=options.min_points,
        seed=options.seed,
    )
    if pose is None:
        return [_failure("no essential matrix fits the widest pair")] * len(tracks.pixels)
    model = np.flatnonzero(both)[agrees]
    points, good = triangulated(tracks.reference[model], tracks.pixels[widest][model], camera, pose)
    model, points = model[good], points[good]
    estimates = []
    for index, pixels in enumerate(tracks.pixels):
        seen = tracks.seen[index][model]
        if index == widest:
            found: RigidTransform | None = pose if len(model) >= options.min_points else None
        else:
            found = absolute_pose(camera, pixels[model][seen], points[seen], options.seed, _pnp(camera, options))
        estimates.append(
            _failure(f"{int(seen.sum())} points of the two-view model do not give a pose")
            if found is None
            else PoseEstimate(True, "", found, source=SOURCE)
        )
    return estimates


def triangulated(
    first_pixels: Float[np.ndarray, "n 2"],
    second_pixels: Float[np.ndarray, "n 2"],
    camera: Camera,
    second_from_first: RigidTransform,
) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Points in the first camera, midway between two rays where they are closest, and which lie before both cameras."""
    first = camera.rays_at(first_pixels)
    second = second_from_first.rotation.inv().apply(camera.rays_at(second_pixels))
    centre = second_from_first.inv().translation
    # Least squares of |a first - centre - b second|^2 for the distances a and b along the rays.
    aa, ab, bb = np.sum(first**2, axis=1), np.sum(first * second, axis=1), np.sum(second**2, axis=1)
    ac, bc = first @ centre, second @ centre
    determinant = np.maximum(aa * bb - ab**2, 1e-300)
    along_first, along_second = (bb * ac - ab * bc) / determinant, (ab * ac - aa * bc) / determinant
    middle = 0.5 * (along_first[:, None] * first + centre + along_second[:, None] * second)
    ahead = (along_first > 0) & (along_second > 0) & (middle[:, 2] > 0)
    return middle, ahead


def _widest(tracks: Tracks, camera: Camera, min_points: int) -> int | None:
    """The frame with the largest median parallax, among those that see at least half as many points as the best."""
    counts = tracks.seen.sum(axis=1)
    usable = np.flatnonzero((counts >= min_points) & (counts >= 0.5 * counts.max(initial=0)))
    if not len(usable):
        return None
    chosen = tracks.frames(usable)
    sightings = Sightings.of(chosen, camera)
    lengths = np.where(chosen.seen, rotation_only(sightings).lengths(sightings), np.nan)
    return int(usable[np.argmax(np.nanmedian(lengths, axis=1))])


def _pnp(camera: Camera, options: TwoViewOptions) -> KeypointStartOptions:
    return KeypointStartOptions(
        max_reprojection_error=options.max_reprojection_px / camera.width, min_inliers=options.min_points
    )


def _failure(reason: str) -> PoseEstimate:
    return PoseEstimate.failure(reason, source=SOURCE)
