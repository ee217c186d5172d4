"""The clips between two images and their subsets, whichever source they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.methods.bridge_options import BridgeOptions
from posesplat.providers.inbetween.cache import ClipCache
from posesplat.providers.inbetween.clip_files import fitted
from posesplat.providers.inbetween.provider import ClipRequest, Image, InbetweenProvider

_REVISION = 2
"""Raised when the same frames would give other hypotheses, so that older ones are not read again."""


@dataclass(frozen=True)
class Clip:
    """Frames between A and B, in that order, or the reason why there are none."""

    name: str
    """``clip 0``."""
    about: str
    """Its prompt and order, for people."""
    frames: tuple[Image, ...]
    """Without A and B, of A's size."""
    camera: Camera
    """Of its frames, see :func:`clip_camera`."""
    reason: str = ""
    """Why there are none."""


@dataclass(frozen=True)
class _Planned:
    request: ClipRequest
    backward: bool
    about: str


class TooExpensive(ValueError):
    """The clips that are missing would cost more than was allowed."""

    def __init__(self, clips: int, usd: float, allowed: float, provider: str) -> None:
        super().__init__(
            f"{clips} clips of {provider} cost about {usd:.2f} US dollars; {allowed:.2f} are allowed. "
            f"Pass --max-cost-usd {usd:.2f} to spend them, or choose another --inbetween."
        )
        self.usd = usd


def planned_cost_usd(a: Frame, b: Frame, provider: InbetweenProvider, options: BridgeOptions) -> tuple[int, float]:
    """How many clips would have to be made, and what they cost; those in the cache are free."""
    cache = None if options.cache is None else ClipCache(options.cache / "clips")
    plan = _plan(a, b, provider, options)
    missing = [one for one in plan if cache is None or not cache.has(provider, one.request)]
    return len(missing), len(missing) * provider.usd_per_clip


def clips_between(
    a: Frame,
    b: Frame,
    provider: InbetweenProvider,
    options: BridgeOptions,
    on_done: Callable[[], None] | None = None,
) -> list[Clip]:
    """Every clip that is planned: each prompt in each order, or all that the source holds.

    Args:
        a: image A; clips take its size.
        b: image B.
        provider: makes or holds clips.
        options: prompts, orders, number of frames, seed, cache and the cost allowed.
        on_done: called after each clip.

    Raises:
        OSError: when a checkpoint or service is missing.
        TooExpensive: when the clips would cost more than allowed; nothing was spent then.
    """
    missing, usd = planned_cost_usd(a, b, provider, options)
    if usd > options.max_cost_usd:
        raise TooExpensive(missing, usd, options.max_cost_usd, provider.name)
    cache = None if options.cache is None else ClipCache(options.cache / "clips")
    camera = clip_camera(a, b, provider, options)
    clips = []
    for number, one in enumerate(_plan(a, b, provider, options)):
        name = f"clip {number}"
        try:
            made = provider.frames(one.request) if cache is None else cache.frames(provider, one.request)
        except ValueError as error:
            clips.append(Clip(name, one.about, (), camera, str(error)))
        else:
            clips.append(Clip(name, one.about, tuple(reversed(made) if one.backward else made), camera))
        if on_done is not None:
            on_done()
    return clips


def clip_camera(a: Frame, b: Frame, provider: InbetweenProvider, options: BridgeOptions) -> Camera:
    """The pinhole of all frames of clips, at A's size.

    The one that was given; else A's, for stored clips and where B has the same; else, for clips that are made, a
    centred one that sees only what both images show, so that neither end has to be filled up.
    """
    own, other = a.camera, b.camera
    if options.clip_camera is not None:
        return options.clip_camera.resized(own.width, own.height)
    if provider.stored_clips is not None or own == other:
        return own
    half = [
        min(min(middle, side - middle) / focal for middle, side, focal in sides)
        for sides in (
            [(camera.cx, camera.width, camera.fx) for camera in (own, other)],
            [(camera.cy, camera.height, camera.fy) for camera in (own, other)],
        )
    ]
    focal = max(0.5 * own.width / half[0], 0.5 * own.height / half[1])
    return Camera(focal, focal, 0.5 * own.width, 0.5 * own.height, own.width, own.height)


