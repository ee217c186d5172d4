"""The network: who sees whom, which order counts, which sizes it takes, and that what is saved is what is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_networks import FORMS, SMALL, network, patch, views

from posesplat.learned.attention import Attention, rotary_tables
from posesplat.learned.config import NetworkConfig
from posesplat.learned.decoder import visibility
from posesplat.learned.network import SplatNetwork
from posesplat.learned.weights import load_network, save_weights, weights_of_checkpoint

EACH = pytest.mark.parametrize("config", FORMS.values(), ids=FORMS)


@EACH
def test_targets_change_nothing_that_is_said_of_the_context(config: NetworkConfig) -> None:
    net, side = network(config), patch(config)
    images, lenses = views(4, 2 * side, 3 * side)
    before = net(images, 2, lenses)
    changed = images.clone()
    changed[:, 2:] = 1 - changed[:, 2:]
    after = net(changed, 2, lenses)
    assert torch.equal(before.points, after.points)
    assert torch.equal(before.splats.harmonics, after.splats.harmonics)
    if config.form != "spfsplatv2-l":  # whose published camera head lets all poses see each other
        assert torch.equal(before.cam_from_first[:, :2], after.cam_from_first[:, :2])
    assert not torch.equal(before.head_cam_from_first[:, 2:], after.head_cam_from_first[:, 2:])


@EACH
def test_no_gradient_reaches_context_from_the_pose_of_targets_images(config: NetworkConfig) -> None:
    """By automatic differentiation: Gaussians have no derivative for a target's pixels, and some for the context's."""
    net, side = network(config), patch(config)
    images, lenses = views(3, 2 * side, 3 * side)
    images.requires_grad_()
    prediction = net(images, 2, lenses)
    (prediction.points.sum() + prediction.splats.opacities.sum()).backward()
    assert images.grad is not None
    assert float(images.grad[:, 2].abs().max()) == 0
    assert float(images.grad[:, :2].abs().amax(dim=(0, 2, 3, 4)).min()) > 0


def test_visibility_is_the_table_of_the_paper() -> None:
    seen = visibility(2, 4, 1, torch.device("cpu")).int().tolist()
    assert seen == [[0, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 1], [1, 1, 1, 0]]


@EACH
def test_order_of_the_views_other_than_the_first_does_not_matter(config: NetworkConfig) -> None:
    net, side = network(config), patch(config)
    images, lenses = views(4, 2 * side, 3 * side)
    lenses[:, 2, 0, 0] = 0.9
    order = [0, 2, 1, 3]
    one, two = net(images, 3, lenses), net(images[:, order], 3, lenses[:, order])
    there, again = one.cam_from_first[:, order], two.cam_from_first
    if (
        config.form == "spfsplat"
    ):  # the unit is the last context view's baseline, for targets as seen together with them
        there, again = there[:, :3], again[:, :3]
        for poses in (there, again):
            poses[..., :3, 3] /= poses[:, 1:2, :3, 3].norm(dim=-1, keepdim=True)
    assert torch.allclose(there, again, atol=2e-4)
    assert torch.allclose(one.points[:, [0, 2, 1]], two.points, atol=2e-3)


@EACH
@pytest.mark.parametrize(("count", "context", "rows", "columns"), [(2, 2, 2, 3), (10, 6, 1, 2)])
def test_any_number_of_views_and_any_size_of_whole_patches(
    config: NetworkConfig, count: int, context: int, rows: int, columns: int
) -> None:
    height, width = rows * patch(config), columns * patch(config)
    images, lenses = views(count, height, width, batch=2)
    with torch.no_grad():
        found = network(config)(images, context, lenses)
    assert found.points.shape == (2, context, height, width, 3)
    assert found.splats.means.shape == (2, context * height * width, 3)
    assert torch.isfinite(found.splats.means).all()
    turn = found.cam_from_first[..., :3, :3]
    assert torch.allclose(turn @ turn.mT, torch.eye(3).expand_as(turn), atol=1e-5)
    assert torch.allclose(torch.linalg.det(turn), torch.ones(2, count), atol=1e-5)
    assert torch.equal(found.cam_from_first[:, 0], torch.eye(4).expand(2, 4, 4))


def test_points_lie_on_the_rays_of_their_pixels() -> None:
    images, lenses = views(2, batch=1)
    found = network(SMALL)(images, 2, lenses)
    in_cam = found.points[0, 1].flatten(0, 1) @ found.cam_from_first[0, 1, :3, :3].T + found.cam_from_first[0, 1, :3, 3]
    u = (in_cam[:, 0] / in_cam[:, 2] * lenses[0, 1, 0, 0] + lenses[0, 1, 0, 2]) * 48
    v = (in_cam[:, 1] / in_cam[:, 2] * lenses[0, 1, 1, 1] + lenses[0, 1, 1, 2]) * 32
    rows, columns = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(48) + 0.5, indexing="ij")
    assert torch.allclose(u, columns.flatten(), atol=2e-3)
    assert torch.allclose(v, rows.flatten(), atol=2e-3)


def test_published_sizes_and_unknown_intrinsics() -> None:
    large = NetworkConfig.named("large")
    assert (large.encoder_depth, large.encoder_width, large.decoder_depth, large.decoder_width) == (24, 1024, 12, 768)
    assert large.gaussian_channels == 83
    assert {NetworkConfig.named(size).form for size in ("base", "large")} == {"spfsplatv2"}
    assert NetworkConfig.named("large-v1").form == "spfsplat"
    assert NetworkConfig.named("large-vggt").form == "spfsplatv2-l"
    for name in FORMS.keys() - {"tiny"}:
        images, _ = views(2, patch(FORMS[name]), 2 * patch(FORMS[name]))
        assert torch.isfinite(network(FORMS[name])(images, 2).points).all()
    images, _ = views(2)
    with pytest.raises(ValueError, match="needs the intrinsics"):
        network(SMALL)(images, 2)


def test_wrong_sizes_are_named() -> None:
    images, lenses = views(2, 30, 40)
    with pytest.raises(ValueError, match="multiples of the patch of 8 pixels; got 40 x 30"):
        network(SMALL)(images, 2, lenses)
    images, lenses = views(3)
    with pytest.raises(ValueError, match="context=1"):
        network(SMALL)(images, 1, lenses)
    with pytest.raises(ValueError, match="must be a multiple of 4 x encoder_heads"):
        replace(SMALL, encoder_width=36)
    with pytest.raises(ValueError, match=r"form spfsplatv2 is as published and has .*patch_px=16; got .*patch_px=8"):
        replace(SMALL, form="spfsplatv2")


def test_rotary_attention_sees_offsets_only() -> None:
    torch.manual_seed(0)
    attention = Attention(16, 2)
    tokens = torch.randn(1, 5, 16)
    places = torch.rand(5, 2) * 6
    one = attention(tokens, tokens, *[rotary_tables(places, 8)] * 2)
    two = attention(tokens, tokens, *[rotary_tables(places + torch.tensor([11.0, -4.0]), 8)] * 2)
    three = attention(tokens, tokens, *[rotary_tables(places * 2, 8)] * 2)
    assert torch.allclose(one, two, atol=1e-5)
    assert not torch.allclose(one, three, atol=1e-3)


def test_weights_come_back_as_they_were_saved_in_half_precision(tmp_path: Path) -> None:
    from safetensors import safe_open

    net = network(SMALL)
    save_weights(net, tmp_path / "w.safetensors", {"seed": "0"})
    again = load_network(tmp_path / "w.safetensors")
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float()), name
    assert again.config == SMALL
    with safe_open(str(tmp_path / "w.safetensors"), framework="pt") as file:
        assert file.metadata()["seed"] == "0"
        assert json.loads(file.metadata()["config"])["patch_px"] == 8


def test_weights_that_are_not_there_or_not_ours_are_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError, match="posesplat train"):
        load_network(tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="must be weights of a posesplat network"):
        load_network(tmp_path / "other.safetensors")


def test_network_of_a_checkpoint(tmp_path: Path) -> None:
    net = network(SMALL)
    state = {f"network.{name}": value for name, value in net.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "c.ckpt")
    SplatNetwork(SMALL).load_state_dict(weights_of_checkpoint(tmp_path / "c.ckpt"))
