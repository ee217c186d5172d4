"""Align two sets of flattened Gaussians: the pose, and on request smooth log-depth fields, of greatest overlap.

No keypoints and no matches: every Gaussian of frame b is compared with the nearest ones of frame a as the pose carries
them over, in place, orientation, colour and feature, first blurred and then sharp. Formulas: docs/mixture.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int, Int32
from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.flat_gaussians import FIELD_TERMS, FlatGaussians, joint_features
from posesplat.geometry.poses import exp
from posesplat.kernels.mixture import (
    MixtureAppearance,
    MixtureRecords,
    MixtureSums,
    cell_neighbours,
    mixture_affinities,
    mixture_sums,
)
from posesplat.kernels.threads import one_library_thread

FIELD_DEVIATIONS = (0.08, 0.05, 0.05, 0.04, 0.04, 0.04)
"""What log-depth fields of predicted depth are expected to be, standard deviations of their terms."""

_REACH, _WIDE_REACH, _WIDE_NEIGHBOURS = 3, 2, 24
_LEAST_ROWS = 30
_COARSELY_SETTLED = 0.03


@dataclass(frozen=True)
class MixtureOptions:
    """How two sets are aligned; the defaults are for measured depth."""

    sigmas: tuple[float, ...] = (0.14, 0.07, 0.04, 0.025, 0.015)
    """Blur of each level, relative to the depth."""
    iterations: int = 5
    """Most Gauss-Newton steps a level."""
    flatness: float = 0.2
    """Share of the blur that also acts along the normals; 0.5 for predicted depth."""
    neighbours: int = 8
    """Nearest Gaussians of the other set with which one is compared at the sharpest level; blurred ones are compared
    with a sample of 24 that is as wide as the blur."""
    refresh: int = 2
    """Steps after which the neighbours are looked up again."""
    floor: float = 0.3
    """What a Gaussian without a counterpart weighs, in units of a perfect one."""
    farthest: float = 12.0
    """Largest squared Mahalanobis distance that counts."""
    normalised: bool = False
    """Weigh pairs by |S|^-1/2 too."""
    turning: bool = False
    """Use the exact gradient, which knows that covariances turn with the pose."""
    colour_deviation: float = 10.0
    """Difference in CIELAB, lightness halved, at which two colours are one deviation apart; 0 ignores colour."""
    feature_scale: float = 0.25
    """Features count exp((cosine - 1) / feature_scale); 0 ignores them."""
    field_terms: int = 0
    """Terms of each set's log-depth field that are estimated too: 0, 1 (scale) or 6."""
    field_prior: float = 0.2
    """Weight of the prior of the fields, relative to the sum of the pairs' weights."""
    least_agreement: float = 0.55
    """Below this agreement (see :class:`MixtureResult`) there is no answer; 0 takes any. On measured depth right poses
    of real and synthetic rooms had 0.69 and more, wrong ones 0.48 and less."""
    max_rotation_rad: float = 0.3
    """Longest rotation of a step."""
    max_shift: float = 0.3
    """Longest translation of a step, relative to the median depth."""
    settled: float = 0.005
    """The last level ends at a step that is smaller than this share of its blur, in radians and relative to the
    depth; those before it end at 0.03."""

    def __post_init__(self) -> None:
        if not self.sigmas or min(self.sigmas) <= 0 or self.iterations < 1 or self.refresh < 1 or self.neighbours < 1:
            raise ValueError(
                "MixtureOptions needs positive sigmas, and iterations, refresh and neighbours of at least 1; got "
                f"{self}. The defaults are for measured depth."
            )
        if self.field_terms not in (0, 1, FIELD_TERMS) or min(self.colour_deviation, self.feature_scale) < 0:
            raise ValueError(
                f"MixtureOptions needs field_terms of 0, 1 or {FIELD_TERMS}, and colour_deviation and feature_scale "
                f">= 0; got {self.field_terms}, {self.colour_deviation} and {self.feature_scale}."
            )


PREDICTED_DEPTH = MixtureOptions(
    sigmas=(0.14, 0.07, 0.04, 0.025), flatness=0.5, field_terms=FIELD_TERMS, least_agreement=0.0
)
"""For depth that a network predicts: it stops earlier, trusts normals less, estimates smooth log-depth fields, and
takes any agreement. Its answers are worse than those of matches; see docs/mixture.md."""


