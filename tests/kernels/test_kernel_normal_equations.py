"""Normal equations of both terms: the twin's sums, and the gradient of the cost by finite differences."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from kernels import twin
from kernels.checks import assert_sums_agree, slopes, widest_gap
from kernels.clouds import CAMERA, POSE, random_cloud, wall, wall_depth, with_holes
from posesplat.geometry.cameras import Camera
from posesplat.kernels.splatting import RobustTerm, normal_equations

SMALL = RigidTransform.from_exp_coords([0.02, -0.03, 0.01, 0.01, -0.02, 0.03])


@pytest.mark.parametrize("layer", [0.0, 0.1])
def test_random_scene(instruction_set: str, layer: float) -> None:
    """Thresholds sit in gaps of the twin's values, so that float32 rounding decides no pixel."""
    cloud = random_cloud(600, channels=2)
    normals = cloud.normals + [0, 0, 2.5]
    cloud = replace(cloud, normals=normals / np.linalg.norm(normals, axis=1, keepdims=True))
    images = twin.render(cloud, CAMERA, POSE, layer=layer)
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
    assert 200 < expected.inliers < expected.covered < expected.observed < depth.size
    assert_sums_agree(depth_sums, expected)
    gradients = twin.channel_gradients(cloud, CAMERA, POSE, layer=layer)
    expected = twin.channel_sums(images, gradients, CAMERA, observed, channel_term, 1.2, -0.1, min_alpha)
    assert 200 < expected.inliers < expected.covered < expected.observed == observed.size
    assert_sums_agree(channel_sums, expected, 3e-4)


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
        assert not sums.hessian.any() and not sums.gradient.any()
    for sums in normal_equations(nothing.scene(), CAMERA, POSE):
        assert (sums.cost, sums.observed) == (0, 0)


SLOPE_TERM = RobustTerm(0.2, 0.0, 1e-3)


@functools.cache
def depth_example() -> tuple[twin.Cloud, np.ndarray, np.ndarray]:
    """A wall, its true depth at another pose, and the slope of the twin's cost."""
    cloud, true_depth = wall(CAMERA), wall_depth(CAMERA, RigidTransform.identity()).astype(np.float32)

    def cost(tangent: np.ndarray) -> float:
        images = twin.render(cloud, CAMERA, RigidTransform.from_exp_coords(tangent) * SMALL)
        return twin.depth_sums(images, CAMERA, true_depth.astype(float), SLOPE_TERM, 0.5).cost

    return cloud, true_depth, slopes(cost, 6, 1e-4)


def test_depth_gradient_is_the_slope_of_the_cost(instruction_set: str) -> None:
    """On a wall all planes agree, so that holding the weights fixed is exact. The twin's cost is in float64."""
    cloud, true_depth, slope = depth_example()
    sums, _ = normal_equations(cloud.scene(), CAMERA, SMALL, depth=true_depth, depth_term=SLOPE_TERM)
    assert sums.covered == 64 * 48
    np.testing.assert_allclose(sums.gradient, slope, atol=1e-4 * np.abs(slope).max())


@functools.cache
def channel_example() -> tuple[twin.Cloud, np.ndarray, np.ndarray]:
    """The same for its colours, with gain and bias."""
    cloud = wall(CAMERA)
    observed = twin.render(cloud, CAMERA, RigidTransform.identity()).channels.astype(np.float32)
    no_gradients = np.zeros((*observed.shape, 2))

    def cost(unknowns: np.ndarray) -> float:
        images = twin.render(cloud, CAMERA, RigidTransform.from_exp_coords(unknowns[:6]) * SMALL)
        gain, bias = 1.1 + unknowns[6], 0.05 + unknowns[7]
        return twin.channel_sums(images, no_gradients, CAMERA, observed, SLOPE_TERM, gain, bias, 0.5).cost

    return cloud, observed, slopes(cost, 8, 1e-3)


def test_channel_gradient_is_the_slope_of_the_cost(instruction_set: str) -> None:
    """Splats also change shape as they move, which the kernel leaves out: 2 per cent of slack for the pose."""
    cloud, observed, slope = channel_example()
    _, sums = normal_equations(
        cloud.scene(), CAMERA, SMALL, channels=observed, channel_term=SLOPE_TERM, gain=1.1, bias=0.05
    )
    assert sums.covered == observed.size
    for part, slack in ((slice(6, 8), 1e-4), (slice(0, 3), 0.02), (slice(3, 6), 0.02)):
        np.testing.assert_allclose(sums.gradient[part], slope[part], atol=slack * np.abs(slope[part]).max())


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
