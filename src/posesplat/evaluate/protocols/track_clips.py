"""Synthetic clips of a hand-held camera: exact poses, exact first depth, and everything that makes real video hard.

A clip is described by a :class:`ClipSpec`. What is expensive, the noise-free images, is kept in a folder, each clip in
one file that is there whole or not at all and whose name is a digest of all that determines it; noise and the drift of
the exposure are added when the clip is opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.datasets import rooms
from posesplat.datasets.rooms import (
    BoxFaces,
    HandheldMotion,
    Motion,
    Quad,
    Room,
    Surface,
    TextureKind,
    blurred_frame,
    colour_noise,
    procedural_texture,
    rolling_frame,
)
from posesplat.files import cache_folder, whole_file
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.trajectory import Trajectory

RoomKind = Literal["furnished", "box", "curved"]
Shutter = Literal["global", "rolling"]
MoverPath = Literal["drift", "swing", "spin"]

RATE_HZ = 30.0
DEPTH_RANGE_M = (1.5, 2.3)
"""The median depth of a clip's first frame lies between these."""
_NEAREST_M = 0.6
_VIEWS_TRIED = 2000
_MOVER_M = 1.0
_SWING_PERIOD_S = 0.8
_SWING_FRAMES = 8.0
"""A mover that swings does so over the way that it would drift in this many frames."""
_MAKE_ROOM: dict[RoomKind, Callable[[int], Room]] = {
    "furnished": rooms.furnished_room,
    "box": rooms.box_room,
    "curved": rooms.curved_room,
}


