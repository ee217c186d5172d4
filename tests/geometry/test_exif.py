"""Focal lengths from EXIF: files that Pillow writes, and a block laid out byte by byte."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from posesplat.geometry.cameras import Camera
from posesplat.geometry.exif import read_focal_35mm

Image = pytest.importorskip("PIL.Image", reason="needs Pillow to write photos: pip install pillow")


def photo(path: Path, focal: int | None, orientation: int | None = None, size: tuple[int, int] = (40, 30)) -> Path:
    exif = Image.Exif()
    exif[0x010F] = "A maker with a long name"
    if orientation is not None:
        exif[0x0112] = orientation
    directory = exif.get_ifd(0x8769)
    directory[0x920A] = 4.25
    if focal is not None:
        directory[0xA405] = focal
    Image.new("RGB", size, (200, 10, 10)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_a_photo_written_by_pillow(tmp_path: Path, name: str) -> None:
    assert read_focal_35mm(photo(tmp_path / name, 28)) == (28.0, 40, 30)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_of_the_upright_image(tmp_path: Path, orientation: int) -> None:
    """OpenCV applies the orientation when it reads; 5 to 8 swap the sides."""
    path = photo(tmp_path / "photo.jpg", 28, orientation)
    image = cv2.imread(str(path))
    assert image is not None
    height, width = image.shape[:2]
    assert read_focal_35mm(path) == (28.0, width, height)
    assert (width, height) == ((30, 40) if orientation >= 5 else (40, 30))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_block_laid_out_by_hand(tmp_path: Path, order: str) -> None:
    """First directory at byte 8 with the pointer (tag 34665) to the second at byte 26, which holds tag 41989 = 35."""
    first = struct.pack(order + "HHHII", 1, 0x8769, 4, 1, 26) + struct.pack(order + "I", 0)
    second = struct.pack(order + "HHHIHH", 1, 0xA405, 3, 1, 35, 0) + struct.pack(order + "I", 0)
    tiff = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8) + first + second
    body = b"Exif\0\0" + tiff
    app1 = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    app0 = b"\xff\xe0" + struct.pack(">H", 4) + b"xx"
    frame = b"\xff\xff\xc2" + struct.pack(">HBHHB", 11, 8, 480, 640, 1) + b"\1\x11\0"
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8" + app0 + app1 + frame)
    assert read_focal_35mm(str(path)) == (35.0, 640, 480)


def test_camera_from_exif(tmp_path: Path) -> None:
    """A focal length equal to the film's diagonal (43.27 mm) is as long as the image's diagonal: 50 px here."""
    camera = Camera.from_exif(photo(tmp_path / "photo.jpg", 43, size=(40, 30)))
    assert camera.fx == camera.fy == pytest.approx(50 * 43 / np.hypot(36, 24))
    assert (camera.cx, camera.cy, camera.width, camera.height) == (20, 15, 40, 30)


def test_photos_without_the_tag(tmp_path: Path) -> None:
    plain = tmp_path / "plain.jpg"
    Image.new("RGB", (8, 8)).save(plain)
    for path, came in (
        (plain, "got no EXIF"),
        (photo(tmp_path / "no_tag.jpg", None), "got EXIF without it"),
        (photo(tmp_path / "zero.jpg", 0), "got 0, which means unknown"),
    ):
        with pytest.raises(ValueError, match=rf"{path.name} must state FocalLengthIn35mmFilm.*{came}.*intrinsics"):
            read_focal_35mm(path)


def test_damaged_photos(tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.jpg", 28)
    whole = path.read_bytes()
    for size in (3, 15, 60, 120):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"photo\.jpg must be a whole image"):
            read_focal_35mm(path)
    path.write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"photo\.jpg must be a JPEG or PNG"):
        read_focal_35mm(path)
