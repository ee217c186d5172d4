"""Coarse-to-fine refinement of a camera pose against a map of Gaussians.

Coarse levels render at every step (wide basin); fine levels render once and iterate on the rendered planes and colours,
with the robust scale falling to the noise that the residuals show. docs/localize.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.agreement import AgreementRule, measure_agreement
from posesplat.align.covariance import gradient_scatter, information_weight, sandwich
from posesplat.align.least_squares import Minimum, Objective, State, minimise, solve_step, weighted
from posesplat.align.noise import channel_noise, channel_residuals, depth_noise, depth_residuals
from posesplat.align.pyramid import MapPyramid, QueryLevel
from posesplat.geometry import poses
from posesplat.kernels.splatting import FrozenView, RobustTerm, View, lookup, normal_equations
from posesplat.render.cpu import CpuRenderer

_MAP_BIAS = 0.006
"""Displacement of a map made from noisy depth, in standard deviations of that depth; measured on synthetic rooms."""

_COLOUR_BIAS_PX = 0.012
"""Error of registering colours that averaging does not remove, in pixels; measured on synthetic rooms."""


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
    gate: float = 1e-4
    """Largest relative variance of inverse depth within a pixel that counts as one surface."""
    channel_gate: float = 1e-3
    """The same for colour."""
    use_channels: bool = True
    """Whether the colour term takes part."""
    step: int = 2
    """Pixel stride until the robust scales have settled and the steps are short."""
    last_step: int = 1
    """Pixel stride from then on."""
    short_step_px: float = 0.1
    """Steps below this are short, in pixels at unit depth."""
    noise_step: int = 8
    """Pixel stride of the residuals from which the noise is read."""
    min_step_px: float = 5e-3
    """The steps end when one moves nothing by more than this, in pixels at unit depth; the next would be some ten times
    shorter."""
    least_newton_ratio: float = 0.2
    """Longest over-relaxation of the steps on the flattened robust cost, as the inverse of this."""
    render_again_px: float = 0.1
    """The view is rendered again when the pose has moved by more than this since, in pixels at unit depth."""


_NEAR = FineOptions(
    first_scale_m=0.1,
    renders=2,
    iterations=6,
    step=2,
    last_step=2,
    noise_step=8,
    min_step_px=0.02,
    render_again_px=2.0,
    min_scale_m=1e-3,
    gate=1e-3,
)


_NEAR_RULE = AgreementRule(
    tolerance_m=0.01, relative_tolerance=0.01, min_inlier_fraction=0.75, min_overlap=0.4, min_correlation=0.8
)


@dataclass(frozen=True)
class RefineOptions(FineOptions):
    """Schedule of the refinement."""

    near: FineOptions = _NEAR
    """Steps at half size from the start, tried before the coarse search."""
    near_rule: AgreementRule = _NEAR_RULE
    """Agreement after which the coarse search is left out."""
    coarse_scales_m: tuple[tuple[float, ...], ...] = ((0.2, 0.1, 0.05), (0.1, 0.05), (0.4, 0.2, 0.1, 0.05))
    """Schedules of Geman-McClure scales of the depth residual on the coarsest level, tried in turn."""
    coarse_gate: float = 1e-3
    """``gate`` on the coarse levels, whose merged splats agree less well."""
    middle_scale_m: float = 0.03
    """The scale on the levels between."""
    channel_scale: float = 0.15
    """Scale of grey on the coarse levels; larger by the square root where the depth's is larger than its last."""
    coarse_iterations: int = 16
    """Most evaluations for each scale of the coarse levels."""


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
        self, view: View, query: QueryLevel, state: State, options: FineOptions, with_channels: bool
    ) -> tuple[Scales, bool]:
        """Scales that have fallen towards the noise of the residuals, and whether they have arrived.

        They fall quickly but not at once: far from the answer the residuals are not yet noise.
        """
        depth, growth, channel, settled = self.depth, self.growth, self.channel, True
        if query.depth is not None:
            residuals, depths = depth_residuals(view, query, state.cam_from_world, options.noise_step, options.gate)
            noise = depth_noise(residuals, depths, options.min_scale_m / options.noise_ratio)
            wanted = max(options.noise_ratio * noise.sigma, options.min_scale_m)
            depth, growth = max(wanted, 0.1 * self.depth), noise.growth
            settled = depth <= 1.01 * wanted
        if with_channels:
            rendered, seen = channel_residuals(
                view, query, state.cam_from_world, options.noise_step, options.channel_gate
            )
            wanted = options.noise_ratio * channel_noise(state.gain * rendered + np.float32(state.bias), seen)
            channel = max(wanted, 0.5 * self.channel)
            settled = settled and channel <= 1.01 * wanted
        return Scales(depth, growth, channel), settled


