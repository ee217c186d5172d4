"""The backward pass against central differences of the float64 twin, for every kind of parameter."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from kernels import twin
from kernels.checks import assert_mostly_close
from kernels.clouds import CAMERA, POSE, random_cloud, wall
from posesplat.geometry.cameras import Camera
from posesplat.kernels.gradients import Composite, backward, composite

SMALL = Camera(24.0, 25.0, 12.5, 9.5, 26, 20)
WIDE = Camera(60.0, 60.0, 75.0, 19.0, 150, 38)
"""Does not fill its four tiles, which share Gaussians."""
STEP = 1e-7
FIELDS = {
    "means": "means_in_world",
    "quats_wxyz": "quats_wxyz",
    "scales": "scales",
    "opacities": "opacities",
    "channels": "channels",
}


def weights_of(camera: Camera, channels: int, seed: int = 1) -> list[np.ndarray]:
    """Derivatives of a linear loss for channels, depth and alpha."""
    rng = np.random.default_rng(seed)
    size = camera.height, camera.width
    return [np.float32(rng.normal(size=shape)) for shape in ((*size, channels), size, size)]


def twin_loss(cloud: twin.Cloud, camera: Camera, pose: RigidTransform, weights: list[np.ndarray]) -> float:
    images = twin.render(cloud, camera, pose)
    on_black = images.channels * images.alpha[..., None]
    return sum(
        float(np.sum(w * image)) for w, image in zip(weights, (on_black, images.depth, images.alpha), strict=True)
    )


def slopes_of(loss: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Central differences of a loss for every entry of an array."""
    slopes = np.zeros(at.shape)
    for index in np.ndindex(at.shape):
        step = np.zeros(at.shape)
        step[index] = STEP
        slopes[index] = (loss(at + step) - loss(at - step)) / (2 * STEP)
    return slopes


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    assert np.linalg.norm(expected) > 0
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def stretched(cloud: twin.Cloud, factor: float) -> twin.Cloud:
    """The same rotations by quaternions of other lengths."""
    lengths = factor ** np.linspace(-1, 1, len(cloud.opacities))
    return twin.Cloud(**(vars(cloud) | {"quats_wxyz": cloud.quats_wxyz * lengths[:, None]}))


CASES = {
    "small": (40, 1.0, 3, SMALL),
    "large": (25, 6.0, 1, SMALL),
    "features": (12, 4.0, 5, SMALL),
    "tiles": (8, 8.0, 3, WIDE),
}
"""How many Gaussians, how large, how many channels, and the camera."""


def cloud_of(case: str) -> tuple[twin.Cloud, Camera, list[np.ndarray]]:
    count, growth, channels, camera = CASES[case]
    cloud = stretched(random_cloud(count, seed=3, growth=growth, channels=channels), 3.0)
    return cloud, camera, weights_of(camera, channels)


@functools.cache
def twin_slopes(case: str) -> dict[str, np.ndarray]:
    cloud, camera, weights = cloud_of(case)
    slopes = {
        name: slopes_of(
            lambda value, field=field: twin_loss(cloud.replaced(**{field: value}), camera, POSE, weights),
            getattr(cloud, field),
        )
        for field, name in FIELDS.items()
    }
    slopes["pose"] = slopes_of(
        lambda xi: twin_loss(cloud, camera, RigidTransform.from_exp_coords(xi) * POSE, weights), np.zeros(6)
    )
    return slopes


@pytest.mark.parametrize("case", CASES)
def test_every_derivative(instruction_set: str, case: str) -> None:
    cloud, camera, (by_channels, by_depth, by_alpha) = cloud_of(case)
    scene = cloud.scene()
    image = composite(scene, camera, POSE)
    found = backward(scene, image, by_channels=by_channels, by_depth=by_depth, by_alpha=by_alpha)
    assert found.gaussians is not None
    assert found.gaussians.visible.sum() >= 5
    for name, expected in twin_slopes(case).items():
        actual = found.pose if name == "pose" else getattr(found.gaussians, name)
        assert relative_error(actual, expected) < 2e-4, name


