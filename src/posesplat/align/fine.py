"""Gauss-Newton steps against views rendered once, with robust scales that fall to the noise. docs/localize.md."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.covariance import Regions, information_weight, jackknife, least_share, sum_of
from posesplat.align.exposure import fitted_exposure
from posesplat.align.least_squares import Objective, State, solve_step, weighted
from posesplat.align.noise import (
    DepthNoise,
    channel_noise,
    channel_residuals,
    depth_noise,
    depth_residuals,
    sample_step,
    spurious_information,
)
from posesplat.align.pyramid import QueryLevel
from posesplat.geometry import poses
from posesplat.kernels.splatting import FrozenView, NormalEquations, RobustTerm, View, lookup
from posesplat.render.cpu import CpuRenderer

_MAP_BIAS = 0.007
"""Displacement of a map made from noisy depth, in standard deviations of that depth; measured on synthetic rooms."""

_COLOUR_BIAS_PX = 0.002
"""Error of registering colours that averaging does not remove, in pixels; measured on synthetic rooms."""

_LEAST_SHARE = 0.1
"""Share of a direction's apparent information below which the pose follows noise in that direction."""

_GATE_RATIO = 10.0
"""Gate of depth, in medians of the map's own variance within a pixel."""


@dataclass(frozen=True)
class FineOptions:
    """Steps against views that are rendered once."""

    first_scale_m: float = 0.03
    """Geman-McClure scale of the depth residual to begin with."""
    first_channel_scale: float = 0.15
    """The same for grey in [0, 1]."""
    renders: int = 3
    """Most renderings."""
    iterations: int = 10
    """Most steps on one rendering."""
    noise_ratio: float = 2.0
    """Robust scale of the last steps, in standard deviations of the residuals."""
    min_scale_m: float = 1e-4
    """Smallest robust scale of depth."""
    motion_ratio: float = 3.0
    """The robust scale of depth stays above the last step's length times this: far from the answer, the few pixels that
    know the way must not become outliers."""
    gate: float = 1e-4
    """Largest relative variance of inverse depth within a pixel that counts as one surface."""
    least_gate: float = 1e-6
    """Smallest such gate; a map whose surfaces are smoother than noisy ones gets a gate between the two."""
    channel_gate: float = 1e-3
    """The same for colour."""
    use_channels: bool = True
    """Whether the colour term takes part."""
    depth_steps: tuple[int, int] = (2, 1)
    """Pixel stride of the depth until the robust scales have settled and the steps are short, and from then on."""
    channel_steps: tuple[int, int] = (4, 2)
    """The same for colour, which the map's discs have blurred."""
    short_step_px: float = 0.1
    """Steps below this are short, in pixels at unit depth."""
    noise_samples: int = 2400
    """Residuals from which the noise is read."""
    min_step_px: float = 5e-3
    """The steps end when one moves nothing by more than this, in pixels at unit depth; the next would be some ten times
    shorter."""
    least_newton_ratio: float = 0.2
    """Longest over-relaxation of the steps on the flattened robust cost, as the inverse of this."""
    render_again_px: float = 0.4
    """The view is rendered again when the pose has moved by more than this since, in pixels at unit depth."""


@dataclass(frozen=True)
class FineQuery:
    """An observation at the sizes at which its terms are compared."""

    depth: QueryLevel
    """Level of the depth; halving a large image averages its noise."""
    image: QueryLevel
    """Level of the image; views of the map are rendered at this size."""

    @property
    def has_depth(self) -> bool:
        """Whether there is a depth term."""
        return self.depth.depth is not None

    @property
    def has_channels(self) -> bool:
        """Whether there is a colour term."""
        return self.image.channels is not None