@dataclass(frozen=True)
class Refinement:
    """Where the refinement ended, and the evidence there."""

    state: State
    objective: Objective
    """Of the last fine step; block gradients included."""
    depth_weight: float
    channel_weight: float
    scales: Scales
    """Robust scales of the last step."""
    noise_ratio: float
    """Those scales in standard deviations of the residuals."""
    view: View
    """The last rendered view."""
    evaluations: int

    @property
    def median_depth(self) -> float:
        """Median depth of the rendered surface, in the unit of the world."""
        assert self.view.planes is not None
        inverse = np.einsum("hwk,hwk->hw", self.view.planes[4::8, 4::8], self.view.camera.rays(8))
        seen = inverse[(self.view.alpha[4::8, 4::8] >= 0.5) & (inverse > 1e-6)]
        return float(1.0 / np.median(seen)) if len(seen) else 1.0

    def covariance(self) -> Float[np.ndarray, "6 6"] | None:
        """Covariance of the pose (left perturbation; rad, metres); None when the pose is not determined.

        Scatter of the gradient over the image, plus what averaging over pixels cannot remove: a map made from noisy
        depth is displaced by a small share of that noise, and colour is registered to a small part of a pixel.
        """
        scatter, information = np.zeros((8, 8)), np.zeros(2)
        if self.objective.depth is not None:
            scatter[:6, :6] += self.depth_weight**2 * gradient_scatter(self.objective.depth)
            information[0] = self.depth_weight * np.trace(self.objective.depth.hessian[3:6, 3:6])
        if self.objective.channels is not None:
            scatter += self.channel_weight**2 * gradient_scatter(self.objective.channels)
            information[1] = self.channel_weight * np.trace(self.objective.channels.hessian[3:6, 3:6])
        covariance = sandwich(self.objective.hessian, scatter)
        if covariance is None:
            return None
        depth = self.median_depth
        depth_share, channel_share = information / max(float(information.sum()), 1e-300)
        depth_sigma = self.scales.depth / self.noise_ratio * (1.0 + self.scales.growth * depth**2)
        variance = (depth_share * _MAP_BIAS * depth_sigma) ** 2
        variance += (channel_share * _COLOUR_BIAS_PX * depth / self.view.camera.fx) ** 2
        return covariance + variance * np.diag([depth**-2.0] * 3 + [1.0] * 3)


def refine(
    map_levels: MapPyramid,
    query: Sequence[QueryLevel],
    start: State,
    options: RefineOptions = RefineOptions(),
    threads: int | None = None,
) -> Refinement:
    """Refine a pose from a start within some tens of centimetres and ten degrees.

    Depth has the wider basin and leads where there is any; colour joins when the pose is near. A near start needs no
    coarse search: if a few steps at half size already bring agreement, they are taken.
    """
    state, evaluations = start, 0
    if len(query) > 1:
        depth_leads = query[0].depth is not None
        leading = [replace(level, channels=None, gradients=None) for level in query] if depth_leads else query
        near = _frozen(map_levels[1], leading[1], start, options.near, 0, threads)
        state, evaluations = near.state, near.evaluations
        if measure_agreement(near.view, leading[1], state.cam_from_world, options.near_rule).refusal:
            state, spent = _searched(map_levels, leading, start, options, threads)
            evaluations += spent
        if depth_leads and query[0].channels is not None:
            # Where depth lets the camera slide, colour needs its own way from coarse to fine.
            view = map_levels[1].planes(query[1].camera, state.cam_from_world)
            colour = replace(query[1], depth=None)
            if measure_agreement(view, colour, state.cam_from_world, options.near_rule).refusal:
                state, spent = _searched(map_levels, query, state, options, threads)
                evaluations += spent
    return _frozen(map_levels[0], query[0], state, options, evaluations, threads)


def _searched(
    map_levels: MapPyramid,
    query: Sequence[QueryLevel],
    start: State,
    options: RefineOptions,
    threads: int | None,
) -> tuple[State, int]:
    """The pose after the coarse levels by the first schedule that brings agreement, else by the one of least cost."""
    best, spent = None, 0
    for scales in options.coarse_scales_m:
        minimum, evaluations = _coarse_to_fine(map_levels, query, start, scales, options, threads)
        spent += evaluations
        if best is None or minimum.objective.cost < best.objective.cost:
            best = minimum
        view = map_levels[1].planes(query[1].camera, minimum.state.cam_from_world)
        if not measure_agreement(view, query[1], minimum.state.cam_from_world, options.near_rule).refusal:
            break
    assert best is not None
    return best.state, spent


