"""Coarse-to-fine images and maps: planes whose inverse depth is affine, discs whose place and size are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.pyramid import (
    MapPyramid,
    coarsened,
    halved,
    halved_depth,
    image_gradients,
    is_surface_map,
    query_pyramid,
    softened,
)
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.render.cpu import plane_depth

CAMERA = Camera(260.0, 255.0, 158.0, 122.0, 320, 240)
IDENTITY = RigidTransform.identity()


def plane_image(camera: Camera, plane: np.ndarray) -> np.ndarray:
    """Depth of the plane ``plane . X = 1`` at the pixel centres, float64."""
    u, v = np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    return 1.0 / (plane[0] * x[None, :] + plane[1] * y[:, None] + plane[2])


def disc_wall(spacing: float = 0.02, half: int = 60, z: float = 2.0, normal_z: float = -1.0) -> Gaussians:
    """Opaque discs on a grid on the plane z = ``z``, red growing with x."""
    across = (np.arange(2 * half) - half + 0.5) * spacing
    x, y = (values.ravel() for values in np.meshgrid(across, across))
    count = len(x)
    colors = np.stack([0.5 + 0.4 * x / across.max(), np.full(count, 0.3), np.full(count, 0.6)], axis=1)
    return Gaussians(
        means_in_world=np.stack([x, y, np.full(count, z)], axis=1).astype(np.float32),
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        scales=np.tile(np.array([spacing, spacing, 0.1 * spacing], np.float32), (count, 1)),
        opacities=np.ones(count, np.float32),
        colors=colors.astype(np.float32),
        normals_in_world=np.tile(np.array([0, 0, normal_z], np.float32), (count, 1)),
    )


def test_halved_is_the_mean_of_four_pixels_and_drops_an_odd_border() -> None:
    image = np.random.default_rng(0).random((7, 9, 2), dtype=np.float32)
    expected = np.array(
        [[image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(0, 1)) for j in range(4)] for i in range(3)]
    )
    np.testing.assert_allclose(halved(image), expected, rtol=1e-6)


def test_halved_depth_of_a_plane_is_the_depth_that_the_half_size_camera_sees() -> None:
    plane = np.array([0.12, -0.08, 0.4])
    half = CAMERA.pyramid(2)[1]
    found = halved_depth(plane_image(CAMERA, plane).astype(np.float32))
    np.testing.assert_allclose(found, plane_image(half, plane), rtol=1e-6)


def test_halved_depth_is_missing_where_pixels_are_missing_or_of_two_surfaces() -> None:
    depth = np.full((6, 6), 2.0, np.float32)
    depth[0, 0] = 0.0
    depth[2:4, 2] = 3.0
    depth[4, 4] = 2.02
    expected_known = np.ones((3, 3), bool)
    expected_known[0, 0] = expected_known[1, 1] = False
    found = halved_depth(depth)
    np.testing.assert_array_equal(found > 0, expected_known)
    assert found[2, 2] == pytest.approx(4 / (3 / 2.0 + 1 / 2.02), rel=1e-6)


def test_image_gradients_are_numpys_inside_and_zero_on_the_border() -> None:
    image = np.random.default_rng(1).random((8, 11, 3), dtype=np.float32)
    found = image_gradients(image)
    rows, columns = np.gradient(image, axis=(0, 1))
    np.testing.assert_allclose(found[:, 1:-1, :, 0], columns[:, 1:-1], atol=1e-6)
    np.testing.assert_allclose(found[1:-1, :, :, 1], rows[1:-1], atol=1e-6)
    assert not found[:, [0, -1], :, 0].any() and not found[[0, -1], :, :, 1].any()


def test_query_pyramid_halves_camera_depth_and_grey_together() -> None:
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (CAMERA.height, CAMERA.width, 3), dtype=np.uint8)
    plane = np.array([0.05, 0.1, 0.5])
    levels = query_pyramid(Frame(CAMERA, image, plane_image(CAMERA, plane).astype(np.float32)))
    assert [level.camera for level in levels] == list(CAMERA.pyramid(2))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) / 255.0
    for level, expected in zip(levels, (grey, grey.reshape(120, 2, 160, 2).mean(axis=(1, 3))), strict=True):
        assert level.depth is not None and level.channels is not None
        np.testing.assert_allclose(level.depth, plane_image(level.camera, plane), rtol=1e-6)
        np.testing.assert_allclose(level.channels[..., 0], expected, atol=0.6 / 255)


@pytest.mark.parametrize(("width", "widths"), [(640, [640, 320, 160]), (1280, [1280, 640, 320, 160]), (160, [160])])
def test_the_coarsest_level_is_120_to_240_pixels_wide(width: int, widths: list[int]) -> None:
    camera = Camera.from_fov(60.0, width, width * 3 // 4)
    levels = query_pyramid(Frame(camera, depth=np.ones((camera.height, camera.width), np.float32)))
    assert [level.camera.width for level in levels] == widths


def test_query_pyramid_leaves_out_what_is_not_used() -> None:
    size = (CAMERA.height, CAMERA.width)
    frame = Frame(CAMERA, np.zeros((*size, 3), np.uint8), np.ones(size, np.float32))
    without_image, without_depth = query_pyramid(frame, use_image=False), query_pyramid(frame, use_depth=False)
    assert all(level.channels is None and level.gradients is None for level in without_image)
    assert all(level.depth is None and level.channels is not None for level in without_depth)


def test_softening_spreads_a_point_by_the_standard_deviation_asked_for() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[60, 80] = 255
    camera = Camera.from_fov(60.0, 160, 120)
    level = softened(query_pyramid(Frame(camera, image)), 2.0)[0]
    assert level.channels is not None and level.gradients is not None
    spot = level.channels[..., 0].astype(np.float64)
    assert spot.sum() == pytest.approx(1.0, rel=1e-3)
    assert (spot * (np.arange(160) - 80) ** 2).sum() == pytest.approx(4.0, rel=0.02)
    assert (spot * (np.arange(120) - 60)[:, None] ** 2).sum() == pytest.approx(4.0, rel=0.02)
    columns = np.gradient(spot, axis=1)
    np.testing.assert_allclose(level.gradients[:, 1:-1, 0, 0], columns[:, 1:-1], atol=1e-7)


def test_softening_leaves_depth_and_small_blurs_alone() -> None:
    camera = Camera.from_fov(60.0, 160, 120)
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    levels = query_pyramid(Frame(camera, image, np.full((120, 160), 2, np.float32)))
    assert softened(levels, 0.2) == levels
    np.testing.assert_array_equal(softened(levels, 2.0)[0].depth, levels[0].depth)


def test_coarsening_a_wall_keeps_it_on_its_plane_with_its_colours() -> None:
    fine = disc_wall()
    coarse = coarsened(fine, 4)
    # Cells of 4 * 1.4 spacings, rounded to a power of two, hold between 16 and 64 discs.
    assert len(fine) / 80 < len(coarse) < len(fine) / 8
    np.testing.assert_allclose(coarse.means_in_world[:, 2], 2.0, atol=1e-6)
    np.testing.assert_allclose(coarse.normals(), np.tile([0, 0, -1.0], (len(coarse), 1)), atol=1e-6)
    thin_axes = coarse.rotations().apply([0.0, 0.0, 1.0])
    np.testing.assert_allclose(np.abs(thin_axes[:, 2]), 1.0, atol=1e-6)
    np.testing.assert_allclose(coarse.scales[:, :2], 4 * 0.02, rtol=1e-5)
    np.testing.assert_array_equal(coarse.opacities, 1.0)
    # Colour is affine in x, so the mean colour is that of the mean position.
    edge = fine.means_in_world[:, 0].max()
    assert coarse.colors is not None
    np.testing.assert_allclose(coarse.colors[:, 0], 0.5 + 0.4 * coarse.means_in_world[:, 0] / edge, atol=1e-5)


def test_coarsening_never_merges_the_two_sides_of_a_thin_board() -> None:
    front, back = disc_wall(half=20, z=2.0), disc_wall(half=20, z=2.001, normal_z=1.0)
    coarse = coarsened(Gaussians.merge([front, back]), 4)
    front_facing = coarse.normals()[:, 2] < 0
    np.testing.assert_allclose(coarse.means_in_world[front_facing, 2], 2.0, atol=1e-6)
    np.testing.assert_allclose(coarse.means_in_world[~front_facing, 2], 2.001, atol=1e-6)
    assert 0 < front_facing.sum() < len(coarse)


def test_only_opaque_discs_are_a_surface_map() -> None:
    wall = disc_wall(half=10)
    count = len(wall)
    balls = Gaussians(wall.means_in_world, wall.quats_wxyz, np.full((count, 3), 0.02, np.float32), wall.opacities)
    faint = Gaussians(wall.means_in_world, wall.quats_wxyz, wall.scales, np.full(count, 0.5, np.float32))
    assert is_surface_map(wall)
    assert not is_surface_map(balls) and not is_surface_map(faint)
    assert not is_surface_map(wall.select(slice(0, 0)))


def test_every_level_of_a_map_shows_the_same_plane() -> None:
    tilt = RigidTransform.from_rotation(Rotation.from_euler("y", 20, degrees=True))
    camera = Camera.from_fov(30.0, 80, 60)
    pyramid = MapPyramid(disc_wall(half=90), 3, with_color=True, threads=1)
    counts = [len(pyramid[level].gaussians) for level in range(3)]
    assert counts[0] > 3 * counts[1] and counts[1] > 3 * counts[2]
    # Plane z = 2 in the world, seen by the turned camera: n . X = 2 with n = R e_z.
    expected = plane_image(camera, tilt.rotation.apply([0.0, 0.0, 0.5]))
    for level in range(3):
        np.testing.assert_allclose(plane_depth(pyramid[level].planes(camera, tilt)), expected, rtol=1e-5)
    assert pyramid[7] is pyramid[2]


def test_maps_that_are_no_surface_are_not_coarsened() -> None:
    wall = disc_wall(half=10)
    balls = Gaussians(
        wall.means_in_world, wall.quats_wxyz, np.full((len(wall), 3), 0.02, np.float32), wall.opacities, wall.colors
    )
    pyramid = MapPyramid(balls, 3, with_color=True)
    assert [len(pyramid[level].gaussians) for level in range(3)] == [len(wall)] * 3
    assert pyramid.blur_px(CAMERA, IDENTITY) == 0.0


def test_blur_follows_the_size_of_discs_on_the_screen() -> None:
    pyramid = MapPyramid(disc_wall(spacing=0.02, z=2.0), 1, with_color=True)
    sigma_px = 0.02 * CAMERA.fx / 2.0
    # 1.25 sigma^2 + 0.3 px^2, to the tenth of a pixel that is reported.
    assert pyramid.blur_px(CAMERA, IDENTITY) == pytest.approx(np.sqrt(1.25 * sigma_px**2 + 0.3), abs=0.051)
    behind = RigidTransform.from_translation([0.0, 0.0, -5.0])
    assert pyramid.blur_px(CAMERA, behind) == 0.0