@dataclass(frozen=True)
class MixtureState:
    """What is estimated."""

    b_from_a: RigidTransform
    """The pose: x_in_b = b_from_a.apply(x_in_a)."""
    field_a: Float64[np.ndarray, " terms_a"] = field(default_factory=lambda: np.zeros(0))
    """Log-depth field of frame a; depths are multiplied by exp of it."""
    field_b: Float64[np.ndarray, " terms_b"] = field(default_factory=lambda: np.zeros(0))
    """Log-depth field of frame b."""


@dataclass(frozen=True)
class MixtureResult:
    """Where an alignment ended: ``state is None`` exactly when there is a ``reason``."""

    state: MixtureState | None
    """Pose and fields; None when nothing overlaps, or too little agrees."""
    cost: float
    """Minus the overlap at the last level, summed over the Gaussians of frame b; lower is better."""
    start_cost: float
    """The same at the start."""
    agreement: float
    """Sum of the pairs' weights over the Gaussians of b that lie in a's view: how well what both see agrees, 0 to 1."""
    in_view: float
    """Share of the Gaussians of b that lie in a's view."""
    iterations: int
    """Gauss-Newton steps."""
    reason: str = ""
    """Empty, or one sentence: why there is no pose."""

    @property
    def b_from_a(self) -> RigidTransform | None:
        """The pose, if there is one."""
        return None if self.state is None else self.state.b_from_a


class Neighbours(NamedTuple):
    """Who is compared with whom."""

    rows: Int[np.ndarray, " k"]
    """Gaussians of b."""
    neighbours: Int32[np.ndarray, "k width"]
    """Gaussians of a for each of them; -1 = none."""
    affinities: Float32[np.ndarray, "k width"]
    """How alike they look."""
    in_view: float
    """Share of b's Gaussians, or of the sample, that lie in a's view."""


