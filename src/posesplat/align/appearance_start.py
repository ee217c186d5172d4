"""A start for aligning two sets of Gaussians from nothing but how they look: no keypoints, no first pose.

Each Gaussian of a sample of b is paired once with the Gaussians of a that look most like it, right or wrong; annealing
the overlap over these fixed pairs finds the pose that the right ones share. Formulas: docs/mixture.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int, Int32
from scipy.spatial.transform import RigidTransform

from posesplat.align.mixture import MixtureOptions, MixturePair, picked
from posesplat.gaussians.flat_gaussians import FlatGaussians
from posesplat.kernels.mixture import MixtureRecords, mixture_affinities, mixture_sums, padded_neighbours


@dataclass(frozen=True)
class AppearanceOptions:
    """How a start is found from appearance."""

    sample: int = 2500
    """Most Gaussians of each frame, drawn at random."""
    candidates: int = 16
    """Gaussians of a with which each of b is paired."""
    colour_weight: float = 0.02
    """What a CIELAB difference of 1, lightness halved, takes off the cosine of the features."""
    sigmas: tuple[float, ...] = (0.6, 0.4, 0.25, 0.16, 0.1, 0.06)
    """Blur of each level, relative to the depth, the same in all directions."""
    iterations: int = 5
    """Gauss-Newton steps a level."""
    seed: int = 0
    """Of the samples."""

    def __post_init__(self) -> None:
        if self.sample < 1 or not 1 <= self.candidates <= 64 or not self.sigmas or min(self.sigmas) <= 0:
            raise ValueError(
                f"AppearanceOptions needs sample >= 1, 1 to 64 candidates and positive sigmas; got {self}."
            )


@dataclass(frozen=True)
class AppearanceStart:
    """A start and the pairs that look alike: ``b_from_a is None`` exactly when there is a ``reason``."""

    b_from_a: RigidTransform | None
    """The pose, good to a few degrees where it is right; to be checked by what is refined from it."""
    pixels_a: Float64[np.ndarray, "n 2"]
    """Places in image a of Gaussians that are each other's most similar ones, whatever the pose; corner-based."""
    pixels_b: Float64[np.ndarray, "n 2"]
    """Their places in image b."""
    scores: Float64[np.ndarray, " n"]
    """Similarity of each such pair, at most 1."""
    agreement: float
    """Sum of the pairs' weights over the Gaussians of b at the last level, 0 to 1."""
    reason: str = ""
    """Empty, or one sentence: why there is no start."""


def appearance_start(
    a: FlatGaussians,
    b: FlatGaussians,
    options: AppearanceOptions = AppearanceOptions(),
    first: RigidTransform | None = None,
    threads: int | None = None,
) -> AppearanceStart:
    """Find b_from_a from the features of two sets, within some tens of degrees of ``first``.

    Args:
        a: set with features, in its own camera's frame.
        b: the other.
        options: sample and annealing.
        first: where the annealing begins; None = the identity.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Raises:
        ValueError: when a set has no features.
    """
    if a.features is None or b.features is None:
        raise ValueError(
            "appearance_start needs features on both sets; got a set without. Lift frames that have an image."
        )
    mixture = MixtureOptions(sigmas=options.sigmas, flatness=1.0)
    pair = MixturePair(a, b, mixture, threads)
    rng = np.random.default_rng(options.seed)
    rows_a, rows_b = (np.sort(rng.permutation(len(side))[: options.sample]) for side in (a, b))
    alike = _similarities(pair, rows_a, rows_b, options.colour_weight, mixture)
    tentative = _mutual(alike)
    pixels_a, pixels_b = a.pixels[rows_a[tentative[1]]], b.pixels[rows_b[tentative[0]]]
    scores = alike[tentative].astype(np.float64)
    neighbours = padded_neighbours(rows_a[_highest(alike, min(options.candidates, len(rows_a)))].astype(np.int32))
    affinities = mixture_affinities(picked(pair.looks_b, rows_b), pair.looks_a, neighbours, threads)
    b_from_a, agreement = RigidTransform.identity() if first is None else first, 0.0
    for sigma in options.sigmas:
        moving = MixtureRecords.of(a.means_in_cam, a.covariances(sigma))
        fixed = MixtureRecords.of(b.means_in_cam[rows_b], b.covariances(sigma)[rows_b])
        for _ in range(options.iterations):
            sums = mixture_sums(fixed, moving, b_from_a, neighbours, affinities, threads=threads)
            if sums.rows < _LEAST_ROWS:
                reason = (
                    f"No pose brings what looks alike together: {sums.rows} of {len(rows_b)} Gaussians have a "
                    f"counterpart, at least {_LEAST_ROWS} are needed."
                )
                return AppearanceStart(None, pixels_a, pixels_b, scores, 0.0, reason)
            b_from_a = pair.stepped(sums, b_from_a)
            agreement = sums.weight / len(rows_b)
    return AppearanceStart(b_from_a, pixels_a, pixels_b, scores, agreement)


_LEAST_ROWS = 20


def _similarities(
    pair: MixturePair,
    rows_a: Int[np.ndarray, " n"],
    rows_b: Int[np.ndarray, " m"],
    colour_weight: float,
    mixture: MixtureOptions,
) -> Float32[np.ndarray, "m n"]:
    """Cosine of the features less the weighted distance of the colours, for all pairs."""
    looks_a, looks_b = picked(pair.looks_a, rows_a), picked(pair.looks_b, rows_b)
    assert looks_a.features is not None and looks_b.features is not None
    alike = looks_b.features @ looks_a.features.T
    if looks_a.colours is not None and looks_b.colours is not None:
        squared = (looks_b.colours**2).sum(axis=1)[:, None] + (looks_a.colours**2).sum(axis=1)
        squared -= 2 * looks_b.colours @ looks_a.colours.T
        np.maximum(squared, 0, out=squared)
        alike -= np.float32(colour_weight * mixture.colour_deviation) * np.sqrt(squared, out=squared)
    return alike


def _highest(alike: Float32[np.ndarray, "m n"], count: int) -> Int32[np.ndarray, "m count"]:
    return np.argpartition(alike, alike.shape[1] - count, axis=1)[:, -count:].astype(np.int32)


def _mutual(alike: Float32[np.ndarray, "m n"]) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Rows and columns that are each other's highest."""
    best_a, best_b = alike.argmax(axis=1), alike.argmax(axis=0)
    rows = np.nonzero(best_b[best_a] == np.arange(len(best_a)))[0]
    return rows, best_a[rows]
