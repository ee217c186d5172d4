"""Anchors with exact poses and depths of a camera that goes away in a furnished room and comes back."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.tracks import CornerOptions, corners, locally_normalised
from posesplat.datasets.rooms import Room, box_room, colour_noise, furnished_room
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import perturbed
from posesplat.methods.track_anchor import Anchor

CAMERA = Camera(260.0, 260.0, 160.0, 120.0, 320, 240)
_CORNERS = CornerOptions(max_points=400)


@functools.cache
def room(name: str) -> Room:
    return furnished_room(1) if name == "furnished" else box_room(3)


def view(
    shift_m: tuple[float, float, float], turn_deg: tuple[float, float, float], name: str = "furnished"
) -> RigidTransform:
    """cam_from_world of a camera moved and turned (yaw, pitch, roll) from the room's default view."""
    moved = RigidTransform.from_components(shift_m, Rotation.from_euler("YXZ", turn_deg, degrees=True))
    return moved.inv() * room(name).default_view


def anchor(index: int, cam_from_world: RigidTransform, name: str = "furnished", unit: float = 1.0) -> Anchor:
    """What a camera there sees: noisy picture, exact pose, exact depths in units of ``unit`` metres."""
    frame = room(name).render(CAMERA, cam_from_world, supersample=1)
    noisy = colour_noise(frame, 100 + index, 1.0, 1.0)
    assert noisy.image is not None
    assert frame.depth is not None
    normalised = locally_normalised(noisy.image)
    points = corners(normalised, _CORNERS)
    column, row = np.floor(points).astype(int).T
    depths = frame.depth[row, column].astype(np.float64)
    pose = RigidTransform.from_components(cam_from_world.translation / unit, cam_from_world.rotation)
    return Anchor(index, pose, np.zeros((6, 6)), normalised, points, unit / depths)


def drifted(exact: Anchor, tangent: np.ndarray, unit: float = 1.0) -> Anchor:
    """The anchor as drift has it: elsewhere, and its depths in units longer than the others' by a factor."""
    return replace(
        exact, cam_from_world=perturbed(exact.cam_from_world, tangent), inverse_depths=unit * exact.inverse_depths
    )
