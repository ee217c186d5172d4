"""Principal axes of a clip's feature vectors, found image by image in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64


@dataclass(frozen=True)
class TokenBasis:
    """A projection of feature vectors on the axes along which a clip's vectors vary most."""

    mean: Float64[np.ndarray, " dimensions"]
    """Mean of the clip's vectors."""
    axes: Float64[np.ndarray, "dimensions channels"]
    """Orthonormal columns, most variance first; the largest component of each is positive."""
    unit: float
    """Standard deviation along the first axis, by which all channels are divided alike."""

    def project(self, vectors: Float32[np.ndarray, "*any dimensions"]) -> Float32[np.ndarray, "*any channels"]:
        """Coordinates along the axes, centred, in units of the first axis' standard deviation."""
        return ((vectors - self.mean) @ self.axes / self.unit).astype(np.float32)


class TokenMoments:
    """Sums over feature vectors from which their principal axes follow; holds no vector."""

    def __init__(self) -> None:
        self._count = 0
        self._origin: Float[np.ndarray, " dimensions"] = np.zeros(0)
        self._sum: Float[np.ndarray, " dimensions"] = np.zeros(0)
        self._products: Float[np.ndarray, "dimensions dimensions"] = np.zeros((0, 0))

    def add(self, vectors: Float32[np.ndarray, "count dimensions"]) -> None:
        """Count the vectors of one more image."""
        exact = vectors.astype(np.float64)
        if self._count == 0:
            # Sums of differences from a vector near the mean lose no digits.
            self._origin = exact.mean(axis=0)
            self._sum = np.zeros_like(self._origin)
            self._products = np.zeros((vectors.shape[1], vectors.shape[1]))
        exact -= self._origin
        self._count += len(exact)
        self._sum += exact.sum(axis=0)
        self._products += exact.T @ exact

    def basis(self, channels: int) -> TokenBasis:
        """The ``channels`` principal axes, by eigen-decomposition of the covariance.

        Raises:
            ValueError: when no images were given, vectors have fewer dimensions, or all are equal.
        """
        if self._count < 2:
            raise ValueError("A basis of features needs the images of the clip; got none. Pass them to fit().")
        if channels > len(self._sum):
            raise ValueError(
                f"channels must be at most the {len(self._sum)} dimensions of the features; got {channels}."
            )
        shift = self._sum / self._count
        covariance = self._products / self._count - np.outer(shift, shift)
        variances, axes = np.linalg.eigh(covariance)
        axes = axes[:, ::-1][:, :channels]
        axes = axes * np.sign(axes[np.argmax(np.abs(axes), axis=0), np.arange(channels)])
        if not variances[-1] > 0:
            raise ValueError(
                "The features of all images are equal everywhere: there is nothing to compare by. Use other images."
            )
        return TokenBasis(self._origin + shift, axes, float(np.sqrt(variances[-1])))
