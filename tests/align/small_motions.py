"""Exact tracks of points seen by a camera that hardly moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import SmallMotion
from posesplat.align.tracks import Tracks
from posesplat.geometry.cameras import Camera

CAMERA = Camera(520.0, 500.0, 322.0, 238.0, 640, 480)


@dataclass(frozen=True)
class Scene:
    tracks: Tracks
    cam_from_reference: RigidTransform
    inverse_depths: np.ndarray
    """With median 1; translations are in that unit."""

    @property
    def sightings(self) -> Sightings:
        return Sightings.of(self.tracks, CAMERA)

    @property
    def motion(self) -> SmallMotion:
        poses = self.cam_from_reference
        return SmallMotion(poses.rotation.as_matrix(), poses.translation, self.inverse_depths)


def scene(
    seed: int,
    frames: int = 12,
    points: int = 200,
    shift: float = 0.01,
    turn_deg: float = 1.0,
    noise_px: float = 0.0,
    reference_noise_px: float = 0.0,
) -> Scene:
    """Random points at depths of 0.6 to 2 times the median, seen by a camera on a random smooth path."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform((10, 10), (630, 470), size=(points, 2))
    inverse_depths = np.exp(rng.uniform(np.log(0.5), np.log(1.6), points))
    inverse_depths /= np.median(inverse_depths)
    phase = np.linspace(0, 2 * np.pi, frames + 1)[1:, None]
    wave = np.sin(phase * rng.uniform(0.5, 2, 3) + rng.uniform(0, 6, 3)) - np.sin(rng.uniform(0, 6, 3))
    turn = np.cos(phase * rng.uniform(0.5, 2, 3) + rng.uniform(0, 6, 3))
    poses = RigidTransform.from_components(shift * wave, Rotation.from_rotvec(np.radians(turn_deg) * turn))
    rays = np.column_stack([(pixels - [CAMERA.cx, CAMERA.cy]) / [CAMERA.fx, CAMERA.fy], np.ones(points)])
    points_in_reference = rays / inverse_depths[:, None]
    seen = np.array([CAMERA.project(pose.apply(points_in_reference)) for pose in poses])
    noisy = seen + noise_px * rng.standard_normal(seen.shape)
    reference = pixels + reference_noise_px * rng.standard_normal(pixels.shape)
    return Scene(Tracks(reference, noisy, np.ones((frames, points), dtype=bool)), poses, inverse_depths)