def _coarse_to_fine(
    map_levels: MapPyramid,
    query: Sequence[QueryLevel],
    state: State,
    scales_m: tuple[float, ...],
    options: RefineOptions,
    threads: int | None,
) -> tuple[Minimum, int]:
    """The minimum after the coarse levels, rendered at every step, and the evaluations spent."""
    evaluations = 0
    for level in reversed(range(1, len(query))):
        coarsest = level == len(query) - 1
        for depth_scale in scales_m if coarsest else (options.middle_scale_m,):
            channel_scale = options.channel_scale * max(1.0, depth_scale / scales_m[-1]) ** 0.5
            evaluate = _coarse_objective(map_levels[level], query[level], depth_scale, channel_scale, options, threads)
            minimum = minimise(
                evaluate, state, max_iterations=options.coarse_iterations, min_step=0.02 / query[level].camera.fx
            )
            state, evaluations = minimum.state, evaluations + minimum.evaluations
    return minimum, evaluations


def coarse_cost(
    map_levels: MapPyramid,
    query: Sequence[QueryLevel],
    state: State,
    options: RefineOptions,
    threads: int | None = None,
) -> float:
    """Mean robust cost on the coarsest level, comparable between poses of one query."""
    level = len(query) - 1
    depth_scale, channel_scale = options.coarse_scales_m[0][-1], options.channel_scale
    evaluate = _coarse_objective(map_levels[level], query[level], depth_scale, channel_scale, options, threads)
    return evaluate(state).cost


def _coarse_objective(
    renderer: CpuRenderer,
    query: QueryLevel,
    depth_scale: float,
    channel_scale: float,
    options: RefineOptions,
    threads: int | None,
) -> Callable[[State], Objective]:
    """The objective of one level, rendered at every evaluation; both terms count as means over their pixels."""
    channels = query.channels if options.use_channels else None

    def evaluate(state: State) -> Objective:
        depth_sums, channel_sums = normal_equations(
            renderer.scene,
            query.camera,
            state.cam_from_world,
            depth=query.depth,
            channels=channels,
            depth_term=RobustTerm(depth_scale, 0.0, options.coarse_gate),
            channel_term=RobustTerm(channel_scale, 0.0, options.channel_gate),
            gain=state.gain,
            bias=state.bias,
            layer=renderer.layer,
            threads=threads,
        )
        return weighted(
            depth_sums if query.depth is not None else None,
            channel_sums if channels is not None else None,
            1.0 / max(depth_sums.observed, 1.0),
            1.0 / max(channel_sums.observed, 1.0),
        )

    return evaluate


def _frozen(
    renderer: CpuRenderer,
    query: QueryLevel,
    state: State,
    options: FineOptions,
    evaluations: int,
    threads: int | None,
) -> Refinement:
    """Gauss-Newton steps against views rendered once each, the robust scales following the residuals."""
    channels = query.channels if options.use_channels else None
    scales = Scales(options.first_scale_m, 0.0, options.first_channel_scale)
    pixel = 1.0 / query.camera.fx
    for _ in range(options.renders):
        view = renderer.planes(query.camera, state.cam_from_world)
        frozen = FrozenView(view)
        rendered_at, settled, moved_px = state.cam_from_world, False, np.inf
        weights = (1.0, 1.0)
        for _ in range(options.iterations):
            every_pixel = settled and moved_px < options.short_step_px
            if not settled:
                scales, settled = scales.followed(view, query, state, options, channels is not None)
            depth_sums, channel_sums = lookup(
                frozen,
                query.camera,
                state.cam_from_world,
                depth=query.depth,
                channels=channels,
                gradients=query.gradients,
                depth_term=RobustTerm(scales.depth, scales.growth, options.gate),
                channel_term=RobustTerm(scales.channel, 0.0, options.channel_gate),
                gain=state.gain,
                bias=state.bias,
                step=options.last_step if every_pixel else options.step,
                threads=threads,
            )
            # While the scales still fall, a flat robust cost must not make the steps long.
            least = options.least_newton_ratio if settled else 0.5
            if query.depth is not None and channels is not None:
                weights = (information_weight(depth_sums, least), information_weight(channel_sums, least))
            objective = weighted(
                depth_sums if query.depth is not None else None,
                channel_sums if channels is not None else None,
                *weights,
                least_newton_ratio=least,
            )
            step = solve_step(objective, 0.0)
            state = state.moved(step)
            evaluations += 1
            moved_px = float(np.abs(step[:6]).max()) / pixel
            if settled and moved_px < options.min_step_px and (every_pixel or options.last_step == options.step):
                break
        if _largest_change(state.cam_from_world, rendered_at) < options.render_again_px * pixel:
            break
    depth_weight, channel_weight = weights
    return Refinement(state, objective, depth_weight, channel_weight, scales, options.noise_ratio, view, evaluations)


def _largest_change(first: RigidTransform, second: RigidTransform) -> float:
    """Largest component of the motion between two poses, rad or units of the world."""
    return float(np.abs(poses.log(first * second.inv())).max())
