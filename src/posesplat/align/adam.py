"""Adam, a first-order optimiser: for a few unknowns with a step size each, and for large arrays in place."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

_MEAN_DECAY = 0.9
_SQUARE_DECAY = 0.999
_FLOOR = 1e-8
_BLOCK = 1 << 15
"""Numbers updated at a time, so that they stay in the processor's cache."""


class Adam:
    """Running means of gradients and of their squares.

    Source: Kingma and Ba, Adam, 2015, algorithm 1; weight decay is added to the gradient, as ``torch.optim.Adam`` does.
    """

    def __init__(self, unknowns: int, weight_decay: float = 0.0) -> None:
        self.weight_decay = weight_decay
        self.mean = np.zeros(unknowns)
        self.square = np.zeros(unknowns)
        self.steps = 0

    def step(
        self,
        parameters: Float[np.ndarray, " d"],
        gradient: Float[np.ndarray, " d"],
        rates: Float[np.ndarray, " d"],
    ) -> Float[np.ndarray, " d"]:
        """The parameters after one step of at most about ``rates``."""
        gradient = gradient + self.weight_decay * parameters
        self.steps += 1
        self.mean = _MEAN_DECAY * self.mean + (1 - _MEAN_DECAY) * gradient
        self.square = _SQUARE_DECAY * self.square + (1 - _SQUARE_DECAY) * gradient**2
        mean = self.mean / (1 - _MEAN_DECAY**self.steps)
        square = self.square / (1 - _SQUARE_DECAY**self.steps)
        return parameters - rates * mean / (np.sqrt(square) + _FLOOR)


class ArrayAdam:
    """Adam for one large float32 array whose rows may be dropped and added, updated in place.

    Source: Kingma and Ba, Adam, 2015, algorithm 1.
    """

    def __init__(self, shape: tuple[int, ...], floor: float = _FLOOR) -> None:
        """Start for an array of this shape; ``floor`` > 0 is added to the root of the squares."""
        self.floor = floor
        self.mean = np.zeros(shape, dtype=np.float32)
        self.square = np.zeros(shape, dtype=np.float32)
        self.steps = 0

    def step(self, values: Float32[np.ndarray, "*d"], gradient: Float32[np.ndarray, "*d"], rate: float) -> None:
        """Change ``values`` by one step of at most about ``rate``."""
        self.steps += 1
        # With the corrections 1 - decay^steps of both means taken into the rate and the floor.
        root = np.sqrt(1 - _SQUARE_DECAY**self.steps)
        scaled_rate = np.float32(rate * root / (1 - _MEAN_DECAY**self.steps))
        scaled_floor = np.float32(self.floor * root)
        flat = [array.reshape(-1) for array in (values, gradient, self.mean, self.square)]
        if not np.shares_memory(flat[0], values):
            raise ValueError(
                "ArrayAdam changes its values in place; got an array that is not contiguous. Copy it first."
            )
        for begin in range(0, values.size, _BLOCK):
            value, slope, mean, square = (array[begin : begin + _BLOCK] for array in flat)
            mean += np.float32(1 - _MEAN_DECAY) * (slope - mean)
            square += np.float32(1 - _SQUARE_DECAY) * (slope * slope - square)
            value -= scaled_rate * mean / (np.sqrt(square) + scaled_floor)

    def keep(self, rows: Bool[np.ndarray, " n"]) -> None:
        """Forget the rows that are not kept."""
        self.mean, self.square = self.mean[rows], self.square[rows]

    def extend(self, count: int) -> None:
        """Add rows that have not moved yet."""
        fresh = np.zeros((count, *self.mean.shape[1:]), dtype=np.float32)
        self.mean, self.square = np.concatenate([self.mean, fresh]), np.concatenate([self.square, fresh])
