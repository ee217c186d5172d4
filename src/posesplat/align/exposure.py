"""How bright an observation is compared with the map."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

_ROUNDS = 3
_KEPT = 0.7
"""Share of the pixels that each refit trusts: the rest may be misregistered, hidden or changed."""


def fitted_exposure(rendered: Float32[np.ndarray, "n c"], seen: Float32[np.ndarray, "n c"]) -> tuple[float, float]:
    """Gain and bias of seen = gain * rendered + bias, by least squares trimmed to the pixels that fit best.

    Returns:
        (1, 0) when there are too few pixels, too little contrast, or no positive gain.
    """
    if len(rendered) < 100:
        return 1.0, 0.0
    x, y = rendered.ravel().astype(np.float64), seen.ravel().astype(np.float64)
    kept = np.ones(len(x), dtype=bool)
    gain, bias = 1.0, 0.0
    for _ in range(_ROUNDS):
        spread = x[kept] - x[kept].mean()
        variance = float(np.mean(spread**2))
        if variance < 1e-6:
            return 1.0, 0.0
        gain = float(np.mean(spread * y[kept])) / variance
        bias = float(y[kept].mean() - gain * x[kept].mean())
        misfit = np.abs(gain * x + bias - y)
        kept = misfit <= np.quantile(misfit, _KEPT)
    return (gain, bias) if gain > 0.1 else (1.0, 0.0)


def in_exposure(seen: Float32[np.ndarray, "n c"], gain: float, bias: float) -> Float32[np.ndarray, "n c"]:
    """Values as they would be in the exposure of the map, within [0, 1]."""
    return np.clip((seen - np.float32(bias)) / np.float32(gain), 0.0, 1.0)
