"""The CPU renderer against walls whose depth and colour are known in closed form."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.gaussians.gaussians import SH_C0, Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.render.cpu import CpuRenderer, channel_values, plane_depth

CAMERA = Camera(90.0, 88.0, 41.0, 30.5, 80, 60)
IDENTITY = RigidTransform.identity()
POSE = RigidTransform.from_components([0.05, -0.1, 0.2], Rotation.from_rotvec([0.1, -0.2, 0.05]))


def wall(z: float = 2.0, spacing: float = 0.03, opacity: float = 1.0, **channels: np.ndarray) -> Gaussians:
    """Discs on the plane z = ``z`` that reach beyond the image on all sides."""
    across = np.arange(-2.5, 2.5, spacing)
    x, y = (values.ravel() for values in np.meshgrid(across, across))
    count = len(x)
    return Gaussians(
        means_in_world=np.stack([x, y, np.full(count, z)], axis=1).astype(np.float32),
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        scales=np.tile(np.array([spacing, spacing, 0.1 * spacing], np.float32), (count, 1)),
        opacities=np.full(count, opacity, np.float32),
        normals_in_world=np.tile(np.array([0, 0, -1], np.float32), (count, 1)),
        **{name: np.tile(value, (count, *[1] * value.ndim)).astype(np.float32) for name, value in channels.items()},
    )


def wall_depth(pose: RigidTransform, z: float = 2.0) -> np.ndarray:
    """Depth of the plane z = ``z`` at the pixel centres: n . X = z + n . t with n = R e_z."""
    u, v = np.meshgrid(np.arange(CAMERA.width) + 0.5, np.arange(CAMERA.height) + 0.5)
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones_like(u)], axis=-1)
    normal = pose.rotation.apply([0.0, 0.0, 1.0])
    return (z + normal @ pose.translation) / (rays @ normal)


@pytest.mark.parametrize("pose", [IDENTITY, POSE])
def test_plane_depth_of_a_wall_is_exact(pose: RigidTransform) -> None:
    view = CpuRenderer(wall(), threads=1).planes(CAMERA, pose)
    assert view.variance is not None
    np.testing.assert_allclose(plane_depth(view), wall_depth(pose), rtol=3e-6)
    assert view.alpha.min() > 0.99 and view.variance.max() < 1e-6


def test_expected_depth_of_a_frontal_wall_and_its_derivative_along_the_axis() -> None:
    """Moving the camera back by dz moves every centre away by dz."""
    view = CpuRenderer(wall(), threads=1).depth(CAMERA, IDENTITY, jacobian=True)
    assert view.depth is not None and view.jacobian is not None and view.planes is None
    np.testing.assert_allclose(view.depth, 2.0, rtol=1e-6)
    np.testing.assert_allclose(view.jacobian[..., 5], 1.0, atol=1e-4)
    assert CpuRenderer(wall(), threads=1).depth(CAMERA, IDENTITY).jacobian is None


def test_where_nothing_is_rendered_there_is_no_depth() -> None:
    gaussians = wall()
    left = gaussians.select(gaussians.means_in_world[:, 0] < -0.3)
    view = CpuRenderer(left, threads=1).planes(CAMERA, IDENTITY)
    depth = plane_depth(view)
    assert not depth[view.alpha == 0].any() and (view.alpha == 0).mean() > 0.3
    np.testing.assert_allclose(depth[view.alpha > 0.5], 2.0, rtol=1e-5)
    away = RigidTransform.from_rotation(Rotation.from_euler("y", 180, degrees=True))
    assert not plane_depth(CpuRenderer(left, threads=1).planes(CAMERA, away)).any()


def test_plane_depth_needs_planes() -> None:
    with pytest.raises(ValueError, match="rendered with planes"):
        plane_depth(CpuRenderer(wall(), threads=1).depth(CAMERA, IDENTITY))


def test_splats_of_one_surface_are_averaged_and_other_surfaces_hidden() -> None:
    """Two sheets 1 % apart have the mean inverse depth; a sheet far behind an opaque one does not count."""
    near, close_behind, far = wall(2.0), wall(2.02), wall(3.0)
    both = plane_depth(CpuRenderer(Gaussians.merge([near, close_behind]), threads=1).planes(CAMERA, IDENTITY))
    np.testing.assert_allclose(1 / both, 0.5 * (1 / 2.0 + 1 / 2.02), rtol=1e-3)
    hidden = plane_depth(CpuRenderer(Gaussians.merge([far, near]), threads=1).planes(CAMERA, IDENTITY))
    np.testing.assert_allclose(hidden, 2.0, rtol=1e-3)
    unlayered = CpuRenderer(Gaussians.merge([near, close_behind]), threads=1, layer=0.0)
    np.testing.assert_allclose(plane_depth(unlayered.planes(CAMERA, IDENTITY)), 2.0, rtol=2e-3)


def test_colours_come_out_as_they_went_in() -> None:
    colour = np.array([0.8, 0.3, 0.1])
    rgb = CpuRenderer(wall(colors=colour), "rgb", threads=1).planes(CAMERA, POSE).channels
    grey = CpuRenderer(wall(colors=colour), "grey", threads=1).planes(CAMERA, POSE).channels
    assert rgb is not None and grey is not None
    np.testing.assert_allclose(rgb, np.broadcast_to(colour, rgb.shape), atol=1e-5)
    expected = cv2.cvtColor(colour.astype(np.float32)[None, None], cv2.COLOR_RGB2GRAY)[0, 0]
    np.testing.assert_allclose(grey, expected, atol=1e-5)
    assert CpuRenderer(wall(colors=colour), threads=1).planes(CAMERA, POSE).channels is None


def test_features_are_rendered_and_missing_ones_named() -> None:
    features = np.array([0.1, -2.0, 3.0, 0.5, 7.0])
    image = CpuRenderer(wall(features=features), "features", threads=1).planes(CAMERA, IDENTITY).channels
    assert image is not None
    np.testing.assert_allclose(image, np.broadcast_to(features, image.shape), rtol=1e-5)
    with pytest.raises(ValueError, match="no features"):
        channel_values(wall(), "features")
    with pytest.raises(ValueError, match="no colour"):
        channel_values(wall(), "grey")
    assert channel_values(wall(), "none") is None


def test_view_dependent_colour_is_that_of_the_viewpoint() -> None:
    """Degree 1: colour = 0.5 + C0 c0 + C1 (-y c1 + z c2 - x c3), C1 = sqrt(3 / (4 pi)), along the viewing direction."""
    one = wall().select(slice(0, 1))
    one = replace(one, means_in_world=np.array([[0.3, -0.2, 2.0]], np.float32))
    sh = np.array([[[0.2, 0.1, -0.1], [0.1, 0.0, 0.2], [-0.2, 0.1, 0.0], [0.15, -0.1, 0.05]]], np.float32)
    seen_from = np.array([0.5, 0.4, -1.0])
    x, y, z = (one.means_in_world[0] - seen_from) / np.linalg.norm(one.means_in_world[0] - seen_from)
    c1 = np.sqrt(3 / (4 * np.pi))
    expected = 0.5 + SH_C0 * sh[0, 0] + c1 * (-y * sh[0, 1] + z * sh[0, 2] - x * sh[0, 3])
    found = channel_values(replace(one, sh=sh), "rgb", seen_from)
    assert found is not None
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_rendering_is_the_same_for_any_number_of_threads() -> None:
    gaussians = wall(colors=np.array([0.8, 0.3, 0.1]))
    one, two = (CpuRenderer(gaussians, "grey", threads=threads).planes(CAMERA, POSE) for threads in (1, 2))
    for name in ("alpha", "planes", "variance", "channels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
