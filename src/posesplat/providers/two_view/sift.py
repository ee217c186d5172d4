"""Matches of SIFT keypoints: each other's nearest, and much nearer than the second one.

Source: Lowe, Distinctive image features from scale-invariant keypoints, IJCV 2004; descriptors as RootSIFT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posesplat.align.global_start import match
from posesplat.align.keypoints import KeypointOptions, Keypoints, detect_in_frame
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.kernels.threads import side_by_side


@dataclass(frozen=True)
class SiftOptions:
    """How keypoints are found and matched."""

    max_keypoints: int = 3000
    """Strongest keypoints kept for each image."""
    max_width: int = 1024
    """Images wider than this are reduced to it."""
    contrast_threshold: float = 0.01
    """SIFT's own; low, since indoor walls are dim."""
    ratio: float = 0.85
    """A match's descriptor distance is at most this share of the second best one's."""


class SiftMatches:
    """Matches of SIFT keypoints, found without any weights."""

    name = "sift"

    def __init__(self, options: SiftOptions = SiftOptions()) -> None:
        self.options = options
        self._keypoint_options = KeypointOptions(
            max_width=options.max_width,
            max_keypoints=options.max_keypoints,
            contrast_threshold=options.contrast_threshold,
        )

    def matches(self, a: Frame, b: Frame) -> Matches:
        """See :class:`posesplat.providers.two_view.provider.TwoViewProvider`; scores are 1 - descriptor distance."""
        first, second = side_by_side(self._keypoints, (a, b))
        of_a, of_b = match(first, second, self.options.ratio)
        similarity = np.einsum("nk,nk->n", first.descriptors[of_a], second.descriptors[of_b])
        return Matches(first.pixels[of_a], second.pixels[of_b], similarity.astype(np.float64))

    def _keypoints(self, frame: Frame) -> Keypoints:
        """Keypoints of a frame in its own pixels, whatever size they were found at."""
        camera, found = detect_in_frame(frame, self._keypoint_options)
        scale = np.array([frame.camera.width / camera.width, frame.camera.height / camera.height])
        return Keypoints(found.pixels * scale, found.descriptors)
