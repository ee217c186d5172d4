"""Depth Anything 3: exact poses through a stand-in network, and a small random one through the real loading path."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.providers.multi_view import da3
from posesplat.providers.multi_view.da3 import Da3Options, Da3Poses, Da3Views, consistent_shares, prepared
from posesplat.providers.multi_view.open import open_multi_view

CAMERA = Camera.from_fov(60.0, 70, 56)
WALL_M = 3.0


def folder_with(place: Path, record: dict[str, object]) -> Path:
    (place / "config.json").write_text(json.dumps(record))
    (place / "model.safetensors").write_bytes(b"")
    return place


def wall_views(poses: list[RigidTransform]) -> Da3Views:
    """Depths of a wall at z = 3, as a perfect network would tell them."""
    depths = []
    for pose in poses:
        rays = CAMERA.rays().reshape(-1, 3).astype(np.float64)
        inverse = pose.inv()
        along = inverse.rotation.apply(rays)
        depths.append(((WALL_M - inverse.translation[2]) / along[:, 2]).reshape(CAMERA.height, CAMERA.width))
    return Da3Views(tuple(poses), np.stack([CAMERA.matrix] * len(poses)), np.array(depths, dtype=np.float32))


POSES = [
    RigidTransform.from_components([0.2, 0.0, 0.1], Rotation.from_euler("y", 5.0, degrees=True)),
    RigidTransform.from_components([-0.3, 0.1, 0.0], Rotation.from_euler("y", -9.0, degrees=True)),
    RigidTransform.from_components([0.0, 0.0, 0.2], Rotation.from_euler("x", 3.0, degrees=True)),
]


def provider(place: Path, monkeypatch: pytest.MonkeyPatch, views: Da3Views) -> Da3Poses:
    monkeypatch.setattr(da3, "find_spec", lambda _: object())
    found = Da3Poses(str(folder_with(place, {"model_name": "da3-small"})))
    monkeypatch.setattr(found, "views", lambda images: views)
    return found


def frames(count: int) -> list[Frame]:
    return [Frame(CAMERA, np.zeros((56, 70, 3), np.uint8), name=f"f{k}") for k in range(count)]


def test_poses_are_relative_to_the_first_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    (posed,) = provider(tmp_path, monkeypatch, wall_views(POSES)).pose_subsets(
        frames(3), [(0, 2, 1)], lambda: told.append(1)
    )
    assert told == [1] and posed.trajectory.names == ("f0", "f2", "f1")
    for estimate, pose in zip(posed.trajectory, POSES, strict=True):
        assert np.allclose(estimate.cam_from_world.as_matrix(), (pose * POSES[0].inv()).as_matrix(), atol=1e-12)
    assert posed.translation_observed == (False, True, True)


def test_what_is_no_pose_or_agrees_with_nothing_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = wall_views(POSES)
    depths = views.depths.copy()
    depths[1] *= 2.0
    (posed,) = provider(tmp_path, monkeypatch, Da3Views(views.cam_from_world, views.intrinsics, depths)).pose_subsets(
        frames(3), [(0, 1, 2)]
    )
    assert [one.success for one in posed.trajectory] == [True, False, True]
    assert "0 % of the predicted depths agree" in posed.trajectory[1].reason
    assert da3._rigid(np.full((3, 4), np.nan)) is None
    assert da3._rigid(np.diag([1.0, 1.0, -1.0, 0.0])[:3]) is None
    lost = Da3Views((None, *POSES[1:]), views.intrinsics, views.depths)
    (posed,) = provider(tmp_path, monkeypatch, lost).pose_subsets(frames(3), [(0, 1, 2)])
    assert not posed.trajectory.posed.any() and "finite" in posed.trajectory[0].reason


def test_shares_of_depths_that_agree_by_hand() -> None:
    still = [RigidTransform.identity(), RigidTransform.identity()]
    assert consistent_shares(wall_views(still), 0.01) == [1.0, 1.0]
    aside = [RigidTransform.identity(), RigidTransform.from_translation([-0.5 * WALL_M * 70 / CAMERA.fx, 0.0, 0.0])]
    # Half of the wall that the first one sees lies in the second one's image.
    assert consistent_shares(wall_views(aside), 0.01)[0] == pytest.approx(0.5, abs=0.06)
    away = [RigidTransform.identity(), RigidTransform.from_rotation(Rotation.from_euler("y", 180.0, degrees=True))]
    views = wall_views(still)
    assert consistent_shares(Da3Views(tuple(away), views.intrinsics, views.depths), 0.01) == [0.0, 0.0]
    assert consistent_shares(Da3Views((None, still[1]), views.intrinsics, views.depths), 0.01) == [0.0, 0.0]


def test_images_are_prepared_as_the_network_was_trained() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, size=(56, 70, 3)).astype(np.uint8)
    (kept,) = prepared([image], 70)
    expected = (image / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert kept.transpose(1, 2, 0) == pytest.approx(expected, abs=1e-5)
    large = cv2.resize(image, (280, 224), interpolation=cv2.INTER_NEAREST)
    assert prepared([large], 70)[0] == pytest.approx(kept, abs=0.02)
    both = prepared([image, rng.integers(0, 255, size=(70, 56, 3)).astype(np.uint8)], 70)
    assert both.shape == (2, 3, 56, 56)
    # The middle of what is wider: 7 columns less on both sides.
    assert np.array_equal(both[0], kept[:, :, 7:-7])
    assert prepared([np.zeros((300, 400, 3), np.uint8)], 504).shape == (1, 3, 378, 504)


def test_bad_folders_and_missing_packages_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(da3, "find_spec", lambda name: None if name == "addict" else object())
    with pytest.raises(ImportError, match=r"needs addict.*--no-deps depth-anything-3"):
        open_multi_view(f"da3:{tmp_path}")
    monkeypatch.setattr(da3, "find_spec", lambda _: object())
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        open_multi_view(f"da3:{tmp_path}")
    with pytest.raises(ValueError, match=r"--estimator must be one of"):
        open_multi_view("da3")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest published network with random weights, saved as published ones are."""
    if find_spec("depth_anything_3") is None or find_spec("torch") is None:
        pytest.skip("needs depth-anything-3: docs/bridge.md says how to install it")
    import torch
    from depth_anything_3.cfg import create_object, load_config
    from depth_anything_3.registry import MODEL_REGISTRY
    from safetensors.torch import save_file

    place = tmp_path_factory.mktemp("da3")
    torch.manual_seed(0)
    network = create_object(load_config(MODEL_REGISTRY["da3-small"]))
    save_file(
        {f"model.{key}": value.half() for key, value in network.state_dict().items()}, place / "model.safetensors"
    )
    (place / "config.json").write_text(json.dumps({"model_name": "da3-small"}))
    return place


