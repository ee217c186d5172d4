"""Sums against a view that was rendered once: the float64 twin on the same arrays, and the rendered sums."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from kernels import twin
from kernels.checks import assert_sums_agree, slopes
from kernels.clouds import CAMERA, random_cloud, wall, wall_depth, with_holes
from posesplat import _kernels
from posesplat.geometry.cameras import Camera
from posesplat.kernels.splatting import FrozenView, RobustTerm, View, lookup, normal_equations, render

VIEW_POSE = RigidTransform.from_exp_coords([0.02, -0.03, 0.01, 0.01, -0.02, 0.03])
QUERY_POSE = RigidTransform.from_exp_coords([-0.03, 0.05, 0.08, 0.05, 0.07, -0.06]) * VIEW_POSE
QUERY_CAMERA = Camera(75.0, 72.0, 42.0, 28.0, 83, 59)
DEPTH_TERM, CHANNEL_TERM = RobustTerm(0.05, 0.1, 1e-3), RobustTerm(0.3, 0.0, 1e-3)


def rough_view(cloud: twin.Cloud | None = None) -> View:
    """A rendered wall with holes in its alpha and its gate."""
    view = render((cloud or wall(CAMERA)).scene(), CAMERA, VIEW_POSE, planes=True, channels=True)
    rng = np.random.default_rng(2)
    assert view.variance is not None
    view.alpha[rng.uniform(size=view.alpha.shape) < 0.03] = 0.2
    view.variance[rng.uniform(size=view.alpha.shape) < 0.03] = 0.1
    return view


def as_twin(view: View) -> twin.Frozen:
    images = (view.alpha, view.planes, view.variance, view.channels)
    return twin.Frozen(view.camera, view.cam_from_world, *(np.asarray(i, dtype=np.float64) for i in images))


def query_images(camera: Camera, pose: RigidTransform, channels: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    depth = with_holes(wall_depth(camera, pose) * rng.uniform(0.9, 1.1, (camera.height, camera.width)))
    image = rng.uniform(size=(camera.height, camera.width, channels))
    gradients = rng.normal(size=(*image.shape, 2))
    return depth.astype(np.float32), image.astype(np.float32), gradients.astype(np.float32)


@pytest.mark.parametrize("step", [1, 2, 3, 16])
def test_depth_term(instruction_set: str, step: int) -> None:
    view = rough_view()
    depth, _, _ = query_images(QUERY_CAMERA, QUERY_POSE)
    actual, nothing = lookup(FrozenView(view), QUERY_CAMERA, QUERY_POSE, depth=depth, depth_term=DEPTH_TERM, step=step)
    expected = twin.lookup_depth_sums(
        as_twin(view), QUERY_CAMERA, QUERY_POSE, depth.astype(float), DEPTH_TERM, 0.5, step
    )
    if step < 16:
        assert 0 < expected.inliers < expected.covered < expected.observed
        assert_sums_agree(actual, expected)
    else:
        assert (actual.observed, actual.covered) == (expected.observed, expected.covered)
    assert (nothing.observed, nothing.cost) == (0, 0)


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("occlusion", [0.0, 0.1])
def test_channel_term(instruction_set: str, step: int, occlusion: float) -> None:
    view = rough_view()
    depth, image, gradients = query_images(QUERY_CAMERA, QUERY_POSE)
    depth[10:30, 20:50] *= 0.8  # something in front, which hides the wall
    depth = np.nan_to_num(depth, nan=0.0, posinf=0.0)
    nothing, actual = lookup(
        FrozenView(view), QUERY_CAMERA, QUERY_POSE, depth=depth, channels=image, gradients=gradients,
        channel_term=CHANNEL_TERM, gain=1.2, bias=-0.1, occlusion=occlusion, step=step, use_depth=False,
    )  # fmt: skip
    expected = twin.lookup_channel_sums(
        as_twin(view), QUERY_CAMERA, QUERY_POSE, image.astype(float), gradients.astype(float), CHANNEL_TERM,
        1.2, -0.1, 0.5, step, depth.astype(float), occlusion,
    )  # fmt: skip
    assert 0 < expected.inliers < expected.covered < expected.observed
    assert_sums_agree(actual, expected)
    assert (nothing.observed, nothing.cost) == (0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 1), (33, 2), (2, 65)])
def test_small_images(instruction_set: str, size: tuple[int, int]) -> None:
    """One pixel across leaves nothing to interpolate: all missing. Otherwise the twin's sums."""
    camera = Camera(40.0, 40.0, 0.5 * size[0], 0.5 * size[1], *size)
    cloud = wall(camera)
    view = render(cloud.scene(), camera, RigidTransform.identity(), planes=True, channels=True)
    pose = RigidTransform.from_exp_coords([0, 0, 0, 1e-3, 2e-3, -0.01])
    depth, image, gradients = query_images(camera, pose)
    actual = lookup(
        FrozenView(view), camera, pose, depth=depth, channels=image, gradients=gradients,
        depth_term=DEPTH_TERM, channel_term=CHANNEL_TERM, occlusion=0,
    )  # fmt: skip
    arguments = (as_twin(view), camera, pose)
    expected = (
        twin.lookup_depth_sums(*arguments, depth.astype(float), DEPTH_TERM, 0.5),
        twin.lookup_channel_sums(*arguments, image.astype(float), gradients.astype(float), CHANNEL_TERM, 1, 0, 0.5),
    )
    for sums, reference in zip(actual, expected, strict=True):
        assert (sums.observed, sums.covered) == (reference.observed, reference.covered)
        assert sums.cost == pytest.approx(reference.cost, rel=1e-4)
        assert sums.block_gradients is not None
        assert (sums.covered > 0) == (min(size) > 1)


