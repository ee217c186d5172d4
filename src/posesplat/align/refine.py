"""Coarse-to-fine refinement of a camera pose against a map of Gaussians.

Coarse levels render at every step (wide basin); fine levels render once and iterate on the rendered planes and colours,
with the robust scale falling to the noise that the residuals show. docs/localize.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from posesplat.align.agreement import AgreementRule, measure_agreement
from posesplat.align.fine import FineOptions, FineQuery, Refinement, converge
from posesplat.align.least_squares import Minimum, Objective, State, minimise, weighted
from posesplat.align.pyramid import MapPyramid, QueryLevel
from posesplat.kernels.splatting import RobustTerm, normal_equations
from posesplat.render.cpu import CpuRenderer

_NEAR = FineOptions(
    first_scale_m=0.1,
    renders=2,
    iterations=6,
    depth_steps=(2, 2),
    channel_steps=(2, 2),
    min_step_px=0.02,
    render_again_px=2.0,
    min_scale_m=1e-3,
    gate=1e-3,
    least_gate=1e-3,
)

_HALVED_WIDTH = 480
"""Depth of images at least this wide is compared at half size: that averages its noise in a quarter of the time."""

_CLEAN = 3e-4
"""Relative noise of depth below which halving loses more at edges than it gains."""

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
    nearby_deg: float = 6.0
    """If none of them brings agreement, the search begins again turned by this about each axis of the camera, ..."""
    nearby_m: float = 0.15
    """... and moved by this along each."""
    coarse_gate: float = 1e-3
    """``gate`` on the coarse levels, whose merged splats agree less well."""
    middle_scale_m: float = 0.03
    """The scale on the levels between."""
    channel_scale: float = 0.15
    """Scale of grey on the coarse levels; larger by the square root where the depth's is larger than its last."""
    coarse_iterations: int = 16
    """Most evaluations for each scale of the coarse levels."""


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
        near = converge(map_levels[1], FineQuery(leading[1], leading[1]), start, options.near, 0, threads)
        state, evaluations, view = near.state, near.evaluations, near.view
        if measure_agreement(view, leading[1], state.cam_from_world, options.near_rule).refusal:
            state, spent = _searched(map_levels, leading, start, options, threads)
            evaluations += spent
            view = map_levels[1].planes(query[1].camera, state.cam_from_world)
        if depth_leads and query[0].channels is not None:
            # Where depth lets the camera slide, colour needs its own way from coarse to fine.
            colour = replace(query[1], depth=None)
            if measure_agreement(view, colour, state.cam_from_world, options.near_rule).refusal:
                state, spent = _searched(map_levels, query, state, options, threads)
                evaluations += spent
    return refine_near(map_levels[0], query, state, options, evaluations, threads)


def refine_near(
    renderer: CpuRenderer,
    query: Sequence[QueryLevel],
    state: State,
    options: FineOptions = FineOptions(),
    evaluations: int = 0,
    threads: int | None = None,
) -> Refinement:
    """Refine a pose that is within some centimetres and a degree: the fine steps alone."""
    image = query[0] if query[0].channels is not None else None
    halves = query[0].depth is not None and query[0].camera.width >= _HALVED_WIDTH
    depth = query[1] if halves else query[0]
    found = converge(renderer, FineQuery(depth, image or depth), state, options, evaluations, threads)
    if halves and found.relative_noise < _CLEAN:
        whole = FineQuery(query[0], query[0])
        found = converge(renderer, whole, found.state, options, found.evaluations, threads)
    return found


def _searched(
    map_levels: MapPyramid,
    query: Sequence[QueryLevel],
    start: State,
    options: RefineOptions,
    threads: int | None,
) -> tuple[State, int]:
    """The pose after the coarse levels by the first attempt that brings agreement, else by the one of least cost."""
    best, spent = None, 0
    for begin, scales in _attempts(start, options):
        minimum, evaluations = _coarse_to_fine(map_levels, query, begin, scales, options, threads)
        spent += evaluations
        if best is None or minimum.objective.cost < best.objective.cost:
            best = minimum
        view = map_levels[1].planes(query[1].camera, minimum.state.cam_from_world)
        if not measure_agreement(view, query[1], minimum.state.cam_from_world, options.near_rule).refusal:
            break
    assert best is not None
    return best.state, spent


def _attempts(start: State, options: RefineOptions) -> Iterator[tuple[State, tuple[float, ...]]]:
    """Starts and schedules of scales, in the order in which they are tried: all schedules, then nearby starts."""
    for scales in options.coarse_scales_m:
        yield start, scales
    for size, axes in ((np.radians(options.nearby_deg), (1, 0, 2)), (options.nearby_m, (3, 4, 5))):
        for axis, sign in product(axes, (-1.0, 1.0)):
            yield start.moved(sign * size * np.eye(8)[axis]), options.coarse_scales_m[0]


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
