"""Dense depth against closed forms and ray-cast depth."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.depth_field import scattered_field
from posesplat.align.plane_sweep import DenseDepth, SweepOptions, swept_depth
from posesplat.align.tracks import locally_normalised
from posesplat.datasets.rooms import Room, box_room, colour_noise, handheld_trajectory, render_sequence, textured_wall
from posesplat.geometry.cameras import Camera

CAMERA = Camera.from_fov(62.7, 160, 120)
LARGE = Camera.from_fov(62.7, 400, 300)


@functools.cache
def clip(name: str, camera: Camera, count: int, shift_m: float) -> tuple[list[np.ndarray], RigidTransform, np.ndarray]:
    """Normalised images with a little noise, poses relative to the first, and the exact inverse depth of the first."""
    rooms: dict[str, Callable[[], Room]] = {"wall": textured_wall, "boxes": lambda: box_room(2)}
    room = rooms[name]()
    turned = RigidTransform.from_rotation(Rotation.from_euler("yx", [28.0, 12.0], degrees=True))
    view = turned * room.default_view if name == "wall" else room.default_view
    path = handheld_trajectory(5, count, view, shift_m, 0.6)
    frames = [
        colour_noise(frame, index, 1.0, 1.0 + 0.02 * np.sin(index))
        for index, frame in enumerate(render_sequence(room, camera, path, supersample=1))
    ]
    images = [locally_normalised(frame.image) for frame in frames if frame.image is not None]
    exact = 1.0 / room.cast(camera, path[0], colour=False).depth
    return images, path[1:] * path[0].inv(), exact


def guides(exact: np.ndarray, error: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Points on a grid whose inverse depth is known with a relative error, as tracks have it."""
    step = exact.shape[1] // 13
    rows, columns = np.mgrid[step // 2 : exact.shape[0] : step, step // 2 : exact.shape[1] : step]
    pixels = np.column_stack([columns.ravel(), rows.ravel()]) + 0.5
    noise = 1.0 + error * np.random.default_rng(0).normal(size=len(pixels))
    return pixels, exact[rows.ravel(), columns.ravel()] * noise


def swept(name: str, camera: Camera = CAMERA, count: int = 8, shift_m: float = 0.12) -> tuple[DenseDepth, np.ndarray]:
    images, path, exact = clip(name, camera, count, shift_m)
    return swept_depth(images[0], images[1:], path, camera, *guides(exact)), exact


def errors(found: DenseDepth, exact: np.ndarray) -> np.ndarray:
    known = found.inverse_depth > 0
    return np.abs(found.inverse_depth[known] / exact[known] - 1.0)


def test_a_slanted_wall_has_the_depth_of_the_closed_form() -> None:
    found, _ = swept("wall")
    turn = Rotation.from_euler("yx", [28.0, 12.0], degrees=True)
    normal = turn.apply([0.0, 0.0, 1.0])
    expected = CAMERA.rays().astype(float) @ normal / 2.5  # n . X = 2.5 m, and 1 / z = n . ray / 2.5
    known = found.inverse_depth > 0
    assert known.mean() > 0.9
    relative = found.inverse_depth[known] / expected[known] - 1.0
    assert np.median(np.abs(relative)) < 0.012
    assert abs(np.median(relative)) < 0.006  # slant must not bias it


@pytest.mark.parametrize("camera", [CAMERA, LARGE])
def test_a_room_is_found_better_than_between_the_points_that_guide(camera: Camera) -> None:
    found, exact = swept("boxes", camera, 8 if camera is CAMERA else 5)
    error = errors(found, exact)
    assert (found.inverse_depth > 0).mean() > 0.8
    height, width = exact.shape
    drawn = np.abs(scattered_field(*guides(exact), height, width) / exact - 1.0)
    assert np.median(error) < 0.6 * np.median(drawn)
    assert np.mean(error < 0.1) > 0.95 > np.mean(drawn < 0.1)


def test_deviations_tell_the_size_of_the_errors() -> None:
    found, exact = swept("boxes")
    known = found.inverse_depth > 0
    assert np.isinf(found.deviation[~known]).all()
    assert 0.2 < np.median(errors(found, exact) / found.deviation[known]) < 1.5


def test_depth_is_the_inverse_and_zero_where_unknown() -> None:
    found, _ = swept("boxes")
    known = found.inverse_depth > 0
    assert (found.depth[~known] == 0).all() and not known.all()
    np.testing.assert_allclose(found.depth[known] * found.inverse_depth[known], 1.0, rtol=1e-6)


def test_what_masks_hide_changes_nothing_elsewhere() -> None:
    images, path, exact = clip("boxes", CAMERA, 8, 0.12)
    noise = np.random.default_rng(1)
    spoilt, masks = [], []
    for index, image in enumerate(images[1:]):
        mask = np.ones(image.shape, dtype=bool)
        mask[40:80, 30 + 6 * index : 80 + 6 * index] = False
        spoilt.append(np.where(mask, image, noise.integers(0, 255, image.shape)).astype(np.uint8))
        masks.append(mask)
    points = guides(exact)
    masked = swept_depth(images[0], spoilt, path, CAMERA, *points, masks=masks)
    plain = swept_depth(images[0], images[1:], path, CAMERA, *points)
    assert (masked.inverse_depth > 0).mean() > 0.8
    assert np.median(errors(masked, exact)) < 1.3 * np.median(errors(plain, exact))
    assert np.mean(errors(masked, exact) < 0.1) > np.mean(errors(plain, exact) < 0.1) - 0.01


def test_a_masked_part_of_the_reference_stays_unknown() -> None:
    images, path, exact = clip("boxes", CAMERA, 8, 0.12)
    mask = np.ones(exact.shape, dtype=bool)
    mask[:, :50] = False
    found = swept_depth(images[0], images[1:], path, CAMERA, *guides(exact), reference_mask=mask)
    assert (found.inverse_depth[:, :50] == 0).all()
    assert (found.inverse_depth[:, 60:] > 0).mean() > 0.8


def test_the_unit_of_the_poses_is_that_of_the_depth() -> None:
    images, path, exact = clip("boxes", CAMERA, 8, 0.12)
    pixels, values = guides(exact)
    longer = RigidTransform.from_components(4.0 * path.translation, path.rotation)
    first = swept_depth(images[0], images[1:], path, CAMERA, pixels, values)
    second = swept_depth(images[0], images[1:], longer, CAMERA, pixels, values / 4.0)
    both = (first.inverse_depth > 0) & (second.inverse_depth > 0)
    assert both.mean() > 0.8
    assert np.median(np.abs(4.0 * second.inverse_depth[both] / first.inverse_depth[both] - 1.0)) < 1e-3


def test_wrong_input_is_told_apart() -> None:
    images, path, exact = clip("boxes", CAMERA, 8, 0.12)
    pixels, values = guides(exact)
    with pytest.raises(ValueError, match="one pose for each"):
        swept_depth(images[0], images[1:], path[:3], CAMERA, pixels, values)
    with pytest.raises(ValueError, match="rotations only"):
        swept_depth(images[0], images[1:2], RigidTransform.identity(1), CAMERA, pixels, values)
    with pytest.raises(ValueError, match="finite and above 0"):
        swept_depth(images[0], images[1:], path, CAMERA, pixels, np.full(len(pixels), np.nan))
    with pytest.raises(ValueError, match="images of shape"):
        swept_depth(images[0], images[1:], path, LARGE, pixels, values)
    with pytest.raises(ValueError, match="odd window_px"):
        SweepOptions(window_px=4)
