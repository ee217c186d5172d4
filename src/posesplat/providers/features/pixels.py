"""Features that need no network: colours, and locally normalised grey with its gradients."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32, UInt8

from posesplat.align.pyramid import image_gradients
from posesplat.align.tracks import NORMAL_CONTRAST, NORMAL_MEAN, locally_normalised

GRADIENT_GAIN = 2.0
"""Brings gradients to about the spread of the normalised grey itself."""


class RgbFeatures:
    """Red, green and blue in [0, 1]."""

    name = "rgb"
    channels = 3

    def fit(self, images: Iterable[UInt8[np.ndarray, "_ _ 3"]]) -> None:
        """Nothing to learn."""

    def features(self, image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width 3"]:
        """See :class:`posesplat.providers.features.provider.FeatureProvider`."""
        return image.astype(np.float32) / np.float32(255)


class NormalisedFeatures:
    """Locally normalised grey in units of the local contrast, and its gradients along rows and columns.

    Changes of exposure leave all three alone; see :func:`posesplat.align.tracks.locally_normalised`. The gradients are
    central differences times :data:`GRADIENT_GAIN`, 0 on the border.
    """

    name = "normalised"
    channels = 3

    def fit(self, images: Iterable[UInt8[np.ndarray, "_ _ 3"]]) -> None:
        """Nothing to learn."""

    def features(self, image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width 3"]:
        """See :class:`posesplat.providers.features.provider.FeatureProvider`."""
        grey = (locally_normalised(image).astype(np.float32) - np.float32(NORMAL_MEAN)) / np.float32(NORMAL_CONTRAST)
        gradients = image_gradients(grey[..., None])[:, :, 0]
        return np.concatenate([grey[..., None], np.float32(GRADIENT_GAIN) * gradients], axis=2)
