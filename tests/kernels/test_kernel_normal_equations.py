"""Normal equations of both terms: the twin's sums, and the gradient of the cost by finite differences."""

from __future__ import annotations

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
    cloud = replace(cloud, normals=0.05 * cloud.normals / 0.05 + [0, 0, 2.5])
    cloud = replace(cloud, normals=cloud.normals / np.linalg.norm(cloud.normals, axis=1, keepdims=True))
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


def test_depth_gradient_is_the_slope_of_the_cost(instruction_set: str) -> None:
    """On a wall all planes agree, so that holding the weights fixed is exact. The twin's cost is in float64."""
    cloud, true_depth = wall(CAMERA), wall_depth(CAMERA, RigidTransform.identity()).astype(np.float32)
    term = RobustTerm(0.05, 0.0, 1e-3)

    def cost(tangent: np.ndarray) -> float:
        pose = RigidTransform.from_exp_coords(tangent) * SMALL
        return twin.depth_sums(twin.render(cloud, CAMERA, pose), CAMERA, true_depth.astype(float), term, 0.5).cost

    sums, _ = normal_equations(cloud.scene(), CAMERA, SMALL, depth=true_depth, depth_term=term)
    assert sums.covered == 64 * 48
    slope = slopes(cost, 6, 1e-4)
    np.testing.assert_allclose(sums.gradient, slope, atol=1e-3 * np.abs(slope).max())


def test_channel_gradient_is_the_slope_of_the_cost(instruction_set: str) -> None:
    """Pose, gain and bias. Splats also change shape as they move, which the kernel leaves out: 2 per cent of slack."""
    camera = Camera(120.0, 124.0, 62.0, 50.0, 128, 96)
    cloud = wall(camera)
    observed = twin.render(cloud, camera, RigidTransform.identity()).channels.astype(np.float32)
    term = RobustTerm(0.3, 0.0, 1e-3)

    def cost(unknowns: np.ndarray) -> float:
        pose = RigidTransform.from_exp_coords(unknowns[:6]) * SMALL
        images = twin.render(cloud, camera, pose)
        no_gradients = np.zeros((*observed.shape, 2))
        gain, bias = 1.1 + unknowns[6], 0.05 + unknowns[7]
        return twin.channel_sums(images, no_gradients, camera, observed, term, gain, bias, 0.5).cost

    _, sums = normal_equations(cloud.scene(), camera, SMALL, channels=observed, channel_term=term, gain=1.1, bias=0.05)
    assert sums.covered == observed.size
    slope = slopes(cost, 8, 1e-3)
    np.testing.assert_allclose(sums.gradient[6:], slope[6:], rtol=1e-4)
    np.testing.assert_allclose(sums.gradient[:3], slope[:3], atol=0.02 * np.abs(slope[:3]).max())
    np.testing.assert_allclose(sums.gradient[3:6], slope[3:6], atol=0.02 * np.abs(slope[3:6]).max())


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
