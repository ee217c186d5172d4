"""DINOv2 features: tokens against transformers used by hand, the clip's basis against numpy, places against a ramp."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from posesplat.providers.features.dinov2 import DinoFeatures
from posesplat.providers.features.open import open_features
from posesplat.providers.features.token_basis import TokenMoments

RNG = np.random.default_rng(3)
CLIP = [
    np.kron(RNG.integers(0, 256, (4, 6, 3)), np.ones((14, 14, 1))).astype(np.uint8)[: 14 * 4, : 14 * 6]
    for _ in range(3)
]
"""Three images of 84 x 56."""


def opened(checkpoints: dict[str, Path], name: str = "dinov2", **options: object) -> DinoFeatures:
    return DinoFeatures(str(checkpoints[name]), **{"channels": 5, "pixels": 84 * 56, **options})


class PatchColours:
    """A network without attention: a patch's token is its mean colour, times a fixed matrix; registers in front."""

    def __init__(self, patch: int, registers: int = 0) -> None:
        import torch

        self.config = SimpleNamespace(hidden_size=6)
        self._patch, self._extra = patch, 1 + registers
        self._mix = torch.from_numpy(np.random.default_rng(8).standard_normal((3, 6)).astype(np.float32))

    def __call__(self, pixel_values):
        import torch

        mean = torch.nn.functional.avg_pool2d(pixel_values, self._patch)
        tokens = mean.flatten(2).transpose(1, 2) @ self._mix
        extra = torch.full((len(tokens), self._extra, 6), 99.0)
        return SimpleNamespace(last_hidden_state=torch.cat([extra, tokens], dim=1))


@pytest.mark.parametrize(("name", "registers"), [("dinov2", 0), ("registers", 3)])
def test_tokens_are_those_of_transformers_used_by_hand(checkpoints, name: str, registers: int) -> None:
    import torch
    import transformers

    model = transformers.AutoModel.from_pretrained(checkpoints[name]).eval()
    values = (CLIP[0] / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        expected = model(pixel_values=torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None])
    patches = expected.last_hidden_state[0, 1 + registers :].numpy().reshape(4, 6, -1)
    np.testing.assert_allclose(opened(checkpoints, name).tokens(CLIP[0]), patches, atol=1e-5)


def test_the_basis_is_that_of_a_singular_value_decomposition_of_all_tokens(checkpoints) -> None:
    import torch

    features = opened(checkpoints)
    features.fit(iter(CLIP))
    tokens = np.stack([features.tokens(image) for image in CLIP]).astype(np.float64)
    centred = tokens.reshape(-1, 24) - tokens.reshape(-1, 24).mean(axis=0)
    _, values, rows = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(rows[np.arange(5), np.argmax(np.abs(rows[:5]), axis=1)])
    expected = centred @ (rows[:5] * signs[:, None]).T / (values[0] / np.sqrt(len(centred)))
    expected = expected.reshape(3, 4, 6, 5)
    np.testing.assert_allclose(features._basis.project(tokens.astype(np.float32)), expected, atol=1e-4)
    full = torch.nn.functional.interpolate(torch.from_numpy(expected).permute(0, 3, 1, 2), (56, 84), mode="bilinear")
    found = np.stack([features.features(image) for image in CLIP])
    np.testing.assert_allclose(found, full.permute(0, 2, 3, 1).numpy(), atol=1e-4)


def test_moments_are_exact_far_from_zero_and_whatever_the_order() -> None:
    vectors = (RNG.standard_normal((500, 6)) * [9, 5, 3, 2, 1, 0.5] + 1000.0).astype(np.float32)
    bases = []
    for order in (vectors, vectors[::-1]):
        moments = TokenMoments()
        for part in np.array_split(order, 7):
            moments.add(part)
        bases.append(moments.basis(3))
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(axis=0)
    _, values, rows = np.linalg.svd(centred, full_matrices=False)
    for basis in bases:
        assert np.all(np.abs(basis.axes).max(axis=0) == basis.axes.max(axis=0))
        np.testing.assert_allclose(np.abs(rows[:3] @ basis.axes), np.eye(3), atol=1e-7)
        np.testing.assert_allclose(basis.unit, values[0] / np.sqrt(500), rtol=1e-9)
    np.testing.assert_allclose(bases[0].axes, bases[1].axes, atol=1e-7)


