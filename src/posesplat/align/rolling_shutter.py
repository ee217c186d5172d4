"""Cameras that read one row after the other, and what they would have seen had each frame been read at once.

Row v of H is read (v / H - 1/2) readouts after the frame's middle; the readout is a share of the time between frames,
positive from the top row down. The camera's path between frames is a cubic spline through the poses at the middles, so
all that is seen can be carried to the middle of its frame, to any order. A path has no neighbours at its ends, and
where frames are missing: there the frame has a drift of its own besides.

Source of the model: Hedborg et al., Rolling shutter bundle adjustment, CVPR 2012, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import SmallMotion

SMOOTH_KNOTS = 4
"""Fewer frames in a row than this tell no speed."""
_LARGEST_GAP = 2.5
"""Frames further apart than this many intervals do not tell the speed between them."""


@dataclass(frozen=True)
class FrameClock:
    """When the rows of frames are read."""

    times: Float[np.ndarray, " frames"]
    """The later frames' middles after that of the reference, in frame intervals; no two alike, none 0."""
    height: int
    """Rows of an image."""
    centre_row: float
    """The principal point's corner-based row."""

    def __post_init__(self) -> None:
        if len(np.unique(self.times)) < len(self.times) or (self.times == 0).any() or self.height < 1:
            raise ValueError(
                f"FrameClock needs different times, none 0, and a height of at least 1; got {self.times} and "
                f"{self.height}. Times count from the reference, in frame intervals."
            )

    def shares(self, rows: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """When rows, counted from the principal point, are read: -1/2 for the image's upper edge, 1/2 for the lower."""
        return np.clip((rows + self.centre_row) / self.height - 0.5, -0.5, 0.5)

    def known_speed(self) -> Float[np.ndarray, " knots"]:
        """1 for the reference and each frame whose neighbours tell its speed, 0 for the others; reference first."""
        known = np.zeros(len(self.times) + 1)
        for run in self.runs():
            if len(run) >= SMOOTH_KNOTS:
                known[run] = 1.0
        return known

    def runs(self) -> list[np.ndarray]:
        """Numbers of frames that follow each other closely, in order of time; 0 is the reference."""
        times = np.concatenate([[0.0], self.times])
        order = np.argsort(times)
        return np.split(order, np.flatnonzero(np.diff(times[order]) > _LARGEST_GAP) + 1)


@dataclass(frozen=True)
class Shutter:
    """How frames were read."""

    readout: float
    """Time from the first row to the last as a share of the frame interval; negative from the bottom up."""
    drifts: Float[np.ndarray, "knots 6"]
    """What a readout adds to the path's own motion: a left perturbation (rotation, translation); reference first."""

    @staticmethod
    def of(readout: float, frames: int) -> Shutter:
        """A shutter in frames that all move as their path does."""
        return Shutter(readout, np.zeros((frames + 1, 6)))


def at_middles(sightings: Sightings, motion: SmallMotion, shutter: Shutter, clock: FrameClock) -> Sightings:
    """What would have been seen had all rows been read at the middle of their frame.

    Args:
        sightings: what was seen, of frames in the order of ``clock``.
        motion: the poses at the middles.
        shutter: how frames were read.
        clock: when.
    """
    if shutter.readout == 0:
        return sightings
    sightings = replace(sightings, rays=_reference_rays(sightings, motion, shutter, clock))
    share = clock.shares(sightings.offsets[:, 1])
    change = _path_change(motion, clock, shutter.readout * share)
    turned = np.swapaxes(sightings.rays @ motion.rotations.transpose(0, 2, 1), 1, 2)
    depth = motion.inverse_depths
    before = turned + motion.translations[:, :, None] * depth
    vectors = Rotation.from_matrix(motion.rotations).as_rotvec()[:, None] + change[:, :, :3]
    spots = Rotation.from_rotvec(vectors.reshape(-1, 3)).apply(np.tile(sightings.rays, (len(vectors), 1)))
    moved = spots.reshape(vectors.shape).transpose(0, 2, 1)
    moved = moved + (motion.translations[:, None] + change[:, :, 3:]).transpose(0, 2, 1) * depth
    drift = shutter.drifts[1:]
    if drift.any():
        moved = moved + share[:, None] * perturbation(moved, drift, depth)
    shift = sightings.focal[:, None] * (flat(moved) - flat(before))
    offsets = np.where(sightings.seen[:, None], sightings.offsets - shift, 0.0)
    return replace(sightings, offsets=np.ascontiguousarray(offsets))


def _path_change(
    motion: SmallMotion, clock: FrameClock, later: Float[np.ndarray, "frames points"]
) -> Float[np.ndarray, "frames points 6"]:
    """How rotation vector and translation change in a while after each frame's middle, in frame intervals."""
    return _knot_change(motion, clock, np.vstack([np.zeros((1, later.shape[1])), later]))[1:]


def _knot_change(
    motion: SmallMotion, clock: FrameClock, later: Float[np.ndarray, "knots points"]
) -> Float[np.ndarray, "knots points 6"]:
    """The same for the reference, which comes first, and the frames; 0 where neighbours tell nothing."""
    times, poses = path_knots(motion, clock)
    change = np.zeros((*later.shape, 6))
    for run in clock.runs():
        if len(run) < SMOOTH_KNOTS:
            continue
        spline = CubicSpline(times[run], poses[run], bc_type="not-a-knot")
        moments = times[run, None] + later[run]
        change[run] = spline(moments) - poses[run, None]
    return change


def path_knots(
    motion: SmallMotion, clock: FrameClock
) -> tuple[Float[np.ndarray, " knots"], Float[np.ndarray, "knots 6"]]:
    """Times and poses (rotation vector, translation) that a path goes through; reference first."""
    vectors = Rotation.from_matrix(motion.rotations).as_rotvec()
    poses = np.vstack([np.zeros((1, 6)), np.hstack([vectors, motion.translations])])
    return np.concatenate([[0.0], clock.times]), poses


def _reference_rays(
    sightings: Sightings, motion: SmallMotion, shutter: Shutter, clock: FrameClock
) -> Float[np.ndarray, "points 3"]:
    """Rays at which the reference would have seen its points, all at its middle."""
    share = clock.shares(sightings.rays[:, 1] * sightings.focal[1])
    later = np.zeros((len(clock.times) + 1, len(share)))
    later[0] = shutter.readout * share
    change = _knot_change(motion, clock, later)[0]
    turn = Rotation.from_rotvec(change[:, :3])
    seen, rays = sightings.rays, sightings.rays.copy()
    for _ in range(3):
        moved = (turn.apply(rays) + change[:, 3:] * motion.inverse_depths[:, None]).T[None]
        moved = moved + share * perturbation(moved, shutter.drifts[:1], motion.inverse_depths)
        rays[:, :2] += seen[:, :2] - flat(moved)[0].T
    return rays


def perturbation(
    places: Float[np.ndarray, "frames 3 points"],
    drift: Float[np.ndarray, "frames 6"],
    inverse_depths: Float[np.ndarray, " points"],
) -> Float[np.ndarray, "frames 3 points"]:
    """How places R x + w t move with a left rotation and an added translation, to first order."""
    turned = np.cross(drift[:, None, :3], places.transpose(0, 2, 1)).transpose(0, 2, 1)
    return turned + drift[:, 3:, None] * inverse_depths


def flat(places: Float[np.ndarray, "frames 3 points"]) -> Float[np.ndarray, "frames 2 points"]:
    """Places divided by their depth."""
    return places[:, :2] / np.maximum(places[:, 2:], 1e-3)
