"""Exposure between two sets of grey values: made ones, with gross errors."""

from __future__ import annotations

import numpy as np
import pytest

from posesplat.align.exposure import fitted_exposure, in_exposure


@pytest.mark.parametrize(("gain", "bias"), [(1.0, 0.0), (0.7, 0.1), (1.4, -0.2)])
@pytest.mark.parametrize("spoilt", [0.0, 0.2])
def test_gain_and_bias_are_found_among_gross_errors(gain: float, bias: float, spoilt: float) -> None:
    rng = np.random.default_rng(0)
    rendered = rng.uniform(0.1, 0.9, (4000, 1)).astype(np.float32)
    seen = (gain * rendered + bias + rng.normal(0, 0.01, rendered.shape)).astype(np.float32)
    wrong = rng.random(len(seen)) < spoilt
    seen[wrong] = rng.uniform(0, 1, (int(wrong.sum()), 1))
    found = fitted_exposure(rendered, seen)
    np.testing.assert_allclose(found, (gain, bias), atol=0.05 if spoilt else 2e-3)


def test_what_says_nothing_about_the_exposure_leaves_it_alone() -> None:
    flat = np.full((500, 1), 0.5, dtype=np.float32)
    rising = np.linspace(0, 1, 500, dtype=np.float32)[:, None]
    assert fitted_exposure(flat, rising) == (1.0, 0.0)
    assert fitted_exposure(rising, 1 - rising) == (1.0, 0.0)
    assert fitted_exposure(rising[:50], rising[:50]) == (1.0, 0.0)


def test_what_was_exposed_differently_is_brought_back() -> None:
    values = np.linspace(0, 1, 7, dtype=np.float32)[:, None]
    np.testing.assert_allclose(in_exposure(0.8 * values + 0.1, 0.8, 0.1), values, atol=1e-6)
    assert in_exposure(values + 0.3, 1.0, 0.1).max() == 1.0
