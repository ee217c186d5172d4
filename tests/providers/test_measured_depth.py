"""Depth from the sensor and from files: what the numbers mean, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from posesplat.geometry.cameras import Camera
from posesplat.geometry.depth_map import DepthMap
from posesplat.geometry.frame import Frame
from posesplat.images import DepthUnits, base_name
from posesplat.providers.depth.open import DEPTH_SPECS, open_depth
from posesplat.providers.depth.provider import DepthProvider

CAMERA = Camera(30.0, 30.0, 4.0, 3.0, 8, 6)
METRES = np.random.default_rng(0).uniform(0.5, 4.0, (6, 8)).astype(np.float32)
COLOUR = np.zeros((6, 8, 3), np.uint8)


def frame(name: str = "seq/00012.jpg", depth: np.ndarray | None = None) -> Frame:
    return Frame(CAMERA, COLOUR, depth, name=name)


def with_hole(values: np.ndarray, hole: float) -> np.ndarray:
    values = values.copy()
    values[2, 3] = hole
    return values


def test_the_sensor_gives_the_frames_own_depth() -> None:
    provider = open_depth("sensor")
    assert isinstance(provider, DepthProvider)
    found = provider.depth(frame(depth=with_hole(METRES, 0.0)))
    assert (provider.name, provider.meaning, found.meaning) == ("sensor", "metric", "metric")
    np.testing.assert_array_equal(found.values, with_hole(METRES, 0.0))
    assert not found.known[2, 3] and found.known.sum() == 47
    with pytest.raises(ValueError, match="colour alone"):
        provider.depth(frame())


@pytest.mark.parametrize(
    ("name", "scale"), [("00012.png", 1000.0), ("00012.png", 5000.0), ("00012.npy", 1000.0), ("00012.tiff", 1000.0)]
)
def test_files_in_metres(tmp_path: Path, name: str, scale: float) -> None:
    stored = with_hole(METRES, 0.0)
    if name.endswith("npy"):
        np.save(tmp_path / name, stored)
    else:
        image = np.rint(stored * scale).astype(np.uint16) if name.endswith("png") else stored
        cv2.imwrite(str(tmp_path / name), image)
    provider = open_depth(str(tmp_path), DepthUnits(scale))
    assert provider.meaning == "metric"
    found = provider.depth(frame())
    np.testing.assert_allclose(found.values, stored, atol=0.5 / scale)
    np.testing.assert_array_equal(found.known, stored > 0)


@pytest.mark.parametrize(
    ("kind", "meaning", "stored", "inverse"),
    [
        ("relative", "relative", 7.0 * METRES, 1.0 / (7.0 * METRES)),
        ("disparity", "relative", 3.0 / METRES, 3.0 / METRES),
        ("affine", "affine", 3.0 / METRES - 2.0, 3.0 / METRES - 2.0),
    ],
)
def test_files_up_to_factor_and_shift(tmp_path: Path, kind, meaning, stored, inverse) -> None:
    np.save(tmp_path / "00012.npy", with_hole(stored, np.nan))
    provider = open_depth(f"{kind}:{tmp_path}")
    found = provider.depth(frame())
    assert provider.meaning == found.meaning == meaning
    np.testing.assert_allclose(found.inverse_depths(), with_hole(inverse, np.nan), rtol=1e-6)
    assert found.known.sum() == 47 and found.values[2, 3] == 0.0


def test_zero_is_missing_in_integers_and_in_depths_but_far_in_inverse_depths(tmp_path: Path) -> None:
    far = with_hole(3.0 / METRES, 0.0)
    np.save(tmp_path / "00012.npy", far.astype(np.float32))
    assert open_depth(f"disparity:{tmp_path}").depth(frame()).known[2, 3]
    assert not open_depth(f"relative:{tmp_path}").depth(frame()).known[2, 3]
    np.save(tmp_path / "00012.npy", (1000 * far).astype(np.uint16))
    assert not open_depth(f"disparity:{tmp_path}").depth(frame()).known[2, 3]


def test_base_names_keep_dots_that_begin_no_suffix() -> None:
    assert base_name("rgb/1305031453.359684.png") == base_name("1305031453.359684") == "1305031453.359684"
    assert base_name("clip.v2_000007") == base_name("clip.v2_000007.npy") == "clip.v2_000007"


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="transformers:no/folder"):
        open_depth("no/folder")
    with pytest.raises(FileNotFoundError, match="folder of depth maps"):
        open_depth(f"affine:{tmp_path / 'none'}")
    with pytest.raises(ValueError, match="found none"):
        open_depth(str(tmp_path))
    np.save(tmp_path / "00013.npy", METRES)
    with pytest.raises(FileNotFoundError, match=r"'seq/00012.jpg' at .*00012.*the first is 00013.npy"):
        open_depth(str(tmp_path)).depth(frame())
    np.save(tmp_path / "00012.npy", METRES[:, :4])
    for spec in (str(tmp_path), f"affine:{tmp_path}"):
        with pytest.raises(ValueError, match=r"00012.npy must be 8 x 6 pixels .* got 4 x 6"):
            open_depth(spec).depth(frame())
    cv2.imwrite(str(tmp_path / "00012.png"), np.ones((6, 8), np.uint16))
    with pytest.raises(ValueError, match="one depth map"):
        open_depth(str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "guess"),
    [("senser", "sensor"), ("transformer:a/b", "transformers:CHECKPOINT"), ("afine:x", "affine:DIR"), ("", "")],
)
def test_an_unknown_word_lists_what_is_accepted_and_guesses(spec: str, guess: str) -> None:
    with pytest.raises(ValueError, match="--depth must be one of") as error:
        open_depth(spec)
    assert all(form in str(error.value) for form in DEPTH_SPECS)
    assert ("Did you mean" in str(error.value)) == bool(guess)
    assert str(error.value).endswith(f"Did you mean {guess}?" if guess else f"got {spec!r}.")


def test_a_depth_map_keeps_what_can_be_meant() -> None:
    values = np.array([[1.0, 0.0, -1.0, np.nan, np.inf]])
    known = {meaning: DepthMap.of(values, meaning).known[0].tolist() for meaning in ("metric", "relative", "affine")}
    assert known == {
        "metric": [True, False, False, False, False],
        "relative": [True, True, False, False, False],
        "affine": [True, True, True, False, False],
    }
    masked = DepthMap.of(values, "affine", np.array([[False, True, True, True, True]]))
    np.testing.assert_array_equal(masked.inverse_depths(), np.float32([[np.nan, 0.0, -1.0, np.nan, np.nan]]))
