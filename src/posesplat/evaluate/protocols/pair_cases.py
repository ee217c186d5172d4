"""One question of ``bench pair``: two frames, what is known about them, and the true answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.protocols.pair_depths import DepthKind, monocular_like
from posesplat.geometry.frame import Frame


@dataclass(frozen=True, eq=False)
class PairCase:
    """Two frames with the sensor's depth where there is one, and the true pose."""

    name: str
    """What it is called in tables."""
    scene: str
    """What it shows; thresholds for one scene are set on the others."""
    group: str
    """Which set it belongs to."""
    level: str
    """Its overlap level, or another label that rows are grouped by."""
    overlap: float
    """Share of A's pixels that B sees; NaN where unknown."""
    a: Frame
    """Image A."""
    b: Frame
    """Image B."""
    b_from_a: RigidTransform
    """The true pose."""
    seed: int
    """Of simulated depth."""
    metric: bool = True
    """Whether the true translation is in metres."""
    truth_error: tuple[float, float] = (0.0, 0.0)
    """Standard deviation of the true pose along each axis, degrees and metres; 0 where it is exact."""
    exact_cameras: bool = False
    """Whether the cameras are known exactly, as those that rendered the images are."""
    clean_depths: tuple[Float32[np.ndarray, "height_a width_a"], Float32[np.ndarray, "height_b width_b"]] | None = None
    """Noise-free depth of both, which simulated networks start from; the sensor's when None."""

    @property
    def baseline(self) -> float:
        """Distance of the two camera centres."""
        return float(np.linalg.norm(self.b_from_a.translation))

    @property
    def depth(self) -> float:
        """Median known depth of A in metres; NaN without depth."""
        source = self.clean_depths[0] if self.clean_depths is not None else self.a.depth
        known = np.zeros(0) if source is None else source[source > 0]
        return float(np.median(known)) if len(known) else float("nan")

    def frames(self, kind: DepthKind) -> tuple[Frame, Frame]:
        """Both frames with depth of a kind.

        Raises:
            ValueError: for a kind that needs depth where there is none.
        """
        if kind == "none":
            return replace(self.a, depth=None), replace(self.b, depth=None)
        if self.a.depth is None or self.b.depth is None:
            raise ValueError(
                f"The pair {self.name!r} must have depth for the condition {kind!r}; got none. Use 'none'."
            )
        if kind == "sensor":
            return self.a, self.b
        sources = self.clean_depths or (self.a.depth, self.b.depth)
        common = kind != "monocular"
        depths = [monocular_like(depth, 2 * self.seed + side, common) for side, depth in enumerate(sources)]
        return replace(self.a, depth=depths[0]), replace(self.b, depth=depths[1])


@dataclass(frozen=True)
class PairSource:
    """A case that is made when asked for."""

    name: str
    """Of the case."""
    scene: str
    """Of the case."""
    level: str
    """Of the case."""
    open: Callable[[], PairCase]
    """Renders or reads it."""
