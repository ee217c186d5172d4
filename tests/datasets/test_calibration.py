"""Where the camera comes from: what is given wins, then files, then the layout; never a silent guess."""

from __future__ import annotations

import json
import logging
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from posesplat.datasets.calibration import given_calibration, read_intrinsics
from posesplat.datasets.open import open_frames
from posesplat.geometry.cameras import Camera

SIZE = (64, 48)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((48, 64, 3), 40 * index, np.uint8))
    return folder


def write_camera(folder: Path, focal: float, **more: object) -> Path:
    record = {"fx": focal, "fy": focal, "cx": 31.5, "cy": 23.5, "width": 64, "height": 48, **more}
    path = folder / "camera.json"
    path.write_text(json.dumps(record))
    return path


def test_no_camera_is_an_error_that_lists_the_ways(photos: Path) -> None:
    with pytest.raises(ValueError, match=r"no camera was given.*camera\.json.*COLMAP.*exif.*auto"):
        open_frames(photos)


def test_camera_json_beside_the_images_is_found_and_a_given_camera_wins(photos: Path) -> None:
    write_camera(photos, 50.0, pixel_centre="integer")
    assert open_frames(photos).camera == Camera(50, 50, 32, 24, *SIZE)
    given = Camera(70, 71, 30, 20, *SIZE)
    assert open_frames(photos, camera=given).camera == given
    for source in (str(photos / "*.png"), [photos / "0.png"], photos / "1.png"):
        assert open_frames(source).camera.fx == 50


def test_numbers_carry_their_pixel_centre(photos: Path) -> None:
    assert open_frames(photos, camera="60,61,31,23").camera == Camera(60, 61, 31, 23, *SIZE)
    assert open_frames(photos, camera="60,61,31,23", pixel_centre="integer").camera == Camera(60, 61, 31.5, 23.5, *SIZE)
    assert open_frames(photos, camera="60,61,31,23,.1,-.2,1e-3,0").lens_camera.distortion == (0.1, -0.2, 1e-3, 0)
    assert open_frames(photos, camera="60,61,31,23,.1,-.2,0,0,.3").lens_camera.distortion == (0.1, -0.2, 0, 0, 0.3)


@pytest.mark.parametrize("camera", ["60,61,31", "1,2,3,4,5", "nowhere.json", "a,b,c,d"])
def test_what_is_no_camera_is_refused(photos: Path, camera: str) -> None:
    with pytest.raises(ValueError, match="Expected a camera"):
        open_frames(photos, camera=camera)


def test_pixel_centre_must_be_known(photos: Path) -> None:
    with pytest.raises(Exception, match="pixel_centre"):
        open_frames(photos, camera="60,61,31,23", pixel_centre="middle")


