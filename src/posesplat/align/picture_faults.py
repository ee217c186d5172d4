"""Why a picture cannot be tracked: too dark, blank, or nothing to do with the one before it."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

_DARK_GREY = 12.0
_BLANK_GREY = 3.0
_SHRINK = 4
_SAME_SCENE = 0.25


def picture_fault(image: UInt8[np.ndarray, "height width 3"]) -> str:
    """What is wrong with an RGB picture by itself: ``too dark``, ``blank``, or nothing (an empty string).

    Too dark: 99 % of it lies below grey level 12 of 255. Blank: its grey levels deviate by fewer than 3.
    """
    grey = image[::_SHRINK, ::_SHRINK].mean(axis=2)
    if float(np.percentile(grey, 99)) < _DARK_GREY:
        return "too dark"
    return "blank" if float(grey.std()) < _BLANK_GREY else ""


def same_scene(before: UInt8[np.ndarray, "height width"], after: UInt8[np.ndarray, "height width"]) -> bool:
    """Whether one normalised picture looks like the other one shifted: the peak of their phase correlation.

    False after a cut, or a motion by more than about a third of the picture; True after a motion that is merely too
    fast to follow.
    """
    import cv2

    size = (max(before.shape[1] // _SHRINK, 1), max(before.shape[0] // _SHRINK, 1))
    first, second = (
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32) - 128 for picture in (before, after)
    )
    _, peak = cv2.phaseCorrelate(first, second, cv2.createHanningWindow(size, cv2.CV_32F))
    return bool(peak > _SAME_SCENE)
