"""In-between frames by morphing along optical flow: no weights, no geometry, good for small gaps only.

Source: Kroeger et al., Fast optical flow using dense inverse search, ECCV 2016 (DIS, as OpenCV has it).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from posesplat.providers.inbetween.provider import ClipRequest, Image

WARPS = ("dense", "affine", "halves", "pan")
"""Kinds of morph, chosen by the seed: along dense flow, along an affine map fitted to it, along dense flow but with the
first image's colours in the first half and the last one's in the second, and a sideways pan over both images."""
_SMALL = 384
_PAN_OVERLAP = 0.25
"""Share of the width that a pan takes both images to have in common."""


class FlowMorph:
    """Morphs; the seed modulo four chooses the kind, see :data:`WARPS`."""

    name = "flow"
    stored_clips: int | None = None
    usd_per_clip = 0.0

    def identity(self) -> dict[str, Any]:
        """See :class:`posesplat.providers.inbetween.provider.InbetweenProvider`."""
        return {"provider": "flow", "version": 1}

    def frames(self, request: ClipRequest) -> list[Image]:
        """See :class:`posesplat.providers.inbetween.provider.InbetweenProvider`."""
        fractions = np.arange(1, request.count + 1) / (request.count + 1)
        kind = WARPS[request.seed % len(WARPS)]
        if kind == "pan":
            return [_panned(request.first, request.last, float(t)) for t in fractions]
        forward, backward = _flow(request.first, request.last), _flow(request.last, request.first)
        if kind == "affine":
            forward, backward = _affine(forward), _affine(backward)
        return [_morphed(request, forward, backward, float(t), kind == "halves") for t in fractions]


def _flow(first: Image, last: Image) -> Float32[np.ndarray, "height width 2"]:
    """Flow from the first image to the last, in pixels, found at a reduced size."""
    import cv2

    height, width = first.shape[:2]
    scale = min(1.0, _SMALL / max(height, width))
    size = (max(round(width * scale), 16), max(round(height * scale), 16))
    grey = [
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        for image in (first, last)
    ]
    found = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey[0], grey[1], None)
    found = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(found * np.array([width / size[0], height / size[1]]), dtype=np.float32)


def _affine(flow: Float32[np.ndarray, "height width 2"]) -> Float32[np.ndarray, "height width 2"]:
    """The affine field nearest to a flow, outliers counting little (iteratively reweighted least squares)."""
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    basis = np.stack([columns / width - 0.5, rows / height - 0.5, np.ones_like(rows)], axis=-1).reshape(-1, 3)
    step = max(len(basis) // 4000, 1)
    sample, target = basis[::step], flow.reshape(-1, 2)[::step].astype(np.float64)
    weights = np.ones(len(sample))
    solution = np.zeros((3, 2))
    for _ in range(8):
        left = (sample * weights[:, None]).T @ sample + 1e-9 * np.eye(3)
        solution = np.linalg.solve(left, (sample * weights[:, None]).T @ target)
        gaps = np.linalg.norm(sample @ solution - target, axis=1)
        weights = 1.0 / (1.0 + (gaps / max(float(np.median(gaps)), 0.5)) ** 2)
    return np.asarray((basis @ solution).reshape(height, width, 2), dtype=np.float32)


def _morphed(
    request: ClipRequest,
    forward: Float32[np.ndarray, "height width 2"],
    backward: Float32[np.ndarray, "height width 2"],
    fraction: float,
    halves: bool,
) -> Image:
    """The first image moved on by a share of the flow, cross-faded with the last one moved back by the rest."""
    early = _warped(request.first, -fraction * forward)
    late = _warped(request.last, -(1.0 - fraction) * backward)
    share = float(fraction >= 0.5) if halves else fraction
    return np.rint((1.0 - share) * early + share * late).astype(np.uint8)


def _warped(image: Image, shift: Float32[np.ndarray, "height width 2"]) -> Float32[np.ndarray, "height width 3"]:
    """The image read at each pixel plus a shift; what lies outside repeats the edge."""
    import cv2

    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(np.float32)
    return np.asarray(
        cv2.remap(
            image.astype(np.float32),
            columns + shift[..., 0].astype(np.float32),
            rows + shift[..., 1].astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )


def _panned(first: Image, last: Image, fraction: float) -> UInt8[np.ndarray, "height width 3"]:
    """A window that slides over both images side by side, blended over a supposed overlap."""
    width = first.shape[1]
    overlap = max(int(_PAN_OVERLAP * width), 1)
    ramp: Float[np.ndarray, " overlap"] = np.linspace(0.0, 1.0, overlap)
    blend = first[:, width - overlap :] * (1 - ramp)[:, None] + last[:, :overlap] * ramp[:, None]
    wide = np.concatenate([first[:, : width - overlap], np.rint(blend).astype(np.uint8), last[:, overlap:]], axis=1)
    offset = round(fraction * (width - overlap))
    return np.ascontiguousarray(wide[:, offset : offset + width])
