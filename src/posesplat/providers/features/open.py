"""Features chosen by a word: ``rgb``, ``normalised``, or ``dinov2:CHECKPOINT``."""

from __future__ import annotations

from posesplat.providers.features.dinov2 import DinoFeatures
from posesplat.providers.features.pixels import NormalisedFeatures, RgbFeatures
from posesplat.providers.features.provider import FeatureProvider
from posesplat.providers.specs import unknown_spec

FEATURE_SPECS = {
    "rgb": "colours in [0, 1]",
    "normalised": "locally normalised grey and its gradients, free of exposure",
    "dinov2:CHECKPOINT": "16 channels of DINOv2: a folder, or owner/name on the Hugging Face hub",
}
"""What ``--features`` takes, and what it means."""


def open_features(spec: str, channels: int = 16, *, published: bool = False) -> FeatureProvider:
    """The source of features that a word chooses; see :data:`FEATURE_SPECS`.

    Args:
        spec: ``rgb``, ``normalised`` or ``dinov2:CHECKPOINT``.
        channels: how many channels of a network's features are kept.
        published: a network's features as SmallGS published them; see
            :class:`posesplat.providers.features.dinov2.DinoFeatures`.

    Raises:
        ImportError: when a network is asked for and torch or transformers is not installed.
        OSError: when there is no such checkpoint.
        ValueError: when the word means nothing, or the checkpoint is of another kind.

    Example:
        >>> features = open_features("dinov2:facebook/dinov2-small")
        >>> features.fit(frame.image for frame in frames)
    """
    if spec == "rgb":
        return RgbFeatures()
    if spec == "normalised":
        return NormalisedFeatures()
    kind, colon, place = spec.partition(":")
    if kind == "dinov2" and colon and place:
        return DinoFeatures(place, channels, published=published)
    raise unknown_spec("--features", spec, FEATURE_SPECS)