class MixturePair:
    """Two sets made ready for comparison: joint features, colours in units of their deviation."""

    def __init__(
        self,
        a: FlatGaussians,
        b: FlatGaussians,
        options: MixtureOptions = MixtureOptions(),
        threads: int | None = None,
    ) -> None:
        """Remember two sets, each in its own camera's frame."""
        self.a, self.b, self.options, self.threads = a, b, options, threads
        self.cells = a.cells()
        self.basis_a, self.basis_b = (side.field_basis(options.field_terms) for side in (a, b))
        self.median_depth = float(np.median(np.concatenate([a.means_in_cam[:, 2], b.means_in_cam[:, 2]])))
        features = joint_features(a, b) if options.feature_scale > 0 else None
        self.looks_a = _appearance(a, None if features is None else features[0], options)
        self.looks_b = _appearance(b, None if features is None else features[1], options)
        if self.looks_a.colours is None or self.looks_b.colours is None:
            self.looks_a, self.looks_b = (replace(looks, colours=None) for looks in (self.looks_a, self.looks_b))

    def look_up(
        self,
        means_a: Float64[np.ndarray, "n 3"],
        means_b: Float64[np.ndarray, "m 3"],
        b_from_a: RigidTransform,
        sigma: float,
    ) -> Neighbours:
        """With which of a's Gaussians those of b, or a sample of them, are compared.

        Args:
            means_a: centres of a's Gaussians, in a, as the depths are now.
            means_b: centres of b's, in b.
            b_from_a: the pose as it is now.
            sigma: blur relative to the depth; the wider, the sparser and wider are the sample and the neighbours.
        """
        # A step of the search is about one deviation of the blur, so that it spans all that overlaps.
        spacing = max(round(sigma * self.a.camera.fx / self.a.cell_px), 1)
        sample = self.samples(1 if spacing == 1 else max(spacing // 2, 2))
        found, in_view = cell_neighbours(
            b_from_a.inv().apply(means_b[sample]),
            self.cells,
            self.a.cell_px,
            means_a,
            self.a.camera,
            count=self.options.neighbours if spacing == 1 else _WIDE_NEIGHBOURS,
            reach=_REACH if spacing == 1 else _WIDE_REACH,
            spacing=spacing,
            threads=self.threads,
        )
        rows, neighbours = sample[in_view], found[in_view]
        affinities = mixture_affinities(picked(self.looks_b, rows), self.looks_a, neighbours, self.threads)
        return Neighbours(rows, neighbours, affinities, len(rows) / max(len(sample), 1))

    def samples(self, step: int) -> Int[np.ndarray, " k"]:
        """Of b's Gaussians those of every ``step``-th cell in x and y; all for 1."""
        if step == 1:
            return np.arange(len(self.b))
        return np.nonzero(((self.b.pixels // self.b.cell_px) % step == step // 2).all(axis=1))[0]

    def aligned(self, start: RigidTransform | MixtureState) -> MixtureResult:
        """The pose of greatest overlap near a start.

        Args:
            start: b_from_a, or a state with log-depth fields. The fields are held where they are when
                ``field_terms`` is 0, and otherwise are where the search begins.
        """
        options = self.options
        first = start if isinstance(start, MixtureState) else MixtureState(start)
        if options.field_terms:
            first = replace(
                first,
                field_a=_lengthened(first.field_a, options.field_terms),
                field_b=_lengthened(first.field_b, options.field_terms),
            )
        state, steps = first, 0
        comparison = _Comparison(self)
        for sigma in options.sigmas:
            comparison.blur(sigma)
            for iteration in range(options.iterations):
                if iteration % options.refresh == 0:
                    comparison.look_up(state)
                sums = comparison.sums(state)
                if sums.rows < _LEAST_ROWS:
                    return self._refused(sums.rows, steps)
                step = self._step(sums, state)
                state, steps = _stepped(state, step), steps + 1
                size = max(np.abs(step[:3]).max(), np.abs(step[3:6]).max() / self.median_depth)
                if size < (options.settled if sigma == options.sigmas[-1] else _COARSELY_SETTLED) * sigma:
                    break
        return self._judged(comparison, first, state, steps)

    def evaluated(self, state: MixtureState, sigma: float | None = None) -> tuple[MixtureSums, float]:
        """The sums at a state, blurred by ``sigma`` (None = the last level's), and the share of b in a's view."""
        comparison = _Comparison(self)
        comparison.blur(self.options.sigmas[-1] if sigma is None else sigma)
        return comparison.judged(state), comparison.in_view

    def stepped(self, sums: MixtureSums, b_from_a: RigidTransform) -> RigidTransform:
        """The pose after a Gauss-Newton step of sums without fields."""
        return _stepped(MixtureState(b_from_a), self._damped_step(sums.hessian, sums.gradient)).b_from_a

    def _step(self, sums: MixtureSums, state: MixtureState) -> Float64[np.ndarray, " d"]:
        options = self.options
        if not options.field_terms:
            return self._damped_step(sums.hessian, sums.gradient)
        hessian, gradient = sums.hessian.copy(), sums.gradient.copy()
        prior = options.field_prior * sums.weight / np.array(FIELD_DEVIATIONS[: options.field_terms] * 2) ** 2
        hessian[6:, 6:] += np.diag(prior)
        gradient[6:] += prior * np.concatenate([state.field_b, state.field_a])
        return self._damped_step(hessian, gradient)

    def _damped_step(
        self, hessian: Float64[np.ndarray, "d d"], gradient: Float64[np.ndarray, " d"]
    ) -> Float64[np.ndarray, " d"]:
        # In units of the median depth, so that the damping means the same for rotation and translation.
        units = np.ones(len(gradient))
        units[3:6] = self.median_depth
        scaled = hessian * units[:, None] * units
        scaled += 1e-6 * np.trace(scaled) / len(scaled) * np.eye(len(scaled))
        step = -np.linalg.solve(scaled, gradient * units)
        for part, longest in (
            (slice(0, 3), self.options.max_rotation_rad),
            (slice(3, 6), self.options.max_shift),
        ):
            step *= min(1.0, longest / max(float(np.linalg.norm(step[part])), 1e-12))
        return step * units

    def _judged(self, comparison: _Comparison, first: MixtureState, last: MixtureState, steps: int) -> MixtureResult:
        before = comparison.judged(first)
        after, in_view = comparison.judged(last), comparison.in_view
        if after.rows < _LEAST_ROWS:
            return self._refused(after.rows, steps)
        agreement = after.weight / len(after.totals)
        found = MixtureResult(last, after.cost, before.cost, agreement, in_view, steps)
        if agreement < self.options.least_agreement:
            reason = (
                f"Where the search ended, what both frames should see agrees by {agreement:.0%} only; at least "
                f"{self.options.least_agreement:.0%} are needed. Start nearer, or the frames show different things."
            )
            return replace(found, state=None, reason=reason)
        return found

    def _refused(self, rows: int, steps: int) -> MixtureResult:
        reason = (
            f"The two sets of Gaussians hardly meet: {rows} of {len(self.b)} have a counterpart, at least "
            f"{_LEAST_ROWS} are needed."
        )
        return MixtureResult(None, np.inf, np.inf, 0.0, 0.0, steps, reason)


def align_mixtures(
    a: FlatGaussians,
    b: FlatGaussians,
    start: RigidTransform | MixtureState,
    options: MixtureOptions = MixtureOptions(),
    threads: int | None = None,
) -> MixtureResult:
    """Align frame a's Gaussians with frame b's from a start; see :class:`MixturePair`.

    Args:
        a: moving set, from :func:`posesplat.gaussians.flat_gaussians.lift_flat`.
        b: fixed set.
        start: b_from_a, or a state with log-depth fields.
        options: levels, kernels, what is estimated.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Source: after GARPS (Li and Campbell, arXiv 2509.13652) and Jian and Vemuri, PAMI 2011; the logarithm, the
    flattening through the annealing and Gauss-Newton are ours.
    """
    with one_library_thread():
        return MixturePair(a, b, options, threads).aligned(start)


class _Comparison:
    """The two sets at one level of blur, and who is compared with whom."""

    def __init__(self, pair: MixturePair) -> None:
        self.pair, self.placed, self.in_view = pair, False, 0.0

    def blur(self, sigma: float) -> None:
        """Go to a level; the neighbours have to be looked up next."""
        self.sigma = sigma
        flatness = self.pair.options.flatness
        self.covariances_a = self.pair.a.covariances(sigma, flatness)
        self.covariances_b = self.pair.b.covariances(sigma, flatness)

    def look_up(self, state: MixtureState) -> None:
        """Find the neighbours of every Gaussian of b, or of a sample, that lies in a's view."""
        self._place(state)
        pair = self.pair
        found = pair.look_up(self.a.means_in_cam, self.b.means_in_cam, state.b_from_a, self.sigma)
        self.rows, self.neighbours, self.affinities, self.in_view = found
        self._pack()

    def judged(self, state: MixtureState) -> MixtureSums:
        """The sums at a state, with its own neighbours."""
        self.look_up(state)
        return self.sums(state)

    def sums(self, state: MixtureState) -> MixtureSums:
        """Cost, gradient and normal equations at a state near the one at which neighbours were found."""
        if self.pair.options.field_terms:
            self._place(state)
            self._pack()
        options = self.pair.options
        return mixture_sums(
            self.records_b,
            self.records_a,
            state.b_from_a,
            self.neighbours,
            self.affinities,
            floor=options.floor,
            farthest=options.farthest,
            normalised=options.normalised,
            turning=options.turning,
            threads=self.pair.threads,
        )

    def _place(self, state: MixtureState) -> None:
        """The sets with the depths that the state's fields give them."""
        if not self.placed or self.pair.options.field_terms:
            self.a, self.b = self.pair.a.scaled(state.field_a), self.pair.b.scaled(state.field_b)
            self.placed = True

    def _pack(self) -> None:
        terms, rows = self.pair.options.field_terms, self.rows
        basis = (self.pair.basis_a, self.pair.basis_b[rows]) if terms else (None, None)
        self.records_a = MixtureRecords.of(self.a.means_in_cam, self.covariances_a, basis[0])
        self.records_b = MixtureRecords.of(self.b.means_in_cam[rows], self.covariances_b[rows], basis[1])


def picked(looks: MixtureAppearance, rows: Int[np.ndarray, " k"]) -> MixtureAppearance:
    """The looks of some of the Gaussians."""
    colours, features, trust = looks.colours, looks.features, looks.trust
    return MixtureAppearance(
        looks.opacities[rows],
        None if colours is None else colours[rows],
        None if features is None else features[rows],
        None if trust is None else trust[rows],
    )


def _appearance(
    flat: FlatGaussians, features: Float32[np.ndarray, "n d"] | None, options: MixtureOptions
) -> MixtureAppearance:
    colours = None
    if flat.lab is not None and options.colour_deviation > 0:
        colours = flat.lab * (np.array([0.5, 1, 1]) / options.colour_deviation).astype(np.float32)
    trust = None
    if features is not None:
        # exp(trust_a trust_b (cosine - 1) / scale): each side takes half of the scale.
        own = np.ones(len(flat), dtype=np.float32) if flat.trust is None else flat.trust
        trust = own / np.float32(np.sqrt(options.feature_scale))
    return MixtureAppearance(np.ones(len(flat), dtype=np.float32), colours, features, trust)


def _lengthened(values: Float64[np.ndarray, " k"], terms: int) -> Float64[np.ndarray, " terms"]:
    result = np.zeros(terms)
    result[: len(values)] = values[:terms]
    return result


def _stepped(state: MixtureState, step: Float64[np.ndarray, " d"]) -> MixtureState:
    terms = (len(step) - 6) // 2
    return MixtureState(
        exp(step[:6]) * state.b_from_a,
        state.field_a + step[6 + terms :] if terms else state.field_a,
        state.field_b + step[6 : 6 + terms] if terms else state.field_b,
    )
