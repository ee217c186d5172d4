"""A depth map and what its numbers mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

DepthMeaning = Literal["metric", "affine", "relative"]
"""What a depth map's values are:

- ``metric``: metres along the optical axis;
- ``relative``: inverse depth up to one unknown positive factor for the whole map;
- ``affine``: inverse depth up to one unknown positive factor and one unknown shift for the whole map.
"""


@dataclass(frozen=True)
class DepthMap:
    """Depth on a frame's pixel grid: metres, or an inverse depth of which less is known."""

    values: Float32[np.ndarray, "height width"]
    """In the declared meaning; 0 where ``known`` is False."""
    meaning: DepthMeaning
    """What the values are."""
    known: Bool[np.ndarray, "height width"]
    """Where there is a value."""

    def __post_init__(self) -> None:
        if self.meaning not in ("metric", "affine", "relative"):
            raise ValueError(f"A depth map's meaning must be metric, affine or relative; got {self.meaning!r}.")
        if self.values.ndim != 2 or self.known.shape != self.values.shape:
            raise ValueError(
                "DepthMap needs values and known of one shape (height, width); got "
                f"{self.values.shape} and {self.known.shape}."
            )

    @staticmethod
    def of(
        values: Float[np.ndarray, "height width"],
        meaning: DepthMeaning,
        known: Bool[np.ndarray, "height width"] | None = None,
    ) -> DepthMap:
        """A depth map of numbers as they come: NaN, infinite, negative (and, for metres, zero) values are not known.

        Args:
            values: in the meaning given; negative values count where it is affine.
            meaning: what they are.
            known: False where a value means nothing although it looks right.
        """
        usable = np.isfinite(values)
        if meaning != "affine":
            usable &= values > 0 if meaning == "metric" else values >= 0
        if known is not None:
            usable &= known
        return DepthMap(np.where(usable, values, 0).astype(np.float32), meaning, usable)

    def inverse_depths(self) -> Float32[np.ndarray, "height width"]:
        """1 / metres, or the values as they are where they are inverse depths already; NaN where not known."""
        inverse = np.full(self.values.shape, np.nan, dtype=np.float32)
        if self.meaning == "metric":
            np.divide(np.float32(1), self.values, out=inverse, where=self.known)
        else:
            inverse[self.known] = self.values[self.known]
        return inverse


_FARTHEST_MEDIAN_M = 100.0
_SAMPLED = slice(1, None, 3)


def not_metres(depth: Float32[np.ndarray, "height width"]) -> str:
    """Why a depth image cannot be in metres; empty when it can be.

    Args:
        depth: as it was given, 0 = missing.
    """
    sample = depth[_SAMPLED, _SAMPLED]
    measured = sample[sample > 0]
    median = float(np.median(measured)) if len(measured) else 0.0
    if median <= _FARTHEST_MEDIAN_M:
        return ""
    return f"The depth does not look like metres: its median is {median:.0f}. Divide by the depth scale."
