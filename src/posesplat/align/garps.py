"""GARPS's objective alone: the correlation of two Gaussian mixtures, maximised over the pose by first-order steps.

It is here so that the idea as published can be compared; :mod:`posesplat.align.mixture` is the method to use. The paper
gives no code: E = sum_i sum_j w_i v_j N(mu_i - (R nu_j + t); 0, Sigma_i + R Sigma_j R^T + sigma^2 I) k_c k_f follows
its abstract (geometry, view-independent colour, anisotropic covariance and semantic features in one objective).

Source: Li and Campbell, GARPS, arXiv 2509.13652; the cross term of the L2 distance of two mixtures, whose self terms
do not depend on the pose, after Jian and Vemuri, PAMI 2011.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import RigidTransform

from posesplat.align.adam import Adam
from posesplat.align.mixture import MixtureOptions, MixturePair, MixtureState
from posesplat.gaussians.flat_gaussians import FlatGaussians
from posesplat.geometry.poses import exp
from posesplat.kernels.mixture import MixtureRecords, mixture_sums


@dataclass(frozen=True)
class GarpsOptions:
    """Settings of the published idea; names are the terms of the objective."""

    sigmas_m: tuple[float, ...] = (0.2, 0.1, 0.05, 0.02)
    """sigma of each level: isotropic blur added to the summed covariances, metres."""
    steps: int = 50
    """Adam's steps a level."""
    neighbours: int = 16
    """Gaussians j of frame a that count for each i of frame b."""
    refresh: int = 10
    """Steps after which the neighbours are looked up again."""
    sigma_c: float = 10.0
    """Deviation of the colour kernel k_c = exp(-|c_i - c_j|^2 / 2 sigma_c^2), CIELAB with lightness halved."""
    tau: float = 0.25
    """Temperature of the feature kernel k_f = exp((cosine - 1) / tau); 0 leaves features out."""
    rotation_rate_rad: float = 3e-3
    """Adam's step size for the rotation."""
    translation_rate_m: float = 6e-3
    """Adam's step size for the translation."""
    final_rate: float = 0.1
    """Share of the step sizes that is left at the end; they decay exponentially."""

    def __post_init__(self) -> None:
        positive = (
            min((*self.sigmas_m, self.rotation_rate_rad, self.translation_rate_m, self.final_rate), default=0) > 0
        )
        if not (self.sigmas_m and positive and min(self.steps, self.neighbours, self.refresh) >= 1):
            raise ValueError(
                "GarpsOptions needs positive sigmas_m and rates, and steps, neighbours and refresh of at least 1; got "
                f"{self}."
            )


@dataclass(frozen=True)
class GarpsResult:
    """Where the search ended: ``b_from_a is None`` exactly when there is a ``reason``."""

    b_from_a: RigidTransform | None
    """The pose at the last step."""
    cost: float
    """-log E there, at the last sigma."""
    start_cost: float
    """-log E at the start, at the last sigma."""
    agreement: float
    """How well what both frames see agrees, as :class:`posesplat.align.mixture.MixtureResult` has it."""
    overlap: float
    """Share of b's Gaussians that lie in a's view."""
    iterations: int
    """Evaluations of E."""
    reason: str = ""
    """Empty, or one sentence: why there is no pose."""


def garps_refine(
    a: FlatGaussians,
    b: FlatGaussians,
    start: RigidTransform,
    options: GarpsOptions = GarpsOptions(),
    progress: Callable[[int, float], None] | None = None,
    threads: int | None = None,
) -> GarpsResult:
    """Maximise E over b_from_a from a start, by Adam on the left tangent with E's exact gradient.

    Args:
        a: moving set, metres, in its own camera's frame.
        b: fixed set.
        start: b_from_a.
        options: levels, kernels, step sizes.
        progress: called after each step with its number (from 0) and -log E.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
    """
    pair = MixturePair(
        a,
        b,
        MixtureOptions(neighbours=options.neighbours, colour_deviation=options.sigma_c, feature_scale=options.tau),
        threads,
    )
    b_from_a, adam, step = start, Adam(6), 0
    rates = np.repeat([options.rotation_rate_rad, options.translation_rate_m], 3)
    decay = options.final_rate ** (1 / (options.steps * len(options.sigmas_m)))
    for sigma in options.sigmas_m:
        level = GarpsObjective(pair, sigma)
        for within in range(options.steps):
            if within % options.refresh == 0:
                level.look_up(b_from_a)
            cost, gradient = level.evaluated(b_from_a)
            if not np.isfinite(cost):
                reason = f"The two mixtures do not overlap at sigma = {sigma:g} m: E is 0."
                return GarpsResult(None, np.inf, np.inf, 0.0, 0.0, step, reason)
            if progress is not None:
                progress(step, cost)
            b_from_a = exp(adam.step(np.zeros(6), gradient, decay**step * rates)) * b_from_a
            step += 1
    costs = []
    for pose in (start, b_from_a):
        level.look_up(pose)
        costs.append(level.evaluated(pose)[0])
    if not np.isfinite(costs[1]):
        reason = f"The two mixtures do not overlap at sigma = {sigma:g} m: E is 0."
        return GarpsResult(None, np.inf, np.inf, 0.0, 0.0, step, reason)
    sums, in_view = pair.evaluated(MixtureState(b_from_a))
    return GarpsResult(b_from_a, costs[1], costs[0], sums.weight / max(len(sums.totals), 1), in_view, step)


class GarpsObjective:
    """-log E at one sigma, over the pairs that were looked up last."""

    def __init__(self, pair: MixturePair, sigma_m: float) -> None:
        """Blur two sets by ``sigma_m``, half of its variance on each."""
        self.pair, self.sigma_m = pair, sigma_m
        self.covariances = [side.covariances() + 0.5 * sigma_m**2 * np.eye(3) for side in (pair.a, pair.b)]
        self.moving = MixtureRecords.of(pair.a.means_in_cam, self.covariances[0])

    def look_up(self, b_from_a: RigidTransform) -> None:
        """Find the neighbours of every Gaussian of b, or of a sample where the blur is wide."""
        pair = self.pair
        relative = self.sigma_m / pair.median_depth
        found = pair.look_up(pair.a.means_in_cam, pair.b.means_in_cam, b_from_a, relative)
        self.neighbours, self.affinities = found.neighbours, found.affinities
        self.fixed = MixtureRecords.of(pair.b.means_in_cam[found.rows], self.covariances[1][found.rows])

    def evaluated(self, b_from_a: RigidTransform) -> tuple[float, Float64[np.ndarray, " 6"]]:
        """-log E with weights w_i = 1 / rows and v_j = 1 / n, and its derivative for a left perturbation."""
        sums = mixture_sums(
            self.fixed,
            self.moving,
            b_from_a,
            self.neighbours,
            self.affinities,
            farthest=_FARTHEST,
            robust=False,
            normalised=True,
            turning=True,
            threads=self.pair.threads,
        )
        if not sums.cost < 0:
            return np.inf, np.zeros(6)
        weight = (2 * np.pi) ** -1.5 / (max(len(self.fixed), 1) * len(self.moving))
        return -float(np.log(-sums.cost * weight)), sums.gradient / -sums.cost


_FARTHEST = 25.0
