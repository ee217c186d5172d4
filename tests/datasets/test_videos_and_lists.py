"""A video, a folder, a glob and a list of the same frames are the same sequence; what is none of them is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from posesplat.datasets.open import open_frames
from posesplat.geometry.cameras import Camera

CAMERA = Camera(60, 60, 32, 24, 64, 48)
COUNT = 230


def write_video(path: Path, code: str, count: int, rate: float) -> None:
    """Frame i shows the bits of i as eight grey bars, so that every frame knows its number."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), rate, (64, 48))
    assert writer.isOpened()
    for index in range(count):
        bits = [(index >> bit) & 1 for bit in range(8)]
        row = np.repeat(np.array(bits, np.uint8) * 160 + 40, 8)
        writer.write(np.repeat(np.tile(row, (48, 1))[..., None], 3, axis=2))
    writer.release()


def number_of(image: np.ndarray) -> int:
    bars = image.reshape(48, 8, 8, 3).mean(axis=(0, 2, 3))
    return int(sum(1 << bit for bit in range(8) if bars[bit] > 120))


@pytest.fixture(scope="module", params=[("clip.mp4", "mp4v"), ("clip.avi", "MJPG")], ids=["mp4v", "mjpg"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, code = request.param
    path = tmp_path_factory.mktemp("video") / name
    write_video(path, code, COUNT, 25.0)
    return path


def test_a_video_has_all_frames_at_the_times_of_its_container(video: Path) -> None:
    sequence = open_frames(video, camera=CAMERA)
    assert len(sequence) == COUNT
    np.testing.assert_allclose(sequence.timestamps, np.arange(COUNT) / 25.0, atol=1e-3)
    assert [number_of(frame.image) for frame in sequence] == list(range(COUNT))
    assert sequence.names[7] == "clip_000007" and not sequence.has_depth


def test_random_access_to_a_video_gives_the_frame_asked_for(video: Path) -> None:
    sequence = open_frames(video, camera=CAMERA)
    for index in (200, 3, 4, 229, 0, 120, 119, 121, 20, 228, 228, -1):
        assert number_of(sequence[index].image) == index % COUNT


def test_video_folder_glob_and_list_agree(video: Path, tmp_path: Path) -> None:
    capture = cv2.VideoCapture(str(video))
    paths = [tmp_path / f"f{index}.png" for index in range(12)]
    for path in paths:
        cv2.imwrite(str(path), capture.read()[1])
    expected = list(open_frames(video, camera=CAMERA)[:12])
    for source in (tmp_path, str(tmp_path / "f*.png"), paths):
        sequence = open_frames(source, camera=CAMERA)
        assert sequence.names == tuple(f"f{index}.png" for index in range(12))
        for frame, same in zip(sequence, expected, strict=True):
            np.testing.assert_array_equal(frame.image, same.image)
    backwards = open_frames([str(path) for path in paths[::-1]], camera=CAMERA)
    assert backwards.names[0] == "f11.png" and number_of(backwards[0].image) == 11


def test_a_video_takes_its_size_for_typed_and_guessed_cameras(video: Path) -> None:
    assert open_frames(video, camera="60,60,32,24").camera == CAMERA
    assert open_frames(video, camera="auto").camera == Camera(76.8, 76.8, 32, 24, 64, 48)
    with pytest.raises(ValueError, match="photo files"):
        open_frames(video, camera="exif")
    with pytest.raises(ValueError, match="no camera"):
        open_frames(video)


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing at"):
        open_frames(tmp_path / "missing", camera=CAMERA)
    with pytest.raises(FileNotFoundError, match="matches 0 files"):
        open_frames(str(tmp_path / "*.png"), camera=CAMERA)
    with pytest.raises(ValueError, match="found none"):
        open_frames(tmp_path, camera=CAMERA)
    with pytest.raises(ValueError, match="at least one"):
        open_frames([], camera=CAMERA)
    with pytest.raises(FileNotFoundError, match=r"b\.png"):
        open_frames([tmp_path / "b.png"], camera=CAMERA)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        open_frames(tmp_path / "notes.txt", camera=CAMERA)


def test_a_broken_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"not a video at all")
    with pytest.raises(ValueError, match=r"clip\.mp4.*nothing in it can be decoded"):
        open_frames(tmp_path / "clip.mp4", camera=CAMERA)


def test_a_broken_image_in_a_folder_is_named_when_it_is_read(tmp_path: Path) -> None:
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.jpg"), np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:200])
    sequence = open_frames(tmp_path, camera=CAMERA)
    assert sequence[0].image.shape == (48, 64, 3)
    with pytest.raises(ValueError, match=r"1\.jpg"):
        sequence[1]