@dataclass(frozen=True)
class ClipSpec:
    """All that determines a synthetic clip."""

    room: RoomKind = "furnished"
    """Which kind of room."""
    seed: int = 5000
    """Of the room, the view, the motion, the mover and the noise. Nothing was ever set on seeds from 5000 on."""
    translation_mm: float = 10.0
    """Largest distance of a camera centre from the first; 0 for a camera that only turns."""
    rotation_deg: float = 1.0
    """Largest angle to the first frame; 0 too for a camera at rest."""
    frames: int = 30
    """At 30 frames a second."""
    width: int = 640
    """Pixels; the height is three quarters of it, the focal length 525 / 640 of it."""
    exposure_ms: float = 0.0
    """How long the shutter is open; 0 for no motion blur."""
    readout_ms: float = 0.0
    """How long a rolling shutter takes from the first row to the last; 0 for a global shutter."""
    mover_share: float = 0.0
    """Share of the first image that a textured moving board covers."""
    mover_px: float = 0.0
    """How far the board moves from frame to frame, pixels of a 640 pixel wide image."""
    mover_path: MoverPath = "drift"
    """How it moves: straight on, to and fro, or drifting and turning."""
    texture: TextureKind | None = None
    """One kind of texture for the whole room; None for the room's own mixture."""
    sigma: float = 2.0
    """Standard deviation of the noise, grey levels."""
    drift: float = 0.02
    """The exposure swings by this share of itself."""
    supersample: int = 1
    """Samples along each side of a pixel. Textures are filtered already: 2 takes three times as long to draw, and
    changed the errors of tracking by 1 to 5 % where that was measured."""

    def __post_init__(self) -> None:
        amounts = (self.translation_mm, self.rotation_deg, self.exposure_ms, self.mover_px, self.sigma, self.drift)
        if min(amounts) < 0 or not 0 <= self.mover_share <= 0.9 or self.frames < 1 or self.supersample < 1:
            raise ValueError(
                "A clip needs amounts of at least 0, a mover_share in [0, 0.9] and at least 1 frame and sample; "
                f"got {self}."
            )
        if self.width < 80 or self.width % 4:
            raise ValueError(f"A clip's width must be at least 80 and divisible by 4; got {self.width}.")
        if self.exposure_ms and self.readout_ms:
            raise ValueError("A clip has motion blur or a rolling shutter, not both. Set one of them to 0.")

    @property
    def camera(self) -> Camera:
        """The pinhole that takes the clip."""
        scale = self.width / 640
        return Camera(525 * scale, 525 * scale, 320 * scale, 240 * scale, self.width, self.width * 3 // 4)

    @property
    def name(self) -> str:
        """Short, and different for specs that differ in what the tables group by."""
        return f"{self.room} {self.seed}, {self.translation_mm:g} mm"

    @property
    def at_rest(self) -> bool:
        """True when all noise-free images are the same."""
        return self.translation_mm == 0 and self.rotation_deg == 0 and self.mover_share == 0


@dataclass(frozen=True, eq=False)
class TrackClip:
    """A video with true poses, as every contender gets it."""

    name: str
    """What it is called in tables."""
    frames: tuple[Frame, ...]
    """With images, without depth."""
    cam_from_world: RigidTransform
    """True poses, shape (n,); for the judge, and for baselines that are told some of them."""
    first_depth: Float32[np.ndarray, "height width"] | None = None
    """Depth of the first frame in metres, for contenders that are given depth; None where there is none."""
    rate_hz: float = RATE_HZ
    """Frames a second."""
    exact: bool = True
    """Whether the true poses are exact."""

    @property
    def trajectory(self) -> Trajectory:
        """The true poses with the frames' times and names."""
        return self.answered(self.cam_from_world)

    def answered(self, cam_from_world: Sequence[RigidTransform] | RigidTransform) -> Trajectory:
        """Poses of all frames as an answer."""
        return Trajectory.from_poses(
            cam_from_world, [frame.timestamp for frame in self.frames], [frame.name for frame in self.frames]
        )


def scene_of(spec: ClipSpec) -> tuple[Room, HandheldMotion]:
    """The room of a clip, mover included, and the camera's motion in it."""
    room = _MAKE_ROOM[spec.room](spec.seed)
    view = _view(room, spec.seed)
    if spec.texture is not None:
        room = retextured(room, spec.texture, spec.seed)
    if spec.mover_share:
        room = replace(room, surfaces=(*room.surfaces, _mover(room, view, spec)))
    rotation = spec.rotation_deg
    motion = HandheldMotion.random(spec.seed + 1, spec.frames, view, 1e-3 * spec.translation_mm, rotation, RATE_HZ)
    return room, motion


def retextured(room: Room, kind: TextureKind, seed: int) -> Room:
    """The same room with another texture of one kind on every surface, and on every wall."""
    rng = np.random.default_rng([seed, 3])

    def changed(surface: Surface) -> Surface:
        if isinstance(surface.texture, BoxFaces):
            first, second, third, fourth, fifth, sixth = (procedural_texture(kind, rng, 0.45) for _ in range(6))
            texture = replace(surface.texture, faces=(first, second, third, fourth, fifth, sixth))
            return replace(surface, texture=texture)
        return replace(surface, texture=procedural_texture(kind, rng, 0.22))

    return replace(room, surfaces=tuple(changed(surface) for surface in room.surfaces))


def rendered(spec: ClipSpec, index: int) -> Frame:
    """One noise-free frame of a clip, with depth."""
    return _rendered(spec, *scene_of(spec), index)


def open_clip(spec: ClipSpec, cache_folder: Path | None = None) -> TrackClip:
    """A clip: from the folder if it is there, else rendered and put there.

    Args:
        spec: which clip.
        cache_folder: where noise-free images are kept; None renders and keeps nothing.
    """
    room, motion = scene_of(spec)
    poses = motion.at(np.arange(spec.frames) / RATE_HZ)
    path = None if cache_folder is None else cache_folder / f"{digest(spec)}.npz"
    stored = None if path is None else _read(path)
    if stored is None:
        count = 1 if spec.at_rest else spec.frames
        rendering = [_rendered(spec, room, motion, index) for index in range(count)]
        stored = np.stack([np.asarray(frame.image) for frame in rendering]), np.asarray(rendering[0].depth)
        if path is not None:
            with whole_file(path) as temporary, temporary.open("wb") as file:
                # Differences between frames, modulo 256, take half the room of the frames.
                changes = np.diff(stored[0], axis=0, prepend=np.uint8(0))
                np.savez_compressed(file, changes=changes, depth=stored[1])
    images, depth = stored
    return TrackClip(spec.name, _exposed(spec, images), poses, depth)


def digest(spec: ClipSpec) -> str:
    """Of all that determines a clip's noise-free images: what it shows, and the programs that draw it."""
    shown = {key: value for key, value in asdict(spec).items() if key not in ("sigma", "drift")}
    return hashlib.sha256(f"{json.dumps(shown, sort_keys=True)} {_drawing_code()}".encode()).hexdigest()[:24]


def default_cache() -> Path:
    """Where clips are kept unless said otherwise: ``posesplat/clips`` in the user's folder of caches."""
    return cache_folder("clips")


@cache
def _drawing_code() -> str:
    """Digest of the sources that draw clips, and of numpy's version, on which random rooms depend."""
    sources = [*sorted(Path(rooms.__file__).parent.glob("*.py")), Path(__file__)]
    text = hashlib.sha256(np.__version__.encode())
    for source in sources:
        text.update(source.read_bytes())
    return text.hexdigest()


def _read(
    path: Path,
) -> tuple[UInt8[np.ndarray, "count height width 3"], Float32[np.ndarray, "height width"]] | None:
    if not path.is_file():
        return None
    with np.load(path) as stored:
        return np.cumsum(stored["changes"], axis=0, dtype=np.uint8), stored["depth"]


def _rendered(spec: ClipSpec, room: Room, motion: HandheldMotion, index: int) -> Frame:
    camera, time_s = spec.camera, index / RATE_HZ
    if spec.exposure_ms:
        return blurred_frame(room, camera, motion.at, time_s, 1e-3 * spec.exposure_ms, supersample=spec.supersample)
    if spec.readout_ms:
        return rolling_frame(room, camera, motion.at, time_s, 1e-3 * spec.readout_ms, spec.supersample)
    return room.render(camera, motion.at(np.array([time_s]))[0], time_s, spec.supersample)


def _exposed(spec: ClipSpec, images: UInt8[np.ndarray, "count height width 3"]) -> tuple[Frame, ...]:
    """Frames with noise of their own and an exposure that drifts."""
    phase = np.random.default_rng([spec.seed, 5]).uniform(0.0, 2.0 * np.pi)
    frames = []
    for index in range(spec.frames):
        frame = Frame(spec.camera, images[index % len(images)], None, f"{index:06d}", index / RATE_HZ)
        gain = 1.0 + spec.drift * np.sin(phase + index / 5)
        frames.append(colour_noise(frame, 1000 * spec.seed + index, spec.sigma, gain))
    return tuple(frames)


def _view(room: Room, seed: int) -> RigidTransform:
    """A view whose median depth lies in DEPTH_RANGE_M, with nothing close to the camera."""
    rng = np.random.default_rng([seed, 1])
    low, high = DEPTH_RANGE_M
    for _ in range(_VIEWS_TRIED):
        view = room.sample_views(rng, 1, min_median_depth_m=low)[0]
        depth = room.cast(_PROBE, view, colour=False).depth
        if np.median(depth) < high and depth.min() > _NEAREST_M:
            return view
    raise ValueError(
        f"Room {room.name!r} of seed {seed} must have a view with a median depth of {low} to {high} m; found none in "
        f"{_VIEWS_TRIED} tries. Take another seed."
    )


_PROBE = Camera.from_fov(62.7, 64, 48)


def _mover(room: Room, view: RigidTransform, spec: ClipSpec) -> Surface:
    """A board in front of everything else, parallel to the first image, that covers a share of it and moves."""
    rng = np.random.default_rng([spec.seed, 2])
    camera = spec.camera
    depth = min(_MOVER_M, 0.9 * float(room.cast(_PROBE, view, colour=False).depth.min()))
    side = np.sqrt(spec.mover_share)
    width, height = camera.width / camera.fx * depth * side, camera.height / camera.fy * depth * side
    room_left = 0.5 * (1 - side) * np.array([width, height]) / side
    centre = np.append(rng.uniform(-room_left, room_left) * 0.8, depth)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    direction = np.array([np.cos(angle), np.sin(angle), 0.0])
    step_m = spec.mover_px * depth / 525.0
    if spec.mover_path == "swing":
        motion = Motion(swing_m=_triple(_SWING_FRAMES * step_m * direction), swing_period_s=_SWING_PERIOD_S)
    else:
        spin = 0.5 if spec.mover_path == "spin" else 0.0
        motion = Motion(velocity_m_s=_triple(RATE_HZ * step_m * direction), spin_rad_s=(0.0, 0.0, spin))
    texture = procedural_texture("patches", rng, 0.15)
    place = view.inv() * RigidTransform.from_translation(centre)
    return Surface(Quad(float(width), float(height)), texture, place, motion, "board")


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
