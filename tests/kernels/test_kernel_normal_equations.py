"""Normal equations of both terms: the twin's sums, and the gradient of the cost by finite differences."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from kernels import twin
from kernels.checks import assert_sums_agree, widest_gap
from kernels.clouds import CAMERA, POSE, random_cloud, wall, wall_depth, with_holes
from posesplat.geometry.cameras import Camera
from posesplat.kernels.splatting import NormalEquations, RobustTerm, normal_equations, render

SMALL = RigidTransform.from_exp_coords([0.02, -0.03, 0.01, 0.01, -0.02, 0.03])


@functools.cache
def random_example(layer: float) -> tuple[twin.Cloud, twin.Images, np.ndarray]:
    """Gaussians that mostly face the camera, their images, and the derivative of the channels."""
    cloud = random_cloud(600, channels=2)
    normals = cloud.normals + np.array([0, 0, 2.5])
    cloud = replace(cloud, normals=normals / np.linalg.norm(normals, axis=1, keepdims=True))
    images = twin.render(cloud, CAMERA, POSE, layer=layer)
    return cloud, images, twin.channel_gradients(cloud, CAMERA, POSE, layer=layer)


@pytest.mark.parametrize("layer", [0.0, 0.1])
def test_random_scene(instruction_set: str, layer: float) -> None:
    """Thresholds sit in gaps of the twin's values, so that float32 rounding decides no pixel."""
    cloud, images, gradients = random_example(layer)
    rng = np.random.default_rng(1)
    depth = with_holes(1 / np.maximum(images.kappa, 0.05) * rng.uniform(0.8, 1.2, images.kappa.shape)).astype(
        np.float32
    )
    observed = rng.uniform(size=images.channels.shape).astype(np.float32)
    min_alpha = widest_gap(images.alpha, 0.4, 0.6)
    depth_term = RobustTerm(0.2, 0.05, widest_gap(images.variance, 0.2, 0.4))
    channel_term = RobustTerm(0.3, 0.0, widest_gap(images.variance, 0.3, 0.6))
    depth_sums, channel_sums = normal_equations(
        cloud.scene(), CAMERA, POSE, depth=depth, channels=observed, depth_term=depth_term, channel_term=channel_term,
        gain=1.2, bias=-0.1, min_alpha=min_alpha, layer=layer,
    )  # fmt: skip
    expected = twin.depth_sums(images, CAMERA, depth.astype(float), depth_term, min_alpha)
    assert 100 < expected.inliers < expected.covered < expected.observed < depth.size
    assert_sums_agree(depth_sums, expected)
    expected = twin.channel_sums(images, gradients, CAMERA, observed, channel_term, 1.2, -0.1, min_alpha)
    assert 100 < expected.inliers < expected.covered < expected.observed == observed.size
    assert_sums_agree(channel_sums, expected)


@pytest.mark.parametrize("size", [(130, 17), (7, 3), (1, 1), (129, 33)])
def test_sizes_that_do_not_fill_their_tiles(instruction_set: str, size: tuple[int, int]) -> None:
    """Rows are padded to whole vectors: nothing of the padding may count."""
    width, height = size
    camera = Camera(40.0, 40.0, 0.5 * width, 0.5 * height, width, height)
    cloud = wall(camera)
    images = twin.render(cloud, camera, SMALL)
    depth = (1.05 * wall_depth(camera, SMALL)).astype(np.float32)
    channels = np.full((height, width, 2), 0.5, dtype=np.float32)
    term = RobustTerm(0.2, 0.0, 1e-3)
    actual = normal_equations(
        cloud.scene(), camera, SMALL, depth=depth, channels=channels, depth_term=term, channel_term=term
    )
    expected = twin.depth_sums(images, camera, depth.astype(float), term, 0.5)
    assert (actual[0].observed, actual[0].covered) == (width * height, width * height)
    assert actual[0].cost == pytest.approx(expected.cost, rel=1e-4)
    np.testing.assert_allclose(actual[0].hessian, expected.hessian, atol=1e-4 * np.abs(expected.hessian).max())
    assert (actual[1].observed, actual[1].covered) == (2 * width * height, 2 * width * height)


def test_missing_pixels_pay_the_most() -> None:
    """Half the image observed, nothing in the map: 1/2 for each observed number, and no pull."""
    depth = np.zeros((48, 64), dtype=np.float32)
    depth[:24] = 2
    channels = np.zeros((48, 64, 2), dtype=np.float32)
    nothing = random_cloud(10).select(slice(0, 0))
    depth_sums, channel_sums = normal_equations(nothing.scene(), CAMERA, POSE, depth=depth, channels=channels)
    for sums, observed in ((depth_sums, 24 * 64), (channel_sums, 2 * 48 * 64)):
        assert (sums.cost, sums.observed, sums.covered, sums.inliers) == (0.5 * observed, observed, 0, 0)
        assert (sums.weights, sums.curvatures) == (0, 0)
        assert not sums.hessian.any() and not sums.gradient.any()
    for sums in normal_equations(nothing.scene(), CAMERA, POSE):
        assert (sums.cost, sums.observed) == (0, 0)