def test_a_random_network_runs_through_the_real_loading_path(checkpoint: Path) -> None:
    found = Da3Poses(str(checkpoint), Da3Options(longest_px=70, device="cpu", min_consistent=0.0))
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 255, size=(56, 70, 3)).astype(np.uint8) for _ in range(3)]
    pictures = [Frame(CAMERA, image, name=str(k)) for k, image in enumerate(images)]
    posed, again = (found.pose_subsets(pictures, [(0, 2, 1)])[0] for _ in range(2))
    assert found.views(images).depths.shape == (3, 56, 70)
    assert np.array_equal(posed.trajectory[0].cam_from_world.as_matrix(), np.eye(4))
    for one, other in zip(posed.trajectory, again.trajectory, strict=True):
        rotation = one.cam_from_world.rotation.as_matrix()
        assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-6)
        assert np.array_equal(one.cam_from_world.as_matrix(), other.cam_from_world.as_matrix())


def test_other_weights_and_foreign_code_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint / "model.safetensors")
    name = next(iter(weights))
    save_file({key: value for key, value in weights.items() if key != name}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_name": "da3-small"}))
    pictures = frames(2)
    with pytest.raises(ValueError, match="1 are missing"):
        Da3Poses(str(tmp_path)).pose_subsets(pictures, [(0, 1)])
    part = {"__object__": {"path": "os", "name": "getcwd", "args": "as_params"}}
    (tmp_path / "config.json").write_text(json.dumps({"model_name": "da3-small", "config": {"net": part}}))
    with pytest.raises(ValueError, match="it names os"):
        Da3Poses(str(tmp_path)).pose_subsets(pictures, [(0, 1)])
    (tmp_path / "config.json").write_text(json.dumps({"model_name": "magic"}))
    with pytest.raises(ValueError, match="must name a network"):
        Da3Poses(str(tmp_path)).pose_subsets(pictures, [(0, 1)])
