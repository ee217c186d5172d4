"""The pixel rule and the lens, against OpenCV, pycolmap and resampled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from posesplat.geometry.cameras import Camera

PINHOLE = Camera(500.0, 510.0, 321.5, 239.0, 640, 480)
LENSES = [
    (-0.2, 0.05, 0.001, -0.002),
    (-0.2, 0.05, 0.001, -0.002, 0.01),
    (-0.2, 0.05, 0.001, -0.002, 0.01, 0.02, -0.01, 0.003),
]


def points(count: int = 100) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.uniform(-0.5, 0.5, size=(count, 2)), np.ones((count, 1))], axis=1) * rng.uniform(
        1, 5, size=(count, 1)
    )


def opencv_pixels(camera: Camera, points_in_cam: np.ndarray) -> np.ndarray:
    """cv2.projectPoints with integer pixel centres, turned to corner-based pixels."""
    terms = np.asarray(camera.distortion or (0.0,) * 4)
    zero = np.zeros(3)
    pixels, _ = cv2.projectPoints(points_in_cam, zero, zero, camera.opencv_matrix, terms)
    return pixels.reshape(-1, 2) + 0.5


def test_projection_is_that_of_opencv_half_a_pixel_over() -> None:
    np.testing.assert_allclose(PINHOLE.project(points()), opencv_pixels(PINHOLE, points()), atol=1e-9)
    calibrated = Camera.from_opencv(500.0, 510.0, 321.0, 238.5, 640, 480)
    assert calibrated == PINHOLE
    np.testing.assert_allclose(calibrated.opencv_matrix, [[500, 0, 321], [0, 510, 238.5], [0, 0, 1]])


def test_points_behind_the_camera_have_no_pixel() -> None:
    pixels = PINHOLE.project(np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))
    assert np.isnan(pixels[:2]).all()
    np.testing.assert_allclose(pixels[2], [321.5, 239.0])


def test_rays_hit_the_pixel_centres() -> None:
    camera = Camera(50.0, 60.0, 9.0, 7.5, 20, 15)
    rays = camera.rays()
    assert rays.shape == (15, 20, 3) and rays.dtype == np.float32
    rows, columns = np.mgrid[:15, :20]
    np.testing.assert_allclose(camera.project(rays.astype(np.float64)), np.stack([columns, rows], -1) + 0.5, atol=1e-5)


def test_resizing_moves_every_pixel_by_the_same_factor() -> None:
    resized = PINHOLE.resized(320, 120)
    np.testing.assert_allclose(resized.project(points()), PINHOLE.project(points()) * [0.5, 0.25], rtol=1e-12)


def test_pyramid_agrees_with_averaged_images() -> None:
    """A scene that is linear in the pixel: averaging 2x2 blocks shows the value of the half-size pixel's own ray."""
    camera = Camera(50.0, 40.0, 16.7, 12.1, 33, 24)
    plane = np.array([0.3, -0.2, 1.0])
    for small, large in zip(camera.pyramid(3)[1:], camera.pyramid(3)[:-1], strict=True):
        assert (small.width, small.height) == (large.width // 2, large.height // 2)
        image = large.rays().astype(np.float64) @ plane
        image = image[: 2 * small.height, : 2 * small.width]
        halved = image.reshape(small.height, 2, small.width, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(small.rays().astype(np.float64) @ plane, halved, atol=1e-6)


@pytest.mark.parametrize("distortion", LENSES)
def test_undistortion_maps_say_where_each_pinhole_pixel_was_seen(distortion: tuple[float, ...]) -> None:
    camera = Camera(500.0, 510.0, 321.5, 239.0, 640, 480, distortion)
    x, y = camera.undistortion_maps()
    seen = opencv_pixels(camera, camera.pinhole.rays().reshape(-1, 3).astype(np.float64)).reshape(480, 640, 2)
    np.testing.assert_allclose(np.stack([x, y], axis=-1) + 0.5, seen, atol=1e-3)
    assert camera.pinhole.distortion == ()


def test_a_pinhole_needs_no_remapping() -> None:
    x, y = PINHOLE.undistortion_maps()
    rows, columns = np.mgrid[:480, :640]
    np.testing.assert_allclose(x, columns, atol=1e-3)
    np.testing.assert_allclose(y, rows, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("SIMPLE_PINHOLE", [500, 320, 240]),
        ("PINHOLE", [500, 510, 320, 240]),
        ("SIMPLE_RADIAL", [500, 320, 240, -0.1]),
        ("RADIAL", [500, 320, 240, -0.1, 0.02]),
        ("OPENCV", [500, 510, 320, 240, -0.1, 0.02, 0.001, -0.002]),
        ("FULL_OPENCV", [500, 510, 320, 240, -0.1, 0.02, 0.001, -0.002, 0.01, 0.02, -0.03, 0.004]),
    ],
)
def test_colmap_models_project_as_in_pycolmap(model: str, params: list[float]) -> None:
    pycolmap = pytest.importorskip("pycolmap", reason="needs pycolmap: pip install posesplat[sfm]")
    theirs = pycolmap.Camera(model=model, width=640, height=480, params=params).img_from_cam(points())
    np.testing.assert_allclose(opencv_pixels(Camera.from_colmap(model, params, 640, 480), points()), theirs, atol=1e-9)


def test_colmap_models_we_cannot_take() -> None:
    with pytest.raises(ValueError, match="got OPENCV_FISHEYE"):
        Camera.from_colmap("OPENCV_FISHEYE", [1.0] * 8, 640, 480)
    with pytest.raises(ValueError, match="PINHOLE must have 4 parameters; got 3"):
        Camera.from_colmap("PINHOLE", [1.0] * 3, 640, 480)


def test_field_of_view() -> None:
    camera = Camera.from_fov(90.0, 640, 480)
    np.testing.assert_allclose(camera.project(np.array([[-1.0, 0, 1], [1, 0, 1]])), [[0, 240], [640, 240]], atol=1e-9)
    with pytest.raises(ValueError, match="got 180"):
        Camera.from_fov(180.0, 640, 480)


def test_json_round_trip_and_integer_centres(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    camera = Camera(500.5, 510.0, 321.5, 239.0, 640, 480, LENSES[1])
    path.write_text(json.dumps(camera.to_json()))
    assert Camera.from_json(path) == camera
    record = {"fx": 500, "fy": 510, "cx": 321, "cy": 238.5, "width": 640, "height": 480, "pixel_centre": "integer"}
    path.write_text(json.dumps(record | {"depth_scale": 5000}))
    assert Camera.from_json(path) == PINHOLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fx": None}, "must be a JSON object with numbers"),
        ({"fx": "wide"}, "could not convert"),
        ({"distortion": 3}, "must be a JSON object with numbers"),
        ({"pixel_centre": "middle"}, "got 'middle'"),
        ({"width": "640"}, "whole pixels; got '640'"),
        ({"height": 480.5}, "whole pixels"),
        ({"fy": -1}, "positive pixels"),
    ],
)
def test_camera_files_that_are_wrong(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(PINHOLE.to_json() | change))
    with pytest.raises(ValueError, match=message):
        Camera.from_json(path)
    for text in ("[1]", "{"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"camera\.json must be a JSON object"):
            Camera.from_json(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((float("nan"), 1.0, 0.0, 0.0, 4, 3), "must be finite"),
        ((0.0, 1.0, 0.0, 0.0, 4, 3), "must be positive pixels; got fx=0"),
        ((1.0, 1.0, 0.0, 0.0, 0, 3), "whole positive pixels; got 0 x 3"),
        ((1.0, 1.0, 0.0, 0.0, 4, 3, (0.1, 0.2)), "0, 4, 5 or 8 terms.*got 2"),
    ],
)
def test_impossible_cameras(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Camera(*arguments)


def test_rays_of_places_lead_back_to_them() -> None:
    camera = Camera(500.0, 480.0, 310.0, 250.0, 640, 480)
    pixels = np.array([[0.0, 0.0], [310.0, 250.0], [639.5, 12.25], [100.3, 479.9]])
    rays = camera.rays_at(pixels)
    np.testing.assert_allclose(camera.project(3.0 * rays), pixels, rtol=1e-12, atol=1e-9)
    np.testing.assert_array_equal(rays[:, 2], 1.0)
    np.testing.assert_allclose(camera.rays_at(np.array([[200.5, 100.5]]))[0], camera.rays()[100, 200], rtol=1e-6)
