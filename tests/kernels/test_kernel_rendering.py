"""Rendered images against the brute-force twin, whatever the image, the splats and the instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from kernels import twin
from kernels.checks import assert_mostly_close
from kernels.clouds import CAMERA, POSE, random_cloud
from posesplat.geometry.cameras import Camera
from posesplat.kernels.splatting import View, render


def assert_agrees(
    cloud: twin.Cloud, camera: Camera, pose: RigidTransform, *, layer: float = 0.0, tolerance: float = 2e-5
) -> twin.Images:
    """Both kinds of image, planes and expected depth, agree with the twin."""
    expected = twin.render(cloud, camera, pose, layer=layer)
    shown = expected.alpha > 0
    scene = cloud.scene()
    planes = render(scene, camera, pose, planes=True, channels=True, layer=layer, threads=1)
    views: list[View] = [planes]
    if layer == 0:
        views.append(render(scene, camera, pose, channels=True, threads=1))
        assert_mostly_close(views[-1].depth * shown, expected.depth * shown, tolerance)
    for view in views:
        assert_mostly_close(view.alpha, expected.alpha, tolerance)
        assert_mostly_close(view.channels * shown[..., None], expected.channels * shown[..., None], tolerance)
    assert_mostly_close(planes.planes * shown[..., None], expected.planes * shown[..., None], tolerance)
    # The second moment of inverse depth; the relative variance itself has a pole where the mean plane is edge-on.
    front = expected.kappa > 0
    moments = [(1 + variance) * expected.kappa**2 * front for variance in (planes.variance, expected.variance)]
    assert_mostly_close(*moments, 10 * tolerance)
    assert_mostly_close(planes.variance[~front], np.ones((~front).sum()), tolerance)
    return expected


@pytest.mark.parametrize("growth", [1.0, 4.0])
def test_random_scene(instruction_set: str, growth: float) -> None:
    expected = assert_agrees(random_cloud(growth=growth), CAMERA, POSE)
    assert expected.alpha.max() > 0.9


@pytest.mark.parametrize("layer", [0.05, 0.5])
def test_layers_do_not_hide_themselves(instruction_set: str, layer: float) -> None:
    expected = assert_agrees(random_cloud(), CAMERA, POSE, layer=layer)
    strict = twin.render(random_cloud(), CAMERA, POSE)
    assert np.abs(expected.channels - strict.channels).max() > 0.05


@pytest.mark.parametrize("size", [(130, 17), (128, 16), (129, 1), (1, 33), (8, 1), (1, 1), (7, 5), (257, 40)])
def test_sizes_that_do_not_fill_their_tiles(instruction_set: str, size: tuple[int, int]) -> None:
    width, height = size
    camera = Camera(50.0, 45.0, 0.4 * width, 0.6 * height, width, height)
    expected = assert_agrees(random_cloud(150, seed=width), camera, RigidTransform.identity())
    assert expected.alpha.max() > 0.1


@pytest.mark.parametrize("size", [(6000, 9), (9, 3000)])
def test_long_images(size: tuple[int, int]) -> None:
    width, height = size
    camera = Camera(900.0, 900.0, 0.5 * width, 0.5 * height, width, height)
    expected = assert_agrees(random_cloud(40, seed=1, growth=2), camera, RigidTransform.identity())
    assert np.mean(expected.alpha > 0) > 0.2


def test_splats_larger_than_the_image(instruction_set: str) -> None:
    """Each one covers every tile, among them some whose centre lies far outside."""
    cloud = random_cloud(12, seed=3)
    huge = twin.Cloud(
        cloud.means * [3, 3, 1] + [0, 0, 1],
        cloud.quats_wxyz,
        3 + 0 * cloud.scales,
        0.2 * cloud.opacities,
        cloud.normals,
        cloud.channels,
    )
    camera = Camera(150.0, 150.0, 150.0, 20.0, 300, 40)
    expected = assert_agrees(huge, camera, RigidTransform.identity())
    assert expected.alpha.min() > 0.3


def test_near_plane() -> None:
    """Only centres count: 11 mm before the camera is drawn, 9 mm and everything behind is not, however large."""
    depths = np.array([0.009, 0.011, -0.5, 0.0, 2.0])
    base = random_cloud(5, seed=4)
    means = np.stack([np.zeros(5), np.zeros(5), depths], axis=1)
    cloud = twin.Cloud(means, base.quats_wxyz, np.full((5, 3), 0.3), np.full(5, 0.5), base.normals, base.channels)
    drawn = np.array([1, 4])
    whole, part = (render(c.scene(), CAMERA, RigidTransform.identity()) for c in (cloud, cloud.select(drawn)))
    np.testing.assert_array_equal(whole.alpha, part.alpha)
    assert_agrees(cloud.select(np.array([0, 2, 3, 4])), CAMERA, RigidTransform.identity())


def test_beside_the_image() -> None:
    """Splats whose centre lies outside but whose rim reaches in, with the clamp of the field of view at work."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    base = random_cloud(40, seed=5)
    means = np.stack([1.5 * np.cos(angles), 1.5 * np.sin(angles), np.full(40, 2.0)], axis=1)
    cloud = twin.Cloud(means, base.quats_wxyz, base.scales + 0.1, base.opacities, base.normals, base.channels)
    expected = assert_agrees(cloud, CAMERA, RigidTransform.identity())
    assert 0.05 < np.mean(expected.alpha > 0) < 1


