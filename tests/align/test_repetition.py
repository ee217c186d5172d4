from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from posesplat.align.repetition import self_similarity
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame

CAMERA = Camera(300.0, 300.0, 160.0, 120.0, 320, 240)


def pictured(grey: np.ndarray) -> Frame:
    return Frame(CAMERA, np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2))


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal((height, width)), 2.5, mode="wrap")
    return 128.0 + 45.0 * smooth / smooth.std()


def test_tiles_look_like_each_other_and_a_random_texture_does_not() -> None:
    assert self_similarity(pictured(np.tile(blobs(0, 60, 80), (4, 4)))) > 0.8
    assert self_similarity(pictured(blobs(1, 240, 320))) < 0.05


def test_a_half_that_repeats_counts_half() -> None:
    picture = blobs(2, 240, 320)
    picture[:, :160] = np.tile(blobs(3, 60, 80), (4, 2))
    assert 0.3 < self_similarity(pictured(picture)) < 0.7


def test_noise_does_not_hide_it_and_a_blank_image_has_none() -> None:
    noisy = np.tile(blobs(4, 60, 80), (4, 4)) + np.random.default_rng(5).normal(0, 2, (240, 320))
    assert self_similarity(pictured(noisy)) > 0.5
    assert self_similarity(pictured(np.full((240, 320), 90.0))) == 0.0
