"""Matches of two images with what each image knows of them: viewing rays, depths, and how far those may be off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from posesplat.geometry.cameras import Camera
from posesplat.geometry.matches import Matches

_UNKNOWN = 1e3
"""Relative standard deviation of a depth that was not measured: along its ray, a point may then be anywhere."""
_REACH = 2
"""Depth at a place is read in a window of this half width, pixels."""
_FEWEST = 3
"""Fewest measured pixels of such a window."""
_CELLS = 8
"""Cells along the longer side of image A whose matches may share their errors."""

BIAS_SIZES = (0, 1, 6)
"""How many terms a smooth factor of depth may have: none, one scale, or a quadratic field over the image."""


@dataclass(frozen=True)
class MatchNoise:
    """How far matched places and their depths may be off."""

    pixel_px: float = 1.0
    """Standard deviation of a matched place along x and along y, pixels."""
    relative_depth: float = 0.01
    """Standard deviation of a depth, as a share of it, near the camera ..."""
    depth_growth_per_m: float = 0.0015
    """... and how that share grows with each metre, as that of structured light and of stereo does."""
    bias_terms: int = 0
    """Terms of the smooth factor by which each depth map may be off; see :data:`BIAS_SIZES`."""
    bias_sigma: tuple[float, float, float] = (0.08, 0.05, 0.04)
    """Standard deviations of the factor's logarithm: its constant, its linear and its quadratic terms."""
    least_pixel_px: float = 0.3
    """What the deviation of a matched place is not taken for less than, however well the matches agree."""

    def __post_init__(self) -> None:
        if (
            min(self.pixel_px, self.least_pixel_px, self.relative_depth, *self.bias_sigma) <= 0
            or self.depth_growth_per_m < 0
        ):
            raise ValueError(f"MatchNoise needs standard deviations above 0; got {self}.")
        if self.bias_terms not in BIAS_SIZES:
            raise ValueError(f"MatchNoise.bias_terms must be one of {BIAS_SIZES}; got {self.bias_terms}.")


@dataclass(frozen=True)
class Side:
    """What one image knows of the matches."""

    camera: Camera
    """Pinhole of the image."""
    rays: Float[np.ndarray, "n 3"]
    """Viewing rays with z = 1, in the camera frame."""
    depths: Float[np.ndarray, " n"]
    """Metres along the optical axis; 0 where not measured."""
    deviations: Float[np.ndarray, " n"]
    """Relative standard deviations of the depths."""
    basis: Float[np.ndarray, "n k"]
    """Terms of the smooth log-factor of depth at the places."""

    @property
    def known(self) -> Bool[np.ndarray, " n"]:
        """Where depth was measured."""
        return self.depths > 0

    @property
    def points(self) -> Float[np.ndarray, "n 3"]:
        """The points in the camera frame, metres; 0 where there is no depth."""
        return self.rays * self.depths[:, None]


@dataclass(frozen=True)
class MatchedDepths:
    """Matches with what both images know of them: the input of every start and of the refinement."""

    matches: Matches
    a: Side
    b: Side
    noise: MatchNoise

    @staticmethod
    def of(
        matches: Matches,
        camera_a: Camera,
        camera_b: Camera,
        depth_a: Float32[np.ndarray, "ha wa"] | None,
        depth_b: Float32[np.ndarray, "hb wb"] | None,
        noise: MatchNoise = MatchNoise(),
    ) -> MatchedDepths:
        """Read depth at the matched places.

        Args:
            matches: of two images.
            camera_a: pinhole of image A.
            camera_b: pinhole of image B.
            depth_a: metres on A's pixel grid, 0 where not known; None without depth.
            depth_b: the same of B.
            noise: how far everything may be off.
        """
        return MatchedDepths(
            matches,
            _side(matches.pixels_a, camera_a, depth_a, noise),
            _side(matches.pixels_b, camera_b, depth_b, noise),
            noise,
        )

    def __len__(self) -> int:
        return len(self.matches)

    @property
    def metric(self) -> bool:
        """Whether any depth is known: without, the translation has no length."""
        return bool(self.a.known.any() or self.b.known.any())

    @property
    def median_depth(self) -> float:
        """Median of all depths in metres; 1 without any, when the translation has the length 1 too."""
        depths = np.concatenate([side.depths[side.known] for side in (self.a, self.b)])
        return float(np.median(depths)) if len(depths) else 1.0

    def swapped(self) -> MatchedDepths:
        """The same with A and B exchanged."""
        return MatchedDepths(self.matches.swapped(), self.b, self.a, self.noise)

    def cells(self) -> Int[np.ndarray, " n"]:
        """Which cell of image A each match lies in."""
        camera = self.a.camera
        size = max(camera.width, camera.height) / _CELLS
        columns, rows = np.floor(self.matches.pixels_a / size).astype(np.int64).T
        return np.asarray(rows * _CELLS + columns)


def _side(
    pixels: Float[np.ndarray, "n 2"], camera: Camera, depth: Float32[np.ndarray, "h w"] | None, noise: MatchNoise
) -> Side:
    depths, spreads = np.zeros(len(pixels)), np.zeros(len(pixels))
    if depth is not None:
        depths, spreads = depth_at(depth, pixels)
    deviations = np.hypot(noise.relative_depth, noise.depth_growth_per_m * depths)
    deviations = np.where(depths > 0, np.hypot(deviations, spreads), _UNKNOWN)
    return Side(camera, camera.rays_at(pixels), depths, deviations, smooth_basis(pixels, camera, noise.bias_terms))


def depth_at(
    depth: Float32[np.ndarray, "h w"], pixels: Float[np.ndarray, "n 2"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Median depth around places in the image, and its relative spread; both 0 where too little was measured.

    Args:
        depth: metres, 0 = missing.
        pixels: corner-based.
    """
    height, width = depth.shape
    around = np.arange(-_REACH, _REACH + 1)
    columns = np.floor(pixels[:, 0]).astype(np.int64)[:, None, None] + around
    rows = np.floor(pixels[:, 1]).astype(np.int64)[:, None, None] + around[:, None]
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    values = depth[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)].astype(np.float64)
    values = np.where(inside & (values > 0), values, np.nan).reshape(len(pixels), -1)
    enough = np.isfinite(values).sum(axis=1) >= _FEWEST
    median, spread = np.zeros(len(pixels)), np.zeros(len(pixels))
    if enough.any():
        median[enough] = np.nanmedian(values[enough], axis=1)
        gaps = np.abs(values[enough] - median[enough, None])
        spread[enough] = np.nanmedian(gaps, axis=1) / median[enough]
    return median, spread


def smooth_basis(pixels: Float[np.ndarray, "n 2"], camera: Camera, terms: int) -> Float[np.ndarray, "n k"]:
    """1, x, y, x^2 - 1/3, x y, y^2 - 1/3 over the image, x and y from -1 to 1; the first ``terms`` of them."""
    x, y = (2.0 * pixels / [camera.width, camera.height] - 1.0).T
    fields = [np.ones(len(pixels)), x, y, x**2 - 1 / 3, x * y, y**2 - 1 / 3]
    return np.stack(fields, axis=1)[:, :terms]
