"""The rasteriser for training: kernels against plain torch in float64, and both against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.poses import exp
from posesplat.learned.rasterise import rasterise

WIDTH, HEIGHT = 24, 20
NAMES = ("means", "quats", "scales", "opacities", "channels", "pose")


def scene(dtype: torch.dtype, count: int = 30, views: int = 2) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    means = torch.rand(1, count, 3, generator=g) * torch.tensor([2.0, 2.0, 1.5]) + torch.tensor([-1.0, -1.0, 2.0])
    parts = [
        means,
        torch.randn(1, count, 4, generator=g),
        torch.rand(1, count, 3, generator=g) * 0.1 + 0.05,
        torch.rand(1, count, generator=g) * 0.8 + 0.1,
        torch.rand(1, count, 3, generator=g),
    ]
    pose = torch.eye(4).repeat(1, views, 1, 1)
    pose[:, 1, :3, 3] = torch.tensor([0.2, -0.1, 0.3])
    pose[:, 1, 0, 0] = pose[:, 1, 2, 2] = math.cos(0.2)
    pose[:, 1, 0, 2], pose[:, 1, 2, 0] = math.sin(0.2), -math.sin(0.2)
    lens = torch.tensor([[21.0, 0.0, 13.0], [0.0, 19.0, 9.5], [0.0, 0.0, 1.0]]).repeat(1, views, 1, 1)
    leaves = [part.to(dtype).requires_grad_() for part in (*parts, pose)]
    return [*leaves, lens.to(dtype)]


def objective(parts: list[torch.Tensor], backend: str) -> torch.Tensor:
    drawn = rasterise(*parts, WIDTH, HEIGHT, backend=backend)
    g = torch.Generator().manual_seed(9)
    weights = torch.randn(1, 2, HEIGHT, WIDTH, 5, generator=g).to(parts[0].dtype)
    images = torch.cat([drawn.channels, drawn.depth[..., None], drawn.alpha[..., None]], dim=-1)
    return (images * weights).sum()


def along_rigid_motions(gradient: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """The part of a matrix gradient that moves the pose from the left: what rotations and translations would see."""
    by = gradient[..., :3, :3] @ pose[..., :3, :3].mT
    turn = torch.stack(
        [by[..., 2, 1] - by[..., 1, 2], by[..., 0, 2] - by[..., 2, 0], by[..., 1, 0] - by[..., 0, 1]], -1
    )
    moved = gradient[..., :3, 3]
    return torch.cat([turn + torch.linalg.cross(pose[..., :3, 3], moved), moved], dim=-1)


def test_kernels_draw_and_differentiate_as_plain_torch_in_double_precision() -> None:
    ours, plain = scene(torch.float32), scene(torch.float64)
    drawn = rasterise(*ours, WIDTH, HEIGHT, backend="kernels")
    twin = rasterise(*plain, WIDTH, HEIGHT, backend="plain")
    for name in ("channels", "depth", "alpha"):
        gap = (getattr(drawn, name) - getattr(twin, name)).abs().max()
        assert gap < 1e-3, name
    objective(ours, "kernels").backward()
    objective(plain, "plain").backward()
    for name, mine, other in zip(NAMES, ours, plain, strict=False):
        found, expected = mine.grad.double(), other.grad
        if name == "pose":
            found, expected = (along_rigid_motions(by, other.detach()) for by in (found, expected))
        assert (found - expected).norm() < 1e-3 * expected.norm(), name


@pytest.mark.parametrize("index", range(5))
def test_gradients_of_gaussians_are_those_of_finite_differences(index: int) -> None:
    ours = scene(torch.float32)
    objective(ours, "kernels").backward()
    g = torch.Generator().manual_seed(index)
    direction = torch.randn(ours[index].shape, generator=g, dtype=torch.float64)
    step = 1e-6
    values = []
    for sign in (1, -1):
        moved = [part.detach().double() for part in ours]
        moved[index] = moved[index] + sign * step * direction
        values.append(float(objective(moved, "plain")))
    expected = (values[0] - values[1]) / (2 * step)
    found = float((ours[index].grad.double() * direction).sum())
    assert found == pytest.approx(expected, rel=2e-3, abs=2e-3 * float(ours[index].grad.norm()))


def test_gradient_of_the_pose_is_that_of_finite_motions() -> None:
    ours = scene(torch.float32)
    objective(ours, "kernels").backward()
    found = along_rigid_motions(ours[5].grad, ours[5].detach())[0, 1]
    for axis in range(6):
        values = []
        for sign in (1, -1):
            moved = [part.detach().double() for part in ours]
            tangent = np.zeros(6)
            tangent[axis] = sign * 1e-6
            pose = exp(tangent) * RigidTransform.from_matrix(moved[5][0, 1].numpy())
            moved[5][0, 1] = torch.from_numpy(pose.as_matrix())
            values.append(float(objective(moved, "plain")))
        expected = (values[0] - values[1]) / 2e-6
        assert float(found[axis]) == pytest.approx(expected, rel=5e-3, abs=5e-3 * float(found.norm()))


def test_moving_the_world_and_the_cameras_with_it_changes_nothing() -> None:
    parts = [part.detach() for part in scene(torch.float64)]
    world = exp(np.array([0.4, -0.3, 0.2, 1.0, -2.0, 0.5]))
    turn, shift = torch.from_numpy(world.rotation.as_matrix()), torch.from_numpy(world.translation)
    w, x, y, z = torch.from_numpy(world.rotation.as_quat(scalar_first=True))
    left = torch.stack([torch.stack(row) for row in ((w, -x, -y, -z), (x, w, -z, y), (y, z, w, -x), (z, -y, x, w))])
    moved = [parts[0] @ turn.T + shift, parts[1] @ left.T, *parts[2:5], parts[5], parts[6]]
    moved[5] = parts[5] @ torch.from_numpy(world.inv().as_matrix())
    before, after = (rasterise(*group, WIDTH, HEIGHT, backend="kernels") for group in (parts, moved))
    assert (before.channels - after.channels).abs().max() < 1e-4


def test_a_backend_that_does_not_fit_the_device_is_refused() -> None:
    with pytest.raises(ValueError, match="CUDA tensors"):
        rasterise(*scene(torch.float32), WIDTH, HEIGHT, backend="gsplat")
