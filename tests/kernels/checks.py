"""How results in float32 are compared with those of the float64 twin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kernels.twin import Sums
from posesplat.kernels.splatting import NormalEquations


def widest_gap(values: np.ndarray, low: float, high: float) -> float:
    """A threshold between ``low`` and ``high`` from which all values stay as far away as they can."""
    inner = np.sort(values[(values > low) & (values < high)])
    edges = np.concatenate([[low], inner, [high]])
    widest = int(np.argmax(np.diff(edges)))
    return float(0.5 * (edges[widest] + edges[widest + 1]))


def assert_mostly_close(actual: np.ndarray, expected: np.ndarray, tolerance: float, outliers: float = 0.002) -> None:
    """Equal to ``tolerance`` of the larger of 1 and the expected size, but for a few pixels.

    The cut-offs (alpha >= 1/255, transmittance > 1e-4) make single pixels jump when float32 rounds across them.
    """
    assert actual.shape == expected.shape
    if actual.size == 0:
        return
    error = np.abs(actual - expected) / np.maximum(1.0, np.abs(expected))
    assert np.isfinite(error).all()
    assert np.mean(error > tolerance) <= outliers, f"{np.mean(error > tolerance):.4f} beyond; worst {error.max():.2e}"


def assert_sums_agree(actual: NormalEquations, expected: Sums, tolerance: float = 1e-4) -> None:
    assert (actual.observed, actual.covered, actual.inliers) == (expected.observed, expected.covered, expected.inliers)
    assert actual.cost == pytest.approx(expected.cost, rel=tolerance)
    assert actual.weights == pytest.approx(expected.weights, rel=tolerance)
    assert actual.curvatures == pytest.approx(expected.curvatures, abs=tolerance * expected.weights)
    # Each entry against the size that its two unknowns allow, so that metres and radians weigh alike.
    size = np.sqrt(np.diag(expected.hessian))
    assert (size > 0).all()
    np.testing.assert_allclose(
        actual.hessian / np.outer(size, size), expected.hessian / np.outer(size, size), atol=tolerance
    )
    np.testing.assert_allclose(actual.hessian, actual.hessian.T, atol=0)
    gradient_size = np.sqrt(2 * expected.cost + 1)
    np.testing.assert_allclose(
        actual.gradient / size / gradient_size, expected.gradient / size / gradient_size, atol=tolerance
    )


def slopes(cost: Callable[[np.ndarray], float], unknowns: int, step: float) -> np.ndarray:
    """Central differences of a cost at the origin of its unknowns."""
    return np.array([(cost(step * axis) - cost(-step * axis)) / (2 * step) for axis in np.eye(unknowns)])
