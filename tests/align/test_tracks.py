from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from posesplat.align.tracks import CornerOptions, Tracks, corners, locally_normalised


def picture(seed: int = 0, height: int = 240, width: int = 320) -> np.ndarray:
    """Smooth random blobs, RGB, between about 60 and 190."""
    noise = np.random.default_rng(seed).standard_normal((height, width))
    smooth = ndimage.gaussian_filter(noise, 3.0)
    grey = np.clip(125 + 65 * smooth / np.abs(smooth).max(), 0, 255)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


def test_normalisation_is_the_published_formula() -> None:
    image = picture()
    grey = image[..., 0].astype(float)
    detail = grey - ndimage.gaussian_filter(grey, 12.0)
    plain = 128 + 45 * detail / np.sqrt(ndimage.gaussian_filter(detail**2, 12.0) + 60)
    gap = np.abs(locally_normalised(image)[20:-20, 20:-20] - plain[20:-20, 20:-20])
    assert np.percentile(gap, 99) < 4.0


@pytest.mark.parametrize(("gain", "offset"), [(1.2, 0.0), (0.8, 0.0), (1.0, 20.0)])
def test_a_change_of_exposure_hardly_changes_the_normalised_picture(gain: float, offset: float) -> None:
    image = picture(1)
    changed = np.clip(np.rint(gain * image + offset), 0, 255).astype(np.uint8)
    before, after = (locally_normalised(each).astype(float) for each in (image, changed))
    assert np.abs(after - before).mean() < 0.1 * np.abs(before - 128).mean()


def test_a_blank_picture_is_grey_and_has_no_corners() -> None:
    normalised = locally_normalised(np.full((120, 160, 3), 90, np.uint8))
    assert (normalised == 128).all()
    assert corners(normalised).shape == (0, 2)


def test_corners_are_where_squares_have_theirs() -> None:
    image = np.full((200, 200), 100, np.uint8)
    image[60:120, 50:140] = 160
    found = corners(image, CornerOptions(spacing_px=8))
    true = np.array([[50, 60], [140, 60], [50, 120], [140, 120]], dtype=float)
    assert len(found) == 4
    gaps = np.linalg.norm(found[:, None] - true, axis=2)
    assert sorted(gaps.argmin(axis=1)) == [0, 1, 2, 3]
    assert gaps.min(axis=1).max() < 3.0


def test_corners_are_shared_out_keep_their_distance_and_avoid_points() -> None:
    normalised = locally_normalised(picture(2))
    options = CornerOptions(max_points=96, grid=(4, 3))
    found = corners(normalised, options)
    assert len(found) == 96
    cells = (found // [80, 80]).astype(int)
    counts = np.unique(cells[:, 1] * 4 + cells[:, 0], return_counts=True)[1]
    assert counts.min() == counts.max() == 8
    # No two are within the spacing along both axes.
    gaps = np.abs(found[:, None] - found[None]).max(axis=2) + 99 * np.eye(96)
    assert gaps.min() > options.spacing_px
    more = corners(normalised, CornerOptions(max_points=146, grid=(4, 3)), avoid=found)
    assert 0 < len(more) <= 50
    assert np.abs(more[:, None] - found[None]).max(axis=2).min() > options.spacing_px


def test_tracks_may_have_no_frames_and_can_be_narrowed() -> None:
    points = np.arange(10.0).reshape(5, 2)
    assert Tracks.gathered(points, []).pixels.shape == (0, 5, 2)
    seen = np.array([True, False, True, True, False])
    tracks = Tracks.gathered(points, [(points + 1, seen), (points + 2, ~seen)])
    assert tracks.select(seen).seen.tolist() == [[True] * 3, [False] * 3]
    np.testing.assert_array_equal(tracks.frames(np.array([False, True])).pixels, points[None] + 2)


@pytest.mark.parametrize("change", [{"max_points": 0}, {"min_corner": 1.0}, {"grid": (0, 1)}, {"spacing_px": 0}])
def test_impossible_options_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="CornerOptions needs"):
        CornerOptions(**change)