SLOPE_TERM = RobustTerm(0.2, 0.0, 1e-3)
STEP = 1e-4
ONE_LAYER = 0.9
"""No splat of the wall hides another, so that nothing jumps when two of them change places in depth."""


@functools.cache
def wall_images(step: float, axis: int) -> twin.Images:
    """The wall rendered in float64 from a pose moved along one axis of the tangent."""
    pose = RigidTransform.from_exp_coords(step * np.eye(6)[axis]) * SMALL
    return twin.render(wall(CAMERA), CAMERA, pose, layer=ONE_LAYER)


def slope_by_pose(cost: Callable[[twin.Images], float]) -> np.ndarray:
    return np.array([(cost(wall_images(STEP, k)) - cost(wall_images(-STEP, k))) / (2 * STEP) for k in range(6)])


def test_depth_gradient_is_the_slope_of_the_cost(instruction_set: str) -> None:
    """On a wall all planes agree, so that holding the weights fixed is exact.

    The kernel takes the Jacobian at the rendered plane rather than at the (noisy) observed point; they differ by
    residual / depth, so the observation is made from close by.
    """
    close = RigidTransform.from_exp_coords([5e-4, -3e-4, 2e-4, 1e-3, 2e-3, 1e-3]) * SMALL
    depth = wall_depth(CAMERA, close).astype(np.float32)
    slope = slope_by_pose(lambda images: twin.depth_sums(images, CAMERA, depth.astype(float), SLOPE_TERM, 0.5).cost)
    sums, _ = normal_equations(wall(CAMERA).scene(), CAMERA, SMALL, depth=depth, depth_term=SLOPE_TERM, layer=ONE_LAYER)
    assert sums.covered == depth.size
    np.testing.assert_allclose(sums.gradient, slope, atol=2e-3 * np.abs(slope).max())


def test_channel_gradient_is_the_slope_of_the_cost(instruction_set: str) -> None:
    """Splats also change shape as they move, which the kernel leaves out: 2 per cent of slack for the pose."""
    observed = render(wall(CAMERA).scene(), CAMERA, RigidTransform.identity(), channels=True).channels
    no_gradients = np.zeros((*observed.shape, 2))

    def cost(images: twin.Images, gain: float = 1.1, bias: float = 0.05) -> float:
        return twin.channel_sums(images, no_gradients, CAMERA, observed, SLOPE_TERM, gain, bias, 0.5).cost

    _, sums = normal_equations(
        wall(CAMERA).scene(), CAMERA, SMALL, channels=observed, channel_term=SLOPE_TERM, gain=1.1, bias=0.05,
        layer=ONE_LAYER,
    )  # fmt: skip
    assert sums.covered == observed.size
    slope = slope_by_pose(cost)
    for part in (slice(0, 3), slice(3, 6)):
        np.testing.assert_allclose(sums.gradient[part], slope[part], atol=0.02 * np.abs(slope[part]).max())
    here = wall_images(0.0, 0)
    by_gain = (cost(here, gain=1.1 + STEP) - cost(here, gain=1.1 - STEP)) / (2 * STEP)
    by_bias = (cost(here, bias=0.05 + STEP) - cost(here, bias=0.05 - STEP)) / (2 * STEP)
    np.testing.assert_allclose(sums.gradient[6:], [by_gain, by_bias], rtol=1e-4)


def test_gauss_newton_step_finds_a_wall() -> None:
    """Three unknowns of a plane are observable: one step removes the distance and the two tilts."""
    cloud, true_depth = wall(CAMERA), wall_depth(CAMERA, RigidTransform.identity()).astype(np.float32)
    start = RigidTransform.from_exp_coords([0.004, -0.003, 0, 0, 0, 0.005])
    term = RobustTerm(1.0, 0.0, 1e-3)
    before, _ = normal_equations(cloud.scene(), CAMERA, start, depth=true_depth, depth_term=term)
    step = np.linalg.lstsq(before.hessian, -before.gradient, rcond=1e-6)[0]
    after, _ = normal_equations(
        cloud.scene(), CAMERA, RigidTransform.from_exp_coords(step) * start, depth=true_depth, depth_term=term
    )
    assert after.cost < 1e-4 * before.cost


def test_curvature_is_the_slope_of_the_slope() -> None:
    """One offset for a whole wall seen head-on, along its normal: the true Hessian is ``newton_ratio`` times ours."""
    cloud, identity = wall(CAMERA, normal=(0, 0, 1)), RigidTransform.identity()
    term = RobustTerm(0.1, 0.0, 1e-3)

    def along_axis(offset: float) -> NormalEquations:
        depth = np.full((48, 64), 2 + offset, dtype=np.float32)
        return normal_equations(cloud.scene(), CAMERA, identity, depth=depth, depth_term=term)[0]

    for offset in (0.0, 0.03, 0.05):
        sums = along_axis(offset)
        true_hessian = -(along_axis(offset + 1e-3).gradient[5] - along_axis(offset - 1e-3).gradient[5]) / 2e-3
        assert sums.newton_ratio(0.0) * sums.hessian[5, 5] == pytest.approx(true_hessian, rel=2e-3)
    assert along_axis(0.2).newton_ratio(0.25) == 0.25
