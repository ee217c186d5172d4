"""Camera motion: random starts of a given error, hand tremor, and walks through a room."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.interpolate import make_interp_spline
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms.room import Room
from posesplat.geometry import poses

_TREMOR_HZ = np.geomspace(0.3, 8.0, 14)
_WALK_ATTEMPTS = 60


def random_perturbation(rng: np.random.Generator, translation_m: float, rotation_deg: float) -> Float[np.ndarray, "6"]:
    """A tangent in random directions, for ``posesplat.geometry.poses.perturbed``.

    The perturbed camera's centre lies exactly ``translation_m`` away and its axes are turned by exactly
    ``rotation_deg``, as ``pose_errors`` measures them; so the tangent's translation part may be slightly longer.
    """
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    turn = Rotation.from_rotvec(math.radians(rotation_deg) * axis)
    return poses.log(RigidTransform.from_components(translation_m * direction, turn))


@dataclass(frozen=True, eq=False)
class _Tremor:
    """Random smooth motion in three axes that is 0 at time 0."""

    amplitudes: Float[np.ndarray, "waves 3"]
    phases: Float[np.ndarray, "waves 3"]
    scale: float = 1.0

    @staticmethod
    def random(rng: np.random.Generator, times_s: Float[np.ndarray, " n"], peak: float) -> _Tremor:
        """One whose longest vector at some times, the first of them 0, has length ``peak``."""
        phases = rng.uniform(0.0, 2.0 * np.pi, size=(len(_TREMOR_HZ), 3))
        tremor = _Tremor(rng.normal(size=(len(_TREMOR_HZ), 3)) / _TREMOR_HZ[:, None], phases)
        longest = float(np.linalg.norm(tremor(times_s), axis=-1).max())
        return replace(tremor, scale=peak / longest if longest > 0 else 1.0)

    def __call__(self, times_s: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
        # The first row is time 0.
        times = np.concatenate([np.zeros(1), times_s])
        angles = 2.0 * np.pi * times[:, None, None] * _TREMOR_HZ[:, None] + self.phases
        waves = (self.amplitudes * np.sin(angles)).sum(axis=1)
        motion: Float[np.ndarray, "n 3"] = self.scale * (waves[1:] - waves[:1])
        return motion


@dataclass(frozen=True, eq=False)
class HandheldMotion:
    """A camera held still by hand, at any time: smooth drift and tremor about its pose at time 0.

    Sums of sinusoids from 0.3 to 8 Hz whose amplitude falls with their frequency, as in hand-held video.
    """

    start: RigidTransform
    """cam_from_world at time 0."""
    shift: _Tremor
    """Camera centre in the camera frame of time 0, metres."""
    turn: _Tremor
    """Rotation vector of the camera's axes in the camera frame of time 0, radians."""

    @staticmethod
    def random(
        seed: int,
        count: int,
        start: RigidTransform | None = None,
        translation_m: float = 0.01,
        rotation_deg: float = 1.0,
        rate_hz: float = 30.0,
    ) -> HandheldMotion:
        """A random motion whose size is that of its ``count`` frames; see :func:`handheld_trajectory`."""
        if count < 1:
            raise ValueError(f"count must be 1 or more frames; got {count}.")
        rng = np.random.default_rng(seed)
        times = np.arange(count) / rate_hz
        shift = _Tremor.random(rng, times, translation_m)
        turn = _Tremor.random(rng, times, math.radians(rotation_deg))
        return HandheldMotion(start if start is not None else RigidTransform.identity(), shift, turn)

    def at(self, times_s: Float[np.ndarray, " n"]) -> RigidTransform:
        """The poses cam_from_world at some times in seconds, which may lie before 0; shape (n,)."""
        start_from_cam = RigidTransform.from_components(self.shift(times_s), Rotation.from_rotvec(self.turn(times_s)))
        return start_from_cam.inv() * self.start


def handheld_trajectory(
    seed: int,
    count: int,
    start: RigidTransform | None = None,
    translation_m: float = 0.01,
    rotation_deg: float = 1.0,
    rate_hz: float = 30.0,
) -> RigidTransform:
    """The frames of a :class:`HandheldMotion`: stacked cam_from_world of shape (count,).

    Args:
        seed: the same seed gives the same motion.
        count: how many frames.
        start: cam_from_world of the first frame; the identity when left out.
        translation_m: largest distance of a camera centre from the first.
        rotation_deg: largest angle of a camera's axes to the first.
        rate_hz: frames a second.
    """
    motion = HandheldMotion.random(seed, count, start, translation_m, rotation_deg, rate_hz)
    return motion.at(np.arange(count) / rate_hz)