def half_and_half(right: int) -> np.ndarray:
    """A left half that is always the same, and a right half of some other kind."""
    rng = np.random.default_rng(right)
    left = np.kron(np.random.default_rng(0).integers(0, 256, (4, 4, 3)), np.ones((14, 14, 1)))
    other = np.kron(rng.integers(0, 256 // (1 + right), (4, 4, 3)), np.ones((14, 14, 1)))
    return np.concatenate([left, other], axis=1).astype(np.uint8)


def test_what_looks_alike_has_equal_features_in_all_frames_but_not_with_a_basis_for_each(checkpoints) -> None:
    frames = [half_and_half(1), half_and_half(4)]
    common = opened(checkpoints, channels=3, pixels=112 * 56)
    common._network = PatchColours(14)
    common.fit(frames)
    # Left of the last patch centre before the halves meet.
    alike = np.s_[:, : 56 - 7]
    first, second = (common.features(frame)[alike] for frame in frames)
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert first.std() > 0.3
    published = opened(checkpoints, channels=3, published=True)
    published._network = PatchColours(14)
    published.fit(frames)
    first, second = (published.features(frame)[:, : 56 - 14] for frame in frames)
    assert np.abs(first - second).max() > 0.05


def test_published_features_are_the_images_own_axes_uncentred_and_stretched(checkpoints) -> None:
    features = opened(checkpoints, channels=3, published=True)
    features._network = PatchColours(14)
    found = features.features(CLIP[0])
    assert features.input_size(84, 56) == (518, 518)
    tokens = features.tokens(CLIP[0]).reshape(37 * 37, 6).astype(np.float64)
    _, _, rows = np.linalg.svd(tokens - tokens.mean(axis=0), full_matrices=False)
    projected = tokens @ rows[:3].T
    stretched = (projected - projected.min(axis=0)) / np.ptp(projected, axis=0)
    for channel in range(3):
        grid = stretched[:, channel].reshape(37, 37)
        import cv2

        expected = cv2.resize(grid, (84, 56), interpolation=cv2.INTER_LINEAR)
        errors = [np.abs(found[..., channel] - sign).max() for sign in (expected, 1.0 - expected)]
        assert min(errors) < 1e-3
    np.testing.assert_array_equal(features.features(CLIP[0]), found)


@pytest.mark.parametrize("size", [(256, 192), (250, 190)])
def test_features_lie_where_the_image_shows_them(checkpoints, size: tuple[int, int]) -> None:
    """Mean colours of patches of a ramp, interpolated, are the ramp again; also where patches do not fit the size."""
    width, height = size
    ramp = np.broadcast_to(np.arange(width), (height, width)).astype(np.uint8)
    image = np.stack([ramp, np.full_like(ramp, 90), ramp.T[:width, :height].T], axis=2)
    features = opened(checkpoints, channels=1, pixels=140 * 112)
    features._network = PatchColours(14)
    features.fit([image])
    found = features.features(image)[..., 0]
    columns, rows = features.input_size(width, height)
    assert columns % 14 == rows % 14 == 0 and abs(columns / rows - width / height) < 0.15
    margin = int(np.ceil(0.5 * width / (columns / 14))) + 1
    places = np.arange(width)[margin:-margin] + 0.5
    inner = found[:, margin:-margin]
    # Centred on the clip's mean, which is the middle of the ramp, and spread like the means of patches.
    half = np.arange(columns // 14) - (columns // 14 - 1) / 2
    step = width / (columns // 14)
    expected = (places - width / 2) / (step * half.std())
    np.testing.assert_allclose(np.abs(inner), np.broadcast_to(np.abs(expected), inner.shape), atol=0.01)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080), (123, 457), (20, 3000)])
def test_the_network_sees_whole_patches_of_about_the_pixels_asked_for(checkpoints, width: int, height: int) -> None:
    columns, rows = opened(checkpoints, pixels=518 * 518).input_size(width, height)
    assert columns % 14 == 0 and rows % 14 == 0
    assert 0.9 < columns * rows / 518**2 < 1.1
    assert abs(np.log(columns / rows * height / width)) < np.log(1 + 14 / min(columns, rows))


def test_features_of_a_loaded_network_are_the_same_every_time(checkpoints) -> None:
    results = []
    for _ in range(2):
        features = open_features(f"dinov2:{checkpoints['registers']}", channels=4)
        features.fit(CLIP)
        results.append(features.features(CLIP[1]))
    assert results[0].shape == (56, 84, 4) and features.channels == 4
    np.testing.assert_array_equal(results[0], results[1])


def test_wrong_use_is_an_error_that_says_so(checkpoints) -> None:
    with pytest.raises(ValueError, match=r"call fit\(images\)"):
        opened(checkpoints).features(CLIP[0])
    with pytest.raises(ValueError, match="images of the clip"):
        opened(checkpoints).fit([])
    with pytest.raises(ValueError, match="channels from 1 to 24"):
        opened(checkpoints, channels=25)
    with pytest.raises(ValueError, match=r"dinov2, dinov2_with_registers; .* is 'zoedepth'"):
        DinoFeatures(str(checkpoints["zoedepth"]))


def test_a_real_network_tells_places_apart() -> None:
    """Features of a real DINOv2 must change far less between neighbouring frames than between places."""
    place = os.environ.get("POSESPLAT_DINOV2")
    if not place:
        pytest.skip("needs a real DINOv2: set POSESPLAT_DINOV2 to its folder")
    from posesplat.datasets.samples import sample_sequence

    frames = [frame.image for frame in sample_sequence("icl_livingroom1")[:2]]
    features = open_features(f"dinov2:{place}")
    features.fit(frames)
    first, second = (features.features(image) for image in frames)
    assert np.median(np.abs(first - second)) < 0.3 * np.median(np.abs(first - first[:, ::-1]))