@dataclass(frozen=True)
class Scales:
    """Robust scales of the fine steps."""

    depth: float
    """Metres at depth 0."""
    growth: float
    """Growth of the depth scale with squared depth."""
    channel: float
    """Grey in [0, 1]."""

    def followed(
        self, view: View, query: FineQuery, state: State, moved_m: float, gate: float, options: FineOptions
    ) -> tuple[Scales, bool]:
        """Scales that have fallen towards the noise of the residuals, and whether they have arrived.

        They fall quickly but not at once: far from the answer the residuals are not yet noise.
        """
        depth, growth, channel, settled = self.depth, self.growth, self.channel, True
        if query.has_depth:
            step = sample_step(query.depth.camera, options.noise_samples)
            residuals, depths = depth_residuals(view, query.depth, state.cam_from_world, step, gate)
            noise = depth_noise(residuals, depths, options.min_scale_m / options.noise_ratio)
            wanted = max(options.noise_ratio * noise.sigma, options.min_scale_m)
            slowest = max(0.1 * self.depth, min(options.motion_ratio * moved_m, self.depth))
            depth, growth = max(wanted, slowest), noise.growth
            settled = depth <= 1.01 * wanted
        if query.has_channels:
            step = sample_step(view.camera, options.noise_samples)
            rendered, seen = channel_residuals(view, query.image, state.cam_from_world, step, options.channel_gate)
            wanted = options.noise_ratio * channel_noise(state.gain * rendered + np.float32(state.bias), seen)
            channel = max(wanted, 0.25 * self.channel)
            settled = settled and channel <= 1.01 * wanted
        return Scales(depth, growth, channel), settled


@dataclass(frozen=True)
class Refinement:
    """Where the refinement ended, and the evidence there."""

    state: State
    objective: Objective
    """Of the last fine step; sums over blocks of pixels included."""
    depth_weight: float
    channel_weight: float
    least_newton_ratio: float
    scales: Scales
    """Robust scales of the last step."""
    options: FineOptions
    view: View
    """The last rendered view."""
    evaluations: int
    query: FineQuery
    gate: float
    """Gate of depth in the last view."""

    def cost_at(self, cam_from_world: RigidTransform, threads: int | None = None) -> float:
        """What the last steps minimise, at another pose: robust cost against the last view, same scales and weights."""
        state = replace(self.state, cam_from_world=cam_from_world)
        sums = sums_of(FrozenView(self.view), self.query, state, self.scales, self.gate, self.options, True, threads)
        return weighted(*sums, self.depth_weight, self.channel_weight).cost

    @property
    def median_depth(self) -> float:
        """Median depth of the rendered surface, in the unit of the world."""
        return median_depth(self.view)

    @property
    def relative_noise(self) -> float:
        """Standard deviation of the depth residuals at the median depth, relative to it; infinite without depth."""
        if not self.query.has_depth:
            return float("inf")
        depth = self.median_depth
        return self.scales.depth / self.options.noise_ratio * (1.0 + self.scales.growth * depth**2) / depth

    def covariance(self) -> Float[np.ndarray, "6 6"] | None:
        """Covariance of the pose (left perturbation; rad, metres); None when the pose is not determined.

        A jackknife over the regions of the image, plus what averaging over pixels cannot remove: a map made from noisy
        depth is displaced by a small share of that noise, and colour is registered to a small part of a pixel.
        """
        held, informed, information = [], [], np.zeros(2)
        terms = ((self.objective.depth, self.depth_weight), (self.objective.channels, self.channel_weight))
        for index, (term, weight) in enumerate(terms):
            if term is None or term.block_gradients is None:
                continue
            split = Regions.of(term)
            less = split.without(term.weights * self._spurious()) if index == 0 else split
            ratio = term.newton_ratio(self.least_newton_ratio)
            held.append(split.weighted(weight, ratio, 8))
            informed.append(less.weighted(weight, ratio, 8))
            information[index] = weight * np.trace(term.hessian[3:6, 3:6])
        if not held or least_share(sum_of(informed), sum_of(held)) < _LEAST_SHARE:
            return None
        covariance = jackknife(sum_of(informed))
        if covariance is None:
            return None
        depth = self.median_depth
        depth_share, channel_share = information / max(float(information.sum()), 1e-300)
        variance = (depth_share * _MAP_BIAS * self.relative_noise * depth) ** 2 if self.query.has_depth else 0.0
        variance += (channel_share * _COLOUR_BIAS_PX * depth / self.view.camera.fx) ** 2
        return covariance + variance * np.diag([depth**-2.0] * 3 + [1.0] * 3)

    def _spurious(self) -> Float[np.ndarray, "6 6"]:
        scale = DepthNoise(self.scales.depth, self.scales.growth)
        return spurious_information(self.view, self.query.depth, self.state.cam_from_world, scale, self.gate)


