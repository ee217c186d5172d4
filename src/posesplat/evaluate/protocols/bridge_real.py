"""Pairs of real photographs far apart, with clips of the photographs between them and the faults of generated clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.samples import real_sequence
from posesplat.evaluate.protocols.bridge_rooms import KINDS, BridgeCase, with_object
from posesplat.geometry.frame import Frame
from posesplat.providers.inbetween.clip_files import fitted
from posesplat.providers.inbetween.flow import FlowMorph
from posesplat.providers.inbetween.provider import ClipRequest, Image

SCENES = ("fox50", "lund_door12", "strecha/fountain-P11", "middlebury_templeRing19", "robustmvd_sample7")
"""Photographs with true poses."""
_TURNS_DEG = (25.0, 110.0)
_DETOUR = 1.35
"""Most that a photograph's angles to A and to B may add up to, in angles between A and B."""
_FEWEST_BETWEEN = 3
_NEAR = 0.3
_BESIDE_DEG = (18.0, 60.0)


def real_case(
    name: str, root: Path | None, seed: int, *, largest: int = 512, frames: int = 8, clips: int = 4
) -> BridgeCase | None:
    """A random pair of photographs with others between them; None when the scene has none.

    The clips' kinds are drawn from :data:`posesplat.evaluate.protocols.bridge_rooms.KINDS`; here ``mirror`` shows the
    photographs between mirrored, ``drift`` leads to a photograph beside B, and ``cut`` shows the nearest to A and B.

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
    angles = np.zeros((len(kept), len(kept)))
    for i, first in enumerate(kept):
        for j, second in enumerate(kept):
            angles[i, j] = np.degrees((poses[second].rotation * poses[first].rotation.inv()).magnitude())
    rng = np.random.default_rng(seed)
    candidates = [(i, j) for i, j in np.argwhere((angles > _TURNS_DEG[0]) & (angles < _TURNS_DEG[1])).tolist()]
    for place in rng.permutation(len(candidates)).tolist():
        i, j = candidates[place]
        between = _between(angles, i, j)
        if len(between) < _FEWEST_BETWEEN:
            continue
        photos = {k: _reduced(sequence[kept[k]], largest) for k in {i, j, *between}}
        kinds = tuple(str(one) for one in rng.choice(KINDS, size=clips))
        a, b = photos[i], photos[j]
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
                photos.setdefault(k, _reduced(sequence[kept[k]], largest))
            made.append(tuple(_clip(kind, [_image(photos[k]) for k in path], _image(a), _image(b), frames, rng)))
        b_from_a: RigidTransform = poses[kept[j]] * poses[kept[i]].inv()
        return BridgeCase(f"{name} {kept[i]}-{kept[j]} {angles[i, j]:.0f}deg", a, b, b_from_a, tuple(made), kinds)
    return None


def _between(angles: np.ndarray, i: int, j: int) -> list[int]:
    """Photographs on the way from one to another, in order."""
    whole = angles[i, j]
    found = [
        k
        for k in range(len(angles))
        if k not in (i, j) and max(angles[i, k], angles[j, k]) < whole and angles[i, k] + angles[j, k] < _DETOUR * whole
    ]
    return sorted(found, key=lambda k: float(angles[i, k]))


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


def _image(frame: Frame) -> Image:
    assert frame.image is not None
    return frame.image
