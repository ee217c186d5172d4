"""The focal length of the camera that took a nearly still video, from the video itself."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from posesplat.align.picture_faults import picture_fault
from posesplat.align.point_tracker import PointTracker
from posesplat.align.self_calibration import LensDeviation, calibrated, lens_deviation, refined_log_focal
from posesplat.align.sightings import Lens, LensPrior, Sightings
from posesplat.align.small_motion_search import searched_motion
from posesplat.align.tracks import Tracks, corners, locally_normalised
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.kernels.threads import one_library_thread
from posesplat.methods.track_options import TrackOptions

_NORMAL_95 = 1.96
_SEEN_SHARE = 0.5


@dataclass(frozen=True)
class CalibrateOptions:
    """How a camera is calibrated."""

    prior: LensPrior = field(default_factory=lambda: LensPrior(0.5, 1e-6))
    """What is known of the lens: by default little of the focal length, and that there is no radial distortion."""
    track: TrackOptions = field(default_factory=TrackOptions)
    """How points are followed."""
    max_frames: int = 60
    """Frames from the first usable one on."""
    rounds: int = 3
    """Most times that points are followed anew with a better focal length."""
    settled: float = 0.02
    """They are not when the focal length changed by less than this share."""
    inflation: float = 4.0
    """Factor on standard deviations, so that intervals hold the errors measured."""
    least_deviation: float = 0.004
    """Standard deviation of the logarithm of the focal length that no clip falls below: trackers err alike."""
    largest_deviation: float = 0.15
    """From this standard deviation on, the focal length counts as unknown."""

    def __post_init__(self) -> None:
        if self.max_frames < 3 or self.rounds < 1 or self.inflation <= 0 or self.largest_deviation <= 0:
            raise ValueError(
                "CalibrateOptions needs max_frames >= 3, rounds >= 1, and positive inflation and largest_deviation; "
                f"got {self.max_frames}, {self.rounds}, {self.inflation} and {self.largest_deviation}."
            )


@dataclass(frozen=True)
class CameraEstimate:
    """A camera found from its own motion: ``camera is None`` exactly when ``success`` is False."""

    success: bool
    """Whether the camera may be used."""
    reason: str
    """Empty on success, otherwise one sentence."""
    camera: Camera | None
    """The camera; with a radial term its distortion is that of OpenCV."""
    focal_interval_px: tuple[float, float]
    """Horizontal focal lengths between which the true one lies with 95 % probability; NaN without a camera."""
    deviation: LensDeviation
    """Standard deviations of the logarithm of the focal length and of the radial term, inflated."""
    frames: int
    """How many frames it rests on."""

    @staticmethod
    def failure(reason: str, frames: int) -> CameraEstimate:
        """A refusal."""
        nothing = float("nan")
        return CameraEstimate(False, reason, None, (nothing, nothing), LensDeviation(nothing, nothing), frames)


def calibrate(frames: Iterable[Frame], options: CalibrateOptions = CalibrateOptions()) -> CameraEstimate:
    """The focal length, and on request the first radial term, from the first frames of a nearly still video.

    The camera must turn or move a little: focal length shows in how the image's parts move differently. Principal point
    and the ratio of the focal lengths are taken over from the frames' camera.

    Args:
        frames: of one video, with the camera guessed, such as ``open_frames(video, camera="auto")`` gives it.
        options: how, and what is known beforehand.

    Returns:
        the camera with an interval, or a refusal with its reason.

    Raises:
        ValueError: when there are no frames, or one has no image.

    Source: Ha et al., High-quality depth from uncalibrated small motion clip, CVPR 2016, section 3.
    """
    pictures, guess = _pictures(frames, options.max_frames)
    if len(pictures) < 3:
        return CameraEstimate.failure(f"{len(pictures)} pictures can be used; at least 3 are needed", len(pictures))
    with one_library_thread():
        return _calibrated(pictures, guess, options)


def _calibrated(
    pictures: list[UInt8[np.ndarray, "height width"]], guess: Camera, options: CalibrateOptions
) -> CameraEstimate:
    points = corners(pictures[0], options.track.corners)
    least = options.track.min_points
    if len(points) < least:
        return CameraEstimate.failure(f"the first picture has {len(points)} corners; {least} are needed", 1)
    camera, search = guess, options.track.search
    for _ in range(options.rounds):
        tracks = _followed(pictures, points, camera, options.track)
        usable = tracks.seen.mean(axis=0) >= _SEEN_SHARE if len(tracks.seen) else np.zeros(len(points), dtype=bool)
        if len(tracks.seen) < 2 or usable.sum() < least:
            return CameraEstimate.failure("too few points can be followed", 1 + len(tracks.seen))
        sightings = Sightings.of(tracks.select(usable), camera)
        found = searched_motion(sightings, search, lens=options.prior)
        camera = calibrated(camera, found.lens).pinhole
        if abs(found.lens.log_focal) < options.settled:
            break
    spread = lens_deviation(found.motion, found.sightings, options.prior)
    log_focal = math.hypot(options.inflation * spread.log_focal, options.least_deviation)
    refined = refined_log_focal(found.motion, found.sightings, log_focal)
    camera = calibrated(camera, Lens(refined))
    deviation = LensDeviation(log_focal, options.inflation * spread.radial)
    used = 1 + len(tracks.seen)
    if log_focal > options.largest_deviation:
        reason = f"the motion does not tell the focal length: it may be wrong by {100 * log_focal:.0f} % and more"
        return CameraEstimate.failure(reason, used)
    low, high = (camera.fx * math.exp(sign * _NORMAL_95 * log_focal) for sign in (-1.0, 1.0))
    lens = calibrated(camera, Lens(0.0, found.lens.radial * math.exp(2.0 * (found.lens.log_focal + refined))))
    return CameraEstimate(True, "", lens, (low, high), deviation, used)


def _pictures(frames: Iterable[Frame], most: int) -> tuple[list[UInt8[np.ndarray, "height width"]], Camera]:
    pictures: list[UInt8[np.ndarray, "height width"]] = []
    camera: Camera | None = None
    for frame in frames:
        if frame.image is None:
            raise ValueError(f"calibrate needs frames with images; {frame.name!r} has depth only. Pass colour frames.")
        camera = camera or frame.camera
        if not picture_fault(frame.image):
            pictures.append(locally_normalised(frame.image))
        if len(pictures) >= most:
            break
    if camera is None:
        raise ValueError("calibrate needs at least one frame; got none. Check the source of the video.")
    return pictures, camera


def _followed(
    pictures: list[UInt8[np.ndarray, "height width"]],
    points: np.ndarray,
    camera: Camera,
    options: TrackOptions,
) -> Tracks:
    """The points in the pictures after the first, until most of them are lost."""
    tracker = PointTracker(pictures[0], points, camera, options.tracker)
    found = []
    for picture in pictures[1:]:
        pixels, seen = tracker.follow(picture)
        if seen.mean() < options.keep_reference:
            break
        found.append((pixels, seen))
    return Tracks.gathered(points, found)
