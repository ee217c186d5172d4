"""Colours and locally normalised grey as features, and the words that choose features."""

from __future__ import annotations

import numpy as np
import pytest

from posesplat.align.tracks import locally_normalised
from posesplat.providers.features.open import FEATURE_SPECS, open_features
from posesplat.providers.features.pixels import GRADIENT_GAIN
from posesplat.providers.features.provider import FeatureProvider

RNG = np.random.default_rng(1)
IMAGE = np.kron(RNG.integers(40, 200, (12, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)


@pytest.mark.parametrize("spec", ["rgb", "normalised"])
def test_every_source_keeps_the_protocol(spec: str) -> None:
    provider = open_features(spec)
    assert isinstance(provider, FeatureProvider) and provider.name == spec
    provider.fit([IMAGE])
    found = provider.features(IMAGE)
    assert found.shape == (*IMAGE.shape[:2], provider.channels) and found.dtype == np.float32
    np.testing.assert_array_equal(open_features(spec).features(IMAGE), found)


def test_rgb_is_the_image() -> None:
    np.testing.assert_allclose(open_features("rgb").features(IMAGE) * 255.0, IMAGE, atol=1e-4)


def test_normalised_is_grey_and_its_central_differences() -> None:
    found = open_features("normalised").features(IMAGE)
    grey = (locally_normalised(IMAGE).astype(float) - 128.0) / 45.0
    down, across = np.gradient(grey)
    np.testing.assert_allclose(found[..., 0], grey, atol=1e-6)
    np.testing.assert_allclose(found[:, 1:-1, 1], GRADIENT_GAIN * across[:, 1:-1], atol=1e-6)
    np.testing.assert_allclose(found[1:-1, :, 2], GRADIENT_GAIN * down[1:-1], atol=1e-6)
    spreads = found.std(axis=(0, 1))
    assert spreads.max() < 2.5 * spreads.min(), "the channels must weigh about alike"


def test_normalised_does_not_see_exposure() -> None:
    brighter = np.clip(1.2 * IMAGE.astype(float) + 10, 0, 255).astype(np.uint8)
    ours, rgb = (open_features(spec) for spec in ("normalised", "rgb"))
    change = np.abs(ours.features(brighter) - ours.features(IMAGE)).mean() / ours.features(IMAGE).std()
    change_of_rgb = np.abs(rgb.features(brighter) - rgb.features(IMAGE)).mean() / rgb.features(IMAGE).std()
    assert change < 0.1 * change_of_rgb


@pytest.mark.parametrize(("spec", "guess"), [("normalized", "normalised"), ("dino:x", "dinov2:CHECKPOINT"), ("?", "")])
def test_an_unknown_word_lists_what_is_accepted_and_guesses(spec: str, guess: str) -> None:
    with pytest.raises(ValueError, match="--features must be one of") as error:
        open_features(spec)
    assert all(form in str(error.value) for form in FEATURE_SPECS)
    assert str(error.value).endswith(f"Did you mean {guess}?" if guess else f"got {spec!r}.")