def test_equal_depths_keep_the_order_of_the_gaussians() -> None:
    base = random_cloud(60, seed=6)
    means = base.means * [0.3, 0.3, 0] + [0, 0, 2]
    cloud = twin.Cloud(means, base.quats_wxyz, base.scales, base.opacities, base.normals, base.channels)
    assert_agrees(cloud, CAMERA, RigidTransform.identity())


def test_no_gaussians_and_nothing_to_see() -> None:
    transparent = random_cloud(50)
    transparent = twin.Cloud(**(vars(transparent) | {"opacities": np.full(50, 0.0039)}))
    for cloud in (random_cloud(0), transparent, random_cloud(1).select(slice(0, 0))):
        view = render(cloud.scene(), CAMERA, POSE, planes=True, channels=True, gradients=True)
        for image in (view.alpha, view.planes, view.channels, view.gradients):
            assert image is not None and not image.any()
        np.testing.assert_array_equal(view.variance, 1)
        view = render(cloud.scene(), CAMERA, POSE, jacobian=True)
        assert not view.alpha.any() and not view.depth.any() and not view.jacobian.any()


def test_one_splat_in_closed_form() -> None:
    """A round splat on the axis: alpha = o exp(-d^2 / 2 (sigma^2 + 0.3)), sigma = f s / z pixels."""
    camera = Camera(100.0, 100.0, 32.5, 16.5, 65, 33)
    one = twin.Cloud([[0, 0, 2]], [[1, 0, 0, 0]], [[0.1] * 3], [0.8], [[0, 0, 1]], [[0.25]])
    view = render(one.scene(), camera, RigidTransform.identity(), planes=True, channels=True)
    x = np.arange(65) - 32.0
    expected = 0.8 * np.exp(-0.5 * x**2 / (5.0**2 + 0.3))
    np.testing.assert_allclose(view.alpha[16], np.where(expected >= 1 / 255, expected, 0), atol=2e-6)
    np.testing.assert_allclose(view.planes[16, 20:45], np.tile([0, 0, 0.5], (25, 1)), atol=1e-6)
    np.testing.assert_allclose(view.channels[16, 20:45, 0], 0.25, rtol=1e-6)


def test_grazing_planes_face_the_camera() -> None:
    """A normal at right angles to the view ray would put the plane through the camera."""
    cloud = random_cloud(1)
    sideways = twin.Cloud([[0, 0, 2]], [[1, 0, 0, 0]], [[0.2] * 3], [0.9], [[1, 0, 0.01]], cloud.channels)
    view = render(sideways.scene(), CAMERA, RigidTransform.identity(), planes=True)
    np.testing.assert_allclose(view.planes[25, 31], [0, 0, 0.5], atol=1e-6)


def test_features_of_many_channels() -> None:
    cloud = random_cloud(200, channels=19)
    expected = twin.render(cloud, CAMERA, POSE)
    view = render(cloud.scene(), CAMERA, POSE, planes=True, channels=True, gradients=True)
    shown = (expected.alpha > 0)[..., None]
    assert_mostly_close(view.channels * shown, expected.channels * shown, 2e-5)


def test_far_from_the_origin() -> None:
    """The camera's centre is subtracted in double: a map 5 km away renders as one at the origin, to float32 of 5 km."""
    cloud = random_cloud(200)
    offset = np.array([4096.0, -2048.0, 1024.0])
    moved = twin.Cloud(**(vars(cloud) | {"means": cloud.means + offset}))
    pose = POSE * RigidTransform.from_translation(-offset)
    assert_agrees(moved, CAMERA, pose, tolerance=2e-4)