def converge(
    renderer: CpuRenderer,
    query: FineQuery,
    state: State,
    options: FineOptions,
    evaluations: int = 0,
    threads: int | None = None,
) -> Refinement:
    """Gauss-Newton steps against views rendered once each, the robust scales following the residuals."""
    if not options.use_channels:
        query = replace(query, image=replace(query.image, channels=None, gradients=None))
    scales = Scales(options.first_scale_m, 0.0, options.first_channel_scale)
    pixel = 1.0 / query.image.camera.fx
    moved_m = np.inf
    for _ in range(options.renders):
        view = renderer.planes(query.image.camera, state.cam_from_world)
        frozen, gate, depth = FrozenView(view), _gate(view, options), median_depth(view)
        rendered_at, settled, moved_px, weights = state.cam_from_world, False, np.inf, (1.0, 1.0)
        if query.has_channels and state.gain == 1.0 and state.bias == 0.0:
            state = _exposed(view, query.image, state, options)
        for _ in range(options.iterations):
            last = settled and moved_px < options.short_step_px
            if not settled:
                scales, settled = scales.followed(view, query, state, moved_m, gate, options)
            depth_sums, channel_sums = sums_of(frozen, query, state, scales, gate, options, last, threads)
            # While the scales still fall, a flat robust cost must not make the steps long.
            least = options.least_newton_ratio if settled else 0.5
            if depth_sums is not None and channel_sums is not None:
                weights = (information_weight(depth_sums, least), information_weight(channel_sums, least))
            objective = weighted(depth_sums, channel_sums, *weights, least_newton_ratio=least)
            step = solve_step(objective, 0.0)
            state = state.moved(step)
            evaluations += 1
            moved_px = float(np.abs(step[:6]).max()) / pixel
            moved_m = float(np.linalg.norm(step[3:6]) + depth * np.linalg.norm(step[:3]))
            if settled and moved_px < options.min_step_px and (last or not _has_last(options, query)):
                break
        if _largest_change(state.cam_from_world, rendered_at) < options.render_again_px * pixel:
            break
    return Refinement(state, objective, *weights, least, scales, options, view, evaluations, query, gate)


def _exposed(view: View, query: QueryLevel, state: State, options: FineOptions) -> State:
    """The state with an exposure that fits what the view shows."""
    step = sample_step(view.camera, options.noise_samples)
    samples = channel_residuals(view, query, state.cam_from_world, step, options.channel_gate)
    return State(state.cam_from_world, *fitted_exposure(*samples))


def _has_last(options: FineOptions, query: FineQuery) -> bool:
    """Whether the last steps look at more pixels than those before."""
    return (query.has_depth and options.depth_steps[0] != options.depth_steps[1]) or (
        query.has_channels and options.channel_steps[0] != options.channel_steps[1]
    )


def sums_of(
    frozen: FrozenView,
    query: FineQuery,
    state: State,
    scales: Scales,
    gate: float,
    options: FineOptions,
    last: bool,
    threads: int | None,
) -> tuple[NormalEquations | None, NormalEquations | None]:
    """Normal equations of the terms that take part."""
    depth_sums = channel_sums = None
    if query.has_depth:
        depth_sums, _ = lookup(
            frozen,
            query.depth.camera,
            state.cam_from_world,
            depth=query.depth.depth,
            depth_term=RobustTerm(scales.depth, scales.growth, gate),
            step=options.depth_steps[last],
            threads=threads,
        )
    if query.has_channels:
        _, channel_sums = lookup(
            frozen,
            query.image.camera,
            state.cam_from_world,
            depth=query.image.depth,
            channels=query.image.channels,
            gradients=query.image.gradients,
            channel_term=RobustTerm(scales.channel, 0.0, options.channel_gate),
            gain=state.gain,
            bias=state.bias,
            step=options.channel_steps[last],
            use_depth=False,
            threads=threads,
        )
    return depth_sums, channel_sums


def _gate(view: View, options: FineOptions) -> float:
    """The gate of depth for a view: tighter the smoother the map's surfaces are."""
    assert view.variance is not None
    seen = view.variance[4::8, 4::8][view.alpha[4::8, 4::8] >= 0.5]
    own = _GATE_RATIO * float(np.median(seen)) if len(seen) else np.inf
    return min(max(own, options.least_gate), options.gate)


def median_depth(view: View) -> float:
    """Median depth of a rendered surface, in the unit of the world."""
    assert view.planes is not None
    inverse = np.einsum("hwk,hwk->hw", view.planes[4::8, 4::8], view.camera.rays(8))
    seen = inverse[(view.alpha[4::8, 4::8] >= 0.5) & (inverse > 1e-6)]
    return float(1.0 / np.median(seen)) if len(seen) else 1.0


def _largest_change(first: RigidTransform, second: RigidTransform) -> float:
    """Largest component of the motion between two poses, rad or units of the world."""
    return float(np.abs(poses.log(first * second.inv())).max())
