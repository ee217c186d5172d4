"""What the kernels refuse, and that the message names the array; what extreme but legal numbers do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from kernels.clouds import CAMERA, POSE, random_cloud, wall
from posesplat import _kernels
from posesplat.geometry.cameras import Camera
from posesplat.kernels.plane_fit import fit_planes
from posesplat.kernels.splatting import FrozenView, RobustTerm, lookup, normal_equations, render

NAMES = ("means", "quats_wxyz", "scales", "opacities", "normals", "channels")


def scene_arrays(count: int = 6) -> list[np.ndarray]:
    return [value.astype(np.float32) for value in vars(random_cloud(count)).values()]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", range(6))
def test_scene_refuses_what_is_not_finite(index: int, bad: float) -> None:
    arrays = scene_arrays()
    arrays[index].ravel()[4] = bad
    with pytest.raises(ValueError, match=f"^{NAMES[index]} must be finite"):
        _kernels.Scene(*arrays)


@pytest.mark.parametrize("index", [0, 1, 2, 4, 5])
def test_scene_refuses_wrong_shapes(index: int) -> None:
    for change in (lambda array: array[:-1], lambda array: array.T, lambda array: array.ravel()):
        arrays = scene_arrays(7)
        arrays[index] = np.ascontiguousarray(change(arrays[index]))
        with pytest.raises(ValueError, match=rf"^{NAMES[index]} must have shape \(7, \d+\); got \("):
            _kernels.Scene(*arrays)
    arrays = scene_arrays(7)
    arrays[3] = arrays[3][:, None]
    with pytest.raises(ValueError, match=r"^opacities must have shape \(7,\); got \(7, 1\)"):
        _kernels.Scene(*arrays)


def test_scene_refuses_a_quaternion_of_zeros() -> None:
    arrays = scene_arrays()
    arrays[1][4] = 0
    with pytest.raises(ValueError, match=r"quats_wxyz .* row 4"):
        _kernels.Scene(*arrays)


def test_scene_copies_its_arrays_whatever_their_layout() -> None:
    arrays = scene_arrays(300)
    expected = render(random_cloud(300).scene(), CAMERA, POSE, channels=True)
    odd = [np.asfortranarray(np.repeat(array, 2, axis=0).astype(np.float64))[::2] for array in arrays]
    scene = random_cloud(0).scene()
    scene.handle = _kernels.Scene(*odd)
    for array in odd:
        array[:] = np.nan
    actual = render(scene, CAMERA, POSE, channels=True)
    np.testing.assert_array_equal(actual.channels, expected.channels)


def image(*shape: int) -> np.ndarray:
    return np.ones(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"depth": image(64, 48)}, "depth"),
        ({"depth": image(24, 32)}, "depth"),
        ({"channels": image(64, 48, 2)}, "channels"),
        ({"channels": image(48, 64, 3)}, "channels"),
    ],
)
def test_images_must_fit_the_camera(arguments: dict[str, Any], name: str) -> None:
    scene = random_cloud(20).scene()
    with pytest.raises(ValueError, match=rf"^{name} must have shape \(48, 64.*; got \(.*resize"):
        normal_equations(scene, CAMERA, POSE, **arguments)
    frozen = FrozenView(render(scene, CAMERA, POSE, planes=True, channels=True))
    if "channels" in arguments:
        arguments = arguments | {"gradients": image(*arguments["channels"].shape, 2)}
    with pytest.raises(ValueError, match=rf"^{name} must have shape \(48, 64.*; got \(.*resize"):
        lookup(frozen, CAMERA, POSE, **arguments)


def test_lookup_needs_gradients_and_channels_of_the_view() -> None:
    scene = random_cloud(20).scene()
    frozen = FrozenView(render(scene, CAMERA, POSE, planes=True, channels=True))
    with pytest.raises(ValueError, match="gradients"):
        lookup(frozen, CAMERA, POSE, channels=image(48, 64, 2))
    with pytest.raises(ValueError, match="view with channels"):
        without = FrozenView(render(scene, CAMERA, POSE, planes=True))
        lookup(without, CAMERA, POSE, channels=image(48, 64, 2), gradients=image(48, 64, 2, 2))
    for step in (0, -1, 17):
        with pytest.raises(ValueError, match="step must be 1 to 16"):
            lookup(frozen, CAMERA, POSE, depth=image(48, 64), step=step)


def test_channels_that_are_not_finite_are_named() -> None:
    """Depth may say "missing" by NaN; colour may not."""
    cloud = wall(CAMERA)
    colours, gradients = 0.5 * image(48, 64, 2), image(48, 64, 2, 2)
    view = FrozenView(render(cloud.scene(), CAMERA, RigidTransform.identity(), planes=True, channels=True))
    for bad in (np.nan, np.inf):
        broken = colours.copy()
        broken[20, 30, 1] = bad
        with pytest.raises(ValueError, match=r"^channels must be finite"):
            normal_equations(cloud.scene(), CAMERA, RigidTransform.identity(), channels=broken)
        with pytest.raises(ValueError, match=r"^channels must be finite"):
            lookup(view, CAMERA, RigidTransform.identity(), channels=broken, gradients=gradients)
        broken_gradients = gradients.copy()
        broken_gradients[20, 30, 1, 0] = bad
        with pytest.raises(ValueError, match=r"^gradients must be finite"):
            lookup(view, CAMERA, RigidTransform.identity(), channels=colours, gradients=broken_gradients)


@pytest.mark.parametrize("values", [(0.0, 0.0, 1e-4), (-1.0, 0.0, 1e-4), (0.1, -1.0, 1e-4), (0.1, 0.0, np.nan)])
def test_robust_terms_must_be_positive(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="RobustTerm"):
        RobustTerm(*values)


def test_combinations_that_are_not_offered() -> None:
    scene = random_cloud(5).scene()
    for options in (
        {"planes": True, "jacobian": True},
        {"gradients": True},
        {"planes": True, "gradients": True},
        {"jacobian": True, "channels": True},
    ):
        with pytest.raises(ValueError, match="render offers"):
            render(scene, CAMERA, POSE, **options)
    camera = _kernels.Camera(60.0, 62.0, 31.0, 25.0, 64, 48)
    rotation, centre = (1.0, 0, 0, 0, 1, 0, 0, 0, 1), (0.0, 0, 0)
    for flags in (0, _kernels.CHANNEL_GRADIENTS, _kernels.PLANES | _kernels.EXPECTED_DEPTH, 1 << 20):
        with pytest.raises(ValueError, match="flags"):
            _kernels.render(scene.handle, camera, rotation, centre, flags, 0.01, 0.0, 1)


@pytest.mark.parametrize("layer", [-0.1, 1.0, np.nan])
def test_layer_is_a_relative_depth(layer: float) -> None:
    scene = random_cloud(5).scene()
    with pytest.raises(ValueError, match="layer must be"):
        render(scene, CAMERA, POSE, planes=True, layer=layer)
    with pytest.raises(ValueError, match="layer must be"):
        normal_equations(scene, CAMERA, POSE, depth=image(48, 64), layer=layer)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-3, 5), (2**31 - 1, 1), (1, 2**21)])
def test_camera_sizes_without_an_image(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="Camera size must be"):
        _kernels.Camera(60.0, 60.0, 1.0, 1.0, *size)


def test_plane_fit_refuses_what_it_cannot_do() -> None:
    for radius in (0, -1, 1001):
        with pytest.raises(ValueError, match="radius"):
            fit_planes(image(48, 64), CAMERA, radius=radius)
    with pytest.raises(ValueError, match=r"depth must have shape \(48, 64\)"):
        fit_planes(image(64, 48), CAMERA)
    with pytest.raises(ValueError, match="inverse_depth must have shape"):
        _kernels.fit_planes(image(48, 64), 64, 48, 2, 0.1, 0.3, 1)


def extreme(name: str, value: float) -> dict[str, np.ndarray]:
    """A scene of 50 with five extreme ones among them."""
    fields = {key: array.copy() for key, array in vars(random_cloud(50)).items()}
    fields[name][::10] = value
    return fields


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("means", 3e38), ("means", -3e38), ("means", 1e-38), ("scales", 0.0), ("scales", 1e-38), ("scales", 1e6),
        ("scales", 3e38), ("quats_wxyz", 1e-30), ("quats_wxyz", 3e38), ("normals", 0.0), ("normals", 1e30),
        ("opacities", -5.0), ("opacities", 1.0 / 255.0), ("channels", -1e30),
    ],
)  # fmt: skip
def test_extreme_numbers_never_crash(instruction_set: str, name: str, value: float) -> None:
    """Gaussians out of float range vanish or saturate; no image holds NaN, and the others are still there."""
    cloud = type(random_cloud(1))(**extreme(name, value))
    for options in ({"planes": True, "channels": True, "gradients": True}, {"jacobian": True}, {"channels": True}):
        view = render(cloud.scene(), CAMERA, POSE, **options)
        assert np.isfinite(view.alpha).all() and view.alpha.min() >= 0 and view.alpha.max() <= 1 + 1e-6
        assert np.mean(view.alpha > 0) > 0.2


def test_extreme_poses_and_cameras_never_crash() -> None:
    scene = random_cloud(200).scene()
    depth, colours = image(48, 64), image(48, 64, 2)
    far = RigidTransform.from_translation([1e30, 0, 0])
    nan = RigidTransform.from_translation([np.nan, 0, 0])
    for pose in (far, nan):
        assert not render(scene, CAMERA, pose).alpha.any()
        for sums in normal_equations(scene, CAMERA, pose, depth=depth, channels=colours):
            assert (sums.covered, sums.cost) == (0, 0.5 * sums.observed)
    frozen = FrozenView(render(scene, CAMERA, POSE, planes=True, channels=True))
    for pose in (far, nan):
        for sums in lookup(frozen, CAMERA, pose, depth=depth, channels=colours, gradients=image(48, 64, 2, 2)):
            assert (sums.covered, sums.cost) == (0, 0.5 * sums.observed)
    for focal in (1e-30, 1e30):
        camera = Camera(focal, focal, 32.0, 24.0, 64, 48)
        view = render(scene, camera, POSE, planes=True, channels=True, gradients=True)
        assert np.isfinite(view.alpha).all()
