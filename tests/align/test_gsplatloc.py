"""The published localisation: its map, its loss and derivative, its steps, and what it makes of poses near and far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from kernels import twin
from kernels.clouds import wall, wall_depth
from posesplat.align.adam import Adam
from posesplat.align.depth_loss import depth_loss, sobel_adjoint, sobel_gradients, sobel_magnitude
from posesplat.align.gsplatloc import (
    GsplatlocOptions,
    GsplatlocResult,
    compared_pixels,
    gsplatloc_gaussians,
    gsplatloc_refine,
    parameter_gradient,
    pose_from_parameters,
    principal_axes,
)
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.render.cpu import CpuRenderer

CAMERA = Camera(45.0, 46.0, 23.5, 18.5, 48, 36)
POSE = RigidTransform.from_exp_coords([0.4, -0.7, 0.2, 0.3, -0.1, 0.5])
NEARBY = RigidTransform.from_exp_coords([0.006, -0.005, 0.004, 0.006, -0.005, 0.006])
"""A motion of 1 cm and half a degree."""


def bumpy_depth(camera: Camera = CAMERA) -> np.ndarray:
    """A smooth surface about 2 m away without any symmetry, so that every motion of the camera shows."""
    x, y = np.moveaxis(camera.rays()[..., :2].astype(np.float64), -1, 0)
    return (2 + 0.3 * np.sin(4 * x + 1) * np.cos(3 * y) + 0.4 * x - 0.3 * y + 0.2 * x * y).astype(np.float32)


def with_gaps(depth: np.ndarray) -> np.ndarray:
    depth = depth.copy()
    depth[5:9, 30:40] = 0
    return depth


def bumpy_frame(image: np.ndarray | None = None) -> Frame:
    return Frame(CAMERA, image=image, depth=bumpy_depth(), name="bumps")


def reference_loss(rendered: np.ndarray, observed: np.ndarray, depth_weight: float = 0.8) -> float:
    """The loss by OpenCV in float64, for images that are 0 where they are not compared."""

    def edges(image: np.ndarray) -> np.ndarray:
        x, y = (
            cv2.Sobel(image.astype(np.float64), cv2.CV_64F, *order, ksize=3, borderType=cv2.BORDER_REPLICATE) / 8
            for order in ((1, 0), (0, 1))
        )
        return np.sqrt(x**2 + y**2 + 1e-6)

    depth_term = np.mean(np.abs(rendered.astype(np.float64) - observed))
    return float(depth_weight * depth_term + (1 - depth_weight) * np.mean(np.abs(edges(rendered) - edges(observed))))


# The loss


def test_sobel_magnitude_is_that_of_opencv() -> None:
    image = np.random.default_rng(0).normal(size=(7, 9))
    x, y = (
        cv2.Sobel(image, cv2.CV_64F, *order, ksize=3, borderType=cv2.BORDER_REPLICATE) / 8 for order in ((1, 0), (0, 1))
    )
    np.testing.assert_allclose(sobel_gradients(image), (x, y), atol=1e-15)
    np.testing.assert_allclose(sobel_magnitude(image), np.sqrt(x**2 + y**2 + 1e-6), atol=1e-15)


@pytest.mark.parametrize("shape", [(7, 9), (1, 5), (2, 2)])
def test_sobel_adjoint_is_the_transpose(shape: tuple[int, int]) -> None:
    a, x, y = np.random.default_rng(0).normal(size=(3, *shape))
    by_x, by_y = sobel_gradients(a)
    assert np.sum(by_x * x + by_y * y) == pytest.approx(np.sum(a * sobel_adjoint(x, y)), rel=1e-12)


@pytest.mark.parametrize("depth_weight", [0.0, 0.8, 1.0])
def test_depth_loss_and_its_derivative(depth_weight: float) -> None:
    rng = np.random.default_rng(1)
    rendered, observed, direction = rng.uniform(1, 3, (3, 12, 10))
    loss, gradient = depth_loss(rendered, observed, depth_weight)
    assert loss == pytest.approx(reference_loss(rendered, observed, depth_weight), rel=1e-12)
    step = 1e-7
    ahead, behind = (reference_loss(rendered + sign * step * direction, observed, depth_weight) for sign in (1.0, -1.0))
    assert np.sum(gradient * direction) == pytest.approx((ahead - behind) / (2 * step), rel=1e-6)


def test_compared_pixels() -> None:
    rendered = np.array([[0.0, 0.0, 2.0, 2.0]], dtype=np.float32)
    observed = np.array([[0.0, 1.0, 0.0, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(compared_pixels(rendered, observed), [[False, False, False, True]])
    np.testing.assert_array_equal(compared_pixels(rendered, observed, True), [[False, False, True, True]])


# Its derivative by the pose


def test_parameter_gradient_of_a_smooth_function() -> None:
    """Points seen by the camera, for a quaternion that is not of unit length."""
    rng = np.random.default_rng(2)
    points, targets = rng.normal(size=(2, 5, 3))
    parameters = np.array([0.9, -0.3, 0.5, 0.2, 0.4, -0.6, 0.8])

    def value(cam_from_world: RigidTransform) -> float:
        return float(np.sum(np.sin(cam_from_world.apply(points)) * targets))

    def difference(at: Callable[[np.ndarray], float], unknowns: int) -> np.ndarray:
        return np.array([(at(1e-6 * axis) - at(-1e-6 * axis)) / 2e-6 for axis in np.eye(unknowns)])

    by_pose = difference(lambda xi: value(poses.perturbed(pose_from_parameters(parameters).inv(), xi)), 6)
    by_parameters = difference(lambda step: value(pose_from_parameters(parameters + step).inv()), 7)
    np.testing.assert_allclose(parameter_gradient(parameters, by_pose), by_parameters, atol=1e-8)


def test_loss_by_quaternion_and_translation_against_the_float64_twin() -> None:
    cloud = wall(CAMERA, margin=8.0)
    start = poses.exp(np.array([0.02, -0.015, 0.01, 0.03, -0.02, 0.02]))
    observed = with_gaps(wall_depth(CAMERA, RigidTransform.identity()).astype(np.float32))
    parameters = np.concatenate([1.2 * start.inv().rotation.as_quat(scalar_first=True), start.inv().translation])

    def loss_at(step: np.ndarray) -> float:
        rendered = twin.render(cloud, CAMERA, pose_from_parameters(parameters + step).inv()).depth
        mask = (rendered != 0) & (observed > 0)
        return reference_loss(rendered * mask, observed * mask)

    # Small, because the cut-offs of compositing make the loss jump.
    step = 1e-8
    expected = np.array([(loss_at(step * axis) - loss_at(-step * axis)) / (2 * step) for axis in np.eye(7)])

    gaussians = Gaussians(
        *(field.astype(np.float32) for field in (cloud.means, cloud.quats_wxyz, cloud.scales, cloud.opacities))
    )
    view = CpuRenderer(gaussians).depth(CAMERA, start, jacobian=True)
    mask = compared_pixels(view.depth, observed)
    loss, by_depth = depth_loss(view.depth * mask, observed * mask)
    actual = parameter_gradient(parameters, np.einsum("hw,hwk->k", by_depth * mask, view.jacobian, dtype=np.float64))
    assert loss == pytest.approx(loss_at(np.zeros(7)), rel=1e-5)
    np.testing.assert_allclose(actual, expected, atol=1e-5 * np.linalg.norm(expected))


# The optimiser


def test_adam_takes_two_steps_of_the_textbook() -> None:
    first, second, rates = np.array([0.3, -2.0]), np.array([-0.1, 5.0]), np.array([1e-3, 2e-3])
    start = np.array([1.0, -1.0])
    m1, v1 = 0.1 * first, 0.001 * first**2
    after_one = start - rates * (m1 / 0.1) / (np.sqrt(v1 / 0.001) + 1e-8)
    m2, v2 = 0.9 * m1 + 0.1 * second, 0.999 * v1 + 0.001 * second**2
    after_two = after_one - 0.5 * rates * (m2 / (1 - 0.81)) / (np.sqrt(v2 / (1 - 0.998001)) + 1e-8)
    adam = Adam(2)
    np.testing.assert_allclose(adam.step(start, first, rates), after_one, rtol=1e-14)
    np.testing.assert_allclose(adam.step(after_one, second, 0.5 * rates), after_two, rtol=1e-12)


def test_adam_weight_decay_pulls_to_zero() -> None:
    """Without a gradient the first step is the whole rate towards 0, whatever the decay."""
    start, rates = np.array([1.0, -2.0]), np.array([1e-3, 2e-3])
    np.testing.assert_allclose(Adam(2, 1e-3).step(start, np.zeros(2), rates), start - rates * np.sign(start), rtol=1e-6)


def test_principal_axes() -> None:
    """A box of known sides comes back with its longest side along x and its middle at 0."""
    grid = np.stack(np.meshgrid(*(np.linspace(-0.5, 0.5, 5),) * 3), axis=-1).reshape(-1, 3) * [1.0, 3.0, 2.0]
    moved = principal_axes(POSE.apply(grid).astype(np.float32)) * POSE
    assert np.linalg.det(moved.rotation.as_matrix()) == pytest.approx(1)
    np.testing.assert_allclose(np.ptp(moved.apply(grid), axis=0), [3, 2, 1], atol=1e-5)
    np.testing.assert_allclose(moved.translation, 0, atol=1e-6)


# The map


@pytest.mark.parametrize("neighbours", [3, 4])
def test_gaussians_of_a_frame(neighbours: int) -> None:
    camera = Camera(10.0, 11.0, 4.5, 3.5, 9, 7)
    rng = np.random.default_rng(3)
    depth = rng.uniform(1, 2, (7, 9)).astype(np.float32)
    depth[2, 3] = depth[6, 8] = 0
    image = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    frame = Frame(camera, image=image, depth=depth)
    gaussians = gsplatloc_gaussians(frame, POSE, GsplatlocOptions(neighbours=neighbours))

    points = (twin.pixel_rays(camera) * depth[..., None])[depth > 0]
    squared = np.sum((points[:, None] - points[None]) ** 2, axis=-1)
    scales = np.sqrt(np.sort(squared, axis=1)[:, 1 : neighbours + 1].mean(axis=1))
    np.testing.assert_allclose(POSE.apply(gaussians.means_in_world), points, atol=1e-6)
    np.testing.assert_allclose(gaussians.scales, np.repeat(scales[:, None], 3, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(gaussians.quats_wxyz, np.tile([1, 0, 0, 0], (61, 1)))
    np.testing.assert_array_equal(gaussians.opacities, np.ones(61))
    np.testing.assert_array_equal(np.round(255 * gaussians.colors), image[depth > 0])

    faulty = gsplatloc_gaussians(frame, POSE, GsplatlocOptions(neighbours=neighbours, published_faults=True))
    fourth = np.sqrt((np.sort(squared, axis=1)[:, 1 : neighbours + 1] ** 2).mean(axis=1))
    np.testing.assert_allclose(faulty.scales[:61, 0], fourth, rtol=1e-5)
    np.testing.assert_allclose(faulty.means_in_world[61:], np.tile(POSE.inv().translation, (2, 1)), rtol=1e-6)
    np.testing.assert_array_equal(faulty.scales[61:], np.zeros((2, 3)))


def test_gaussians_need_depth() -> None:
    with pytest.raises(ValueError, match="must have depth"):
        gsplatloc_gaussians(Frame(CAMERA, image=np.zeros((36, 48, 3), np.uint8)), POSE)
    lonely = np.zeros((36, 48), np.float32)
    lonely[3, :3] = 1
    with pytest.raises(ValueError, match=r"more than 3 pixels with depth .* got 3"):
        gsplatloc_gaussians(Frame(CAMERA, depth=lonely), POSE)


# The search

SHORT = GsplatlocOptions(max_steps=150, min_steps=20, patience=40)


@pytest.fixture(scope="module")
def bumpy_map() -> Gaussians:
    return gsplatloc_gaussians(bumpy_frame(), POSE)


@pytest.fixture(scope="module")
def refined(bumpy_map: Gaussians) -> GsplatlocResult:
    return gsplatloc_refine(bumpy_map, bumpy_frame(), NEARBY * POSE, SHORT, threads=1)


def test_refinement_returns_the_best_pose_it_saw(bumpy_map: Gaussians, refined: GsplatlocResult) -> None:
    rendered = CpuRenderer(bumpy_map).depth(CAMERA, refined.cam_from_world).depth
    mask = rendered != 0
    assert refined.loss == pytest.approx(reference_loss(rendered, bumpy_depth() * mask), rel=1e-5)
    assert refined.overlap == mask.mean()
    assert refined.loss == refined.losses.min() < 0.9 * refined.start_loss
    assert refined.start_loss == refined.losses[0]
    assert refined.iterations == len(refined.losses)
    assert refined.reason == ""


def test_rerendered_query_hides_the_bias_of_expected_depth(bumpy_map: Gaussians, refined: GsplatlocResult) -> None:
    """With the query rendered like the map, the true pose has loss 0; with the measured depth it has not."""
    options = replace(SHORT, rerendered_query=True, final_rate=0.02)
    at_truth = gsplatloc_refine(bumpy_map, bumpy_frame(), POSE, replace(options, max_steps=1, min_steps=0), threads=1)
    assert at_truth.start_loss < 1e-6
    rerendered = gsplatloc_refine(bumpy_map, bumpy_frame(), NEARBY * POSE, options, threads=1)
    distance, angle = poses.pose_errors(rerendered.cam_from_world, POSE)
    assert distance < 5e-4 and angle < 0.03
    biased_distance, _ = poses.pose_errors(refined.cam_from_world, POSE)
    assert biased_distance > 3 * distance


def test_first_step_moves_every_unknown_by_its_rate(bumpy_map: Gaussians) -> None:
    """Adam's first step is the rate times the sign of the gradient, in the map's principal axes."""
    start = NEARBY * POSE
    seen = []
    options = GsplatlocOptions(max_steps=2, min_steps=0, patience=2)
    result = gsplatloc_refine(bumpy_map, bumpy_frame(), start, options, lambda step, loss: seen.append((step, loss)))
    assert seen == [(0, result.losses[0]), (1, result.losses[1])]
    assert result.losses[1] < result.losses[0]
    principal_from_world = principal_axes(bumpy_map.means_in_world)
    before, after = (principal_from_world * pose.inv() for pose in (start, result.cam_from_world))
    np.testing.assert_allclose(np.abs(after.translation - before.translation), 1e-3, rtol=1e-3)
    # The component of the step along the quaternion is lost when it is normalised.
    q0, q1 = (pose.rotation.as_quat(scalar_first=True) for pose in (before, after))
    step = q1 * np.sign(q0 @ q1) / abs(q0 @ q1) - q0
    assert np.linalg.norm(step) < 2 * 5e-4 * 1.001
    signs = np.array(np.meshgrid(*([-1, 1],) * 4)).reshape(4, -1).T * 5e-4
    stepped = Rotation.from_quat(q0 + signs, scalar_first=True)
    assert (stepped * after.rotation.inv()).magnitude().min() < 1e-6


def test_patience_counts_after_the_first_steps(bumpy_map: Gaussians) -> None:
    """At the true pose of a re-rendered query nothing can get better, so that only the patience runs."""
    options = GsplatlocOptions(rerendered_query=True, min_steps=7, patience=5)
    result = gsplatloc_refine(bumpy_map, bumpy_frame(), POSE, options, threads=1)
    assert result.iterations == 7 + 5 + 1
    assert result.losses.argmin() == 0
    np.testing.assert_array_equal(result.cam_from_world.as_matrix(), POSE.as_matrix())


def test_published_faults_forget_the_first_steps() -> None:
    """Weight decay drives the pose away from the truth, and the published search does not look back."""
    options = GsplatlocOptions(rerendered_query=True, published_faults=True, min_steps=7, patience=5)
    faulty_map = gsplatloc_gaussians(bumpy_frame(), POSE, options)
    result = gsplatloc_refine(faulty_map, bumpy_frame(), POSE, options, threads=1)
    assert result.losses[0] < 1e-6
    assert result.loss == result.losses[8:].min() > 10 * result.losses[0]


def test_missing_depth_of_the_query(bumpy_map: Gaussians) -> None:
    """A missing measurement is left out; as published, it counts as a surface at the camera."""
    frame = Frame(CAMERA, depth=with_gaps(bumpy_depth()))
    rendered = CpuRenderer(bumpy_map).depth(CAMERA, POSE).depth
    once = GsplatlocOptions(max_steps=1, min_steps=0)
    masked = gsplatloc_refine(bumpy_map, frame, POSE, once)
    assert masked.loss == pytest.approx(reference_loss(rendered * (frame.depth > 0), frame.depth), rel=1e-5)
    assert masked.overlap == 1 - 40 / (36 * 48)
    faulty = gsplatloc_refine(bumpy_map, frame, POSE, replace(once, published_faults=True))
    assert faulty.loss == pytest.approx(reference_loss(rendered, frame.depth), rel=1e-5)
    assert faulty.overlap == 1


def test_refinement_is_repeatable_even_after_an_interrupt(bumpy_map: Gaussians) -> None:
    options = replace(SHORT, max_steps=25)
    first = gsplatloc_refine(bumpy_map, bumpy_frame(), NEARBY * POSE, options)

    def interrupt(step: int, loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gsplatloc_refine(bumpy_map, bumpy_frame(), NEARBY * POSE, options, interrupt)
    again = gsplatloc_refine(bumpy_map, bumpy_frame(), NEARBY * POSE, options, threads=1)
    np.testing.assert_array_equal(first.losses, again.losses)


def test_no_pose_without_overlap(bumpy_map: Gaussians) -> None:
    turned = RigidTransform.from_rotation(Rotation.from_rotvec([0, np.pi, 0])) * POSE
    result = gsplatloc_refine(bumpy_map, bumpy_frame(), turned)
    assert result.cam_from_world is None
    assert "meets the map" in result.reason
    assert result.iterations == 0 and result.overlap == 0 and result.loss == np.inf
    nothing = gsplatloc_refine(bumpy_map.select(slice(0)), bumpy_frame(), POSE)
    assert nothing.cam_from_world is None


def test_refinement_needs_depth(bumpy_map: Gaussians) -> None:
    with pytest.raises(ValueError, match="must have depth"):
        gsplatloc_refine(bumpy_map, Frame(CAMERA, image=np.zeros((36, 48, 3), np.uint8)), POSE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"neighbours": 0},
        {"patience": 0},
        {"min_steps": -1},
        {"max_steps": 100},
        {"depth_weight": 1.1},
        {"quaternion_rate": 0.0},
        {"final_rate": 0.0},
    ],
)
def test_options_check_themselves(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="GsplatlocOptions needs"):
        GsplatlocOptions(**wrong)
