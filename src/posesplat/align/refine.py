"""Coarse-to-fine refinement of a camera pose against a map of Gaussians.

Coarse levels render at every step (wide basin); fine levels render once and iterate on the rendered planes and colours,
with the robust scale falling to the noise that the residuals show. DESIGN "render planes, not depths".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posesplat.align.least_squares import Minimum, Objective, State, minimise, solve_step, weighted
from posesplat.align.noise import DepthNoise, channel_noise, depth_noise, depth_residuals
from posesplat.align.pyramid import MapPyramid, QueryLevel
from posesplat.geometry import poses
from posesplat.kernels.splatting import FrozenView, RobustTerm, View, lookup, normal_equations
from posesplat.render.cpu import CpuRenderer


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
    """Pixel stride of the fine steps."""


@dataclass(frozen=True)
class Refinement:
    """Where the refinement ended, and the evidence there."""

    state: State
    objective: Objective
    """Of the last fine step; block gradients included."""
    depth_weight: float
    channel_weight: float
    noise: DepthNoise | None
    view: View
    evaluations: int


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
            minimum = _coarse(map_levels[level], query[level], state, depth_scale, channel_scale, options, threads)
            state, evaluations = minimum.state, evaluations + minimum.evaluations
    return _fine(map_levels[0], query[0], state, options, evaluations, threads)


def _mean_weights(depth_observed: float, channels_observed: float) -> tuple[float, float]:
    return 1.0 / max(depth_observed, 1.0), 1.0 / max(channels_observed, 1.0)


def _coarse(
    renderer: CpuRenderer,
    query: QueryLevel,
    start: State,
    depth_scale: float,
    channel_scale: float,
    options: RefineOptions,
    threads: int | None,
) -> Minimum:
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
        weights = _mean_weights(depth_sums.observed, channel_sums.observed)
        return weighted(
            depth_sums if query.depth is not None else None, channel_sums if channels is not None else None, *weights
        )

    pixel = 1.0 / query.camera.fx
    return minimise(evaluate, start, max_iterations=options.coarse_iterations, min_step=0.02 * pixel)


def _fine(
    renderer: CpuRenderer,
    query: QueryLevel,
    state: State,
    options: RefineOptions,
    evaluations: int,
    threads: int | None,
) -> Refinement:
    channels = query.channels if options.use_channels else None
    noise: DepthNoise | None = None
    depth_scale, growth, channel_scale = options.middle_scale_m, 0.0, options.channel_scales[-1]
    for _ in range(options.fine_renders):
        view = renderer.planes(query.camera, state.cam_from_world)
        frozen = FrozenView(view)
        before = state
        for _ in range(options.fine_iterations):
            if query.depth is not None:
                residuals, depths = depth_residuals(view, query, state.cam_from_world, 4, options.gate)
                noise = depth_noise(residuals, depths, options.min_scale_m / options.noise_ratio)
                # Fall quickly but not at once: far from the answer the residuals are not yet noise.
                depth_scale = max(options.noise_ratio * noise.sigma, 0.1 * depth_scale, options.min_scale_m)
                growth = noise.growth
            depth_sums, channel_sums = lookup(
                frozen,
                query.camera,
                state.cam_from_world,
                depth=query.depth,
                channels=channels,
                gradients=query.gradients,
                depth_term=RobustTerm(depth_scale, growth, options.gate),
                channel_term=RobustTerm(channel_scale, 0.0, options.channel_gate),
                gain=state.gain,
                bias=state.bias,
                step=options.step,
                threads=threads,
            )
            depth_weight, channel_weight = _mean_weights(depth_sums.observed, channel_sums.observed)
            objective = weighted(
                depth_sums if query.depth is not None else None,
                channel_sums if channels is not None else None,
                depth_weight,
                channel_weight,
            )
            step = solve_step(objective, 0.0)
            state = state.moved(step)
            evaluations += 1
            if np.abs(step[:6]).max() < 1e-3 * depth_scale and depth_scale <= options.noise_ratio * (noise.sigma if noise else 1) * 1.01:
                break
        moved = poses.log(state.cam_from_world * before.cam_from_world.inv())
        if np.abs(moved).max() < 0.05 / query.camera.fx:
            break
    return Refinement(state, objective, depth_weight, channel_weight, noise, view, evaluations)