def seen_with(frame: Frame, camera: Camera) -> Image:
    """The frame's image as a camera at the same place would have taken it."""
    import cv2

    assert frame.image is not None
    source, image = frame.camera, frame.image
    if source == camera:
        return image
    shrink = max(camera.fx / source.fx, camera.fy / source.fy)
    if shrink < 1.0:
        width, height = max(round(source.width * shrink), 1), max(round(source.height * shrink), 1)
        source = source.resized(width, height)
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    x = source.fx * (np.arange(camera.width) + 0.5 - camera.cx) / camera.fx + source.cx - 0.5
    y = source.fy * (np.arange(camera.height) + 0.5 - camera.cy) / camera.fy + source.cy - 0.5
    columns, rows = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    remapped = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(remapped, np.uint8)


def subsets_of(frames: int, options: BridgeOptions, seed: int) -> list[tuple[int, ...]]:
    """Different choices of in-between frames by their numbers, from 1 to ``frames``: evenly spaced first, then random.

    A clip with too few frames for a choice gives the one subset of all of them; one without frames gives none.

    Source: Cai et al., 2025, section 4.1: k = 5 images, m = 11 subsets of which one is evenly spaced.
    """
    wanted = options.images - 2
    if frames == 0:
        return []
    if frames <= wanted:
        return [tuple(range(1, frames + 1))]
    even = tuple(round(float(one)) for one in np.linspace(0, frames + 1, wanted + 2)[1:-1])
    chosen = {even: None}
    rng = np.random.default_rng(seed)
    for _ in range(50 * options.subsets):
        if len(chosen) >= options.subsets:
            break
        drawn = rng.choice(frames, size=wanted, replace=False)
        chosen.setdefault(tuple(sorted(int(one) + 1 for one in drawn)), None)
    return list(chosen)


def poses_key(a: Frame, b: Frame, clip: Clip, subsets: Sequence[Sequence[int]], estimator: str, seed: int) -> str:
    """A hash of all that decides the poses of a clip's subsets."""
    digest = hashlib.sha256()
    cameras = [camera.to_json() for camera in (a.camera, b.camera, clip.camera)]
    facts = [_REVISION, estimator, seed, [list(subset) for subset in subsets], cameras]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for image in (a.image, b.image, *clip.frames):
        assert image is not None
        digest.update(str(image.shape).encode())
        digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def poses_file(cache: Path, key: str) -> Path:
    """Where the poses of a clip's subsets are kept."""
    return cache / "poses" / f"{key}.json"


def _plan(a: Frame, b: Frame, provider: InbetweenProvider, options: BridgeOptions) -> list[_Planned]:
    assert a.image is not None and b.image is not None
    if provider.stored_clips is not None:
        base = ClipRequest(a.image, fitted(b.image, a.image), count=options.frames)
        return [
            _Planned(replace(base, number=number), False, f"stored clip {number}")
            for number in range(provider.stored_clips)
        ]
    camera = clip_camera(a, b, provider, options)
    first, last = seen_with(a, camera), seen_with(b, camera)
    plan: list[_Planned] = []
    for number, prompt in enumerate(options.prompts):
        for backward in (False, True) if options.both_orders else (False,):
            ends = (last, first) if backward else (first, last)
            seed = options.seed + len(plan)
            request = ClipRequest(
                *ends, prompt=prompt, seed=seed, count=options.frames, backward=backward, number=len(plan)
            )
            order = "from B to A" if backward else "from A to B"
            plan.append(_Planned(request, backward, f"prompt {number}, {order}, seed {seed}"))
    return plan
