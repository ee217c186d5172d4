"""Masks from files, several together, and the words that choose them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.providers.masks.open import MASK_SPECS, open_masks
from posesplat.providers.masks.provider import CombinedMasks, FolderMasks, MaskProvider

CAMERA = Camera(30.0, 30.0, 4.0, 3.0, 8, 6)
FRAME = Frame(CAMERA, np.zeros((6, 8, 3), np.uint8), name="a/0007.jpg")
USE = np.random.default_rng(0).random((6, 8)) < 0.5


def folder(path: Path, image: np.ndarray, name: str = "0007.png") -> Path:
    path.mkdir(exist_ok=True)
    cv2.imwrite(str(path / name), image)
    return path


def test_white_is_used_and_black_is_not(tmp_path: Path) -> None:
    provider = FolderMasks(folder(tmp_path / "grey", np.where(USE, 255, 0).astype(np.uint8)))
    assert isinstance(provider, MaskProvider)
    np.testing.assert_array_equal(provider.mask(FRAME), USE)
    colour = np.repeat(np.where(USE, 200, 60)[:, :, None], 3, axis=2).astype(np.uint8)
    np.testing.assert_array_equal(FolderMasks(folder(tmp_path / "rgb", colour)).mask(FRAME), USE)


def test_several_masks_let_through_what_all_let_through(tmp_path: Path) -> None:
    other = np.random.default_rng(1).random((6, 8)) < 0.5
    parts = [
        FolderMasks(folder(tmp_path / str(index), np.where(mask, 255, 0).astype(np.uint8)))
        for index, mask in enumerate((USE, other))
    ]
    both = CombinedMasks(parts)
    np.testing.assert_array_equal(both.mask(FRAME), USE & other)
    assert both.name == "folder 0 and folder 1"
    with pytest.raises(ValueError, match="at least one"):
        CombinedMasks([])


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mask of frame 'a/0007.jpg' at .*0007.*the first is 0008.png"):
        FolderMasks(folder(tmp_path / "other", np.zeros((6, 8), np.uint8), "0008.png")).mask(FRAME)
    with pytest.raises(ValueError, match=r"must be 8 x 6 pixels .* got 8 x 5"):
        FolderMasks(folder(tmp_path / "small", np.zeros((5, 8), np.uint8))).mask(FRAME)
    coloured = np.zeros((6, 8, 3), np.uint8)
    coloured[..., 2] = 255
    with pytest.raises(ValueError, match="has colours"):
        FolderMasks(folder(tmp_path / "red", coloured)).mask(FRAME)


def test_words_choose_masks(tmp_path: Path) -> None:
    place = folder(tmp_path / "masks", np.where(USE, 255, 0).astype(np.uint8))
    assert open_masks("auto").auto and open_masks("auto").given is None
    for spec, auto in ((str(place), False), (f"{place}+auto", True)):
        choice = open_masks(spec)
        assert choice.auto == auto and choice.given is not None
        np.testing.assert_array_equal(choice.given.mask(FRAME), USE)


def test_an_unknown_word_lists_what_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--masks must be one of") as error:
        open_masks("aut")
    assert all(form in str(error.value) for form in MASK_SPECS)
    assert str(error.value).endswith("Did you mean auto?")
    for spec in (f"{tmp_path}/none", f"{tmp_path}/none+auto"):
        with pytest.raises(FileNotFoundError, match="none; there is none"):
            open_masks(spec)
