"""The focal length that two images of one camera share, from their matches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from posesplat.geometry.cameras import Camera
from posesplat.geometry.matches import Matches

_FEWEST = 20
_RESAMPLES = 20
_TRIED = (0.2, 5.0)
"""Focal lengths, in lengths of the longer side, that a camera may have."""


@dataclass(frozen=True)
class SharedFocal:
    """A focal length and how sure it is: ``focal_px is None`` exactly when there is a ``reason``."""

    focal_px: float | None
    """Horizontal and vertical, pixels."""
    interval_px: tuple[float, float]
    """Where nine of ten resampled sets of matches put it; NaN without one."""
    reason: str = ""
    """Empty, or one sentence: why there is none."""


def shared_focal(
    matches: Matches, camera: Camera, *, max_epipolar_px: float = 2.0, widest: float = 0.15, seed: int = 0
) -> SharedFocal:
    """The focal length of the camera that took both images, its principal point being their centre.

    Args:
        matches: with outliers.
        camera: of both images; its focal length is not used.
        max_epipolar_px: a match agrees within this Sampson error.
        widest: half-width of the interval, as a share of the focal length, from which on it counts as unknown. Parallel
            views and rotations about one axis do not tell it.
        seed: of the samples.

    Source: Larsson et al., six points and one focal length, in PoseLib, 2020; Efron, bootstrap, 1979.
    """
    centre = np.array([camera.width / 2, camera.height / 2])
    longer = max(camera.width, camera.height)
    none = (float("nan"), float("nan"))
    if len(matches) < _FEWEST:
        return SharedFocal(None, none, f"{len(matches)} matches do not tell a focal length; {_FEWEST} may")
    options = {"max_epipolar_error": max_epipolar_px, "seed": seed, "max_iterations": 2000}
    focal, agrees = _solved(matches, np.arange(len(matches)), centre, options)
    chosen = np.flatnonzero(agrees)
    if len(chosen) < _FEWEST or not _TRIED[0] * longer <= focal <= _TRIED[1] * longer:
        return SharedFocal(None, none, "no focal length fits the matches")
    rng = np.random.default_rng(seed)
    resampled = [_solved(matches, rng.choice(chosen, len(chosen)), centre, options)[0] for _ in range(_RESAMPLES)]
    low, high = (float(end) for end in np.percentile(resampled, [5, 95]))
    if not high - low <= 2.0 * widest * focal:
        told = f"matches allow focal lengths from {low:.0f} to {high:.0f} px"
        return SharedFocal(None, (low, high), told)
    return SharedFocal(focal, (min(low, focal), max(high, focal)))


def _solved(
    matches: Matches, index: Int[np.ndarray, " m"], centre: Float[np.ndarray, "2"], options: dict[str, float]
) -> tuple[float, Bool[np.ndarray, " m"]]:
    import poselib

    found, evidence = poselib.estimate_shared_focal_relative_pose(
        matches.pixels_a[index], matches.pixels_b[index], centre, options, {}
    )
    return float(found.camera1.focal()), np.asarray(evidence["inliers"], dtype=bool)
