"""Places of two images that are said to show the same point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Matches:
    """Matched places of image A and image B, each in the corner-based pixels of its own image."""

    pixels_a: Float[np.ndarray, "n 2"]
    """Places in image A, (x, y)."""
    pixels_b: Float[np.ndarray, "n 2"]
    """The same points in image B."""
    scores: Float[np.ndarray, " n"]
    """How sure the matcher is, larger is surer; comparable between matches of one matcher only."""

    def __post_init__(self) -> None:
        for name in ("pixels_a", "pixels_b", "scores"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            shape = (len(self.pixels_a),) if name == "scores" else (len(self.pixels_a), 2)
            if values.shape != shape or not np.isfinite(values).all():
                raise ValueError(
                    f"Matches needs finite pixels_a (n, 2), pixels_b (n, 2) and scores (n,); got {name} of shape "
                    f"{values.shape} beside {len(self.pixels_a)} pixels_a. Leave unmatched places out."
                )
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.pixels_a)

    @staticmethod
    def none() -> Matches:
        """No matches at all."""
        return Matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))

    def select(self, index: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"] | slice) -> Matches:
        """The matches picked by a mask, an index array or a slice."""
        return Matches(self.pixels_a[index], self.pixels_b[index], self.scores[index])

    def swapped(self) -> Matches:
        """The same matches with A and B exchanged."""
        return Matches(self.pixels_b, self.pixels_a, self.scores)
