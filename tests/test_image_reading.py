"""Decoding of colour and depth files, natural order, and the errors for what is no image or no depth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from posesplat.images import DepthUnits, naturally_sorted, read_colour, read_depth, reduced_image, times_of

MILLIMETRES = DepthUnits(1000.0)
RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_colour_is_rgb_and_grey_becomes_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), PICTURE[..., ::-1])
    np.testing.assert_array_equal(read_colour(tmp_path / "a.png"), PICTURE)
    cv2.imwrite(str(tmp_path / "g.png"), PICTURE[..., 0])
    np.testing.assert_array_equal(read_colour(tmp_path / "g.png"), np.repeat(PICTURE[..., :1], 3, axis=2))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    plain = cv2.imencode(".jpg", PICTURE[..., ::-1])[1].tobytes()
    tiff = b"MM\0\x2a\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0\0\0\0"
    body = b"Exif\0\0" + tiff
    (tmp_path / "a.jpg").write_bytes(plain)
    (tmp_path / "r.jpg").write_bytes(plain[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + plain[2:])
    np.testing.assert_array_equal(read_colour(tmp_path / "r.jpg"), np.rot90(read_colour(tmp_path / "a.jpg"), -1))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0, 30, 0.5, 0.97])
def test_a_broken_image_is_named(tmp_path: Path, suffix: str, kept: float) -> None:
    data = cv2.imencode(suffix, PICTURE)[1].tobytes()
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(data[: int(kept if kept > 1 else kept * len(data))])
    with pytest.raises(ValueError, match=rf"broken\{suffix}.*cannot be decoded"):
        read_colour(path)


def test_text_and_nothing_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"a\.png"):
        read_colour(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        read_colour(tmp_path / "missing.png")


def test_depth_is_metres_with_zero_for_missing(tmp_path: Path) -> None:
    stored = np.array([[0, 1000, 2500], [65535, 1, 5000]], np.uint16)
    cv2.imwrite(str(tmp_path / "d.png"), stored)
    np.testing.assert_allclose(
        read_depth(tmp_path / "d.png", DepthUnits(1000, missing=(65535,))), [[0, 1, 2.5], [0, 0.001, 5]], rtol=1e-6
    )
    np.testing.assert_allclose(read_depth(tmp_path / "d.png", DepthUnits(5000))[0], [0, 0.2, 0.5], rtol=1e-6)


def test_floating_point_depth_is_metres_already(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.array([[1.5, np.nan], [-1.0, np.inf]]))
    np.testing.assert_array_equal(read_depth(tmp_path / "d.npy", MILLIMETRES), [[1.5, 0], [0, 0]])
    np.save(tmp_path / "mm.npy", np.array([[1500.0, 2000.0]]))
    np.testing.assert_array_equal(read_depth(tmp_path / "mm.npy", DepthUnits(1000.0, scale_floats=True)), [[1.5, 2.0]])
    cv2.imwrite(str(tmp_path / "d.tiff"), np.array([[1.25, 0.5]], np.float32))
    np.testing.assert_array_equal(read_depth(tmp_path / "d.tiff", MILLIMETRES), [[1.25, 0.5]])


def test_depth_in_eight_bits_or_colours_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "d8.png"), PICTURE[..., 0])
    cv2.imwrite(str(tmp_path / "rgb.png"), PICTURE)
    for name in ("d8.png", "rgb.png"):
        with pytest.raises(ValueError, match=rf"{name}.*16-bit.*uint8"):
            read_depth(tmp_path / name, MILLIMETRES)
    (tmp_path / "bad.npy").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"bad\.npy"):
        read_depth(tmp_path / "bad.npy", MILLIMETRES)


def test_the_wrong_unit_is_an_error_with_its_cure(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "d.png"), np.full((8, 8), 1500, np.uint16))
    with pytest.raises(ValueError, match=r"looks like millimetres.*depth_scale"):
        read_depth(tmp_path / "d.png", DepthUnits(1.0))
    with pytest.raises(ValueError, match=r"divided by too much.*depth_scale"):
        read_depth(tmp_path / "d.png", DepthUnits(1e6))
    assert read_depth(tmp_path / "d.png", DepthUnits(1.0, plausible_m=None))[0, 0] == 1500
    cv2.imwrite(str(tmp_path / "blank.png"), np.zeros((8, 8), np.uint16))
    assert not read_depth(tmp_path / "blank.png", MILLIMETRES).any()
    with pytest.raises(ValueError, match="positive"):
        DepthUnits(0.0)


def test_order_is_natural_and_times_come_from_names() -> None:
    names = ["frame10.png", "frame2.png", "Frame1.png", "frame02b.png"]
    ordered = [path.name for path in naturally_sorted(map(Path, names))]
    assert ordered.index("frame2.png") < ordered.index("frame10.png")
    seconds = naturally_sorted([Path("3.359684.png"), Path("3.36.png"), Path("10.5.png"), Path("3.4.png")])
    assert [path.stem for path in seconds] == ["3.359684", "3.36", "3.4", "10.5"]
    assert times_of(seconds) == [3.359684, 3.36, 3.4, 10.5]
    assert times_of([Path("1403715273262142976.png")]) == pytest.approx([1403715273.262143], abs=1e-6)
    assert times_of([Path("a7.png"), Path("a9.png")]) == [0.0, 1.0]


def test_reduced_images_hold_the_means_of_blocks() -> None:
    blocks = PICTURE.reshape(10, 4, 15, 4, 3).mean(axis=(1, 3))
    assert np.abs(reduced_image(PICTURE, 15) - blocks).max() <= 0.51
    assert reduced_image(PICTURE, 60) is PICTURE
    assert reduced_image(np.zeros((3, 900, 3), np.uint8), 90).shape == (1, 90, 3)
