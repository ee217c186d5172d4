from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posesplat.datasets.sequences import FrameSequence
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.io.seen_images import read_seen, small_images, write_seen

CAMERA = Camera(100.0, 100.0, 64.0, 32.0, 128, 64)


def frames_of(count: int) -> FrameSequence:
    """Halves of black and of a grey that tells the frame; the third frame is damaged."""

    def read(index: int) -> tuple[np.ndarray, None]:
        if index == 2:
            raise ValueError("damaged")
        image = np.zeros((64, 128, 3), np.uint8)
        image[:, 64:] = 10 * index + 5
        return image, None

    return FrameSequence(CAMERA, [f"{k}" for k in range(count)], np.arange(float(count)), read, has_depth=False)


def test_small_images_are_spread_and_reduced() -> None:
    images = small_images(frames_of(11), most=6, longest_px=32)
    assert list(images) == [0, 4, 6, 8, 10], "of every second frame, without the damaged one"
    for index, image in images.items():
        assert image.shape == (16, 32, 3)
        assert (image[:, :16] == 0).all()
        assert (image[:, 16:] == 10 * index + 5).all()


def test_frames_of_depth_alone_have_no_picture() -> None:
    assert small_images([Frame(CAMERA, None, np.ones((64, 128), np.float32))]) == {}
    assert small_images([]) == {}


def test_pictures_come_back_by_index(tmp_path: Path) -> None:
    write_seen(tmp_path, small_images(frames_of(5)))
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == [f"{k:06d}.jpg" for k in (0, 1, 3, 4)]
    back = read_seen(tmp_path, 4)
    assert sorted(back) == [0, 1, 3]
    assert back[3][32, 100] == pytest.approx(np.full(3, 35), abs=3)


def test_without_pictures_there_is_no_folder(tmp_path: Path) -> None:
    write_seen(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    assert read_seen(tmp_path, 3) == {}