def test_auto_is_a_guess_and_says_so(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        camera = open_frames(photos, camera="auto").camera
    assert camera == Camera(76.8, 76.8, 32, 24, *SIZE)
    assert "guess" in caplog.text


def test_exif_gives_the_focal_length_and_its_absence_is_an_error(photos: Path) -> None:
    tiff = b"MM\0\x2a\0\0\0\x08" + b"\0\x01" + b"\xa4\x05\0\x03\0\0\0\x01\0\x1c\0\0" + b"\0\0\0\0"
    body = b"Exif\0\0" + tiff
    plain = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    photo = photos / "p.jpg"
    photo.write_bytes(plain[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + plain[2:])
    assert open_frames(photo, camera="exif").camera.fx == pytest.approx(28 * 80 / np.hypot(36, 24))
    with pytest.raises(ValueError, match="EXIF"):
        open_frames(photos / "0.png", camera="exif")


def test_a_camera_of_another_size_is_an_error_when_a_frame_is_read(photos: Path) -> None:
    sequence = open_frames(photos, camera=Camera(60, 60, 320, 240, 640, 480))
    with pytest.raises(ValueError, match=r"0\.png.*640 x 480.*64 x 48"):
        sequence[0]


def test_images_of_different_size_are_an_error_that_names_the_image(photos: Path) -> None:
    cv2.imwrite(str(photos / "1.png"), np.zeros((48, 65, 3), np.uint8))
    sequence = open_frames(photos, camera="60,61,31,23")
    assert sequence[0].image.shape == (48, 64, 3)
    with pytest.raises(ValueError, match=r"1\.png"):
        sequence[1]


def test_colmap_models_give_their_camera(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    params = [500.0, 501.0, 320.0, 240.0, 0.1, -0.05, 0.001, 0.002]
    expected = Camera(500, 501, 320, 240, 640, 480, (0.1, -0.05, 0.001, 0.002))
    model = pycolmap.Reconstruction()
    model.add_camera(pycolmap.Camera(camera_id=3, model="OPENCV", width=640, height=480, params=params))
    for name in ("text", "binary"):
        (tmp_path / name).mkdir()
    model.write_text(str(tmp_path / "text"))
    model.write_binary(str(tmp_path / "binary"))
    assert given_calibration(str(tmp_path / "text"), "corner", (1, 1)).camera == expected
    assert given_calibration(tmp_path / "binary", "integer", (1, 1)).camera == expected
    assert given_calibration(tmp_path / "text" / "cameras.txt", "corner", (1, 1)).camera == expected
    data = (tmp_path / "binary" / "cameras.bin").read_bytes()
    (tmp_path / "binary" / "cameras.bin").write_bytes(data[:-5])
    with pytest.raises(ValueError, match=r"cameras\.bin"):
        given_calibration(tmp_path / "binary", "corner", (1, 1))


def test_several_colmap_cameras_or_a_fisheye_are_refused(tmp_path: Path) -> None:
    cameras = tmp_path / "cameras.txt"
    cameras.write_text("# comment\n1 PINHOLE 64 48 50 50 32 24\n2 PINHOLE 64 48 51 51 32 24\n")
    with pytest.raises(ValueError, match="2 different"):
        given_calibration(tmp_path, "corner", (1, 1))
    cameras.write_text("1 SIMPLE_PINHOLE 64 48 50 32 24\n2 SIMPLE_PINHOLE 64 48 50 32 24\n")
    assert given_calibration(tmp_path, "corner", (1, 1)).camera == Camera(50, 50, 32, 24, *SIZE)
    (tmp_path / "cameras.bin").write_bytes(struct.pack("<QiiQQ8d", 1, 1, 5, 64, 48, *range(1, 9)))
    with pytest.raises(ValueError, match="Undistort"):
        given_calibration(tmp_path, "corner", (1, 1))


@pytest.mark.parametrize(
    ("comment", "lens", "scale"),
    [
        ("depth scale 1000 per metre", (), 1000),
        (
            "distortion k1 k2 p1 p2 k3: 0.26 -0.95 -0.005 0.002 1.16; depth scale 5000",
            (0.26, -0.95, -0.005, 0.002, 1.16),
            5000,
        ),
        ("radtan k1 k2 p1 p2: -0.28 0.07 0.0002 1.7e-05", (-0.28, 0.07, 0.0002, 1.7e-05), None),
        (
            "the yaml says cy=239.5 (a mix); distortion 0.26 -0.9 0 0 1.1; depth scale 5000",
            (0.26, -0.9, 0, 0, 1.1),
            5000,
        ),
        ("distortion k1 k2 p1 p2 k3: 0.2 -0.9 0 0 1.1 (TUM freiburg1 RGB calibration)", (0.2, -0.9, 0, 0, 1.1), None),
    ],
)
def test_intrinsics_files_name_lens_and_depth_scale(
    tmp_path: Path, comment: str, lens: tuple[float, ...], scale: float | None
) -> None:
    path = tmp_path / "intrinsics.txt"
    path.write_text(f"# fx fy cx cy width height\n500 501 320 240 640 480\n# {comment}\n")
    calibration = read_intrinsics(path)
    assert calibration.camera == Camera(500, 501, 320.5, 240.5, 640, 480, lens)
    assert calibration.depth_scale == scale


def test_a_colmap_line_in_intrinsics_is_corner_based(tmp_path: Path) -> None:
    path = tmp_path / "intrinsics.txt"
    path.write_text("2435 2435 648 968 1296 1936\n# COLMAP camera line: 1 SIMPLE_RADIAL 1296 1936 2435 648 968 -0.03\n")
    assert read_intrinsics(path).camera == Camera(2435, 2435, 648, 968, 1296, 1936, (-0.03, 0, 0, 0))


@pytest.mark.parametrize("text", ["", "1 2 3\n", "a b c d e f\n"])
def test_broken_intrinsics_are_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "intrinsics.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"intrinsics\.txt must hold"):
        read_intrinsics(path)
