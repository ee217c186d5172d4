"""Losses against closed forms, and the harmonics against scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from small_networks import FORMS, network, patch, views

from posesplat.learned.harmonics import sh_basis
from posesplat.learned.losses import dyntanh, geometry_losses, rendered_targets, reprojection_loss
from posesplat.learned.matching import cell_places

LENS = torch.tensor([[0.8, 0.0, 0.5], [0.0, 0.8, 0.5], [0.0, 0.0, 1.0]])


def on_pixels(height: int = 8, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Points at depth 2 on the rays of the pixel centres, and the centres."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    places = torch.stack([columns / width, rows / height], -1).reshape(1, 1, -1, 2)
    points = torch.cat([2 * (places - 0.5) / 0.8, torch.full_like(places[..., :1], 2.0)], -1)
    return points, places


def test_dyntanh_is_linear_near_zero_and_saturates_at_its_width() -> None:
    errors = torch.tensor([0.01, 1e6])
    assert dyntanh(errors, 0.0).tolist() == pytest.approx([0.01, 51.0], rel=1e-5)
    assert dyntanh(errors, 1.0).tolist() == pytest.approx([math.tanh(0.01), 1.0], rel=1e-5)
    assert float(dyntanh(errors[1:], 0.6)[0]) == pytest.approx(50 * 0.8 + 1)


def test_points_on_the_centres_of_their_pixels_have_no_reprojection_error() -> None:
    points, places = on_pixels()
    assert torch.allclose(places[0, 0], cell_places(8, 8, torch.device("cpu")))
    pose = torch.eye(4)[None, None]
    assert float(reprojection_loss(points, pose, LENS[None, None], places, (8, 8), 0.0)) == pytest.approx(0, abs=2e-4)
    # 0.1 sideways at depth 2 is 0.1 / 2 x 0.8 x 8 = 0.32 pixels.
    pose[..., 0, 3] = 0.1
    found = float(reprojection_loss(points, pose, LENS[None, None], places, (8, 8), 0.0))
    assert found == pytest.approx(51 * math.tanh(0.32 / 51), rel=1e-4)


def test_errors_beyond_a_thousand_pixels_are_dropped() -> None:
    points, places = on_pixels()
    points[0, 0, 0] = torch.tensor([1e5, 0.0, 1.0])
    found = reprojection_loss(points, torch.eye(4)[None, None], LENS[None, None], places, (8, 8), 0.0)
    assert float(found) == pytest.approx(0, abs=2e-4)


def test_reprojection_teaches_the_pose_towards_the_truth() -> None:
    """Gradient descent on the pose alone brings it to where the points lie on their pixels."""
    points, places = on_pixels()
    shift = torch.tensor([0.3, -0.2, 0.1], requires_grad=True)
    optimiser = torch.optim.Adam([shift], lr=0.02)
    for _ in range(150):
        pose = torch.eye(4)
        pose = torch.cat([torch.cat([pose[:3, :3], shift[:, None]], 1), pose[3:]])[None, None]
        loss = reprojection_loss(points, pose, LENS[None, None], places, (8, 8), 0.0).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(shift.detach().norm()) < 0.05


@pytest.mark.parametrize("config", FORMS.values(), ids=FORMS)
def test_rendering_and_geometry_reach_every_part_of_the_network(config: object) -> None:
    from posesplat.learned.config import NetworkConfig
    from posesplat.learned.matching import warp_loss

    assert isinstance(config, NetworkConfig)
    net = network(config).train()
    side = patch(config)
    images, lenses = views(3, side, 2 * side)
    prediction = net(images, 2, lenses)
    drawn, alpha = rendered_targets(prediction, lenses, 2, side, 2 * side)
    assert drawn.shape == (1, 1, side, 2 * side, 3)
    assert float(alpha.min()) >= 0 and float(alpha.max()) <= 1
    total = (drawn.movedim(-1, 2) - images[:, 2:]).square().mean()
    total = total + sum(geometry_losses(prediction, lenses, 2, 0.0).values())
    if net.descriptors is not None:
        total = total + warp_loss(net.descriptors, 2 * images[:, 0] - 1, torch.Generator().manual_seed(0))
    total.backward()
    without = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.abs().max() > 0]
    # A shift of all keys, or of a softmax's scores, moves nothing; those gradients may be zero in exact arithmetic.
    # The last correction of a pose in SPFSplatV2-L starts from the one before as from a given number.
    assert without == (["published.pose_head.no_pose"] if config.form == "spfsplatv2-l" else [])


def test_harmonics_are_scipys_real_ones() -> None:
    directions = np.random.default_rng(0).normal(size=(50, 3))
    x, y, z = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).T
    polar, azimuth = np.arccos(z), np.arctan2(y, x)
    columns = []
    for degree in range(5):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), polar, azimuth)
            if order == 0:
                columns.append(value.real)
            else:
                columns.append(math.sqrt(2) * (value.imag if order < 0 else value.real))
    found = sh_basis(torch.from_numpy(directions), 25).numpy()
    # scipy's harmonics carry the Condon-Shortley sign (-1)^m, as 3DGS's table does.
    assert np.allclose(found, np.stack(columns, axis=1), atol=1e-6)
