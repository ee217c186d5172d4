"""Depth networks of transformers, loaded as the real ones are, against transformers used by hand and closed forms."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.providers.depth.monocular import MonocularDepth
from posesplat.providers.depth.open import open_depth

CAMERA = Camera(90.0, 95.0, 41.0, 30.0, 80, 60)
RNG = np.random.default_rng(0)
IMAGE = np.clip(
    np.kron(RNG.integers(0, 256, (6, 8, 3)), np.ones((10, 10, 1))) + RNG.normal(0, 10, (60, 80, 3)), 0, 255
).astype(np.uint8)
FRAME = Frame(CAMERA, IMAGE, name="a.png")


def opened(checkpoints: dict[str, Path], name: str) -> MonocularDepth:
    provider = open_depth(f"transformers:{checkpoints[name]}")
    assert isinstance(provider, MonocularDepth)
    return provider


def network_by_hand(folder: Path, pixel_values: object) -> object:
    """The raw output, of shape (1, 1, rows, columns)."""
    import torch
    import transformers

    with torch.no_grad():
        model = transformers.AutoModelForDepthEstimation.from_pretrained(folder).eval()
        return model(pixel_values=pixel_values).predicted_depth[:, None]


def depth_anything_by_hand(folder: Path) -> np.ndarray:
    import torch
    import transformers

    processor = transformers.DPTImageProcessorPil.from_pretrained(folder)
    output = network_by_hand(folder, processor(images=IMAGE, return_tensors="pt")["pixel_values"])
    metric = transformers.AutoConfig.from_pretrained(folder).depth_estimation_type == "metric"
    full = torch.nn.functional.interpolate(
        1.0 / output if metric else output, (60, 80), mode="bilinear", align_corners=False
    )
    return (1.0 / full if metric else full)[0, 0].numpy()


def zoedepth_by_hand(folder: Path) -> np.ndarray:
    import torch
    import transformers

    processor = transformers.ZoeDepthImageProcessorPil.from_pretrained(folder)
    inverse = 1.0 / network_by_hand(folder, processor(images=IMAGE, return_tensors="pt")["pixel_values"])
    down, across = int(np.sqrt(30) * 3), int(np.sqrt(40) * 3)
    padded = torch.nn.functional.interpolate(
        inverse, (60 + 2 * down, 80 + 2 * across), mode="bilinear", align_corners=True
    )
    return (1.0 / padded)[0, 0, down:-down, across:-across].numpy()


def depth_pro_by_hand(folder: Path) -> np.ndarray:
    import torch

    values = torch.from_numpy((IMAGE / 255.0 - 0.5).astype(np.float32) / 0.5).permute(2, 0, 1)[None]
    seen = torch.nn.functional.interpolate(values, (64, 64), mode="bilinear", align_corners=False)
    canonical = network_by_hand(folder, seen)
    full = torch.nn.functional.interpolate(canonical, (60, 80), mode="bilinear", align_corners=False)
    return (1.0 / torch.clamp(full * 80.0 / CAMERA.fx, 1e-4, 1e4))[0, 0].numpy()


@pytest.mark.parametrize(
    ("name", "meaning", "by_hand"),
    [
        ("relative", "affine", depth_anything_by_hand),
        ("metric", "metric", depth_anything_by_hand),
        ("zoedepth", "metric", zoedepth_by_hand),
        ("two_headed", "metric", zoedepth_by_hand),
        ("depth_pro", "metric", depth_pro_by_hand),
    ],
)
def test_depth_is_that_of_transformers_used_by_hand(checkpoints, name, meaning, by_hand) -> None:
    provider = opened(checkpoints, name)
    found = provider.depth(FRAME)
    expected = by_hand(checkpoints[name])
    assert provider.meaning == found.meaning == meaning
    assert expected.std() > 0.01 * np.abs(expected).mean(), "the network must look at the image"
    if meaning == "metric":
        np.testing.assert_allclose(found.inverse_depths(), 1.0 / expected, rtol=2e-4, atol=1e-5)
    else:
        np.testing.assert_allclose(found.values, expected, rtol=2e-4, atol=1e-6)
    assert found.known.all()


@pytest.mark.parametrize("name", ["relative", "zoedepth", "depth_pro"])
def test_depth_is_the_same_every_time(checkpoints, name: str) -> None:
    first = opened(checkpoints, name).depth(FRAME).values
    again = opened(checkpoints, name)
    np.testing.assert_array_equal(again.depth(FRAME).values, first)
    np.testing.assert_array_equal(again.depth(FRAME).values, first)


class Seeing:
    """A network whose inverse depth is the red of what it is shown, in grey levels, plus 1."""

    def __init__(self, mean: float, deviation: float, metric: bool) -> None:
        self._mean, self._deviation, self._metric = mean, deviation, metric

    def __call__(self, pixel_values):
        inverse = 255.0 * (pixel_values[:, 0] * self._deviation + self._mean) + 1.0
        return SimpleNamespace(predicted_depth=1.0 / inverse if self._metric else inverse)


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [
        ("relative", 0.485, 0.229),
        ("metric", 0.485, 0.229),
        ("zoedepth", 0.5, 0.5),
        ("depth_pro", 0.5, 0.5),
    ],
)
@pytest.mark.parametrize("along", ["columns", "rows"])
def test_what_a_network_sees_at_a_place_is_given_at_that_place(checkpoints, name, mean, deviation, along) -> None:
    """A ramp of one grey level a pixel stays where it is: half a pixel of the network's would be two levels off."""
    ramp = np.arange(256)
    image = np.broadcast_to(ramp if along == "columns" else ramp[:, None], (256, 256)).astype(np.uint8)
    camera = Camera(256.0, 256.0, 128.0, 128.0, 256, 256)
    provider = opened(checkpoints, name)
    canonical_inverse = name == "depth_pro" or name == "relative"
    provider._network = Seeing(mean, deviation, metric=not canonical_inverse)
    frame = Frame(camera, np.repeat(image[:, :, None], 3, axis=2), name="ramp")
    inverse = provider.depth(frame).inverse_depths()
    # Only the outermost pixels of the network have no neighbours to interpolate with.
    inner = slice(8, -8)
    np.testing.assert_allclose(inverse[inner, inner], image[inner, inner] + 1.0, atol=0.75)