def test_at_its_own_pose_equals_the_rendered_sums(instruction_set: str) -> None:
    """The same pixels meet the same planes. The outermost ones have no four neighbours, so they are left out."""
    cloud = wall(CAMERA)
    view = render(cloud.scene(), CAMERA, VIEW_POSE, planes=True, channels=True)
    depth = np.zeros((48, 64), dtype=np.float32)
    depth[1:-1, 1:-1] = query_images(CAMERA, VIEW_POSE)[0][1:-1, 1:-1]
    looked_up, _ = lookup(FrozenView(view), CAMERA, VIEW_POSE, depth=depth, depth_term=DEPTH_TERM)
    rendered, _ = normal_equations(cloud.scene(), CAMERA, VIEW_POSE, depth=depth, depth_term=DEPTH_TERM)
    assert looked_up.covered > 1500
    reference = twin.Sums(*(getattr(rendered, name) for name in twin.Sums.__dataclass_fields__))
    assert_sums_agree(looked_up, reference)


def test_channels_at_its_own_pose_cost_what_rendering_costs(instruction_set: str) -> None:
    cloud = wall(CAMERA)
    view = render(cloud.scene(), CAMERA, VIEW_POSE, planes=True, channels=True)
    image = twin.render(cloud, CAMERA, QUERY_POSE).channels.astype(np.float32)
    _, looked_up = lookup(
        FrozenView(view), CAMERA, VIEW_POSE, channels=image, gradients=np.zeros((48, 64, 2, 2), np.float32),
        channel_term=CHANNEL_TERM,
    )  # fmt: skip
    _, rendered = normal_equations(cloud.scene(), CAMERA, VIEW_POSE, channels=image, channel_term=CHANNEL_TERM)
    border = looked_up.observed - looked_up.covered
    assert 0 < border <= 2 * (64 * 48 - 62 * 46)
    inner_cost = looked_up.cost - 0.5 * border
    assert rendered.cost - 0.5 * border <= inner_cost <= rendered.cost


def test_gradients_are_the_slopes_of_the_cost(instruction_set: str) -> None:
    """Smooth images, the view's rim outside the query: differences of the kernel's own cost, in float32."""
    camera = Camera(60.0, 62.0, 20.0, 15.0, 40, 30)
    wide = Camera(60.0, 62.0, 60.0, 50.0, 120, 100)
    cloud = wall(wide)
    view = FrozenView(render(cloud.scene(), wide, RigidTransform.identity(), planes=True, channels=True))
    depth = wall_depth(camera, RigidTransform.identity()).astype(np.float32)
    # The Jacobian is taken at the plane, not at the point: they differ by residual / depth, so the residual is small.
    close = RigidTransform.from_exp_coords([5e-4, -3e-4, 2e-4, 1e-3, 2e-3, 1e-3])
    term = RobustTerm(0.005, 0.0, 1e-3)

    def depth_cost(tangent: np.ndarray) -> float:
        pose = RigidTransform.from_exp_coords(tangent) * close
        return lookup(view, camera, pose, depth=depth, depth_term=term)[0].cost

    sums, _ = lookup(view, camera, close, depth=depth, depth_term=term)
    assert sums.covered == sums.observed
    slope = slopes(depth_cost, 6, 1e-4)
    np.testing.assert_allclose(sums.gradient, slope, atol=2e-3 * np.abs(slope).max())

    # The query is the larger image here, so that every view point stays inside it.
    u, v = np.meshgrid(np.arange(120) + 0.5, np.arange(100) + 0.5)
    image = np.stack([np.sin(0.1 * u + 0.05 * v), np.cos(0.08 * v - 0.06 * u)], axis=-1)
    by_u = np.stack([0.1 * np.cos(0.1 * u + 0.05 * v), 0.06 * np.sin(0.08 * v - 0.06 * u)], axis=-1)
    by_v = np.stack([0.05 * np.cos(0.1 * u + 0.05 * v), -0.08 * np.sin(0.08 * v - 0.06 * u)], axis=-1)
    gradients = np.stack([by_u, by_v], axis=-1).astype(np.float32)
    small = FrozenView(render(cloud.scene(), camera, RigidTransform.identity(), planes=True, channels=True))
    channel_term = RobustTerm(1.0, 0.0, 1e-3)

    def channel_sums(unknowns: np.ndarray) -> object:
        pose = RigidTransform.from_exp_coords(unknowns[:6]) * VIEW_POSE
        return lookup(
            small, wide, pose, channels=image.astype(np.float32), gradients=gradients, channel_term=channel_term,
            gain=1.1 + unknowns[6], bias=0.05 + unknowns[7],
        )[1]  # fmt: skip

    sums = channel_sums(np.zeros(8))
    assert sums.covered == sums.observed == 2 * 40 * 30
    slope = slopes(lambda unknowns: channel_sums(unknowns).cost, 8, 2e-3)
    np.testing.assert_allclose(sums.gradient, slope, atol=1e-2 * np.abs(slope).max())


