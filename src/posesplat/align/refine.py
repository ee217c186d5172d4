"""Coarse-to-fine refinement of a camera pose against a map of Gaussians.

Coarse levels render at every step (wide basin); fine levels render once and iterate on the rendered planes and colours,
with the robust scale falling to the noise that the residuals show. DESIGN "render planes, not depths".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from posesplat.align.covariance import gradient_scatter, inflation, sandwich
from posesplat.align.least_squares import Objective, State, minimise, solve_step, weighted
from posesplat.align.noise import channel_noise, channel_residuals, depth_noise, depth_residuals
from posesplat.align.pyramid import MapPyramid, QueryLevel
from posesplat.geometry import poses
from posesplat.kernels.splatting import FrozenView, RobustTerm, View, lookup, normal_equations
from posesplat.render.cpu import CpuRenderer, plane_depth


@dataclass(frozen=True)
class RefineOptions:
    """Schedule of the refinement."""

    coarse_scales_m: tuple[float, ...] = (0.2, 0.1, 0.05)
    """Geman-McClure scales of the depth residual on the coarsest level."""
    middle_scale_m: float = 0.03
    """The same on the levels between."""
    channel_scales: tuple[float, ...] = (0.3, 0.2, 0.15)
    """Geman-McClure scales of grey in [0, 1] on the coarsest level; the last one serves the levels between."""
    coarse_iterations: int = 8
    """Most evaluations for each scale of the coarse levels."""
    fine_renders: int = 3
    """Most renderings at full size."""
    fine_iterations: int = 10
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
    """Pixel stride of the fine steps until the scales have settled; then every pixel counts."""
    min_step_px: float = 2e-4
    """The iterations end when a step moves nothing by more than this, in pixels at unit depth."""
    render_again_px: float = 0.05
    """The view is rendered again when the pose has moved by more than this since."""


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
        self, view: View, query: QueryLevel, state: State, options: RefineOptions, with_channels: bool
    ) -> tuple[Scales, bool]:
        """Scales that have fallen towards the noise of the residuals, and whether they have arrived.

        They fall quickly but not at once: far from the answer the residuals are not yet noise.
        """
        depth, growth, channel, settled = self.depth, self.growth, self.channel, True
        if query.depth is not None:
            residuals, depths = depth_residuals(view, query, state.cam_from_world, 4, options.gate)
            noise = depth_noise(residuals, depths, options.min_scale_m / options.noise_ratio)
            wanted = max(options.noise_ratio * noise.sigma, options.min_scale_m)
            depth, growth = max(wanted, 0.1 * self.depth), noise.growth
            settled = depth <= 1.01 * wanted
        if with_channels:
            rendered, seen = channel_residuals(view, query, state.cam_from_world, 4, options.channel_gate)
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
    view: View
    """The last rendered view."""
    evaluations: int

    @property
    def median_depth(self) -> float:
        """Median depth of the rendered surface, in the unit of the world."""
        depth = plane_depth(self.view)
        seen = depth[(self.view.alpha >= 0.5) & (depth > 0)]
        return float(np.median(seen)) if len(seen) else 1.0

    def covariance(self) -> Float[np.ndarray, "6 6"] | None:
        """Covariance of the pose (left perturbation; rad, metres); None when the pose is not determined."""
        scatter = np.zeros((8, 8))
        if self.objective.depth is not None:
            scatter[:6, :6] += self.depth_weight**2 * gradient_scatter(self.objective.depth)
        if self.objective.channels is not None:
            scatter += self.channel_weight**2 * gradient_scatter(self.objective.channels)
        return sandwich(self.objective.hessian, scatter)


def refine(
    map_levels: MapPyramid,
    query: Sequence[QueryLevel],
    start: State,
    options: RefineOptions = RefineOptions(),
    threads: int | None = None,
) -> Refinement:
    """Refine a pose from a start within some tens of centimetres and ten degrees."""
    state, evaluations = start, 0
    for level in reversed(range(1, len(query))):
        last = level == len(query) - 1
        depth_scales = options.coarse_scales_m if last else (options.middle_scale_m,)
        channel_scales = options.channel_scales if last else options.channel_scales[-1:]
        for depth_scale, channel_scale in zip(depth_scales, channel_scales, strict=True):
            evaluate = _coarse_objective(map_levels[level], query[level], depth_scale, channel_scale, options, threads)
            minimum = minimise(
                evaluate, state, max_iterations=options.coarse_iterations, min_step=0.02 / query[level].camera.fx
            )
            state, evaluations = minimum.state, evaluations + minimum.evaluations
    return _fine(map_levels[0], query[0], state, options, evaluations, threads)


def coarse_cost(
    map_levels: MapPyramid,
    query: Sequence[QueryLevel],
    state: State,
    options: RefineOptions,
    threads: int | None = None,
) -> float:
    """Mean robust cost on the coarsest level, comparable between poses of one query."""
    level = len(query) - 1
    depth_scale, channel_scale = options.coarse_scales_m[-1], options.channel_scales[-1]
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
            depth_term=RobustTerm(depth_scale, 0.0, options.gate),
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


def _fine(
    renderer: CpuRenderer,
    query: QueryLevel,
    state: State,
    options: RefineOptions,
    evaluations: int,
    threads: int | None,
) -> Refinement:
    channels = query.channels if options.use_channels else None
    scales = Scales(options.middle_scale_m, 0.0, options.channel_scales[-1])
    pixel = 1.0 / query.camera.fx
    for render_index in range(options.fine_renders):
        view = renderer.planes(query.camera, state.cam_from_world)
        frozen = FrozenView(view)
        before = state
        for _ in range(options.fine_iterations):
            scales, settled = scales.followed(view, query, state, options, channels is not None)
            pixel_step = 1 if settled and render_index > 0 else options.step
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
                step=pixel_step,
                threads=threads,
            )
            terms = [term for term in (depth_sums, channel_sums) if term.covered > 0]
            weights = [1.0 / inflation(term) if term.covered > 0 else 0.0 for term in (depth_sums, channel_sums)]
            if not terms:
                weights = [1.0, 1.0]
            objective = weighted(
                depth_sums if query.depth is not None else None,
                channel_sums if channels is not None else None,
                *weights,
            )
            step = solve_step(objective, 0.0)
            state = state.moved(step)
            evaluations += 1
            if settled and np.abs(step[:6]).max() < options.min_step_px * pixel:
                break
        moved = poses.log(state.cam_from_world * before.cam_from_world.inv())
        if render_index > 0 and np.abs(moved).max() < options.render_again_px * pixel:
            break
    depth_weight, channel_weight = weights
    return Refinement(state, objective, depth_weight, channel_weight, scales, view, evaluations)