def test_depth_pro_is_in_proportion_to_the_focal_length(checkpoints) -> None:
    provider = opened(checkpoints, "depth_pro")
    near = provider.depth(FRAME).values
    far = provider.depth(replace(FRAME, camera=replace(CAMERA, fx=2 * CAMERA.fx))).values
    free = (near > 2e-4) & (near < 2e3)
    assert free.mean() > 0.5
    np.testing.assert_allclose(far[free], 2 * near[free], rtol=1e-5)


@pytest.mark.parametrize(("name", "mean", "deviation"), [("metric", 0.485, 0.229), ("depth_pro", 0.5, 0.5)])
def test_metres_do_not_depend_on_the_size_of_the_image(checkpoints, name: str, mean: float, deviation: float) -> None:
    import cv2

    smooth = cv2.GaussianBlur(IMAGE, (0, 0), 6.0)
    larger = cv2.resize(smooth, (160, 120), interpolation=cv2.INTER_LINEAR)
    provider = opened(checkpoints, name)
    provider._network = Seeing(mean, deviation, metric=name == "metric")
    small = provider.depth(Frame(CAMERA, smooth, name="small")).inverse_depths()
    large = provider.depth(Frame(CAMERA.resized(160, 120), larger, name="large")).inverse_depths()
    np.testing.assert_allclose(large.reshape(60, 2, 80, 2).mean(axis=(1, 3)), small, rtol=0.03)


def test_a_frame_without_an_image_is_refused(checkpoints) -> None:
    frame = Frame(CAMERA, depth=np.ones((60, 80), np.float32), name="dark")
    with pytest.raises(ValueError, match="dark"):
        opened(checkpoints, "relative").depth(frame)


def test_a_checkpoint_that_lacks_weights_is_refused(checkpoints, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(checkpoints["relative"], tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    weights.pop("head.conv1.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 are missing.*head\.conv1\.weight"):
        open_depth(f"transformers:{folder}")


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ("config.json", r"has no config\.json"),
        ("model.safetensors", "cannot load the checkpoint"),
        ("preprocessor_config.json", r"preprocessor_config\.json"),
    ],
)
def test_a_checkpoint_that_lacks_a_file_is_refused(checkpoints, tmp_path: Path, lacking: str, message: str) -> None:
    folder = shutil.copytree(checkpoints["zoedepth"], tmp_path / "broken")
    (folder / lacking).unlink()
    with pytest.raises(OSError, match=message):
        open_depth(f"transformers:{folder}")


def test_a_checkpoint_of_another_kind_is_refused(checkpoints) -> None:
    with pytest.raises(ValueError, match=r"depth_anything, zoedepth, depth_pro; .* is 'dinov2'"):
        open_depth(f"transformers:{checkpoints['dinov2']}")


def test_a_repository_that_cannot_be_had_is_an_error_that_says_how() -> None:
    with pytest.raises(OSError, match=r"hf download nobody/no-such-network --local-dir DIR"):
        open_depth("transformers:nobody/no-such-network")
    with pytest.raises(FileNotFoundError, match=r"there is no folder \./weights"):
        open_depth("transformers:./weights")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'posesplat\[learned\]'"):
        open_depth("transformers:owner/name")


def test_a_real_network_sees_a_room() -> None:
    """On the room of the package's sample, whose depth is known, a real network must correlate with it."""
    place = os.environ.get("POSESPLAT_DEPTH")
    if not place:
        pytest.skip("needs a real depth network: set POSESPLAT_DEPTH to its folder (Depth Anything V2, ZoeDepth, ...)")
    from posesplat.datasets.samples import sample_sequence

    frame = sample_sequence("icl_livingroom1")[0]
    assert frame.depth is not None
    found = open_depth(f"transformers:{place}").depth(frame)
    both = found.known & (frame.depth > 0)
    assert np.corrcoef(found.inverse_depths()[both], 1.0 / frame.depth[both])[0, 1] > 0.8
