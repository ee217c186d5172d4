"""Likeness of pictures: closed forms, and the definition written out window by window."""

from __future__ import annotations

import numpy as np
import pytest

from posesplat.evaluate.picture_quality import psnr_db, ssim


def picture(seed: int, height: int = 15, width: int = 17) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al., equations 13 to 16, one window at a time."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-0.5 * (offsets[:, None] ** 2 + offsets**2) / 1.5**2)
    weights /= weights.sum()
    values = []
    for channel in range(3):
        for row in range(5, x.shape[0] - 5):
            for column in range(5, x.shape[1] - 5):
                a, b = (
                    image[row - 5 : row + 6, column - 5 : column + 6, channel].astype(float) / 255 for image in (x, y)
                )
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                spread = 121 / 120 * weights
                var_a, var_b = (spread * (a - mean_a) ** 2).sum(), (spread * (b - mean_b) ** 2).sum()
                both = (spread * (a - mean_a) * (b - mean_b)).sum()
                top = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)
                values.append(top / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)))
    return float(np.mean(values))


def test_structural_similarity_is_its_definition() -> None:
    one, other = picture(0), picture(1)
    near = np.clip(one.astype(int) + picture(2) // 8, 0, 255).astype(np.uint8)
    for second in (other, near):
        assert ssim(one, second) == pytest.approx(by_definition(one, second), abs=1e-9)
    assert ssim(one, one) == pytest.approx(1.0)
    assert ssim(one, other) < 0.2 < ssim(one, near)


def test_flat_pictures_have_a_closed_form() -> None:
    a, b = (np.full((12, 12, 3), level, np.uint8) for level in (51, 102))
    assert ssim(a, b) == pytest.approx((2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4))
    assert psnr_db(a, b) == pytest.approx(20 * np.log10(5.0))
    assert psnr_db(a, a) == pytest.approx(120.0)


def test_pictures_that_cannot_be_compared_are_errors() -> None:
    with pytest.raises(ValueError, match="one size"):
        psnr_db(picture(0), picture(0, 16))
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(picture(0, 10), picture(0, 10))