def walk_trajectory(
    room: Room,
    seed: int,
    count: int,
    speed_m_s: float = 0.6,
    rate_hz: float = 30.0,
    min_clearance_m: float = 0.35,
    tremor_m: float = 0.004,
    tremor_deg: float = 0.4,
) -> RigidTransform:
    """A camera carried through a room from its default view, stacked cam_from_world of shape (count,).

    A spline through random waypoints in free space, along which the camera also looks around, with tremor on top.

    Args:
        room: the room; its surfaces are avoided as they stand at time 0.
        seed: the same seed gives the same walk.
        count: how many frames.
        speed_m_s: mean walking speed.
        rate_hz: frames a second.
        min_clearance_m: least distance of the path from every surface.
        tremor_m: largest displacement by tremor.
        tremor_deg: largest angle of tremor.

    Raises:
        ValueError: when no such path is found.
    """
    if count < 1:
        raise ValueError(f"count must be 1 or more frames; got {count}.")
    rng = np.random.default_rng(seed)
    step_m = 0.5
    steps = max(3, math.ceil(speed_m_s * (count - 1) / rate_hz / step_m) + 1)
    when = np.arange(count) * (speed_m_s / (rate_hz * step_m))
    start_from_tremor = handheld_trajectory(seed + 1, count, None, tremor_m, tremor_deg, rate_hz).inv()
    start = room.default_view.inv().translation
    attempts = _WALK_ATTEMPTS if room.clearance(start[None])[0] > min_clearance_m else 0
    for _ in range(attempts):
        waypoints = _waypoints(room, rng, steps, step_m, min_clearance_m)
        if waypoints is None:
            continue
        centres = make_interp_spline(np.arange(steps + 1), waypoints, k=3)(when)
        if room.clearance(centres).min() < min_clearance_m:
            continue
        world_from_path = RigidTransform.from_components(centres, _gaze(room, rng, steps, when))
        return (world_from_path * start_from_tremor).inv()
    raise ValueError(
        f"Room {room.name!r} must have free space for a walk of {steps * step_m:.1f} m with {min_clearance_m} m "
        f"clearance; found none from its default view. Ask for less clearance, fewer frames or less speed."
    )


def _waypoints(
    room: Room, rng: np.random.Generator, steps: int, step_m: float, min_clearance_m: float
) -> Float[np.ndarray, "waypoints 3"] | None:
    """A random walk over the floor from the default view, equal steps without sharp turns; None when it gets stuck."""
    world_from_volume = room.viewing.world_from_volume
    here = room.default_view.inv().translation
    heading = rng.uniform(0.0, 2.0 * np.pi)
    path = [here]
    for step in range(steps):
        for attempt in range(40):
            turn = rng.uniform(-1.0, 1.0) * (np.pi if step == 0 else 0.3 + 0.05 * attempt)
            ahead = np.array([math.cos(heading + turn), rng.uniform(-0.1, 0.1), math.sin(heading + turn)])
            there = here + step_m * world_from_volume.rotation.apply(ahead)
            between = here + np.linspace(0.25, 1.0, 4)[:, None] * (there - here)
            if room.viewing.contains(there[None])[0] and room.clearance(between).min() > min_clearance_m:
                break
        else:
            return None
        heading, here = heading + turn, there
        path.append(here)
    return np.array(path)


def _gaze(room: Room, rng: np.random.Generator, steps: int, when: Float[np.ndarray, " n"]) -> Rotation:
    """world_from_cam rotations that start as the default view and look around smoothly, within the room's limits."""
    viewing = room.viewing
    volume_from_world = viewing.world_from_volume.rotation.inv()
    start = (volume_from_world * room.default_view.inv().rotation).as_euler("YXZ", degrees=True)
    limits = np.array([viewing.max_yaw_deg, viewing.max_pitch_deg, viewing.max_roll_deg])
    angles = [start]
    for _ in range(steps):
        change = rng.uniform(-1.0, 1.0, size=3) * np.array([16.0, 5.0, 2.0])
        wanted = angles[-1] + change
        angles.append(wanted if viewing.max_yaw_deg >= 180.0 else np.clip(wanted, -limits, limits))
        angles[-1][1:] = np.clip(angles[-1][1:], -limits[1:], limits[1:])
    smooth = make_interp_spline(np.arange(steps + 1), np.array(angles), k=3)(when)
    return viewing.world_from_volume.rotation * Rotation.from_euler("YXZ", smooth, degrees=True)
