"""Pairs of real photographs far apart, with clips of the photographs between them and the faults of generated clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.samples import real_sequence
from posesplat.evaluate.protocols.bridge_rooms import KINDS, BridgeCase, with_object
from posesplat.geometry.frame import Frame
from posesplat.methods.bridge_clips import seen_with
from posesplat.providers.inbetween.clip_files import fitted
from posesplat.providers.inbetween.flow import FlowMorph
from posesplat.providers.inbetween.provider import ClipRequest, Image

SCENES = ("fox50", "lund_door12", "strecha/fountain-P11", "middlebury_templeRing19", "robustmvd_sample7")
"""Photographs with true poses."""
TURNS_DEG = (25.0, 110.0)
"""Between A and B."""
_DETOUR = 1.35
"""Most that a photograph's angles to A and to B may add up to, in angles between A and B."""
_FEWEST_BETWEEN = 3
_NEAR = 0.3
_BESIDE_DEG = (18.0, 60.0)


@dataclass(frozen=True, eq=False)
class Photos:
    """Photographs of one scene with their poses, read when asked for."""

    name: str
    labels: tuple[str, ...]
    """Of each photograph."""
    cam_from_world: tuple[RigidTransform, ...]
    read: Callable[[int], Frame]


def real_case(
    name: str, root: Path | None, seed: int, *, largest: int = 512, frames: int = 8, clips: int = 4
) -> BridgeCase | None:
    """A random pair of photographs with others between them; None when the scene has none. See :func:`photo_case`.

    Args:
        name: one of :data:`SCENES`.
        root: of the data sets.
        seed: of pair and clips.
        largest: longer side of the images in pixels.
        frames: most frames of a clip.
        clips: how many.

    Raises:
        MissingData: when the photographs are not there.
    """
    sequence = real_sequence(name, root)
    poses = {k: pose for k, pose in enumerate(sequence.cam_from_world or ()) if pose is not None}
    kept = sorted(poses)
    photos = Photos(name, tuple(map(str, kept)), tuple(poses[k] for k in kept), lambda k: sequence[kept[k]])
    return photo_case(photos, seed, TURNS_DEG, largest=largest, frames=frames, clips=clips)


def photo_case(
    photos: Photos,
    seed: int,
    turns_deg: tuple[float, float],
    pair: tuple[int, int] | None = None,
    *,
    largest: int = 512,
    frames: int = 8,
    clips: int = 4,
) -> BridgeCase | None:
    """A pair of photographs with clips of those between them; None when too few lie between.

    The clips' kinds are drawn from :data:`posesplat.evaluate.protocols.bridge_rooms.KINDS`; here ``mirror`` shows the
    photographs between mirrored, ``drift`` leads to a photograph beside B, and ``cut`` shows the nearest to A and B.

    Args:
        photos: of one scene.
        seed: of pair and clips.
        turns_deg: angle between A and B, where the pair is drawn.
        pair: numbers of A and B; drawn when None.
        largest: longer side of the images in pixels.
        frames: most frames of a clip.
        clips: how many.
    """
    poses, angles = photos.cam_from_world, _angles_deg(photos.cam_from_world)
    rng = np.random.default_rng(seed)
    candidates = np.argwhere((angles > turns_deg[0]) & (angles < turns_deg[1]))
    if pair is not None:
        candidates = np.array([pair])
    for place in rng.permutation(len(candidates)):
        i, j = candidates[place].tolist()
        between = _between(angles, i, j)
        if len(between) < _FEWEST_BETWEEN:
            continue
        shown = {k: _reduced(photos.read(k), largest) for k in {i, j, *between[:: max(len(between) // frames, 1)]}}
        kinds = tuple(str(one) for one in rng.choice(KINDS, size=clips))
        a, b = shown[i], shown[j]
        made = []
        for kind in kinds:
            path = between
            if kind == "drift":
                beside = np.flatnonzero((angles[j] > _BESIDE_DEG[0]) & (angles[j] < _BESIDE_DEG[1]))
                ends = [k for k in beside.tolist() if k != i and len(_between(angles, i, k)) >= _FEWEST_BETWEEN]
                path = _between(angles, i, ends[int(rng.integers(len(ends)))]) if ends else between[: len(between) // 2]
            elif kind == "cut":
                near = [k for k in between if min(angles[i, k], angles[j, k]) < _NEAR * angles[i, j]]
                path = near or [between[0], between[-1]]
            path = path[:: max(len(path) // frames, 1)][:frames]
            for k in path:
                shown[k] = shown[k] if k in shown else _reduced(photos.read(k), largest)
            made.append(
                tuple(_clip(kind, [_image(shown[k], a) for k in path], _image(a, a), _image(b, a), frames, rng))
            )
        name = f"{photos.name} {photos.labels[i]}-{photos.labels[j]} {angles[i, j]:.0f}deg"
        return BridgeCase(name, a, b, poses[j] * poses[i].inv(), tuple(made), kinds)
    return None


def _angles_deg(poses: Sequence[RigidTransform]) -> Float[np.ndarray, "n n"]:
    """Angles between the rotations of all pairs."""
    rows = np.array([pose.rotation.as_matrix().ravel() for pose in poses]).reshape(len(poses), 9)
    angles = np.degrees(np.arccos(np.clip(0.5 * (rows @ rows.T - 1.0), -1.0, 1.0)))
    np.fill_diagonal(angles, 0.0)
    return np.asarray(angles)


def _between(angles: Float[np.ndarray, "n n"], i: int, j: int) -> list[int]:
    """Photographs on the way from one to another, in order."""
    whole = angles[i, j]
    on_way = (np.maximum(angles[i], angles[j]) < whole) & (angles[i] + angles[j] < _DETOUR * whole)
    on_way[[i, j]] = False
    return sorted(np.flatnonzero(on_way).tolist(), key=lambda k: float(angles[i, k]))


def _clip(
    kind: str, shown: list[Image], first: Image, last: Image, frames: int, rng: np.random.Generator
) -> list[Image]:
    if kind == "morph":
        request = ClipRequest(first, fitted(last, first), seed=int(rng.integers(4)), count=frames)
        return FlowMorph().frames(request)
    if kind == "mirror":
        return [np.ascontiguousarray(image[:, ::-1]) for image in shown]
    return with_object(shown, rng) if kind == "object" else shown


def _reduced(frame: Frame, largest: int) -> Frame:
    import cv2

    assert frame.image is not None
    scale = min(1.0, largest / max(frame.camera.width, frame.camera.height))
    width, height = round(frame.camera.width * scale), round(frame.camera.height * scale)
    image = cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA)
    return Frame(frame.camera.resized(width, height), np.asarray(image, np.uint8), name=frame.name)


def _image(frame: Frame, like: Frame) -> Image:
    """The picture as the camera of A would have taken it, whose frames all clips are made of."""
    return seen_with(frame, like.camera)
