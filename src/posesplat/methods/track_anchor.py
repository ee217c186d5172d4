"""Segment references and the frames that are compared with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.align.tracks import CornerOptions, Tracks, corners
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import pose_errors

Mask = Bool[np.ndarray, "height width"]
"""True where an image may be used."""

_NEAREST = 1e-6


@dataclass(frozen=True)
class Anchor:
    """A segment's reference: its pose, and the depths known there in units of the world."""

    index: int
    """The frame's number."""
    cam_from_world: RigidTransform
    """Its pose."""
    covariance: Float[np.ndarray, "6 6"]
    """Of its pose."""
    normalised: UInt8[np.ndarray, "height width"]
    """Its image, locally normalised."""
    points: Float[np.ndarray, "points 2"]
    """Corner-based pixels of the points that are followed."""
    inverse_depths: Float[np.ndarray, " points"]
    """In this camera and units of the world; NaN where unknown."""
    frame: Frame | None = None
    """The frame itself, where later steps need its images."""

    @property
    def known(self) -> Bool[np.ndarray, " points"]:
        """Which points have a depth."""
        return np.isfinite(self.inverse_depths)


@dataclass(frozen=True)
class Member:
    """A frame of the open segment, and where it saw the anchor's points."""

    index: int
    """The frame's number."""
    normalised: UInt8[np.ndarray, "height width"]
    """Its image, locally normalised."""
    pixels: Float[np.ndarray, "points 2"]
    """Where the anchor's points are, corner-based pixels."""
    seen: Bool[np.ndarray, " points"]
    """Which of them were found."""
    mask: Mask | None = None
    """Where points may be; everywhere when left out."""
    given: bool = False
    """Whether its pose has been told already; it then only helps the others."""
    frame: Frame | None = None
    """The frame itself, where later steps need its images."""


def tracks_of(anchor: Anchor, members: Sequence[Member]) -> Tracks:
    """Where the anchor's points were seen."""
    return Tracks.gathered(anchor.points, [(member.pixels, member.seen) for member in members])


def first_anchor(
    index: int,
    normalised: UInt8[np.ndarray, "height width"],
    points: Float[np.ndarray, "points 2"],
    frame: Frame | None,
) -> Anchor:
    """The frame whose camera is the world."""
    nothing = np.full(len(points), np.nan)
    return Anchor(index, RigidTransform.identity(), np.zeros((6, 6)), normalised, points, nothing, frame)


def moved_anchor(
    anchor: Anchor,
    member: Member,
    cam_from_world: RigidTransform,
    covariance: Float[np.ndarray, "6 6"],
    inverse_depths: Float[np.ndarray, " points"],
    camera: Camera,
    options: CornerOptions,
) -> Anchor:
    """A frame of the segment as the next reference, with the depths of the points that it still sees, and new points.

    Args:
        anchor: the reference so far.
        member: the frame that becomes the reference.
        cam_from_world: its pose.
        covariance: of its pose.
        inverse_depths: of the anchor's points in the anchor's camera, NaN where unknown.
        camera: pinhole of all frames.
        options: how new points are chosen.
    """
    carried = member.seen & np.isfinite(inverse_depths)
    pixels = member.pixels[carried]
    rays = camera.rays_at(anchor.points[carried])
    there = (cam_from_world * anchor.cam_from_world.inv()).apply(rays / inverse_depths[carried, None])
    known = 1.0 / np.maximum(there[:, 2], _NEAREST)
    fresh = corners(member.normalised, options, pixels)
    return Anchor(
        member.index,
        cam_from_world,
        covariance,
        member.normalised,
        np.concatenate([pixels, fresh]),
        np.concatenate([known, np.full(len(fresh), np.nan)]),
        member.frame,
    )


def kept_anchors(anchors: Sequence[Anchor], limit: int = 20, recent: int = 4) -> tuple[Anchor, ...]:
    """The anchors worth keeping for loops: the first, the last few, and those whose views differ most; in their order.

    Views differ by the angle between their orientations plus their distance in median depths (so by an angle, too). Of
    the two most alike, the later is dropped until few enough are left; those last ones count neither way: they go by.

    Args:
        anchors: in the order of the video, all with a pose.
        limit: most anchors kept, which bounds memory and the work for each new one.
        recent: how many of the last are kept in any case.

    Raises:
        ValueError: when the limit leaves no place for the first and the last.
    """
    if recent < 1 or limit < recent + 1:
        raise ValueError(
            f"kept_anchors needs recent >= 1 and limit above recent; got limit {limit} and recent {recent}. "
            "Raise the limit."
        )
    count = len(anchors)
    if count <= limit:
        return tuple(anchors)
    poses = RigidTransform.concatenate([anchor.cam_from_world for anchor in anchors])
    known = [anchor.inverse_depths[anchor.known] for anchor in anchors]
    median = np.array([float(np.median(depths)) if len(depths) else 1.0 for depths in known])

    between = np.arange(count - recent)
    differences = np.full((len(between), len(between)), np.inf)
    for one in between[1:]:
        distance, degrees = pose_errors(poses[between[:one]], RigidTransform.concatenate([poses[one]] * one))
        differences[one, :one] = np.radians(degrees) + distance * np.minimum(median[:one], median[one])
    dropped: set[int] = set()
    while count - len(dropped) > limit:
        later = int(np.argmin(differences.min(axis=1)))
        dropped.add(later)
        differences[later], differences[:, later] = np.inf, np.inf
    return tuple(anchor for index, anchor in enumerate(anchors) if index not in dropped)
