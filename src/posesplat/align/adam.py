"""Adam, a first-order optimiser with a step size for each unknown."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_MEAN_DECAY = 0.9
_SQUARE_DECAY = 0.999
_FLOOR = 1e-8


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
