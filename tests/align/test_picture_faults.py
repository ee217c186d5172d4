from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from posesplat.align.picture_faults import picture_fault, same_scene
from posesplat.align.tracks import locally_normalised


def panorama(seed: int) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((240, 700)), 4.0)
    grey = np.rint(128 + 60 * smooth / np.abs(smooth).max()).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        (np.full((120, 160, 3), 4, np.uint8), "too dark"),
        (np.full((120, 160, 3), 200, np.uint8), "blank"),
        (panorama(0)[:, :320], ""),
    ],
)
def test_faults_have_names(image: np.ndarray, fault: str) -> None:
    assert picture_fault(image) == fault


def test_a_shifted_picture_is_of_the_same_scene_and_another_is_not() -> None:
    first = locally_normalised(panorama(0)[:, :320])
    for shift in (5, 60, 120):
        assert same_scene(first, locally_normalised(panorama(0)[:, shift : shift + 320]))
    for seed in (1, 2, 3):
        assert not same_scene(first, locally_normalised(panorama(seed)[:, :320]))
