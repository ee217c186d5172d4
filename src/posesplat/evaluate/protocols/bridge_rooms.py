"""Pairs of synthetic rooms with clips between them: true views, and the faults that generated clips have.

Kinds of clips: ``true`` views of a camera that moves from A to B; ``drift``, a path that ends beside B; ``mirror``, a
pan to the other side; ``cut``, views near A and then views near B with nothing between; ``object``, true views in which
something appears; ``morph``, optical flow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms import Room, box_room, colour_noise, curved_room, furnished_room
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import interpolated
from posesplat.providers.inbetween.flow import FlowMorph
from posesplat.providers.inbetween.provider import ClipRequest, Image

KINDS = ("true", "drift", "mirror", "cut", "object", "morph")
"""Kinds of clips, most useful first."""
YAW_BINS: dict[str, tuple[float, float]] = {"0-50": (15.0, 50.0), "50-65": (50.0, 65.0), "65-180": (65.0, 110.0)}
"""Turns between A and B in degrees, as InterPose groups them; beyond 110 nothing is gained."""
_MAKERS = (furnished_room, box_room, curved_room)
_TRIES = 60


@dataclass(frozen=True)
class BridgeCase:
    """A pair with its truth and clips."""

    name: str
    """``rooms 7 50-65``."""
    a: Frame
    b: Frame
    b_from_a: RigidTransform
    """The truth."""
    clips: tuple[tuple[Image, ...], ...]
    """Frames between A and B of each clip."""
    kinds: tuple[str, ...]
    """Kind of each clip."""


@dataclass(frozen=True)
class StoredClips:
    """An in-between provider that gives the clips of a case."""

    clips: tuple[tuple[Image, ...], ...]
    name: str = "case"
    usd_per_clip: float = 0.0

    @property
    def stored_clips(self) -> int | None:
        """How many there are."""
        return len(self.clips)

    def identity(self) -> dict[str, object]:
        """Nothing that could be cached."""
        return {"provider": "case"}

    def frames(self, request: ClipRequest) -> list[Image]:
        """Clip ``request.number``."""
        return list(self.clips[request.number])


def room_case(
    seed: int,
    yaw: str,
    *,
    width: int = 256,
    frames: int = 8,
    clips: int = 4,
    kinds: Sequence[str] | None = None,
    noise: float = 2.0,
) -> BridgeCase:
    """A pair of a random room, its clips of random kinds unless they are given.

    Args:
        seed: of the room, the views, the clips and the noise.
        yaw: a key of :data:`YAW_BINS`.
        width: of the images, three quarters as high.
        frames: between A and B in each clip.
        clips: how many, where ``kinds`` does not say.
        kinds: of the clips, each one of :data:`KINDS`.
        noise: standard deviation of the images' noise in grey levels.

    Raises:
        ValueError: for an unknown kind or bin.
    """
    if yaw not in YAW_BINS or any(kind not in KINDS for kind in kinds or ()):
        raise ValueError(
            f"A case needs a bin of {', '.join(YAW_BINS)} and kinds of {', '.join(KINDS)}; got {yaw}, {kinds}."
        )
    rng = np.random.default_rng([seed, list(YAW_BINS).index(yaw)])
    room = _MAKERS[int(rng.integers(len(_MAKERS)))](seed)
    camera = Camera.from_fov(65.0, width, 3 * width // 4)
    a, b = _views(room, rng, YAW_BINS[yaw])
    drawn = tuple(kinds) if kinds is not None else tuple(str(one) for one in rng.choice(KINDS, size=clips))

    def seen(pose: RigidTransform) -> Frame:
        frame = room.render(camera, pose, supersample=1)
        return colour_noise(frame, int(rng.integers(1 << 31)), noise)

    first, last = seen(a), seen(b)
    first = Frame(camera, first.image, name="A")
    last = Frame(camera, last.image, name="B")
    made = tuple(tuple(_clip(kind, seen, a, b, first, last, frames, rng)) for kind in drawn)
    return BridgeCase(f"rooms {seed} {yaw}", first, last, b * a.inv(), made, drawn)


def _views(
    room: Room, rng: np.random.Generator, turn_deg: tuple[float, float]
) -> tuple[RigidTransform, RigidTransform]:
    """Two free views whose headings differ by an angle of the range, up to 1.2 m apart."""
    for _ in range(_TRIES):
        a = room.sample_views(rng, 1)[0]
        turn = float(rng.uniform(*turn_deg)) * float(rng.choice([-1.0, 1.0]))
        axis = room.down_in_world
        turned = a.rotation * Rotation.from_rotvec(np.radians(turn) * axis).inv()
        turned = Rotation.from_euler("xz", rng.uniform(-6, 6, size=2), degrees=True) * turned
        shift = rng.uniform(-0.8, 0.8, size=3) * [1.0, 0.25, 1.0]
        centre = a.inv().translation + shift
        b = RigidTransform.from_components(-turned.apply(centre), turned)
        path = RigidTransform.concatenate([interpolated(a, b, t) for t in np.linspace(0, 1, 5)])
        if (room.clearance(path.inv().translation) > 0.3).all():
            probe = room.cast(Camera.from_fov(62.7, 32, 24), b, colour=False).depth
            if np.median(probe) > 0.8:
                return a, b
    raise ValueError(f"Room {room.name!r} has no free pair of views; try another seed.")


def _clip(
    kind: str,
    seen: Callable[[RigidTransform], Frame],
    a: RigidTransform,
    b: RigidTransform,
    first: Frame,
    last: Frame,
    frames: int,
    rng: np.random.Generator,
) -> list[Image]:
    fractions = np.arange(1, frames + 1) / (frames + 1)
    assert first.image is not None and last.image is not None
    if kind == "morph":
        return FlowMorph().frames(ClipRequest(first.image, last.image, seed=int(rng.integers(4)), count=frames))
    if kind == "mirror":
        other = RigidTransform.from_rotation((b * a.inv()).rotation.inv()) * a
        return [_image(seen(interpolated(a, other, float(t)))) for t in fractions]
    if kind == "drift":
        turn = Rotation.from_rotvec(np.radians(rng.uniform(18, 40)) * rng.choice([-1, 1]) * np.array([0.0, 1.0, 0.0]))
        beside = RigidTransform.from_components(rng.normal(0, 0.2, size=3), turn) * b
        return [_image(seen(interpolated(a, beside, float(t)))) for t in fractions]
    if kind == "cut":
        near = np.where(fractions < 0.5, 0.3 * fractions, 1.0 - 0.3 * (1.0 - fractions))
        return [_image(seen(interpolated(a, b, float(t)))) for t in near]
    images = [_image(seen(interpolated(a, b, float(t)))) for t in fractions]
    return with_object(images, rng) if kind == "object" else images


def with_object(images: list[Image], rng: np.random.Generator) -> list[Image]:
    """A textured patch that grows from nothing and slides over the frames."""
    height, width = images[0].shape[:2]
    patch = rng.integers(0, 255, size=(height // 12, width // 12, 3), dtype=np.uint8)
    patch = np.kron(patch, np.ones((8, 8, 1), dtype=np.uint8))
    place, pace = rng.uniform(0, 0.3, size=2), rng.uniform(0.0, 0.05, size=2)
    covered = []
    for number, image in enumerate(images):
        size = (np.array([height, width]) * min(0.12 * (number + 1), 0.55)).astype(int)
        top, left = ((place + pace * number) * [height, width]).astype(int)
        shown: UInt8[np.ndarray, "h w 3"] = patch[: size[0], : size[1]]
        shown = shown[: height - top, : width - left]
        image = image.copy()
        image[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        covered.append(image)
    return covered


def _image(frame: Frame) -> Image:
    assert frame.image is not None
    return frame.image
