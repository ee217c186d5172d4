"""How alike a rendered picture and a photograph are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2


def psnr_db(drawn: UInt8[np.ndarray, "_ _ 3"], seen: UInt8[np.ndarray, "_ _ 3"]) -> float:
    """Peak signal-to-noise ratio, 10 log10(255^2 / mean squared difference), at most 120 dB.

    Raises:
        ValueError: for pictures of two sizes.
    """
    _check(drawn, seen)
    error = float(np.mean((drawn.astype(np.float64) - seen) ** 2)) / 255.0**2
    return -10.0 * float(np.log10(max(error, 1e-12)))


def ssim(drawn: UInt8[np.ndarray, "_ _ 3"], seen: UInt8[np.ndarray, "_ _ 3"]) -> float:
    """Mean structural similarity of the three channels, 1 for equal pictures.

    Windows are Gaussian, 11 pixels wide with a standard deviation of 1.5; variances are those of samples, and windows
    that reach beyond the picture are left out, as in the published evaluations of feed-forward splatting.

    Raises:
        ValueError: for pictures of two sizes, or smaller than a window.

    Source: Wang et al., Image quality assessment: from error visibility to structural similarity, 2004, equation 13.
    """
    _check(drawn, seen)
    if min(seen.shape[:2]) <= 2 * _RADIUS:
        raise ValueError(f"SSIM needs pictures of at least 11 x 11 pixels; got {seen.shape[1]} x {seen.shape[0]}.")
    return float(np.mean([_channel_ssim(drawn[..., c] / 255.0, seen[..., c] / 255.0) for c in range(3)]))


def _channel_ssim(x: Float[np.ndarray, "h w"], y: Float[np.ndarray, "h w"]) -> float:
    from scipy.ndimage import gaussian_filter

    def mean(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "inner_h inner_w"]:
        inside = slice(_RADIUS, -_RADIUS)
        return np.asarray(gaussian_filter(values, _SIGMA, radius=_RADIUS)[inside, inside])

    count = (2 * _RADIUS + 1) ** 2
    unbiased = count / (count - 1)
    mean_x, mean_y = mean(x), mean(y)
    variance_x = unbiased * (mean(x * x) - mean_x**2)
    variance_y = unbiased * (mean(y * y) - mean_y**2)
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    alike = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    return float(np.mean(alike / ((mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2))))


def _check(drawn: UInt8[np.ndarray, "_ _ 3"], seen: UInt8[np.ndarray, "_ _ 3"]) -> None:
    if drawn.shape != seen.shape:
        raise ValueError(f"Pictures must have one size; got {drawn.shape} and {seen.shape}. Resize one of them.")
