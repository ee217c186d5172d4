"""How the pose of two images is found."""

from __future__ import annotations

from dataclasses import dataclass, field

from posesplat.align.match_alignment import MatchRefineOptions
from posesplat.align.matched_depths import MatchNoise
from posesplat.align.pair_starts import STARTS, PairStartOptions
from posesplat.geometry.estimate import ScaleSource

LEAST_SOFT_INLIERS: dict[tuple[str, ScaleSource], float] = {
    ("sift", "depth sensor"): 7.0,
    ("sift", "learned depth"): 10.0,
    ("sift", "unknown"): 18.0,
}
"""Matches that must agree for an answer, by matcher and by where depth comes from."""
OTHER_LEAST: dict[ScaleSource, float] = {"depth sensor": 12.0, "learned depth": 15.0, "unknown": 25.0}
"""The same for matchers that were not calibrated."""


@dataclass(frozen=True)
class PairOptions:
    """How the pose of two images is found."""

    matcher: str = "sift"
    """Where matches come from; see :data:`posesplat.providers.two_view.open.TWO_VIEW_SPECS`."""
    depth: str = "auto"
    """``auto`` takes the frames' own depth where they have it; ``none`` leaves it unused; else see
    :data:`posesplat.providers.depth.open.DEPTH_SPECS`."""
    starts: tuple[str, ...] = tuple(STARTS)
    """Which starts are refined; see :data:`posesplat.align.pair_starts.STARTS`."""
    min_soft_inliers: float | None = None
    """Matches that must agree, softly counted; None takes what was calibrated for matcher and depth."""
    dense: bool = True
    """Whether measured depth refines the pose by rendering, where that fits better."""
    measured: MatchNoise = field(default_factory=lambda: MatchNoise(1.5, 0.005, 0.002))
    """Noise of matches and of measured depth."""
    learned: MatchNoise = field(default_factory=lambda: MatchNoise(1.5, 0.1, 0.0, bias_terms=6))
    """Noise of matches and of depth from one image."""
    start: PairStartOptions = field(default_factory=PairStartOptions)
    """Thresholds of the starts."""
    calibration_error: float = 5e-4
    """Standard deviation of each camera's principal point and remaining distortion, as a share of the focal length, and
    half that of the focal length; 0 for cameras that are known exactly. It enters the covariance alone."""
    free_length: bool = False
    """The unit of depth is free, so that nobody asks for the length of the translation: it need not be determined."""
    refinement: MatchRefineOptions = field(default_factory=MatchRefineOptions)
    """Schedule of the refinement."""
    threads: int | None = None
    """Threads of the kernels; default POSESPLAT_THREADS or all processors."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.starts if name not in STARTS]
        if unknown or not self.starts:
            raise ValueError(f"PairOptions.starts must name some of {', '.join(STARTS)}; got {self.starts}.")
        if self.min_soft_inliers is not None and self.min_soft_inliers < 0:
            raise ValueError(f"PairOptions.min_soft_inliers must be 0 or more; got {self.min_soft_inliers}.")
        if not 0 <= self.calibration_error < 0.1:
            raise ValueError(
                f"PairOptions.calibration_error must be at least 0 and below 0.1; got {self.calibration_error}. It is "
                "a share of the focal length: 0.0005 is half a pixel at 1000."
            )

    def noise(self, source: ScaleSource) -> MatchNoise:
        """The noise that goes with a source of depth."""
        return self.learned if source == "learned depth" else self.measured

    def least_soft_inliers(self, matcher: str, source: ScaleSource) -> float:
        """How many matches must agree."""
        if self.min_soft_inliers is not None:
            return self.min_soft_inliers
        return LEAST_SOFT_INLIERS.get((matcher, source), OTHER_LEAST.get(source, OTHER_LEAST["unknown"]))
