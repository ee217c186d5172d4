"""What a source of features is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8


@runtime_checkable
class FeatureProvider(Protocol):
    """Gives the feature channels of images; anything with these four members will do."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        ...

    @property
    def channels(self) -> int:
        """How many channels it gives."""
        ...

    def fit(self, images: Iterable[UInt8[np.ndarray, "_ _ 3"]]) -> None:
        """Learn what is common to a clip, from its images or a sample of them; called once, before ``features``."""
        ...

    def features(self, image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width channels"]:
        """The channels at every pixel's centre, in one unit for the whole clip."""
        ...
