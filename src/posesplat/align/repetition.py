"""Whether an image repeats itself, so that matches may agree on a pose that is off by a whole period."""

from __future__ import annotations

import numpy as np

from posesplat.align.keypoints import KeypointOptions, detect_in_frame
from posesplat.geometry.frame import Frame

_OPTIONS = KeypointOptions(max_width=320, max_keypoints=500)
_LIKE = 0.95
"""Similarity of two RootSIFT descriptors from which they show the same. Between other parts of a scene: 0.9 at most."""
_APART_PX = 15.0
"""Keypoints this near to each other are one."""
_FEWEST = 30


def self_similarity(frame: Frame) -> float:
    """Share of an image's keypoints that look like another one elsewhere in the same image, in [0, 1].

    0.5 to 0.9 on walls of repeated pictures, at most 0.15 in other rooms; 0 where there are too few keypoints to ask.

    Raises:
        ValueError: for a frame without an image.
    """
    _, found = detect_in_frame(frame, _OPTIONS)
    if len(found) < _FEWEST:
        return 0.0
    alike = found.descriptors @ found.descriptors.T
    gaps = found.pixels[:, None] - found.pixels
    alike[np.hypot(gaps[..., 0], gaps[..., 1]) < _APART_PX] = -1.0
    return float(np.mean(alike.max(axis=1) > _LIKE))