@pytest.mark.parametrize("kind", range(3), ids=["channels", "depth", "alpha"])
def test_each_image_alone(kind: int) -> None:
    """Opaque splats several deep: alpha is clamped at 0.999, rays end, and most of the light is spent."""
    cloud = wall(SMALL, stride=2.0, margin=2.0)
    cloud = twin.Cloud(**(vars(cloud) | {"opacities": np.linspace(0.9, 1.0, len(cloud.opacities))}))
    scene = cloud.scene()
    weights = weights_of(SMALL, 2)
    names = ("by_channels", "by_depth", "by_alpha")
    found = backward(scene, composite(scene, SMALL, POSE), **{names[kind]: weights[kind]})
    weights = [w if k == kind else 0 * w for k, w in enumerate(weights)]
    by_pose = slopes_of(
        lambda xi: twin_loss(cloud, SMALL, RigidTransform.from_exp_coords(xi) * POSE, weights), np.zeros(6)
    )
    assert relative_error(found.pose, by_pose) < 1e-3
    assert found.gaussians is not None
    some = np.argsort(-np.abs(found.gaussians.opacities))[:40:4]

    def by_some(value: np.ndarray) -> float:
        opacities = cloud.opacities.copy()
        opacities[some] = value
        return twin_loss(cloud.replaced(opacities=opacities), SMALL, POSE, weights)

    assert relative_error(found.gaussians.opacities[some], slopes_of(by_some, cloud.opacities[some])) < 1e-3


def test_the_image_is_the_twins(instruction_set: str) -> None:
    cloud = random_cloud(growth=2.0, channels=4)
    image, expected = composite(cloud.scene(), CAMERA, POSE), twin.render(cloud, CAMERA, POSE)
    assert_mostly_close(image.channels, expected.channels * expected.alpha[..., None], 1e-5)
    assert_mostly_close(image.depth, expected.depth, 1e-5)
    assert_mostly_close(image.alpha, expected.alpha, 1e-5)


def test_screen_derivatives_are_those_of_a_shift() -> None:
    """Moving all splats on the screen is what the twin's shift does."""
    cloud = random_cloud(60, seed=5, growth=3.0)
    weights = weights_of(SMALL, 2)
    scene = cloud.scene()
    found = backward(scene, composite(scene, SMALL, POSE), by_channels=weights[0]).gaussians
    assert found is not None
    for axis in (0, 1):
        shift = tuple(1e-30j if k == axis else 0.0 for k in (0, 1))
        images = twin.render(cloud, SMALL, POSE, shift=shift)
        moved = np.sum(weights[0] * (images.channels * images.alpha[..., None]).imag) / 1e-30
        assert found.screen[:, axis].sum(dtype=float) == pytest.approx(moved, rel=1e-4)
    norms = np.hypot(found.screen[:, 0] * 13, found.screen[:, 1] * 10)
    np.testing.assert_allclose(found.screen_norms(SMALL), norms, rtol=1e-5)
    assert (found.screen[~found.visible] == 0).all()


@pytest.mark.parametrize("channels", [0, 1, 3, 32])
def test_any_number_of_threads_gives_the_same_bits(channels: int) -> None:
    camera = Camera(150.0, 150.0, 150.0, 70.0, 300, 140)
    scene = random_cloud(10_000, growth=0.3, channels=channels).scene()
    by_channels, by_depth, by_alpha = weights_of(camera, channels)

    def bits(threads: int) -> list[bytes]:
        image = composite(scene, camera, POSE, threads=threads)
        found = backward(scene, image, by_channels=by_channels, by_depth=by_depth, by_alpha=by_alpha, threads=threads)
        assert found.gaussians is not None
        assert np.abs(found.pose).min() > 0
        return [found.pose.tobytes(), *(value.tobytes() for value in vars(found.gaussians).values())]

    expected = bits(1)
    for threads in (2, 3, 7):
        assert bits(threads) == expected


def test_the_pose_alone() -> None:
    scene = random_cloud(channels=3).scene()
    image = composite(scene, CAMERA, POSE)
    by_channels = weights_of(CAMERA, 3)[0]
    whole = backward(scene, image, by_channels=by_channels)
    alone = backward(scene, image, by_channels=by_channels, gaussians=False)
    assert alone.gaussians is None
    np.testing.assert_array_equal(alone.pose, whole.pose)


def test_nothing_to_derive() -> None:
    cloud = random_cloud(5)
    for scene in (cloud.select(slice(0, 0)).scene(), cloud.scene()):
        image = composite(scene, CAMERA, POSE)
        found = backward(scene, image)
        assert (found.pose == 0).all()
        assert found.gaussians is not None
        assert all((value == 0).all() for name, value in vars(found.gaussians).items() if name != "visible")


def test_wrong_derivatives_are_refused() -> None:
    scene = random_cloud(5).scene()
    image = composite(scene, CAMERA, POSE)
    by_channels, by_depth, _ = weights_of(CAMERA, 2)
    with pytest.raises(ValueError, match=r"by_channels must have shape \(48, 64, 2\); got \(48, 64, 1\)"):
        backward(scene, image, by_channels=by_channels[..., :1])
    by_depth[3, 4] = np.nan
    with pytest.raises(ValueError, match="by_depth must be finite"):
        backward(scene, image, by_depth=by_depth)
    other = Composite(SMALL, POSE, image.channels, image.depth, image.alpha)
    with pytest.raises(ValueError, match=r"channels must have shape \(20, 26, 2\)"):
        backward(scene, other)