def test_sums_over_blocks_add_up() -> None:
    view = rough_view()
    depth, image, gradients = query_images(QUERY_CAMERA, QUERY_POSE)
    depth_sums, channel_sums = lookup(
        FrozenView(view), QUERY_CAMERA, QUERY_POSE, depth=depth, channels=image, gradients=gradients, occlusion=0
    )
    for sums, blocks in ((depth_sums, (4, 6)), (channel_sums, (3, 4))):
        assert sums.block_gradients.shape == (*blocks, len(sums.gradient))
        np.testing.assert_allclose(sums.block_gradients.sum(axis=(0, 1)), sums.gradient, rtol=1e-12)
        upper = sums.hessian[np.triu_indices(len(sums.gradient))]
        np.testing.assert_allclose(sums.block_hessians.sum(axis=(0, 1)), upper, rtol=1e-12)
        assert np.abs(sums.block_hessians).sum(axis=2).min() > 0


def test_blocks_are_sixteen_pixels() -> None:
    """Observations in one block of the image change its sums only."""
    depth = np.zeros((59, 83), dtype=np.float32)
    depth[34:44, 66:76] = wall_depth(QUERY_CAMERA, QUERY_POSE)[34:44, 66:76] * 1.01
    sums, _ = lookup(FrozenView(render(wall(CAMERA, margin=60).scene(), Camera(60, 62, 61, 65, 128, 128), VIEW_POSE,
                                       planes=True)), QUERY_CAMERA, QUERY_POSE, depth=depth)  # fmt: skip
    assert sums.covered == 100
    np.testing.assert_array_equal(np.argwhere(np.abs(sums.block_gradients).sum(axis=2)), [[2, 4]])
    np.testing.assert_array_equal(np.argwhere(np.abs(sums.block_hessians).sum(axis=2)), [[2, 4]])


def test_query_centre_in_the_plane_stays_finite() -> None:
    """Seen from within its own plane a surface has infinite inverse depth: such points count as missing."""
    camera = Camera(40.0, 40.0, 8.0, 8.0, 16, 16)
    planes = np.tile(np.float32([0, 0, 0.5]), (16, 16, 1))
    full = np.ones((16, 16), dtype=np.float32)
    view = FrozenView(View(camera, RigidTransform.identity(), full, planes=planes, variance=0 * full))
    pose = RigidTransform.from_components([0, 0, -2], RigidTransform.identity().rotation)
    sums, _ = lookup(view, camera, pose, depth=0.5 * full)
    assert np.isfinite(sums.cost) and np.isfinite(sums.hessian).all()
    assert sums.covered == 0


def test_the_view_keeps_its_arrays() -> None:
    """Also where the arrays had to be converted, so that nobody else holds what the kernel reads."""
    view = rough_view()
    depth, _, _ = query_images(QUERY_CAMERA, QUERY_POSE)
    rotation = tuple(VIEW_POSE.rotation.as_matrix().ravel())
    centre = tuple(VIEW_POSE.inv().translation)
    camera = _kernels.Camera(60.0, 62.0, 31.0, 25.0, 64, 48)
    images = [np.asfortranarray(image, dtype=np.float64) for image in (view.planes, view.variance, view.alpha)]
    handle = _kernels.RenderedView(camera, rotation, centre, *images, None)
    del images
    gc.collect()
    garbage = [np.full((48, 64, 3), np.nan, dtype=np.float32) for _ in range(50)]
    frozen = FrozenView(view)
    expected, _ = lookup(frozen, QUERY_CAMERA, QUERY_POSE, depth=depth)
    frozen.handle = handle
    actual, _ = lookup(frozen, QUERY_CAMERA, QUERY_POSE, depth=depth)
    assert actual.cost == expected.cost and len(garbage) == 50


def test_a_view_without_planes_is_refused() -> None:
    with pytest.raises(ValueError, match="planes=True"):
        FrozenView(render(random_cloud(5).scene(), CAMERA, VIEW_POSE))
