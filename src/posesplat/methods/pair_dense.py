"""Refining the pose of two RGB-D images by rendering: the Gaussians of each against the observation of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.agreement import AgreementRule, measure_agreement
from posesplat.align.covariance import Regions, effective_regions, small_sample_inflation
from posesplat.align.fine import FineOptions
from posesplat.align.least_squares import State
from posesplat.align.pyramid import disc_blur_px, halved, halved_depth, query_pyramid, softened
from posesplat.align.refine import refine_near
from posesplat.gaussians.lifting import LiftOptions, NoSurface, lift
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import inverse_covariance, log, perturbed, pose_errors
from posesplat.kernels.threads import side_by_side, thread_count
from posesplat.render.cpu import CpuRenderer

_OPTIONS = FineOptions(first_scale_m=0.05, renders=5)
_WIDE = FineOptions(first_scale_m=0.2, renders=5)
_STRICT = AgreementRule(min_inlier_fraction=0.8, min_overlap=0.2, min_joint_correlation=0.5)
_SAME = (0.02, 0.5)
"""Metres and degrees within which both ways must agree where nothing else confirms a pose."""
_SHARED = 0.75
"""Of the covariance that both ways would have did they share all of their noise; of synthetic rooms."""
_APART, _NOISE_APART = 2.0, 1.6
"""Growth of the variance with the squared distance of both ways, from where on. With nothing but noise that is 0.2 to
1.6, since they share it; on a Kinect that turns fast it is 5 to 30."""
_HALVED_WIDTH = 480
"""Images at least this wide are lifted at half size."""
_KEPT_WHEN_HALVED = 0.5
"""But not where halving keeps less than this share of the measured pixels: it needs all four of a square."""
_RULE = AgreementRule(min_inlier_fraction=0.5, min_overlap=0.05)


@dataclass(frozen=True)
class DenseFit:
    """A pose refined by rendering one image's Gaussians into the other, as b_from_a whichever way it was found."""

    b_from_a: RigidTransform
    covariance: Float[np.ndarray, "6 6"]
    """Of the left perturbation."""
    overlap: float
    """Share of the observing image that the other one's Gaussians cover."""
    inlier_fraction: float
    """Share of its covered depths that agree."""


def refined_by_rendering(
    a: Frame,
    b: Frame,
    b_from_a: RigidTransform,
    options: FineOptions = _OPTIONS,
    threads: int | None = None,
    rule: AgreementRule = _RULE,
) -> DenseFit | None:
    """The pose at which A's Gaussians, rendered into B, agree with B's depth and grey; None where they do not.

    Args:
        a: RGB-D.
        b: RGB-D.
        b_from_a: within some centimetres and a degree.
        options: schedule.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
        rule: what counts as agreement.
    """
    reduced, stride = _reduced(a)
    try:
        gaussians = lift(reduced, options=LiftOptions(stride=stride), threads=threads).gaussians
    except NoSurface:
        return None
    renderer = CpuRenderer(gaussians, "grey", threads=threads)
    query = softened(query_pyramid(b), disc_blur_px(gaussians, b.camera, b_from_a))
    found = refine_near(renderer, query, State(b_from_a), options, threads=threads)
    pose = found.state.cam_from_world
    agreement = measure_agreement(found.view, query[0], pose, rule)
    covariance = None if agreement.refusal else found.covariance()
    if covariance is None:
        return None
    terms = [term for term in (found.objective.depth, found.objective.channels) if term is not None]
    regions = max(effective_regions(Regions.of(term)) for term in terms)
    covariance = small_sample_inflation(regions) * covariance
    return DenseFit(pose, covariance, agreement.overlap, agreement.inlier_fraction)


def refined_both_ways(
    a: Frame,
    b: Frame,
    b_from_a: RigidTransform,
    options: FineOptions = _OPTIONS,
    threads: int | None = None,
    rule: AgreementRule = _RULE,
) -> tuple[DenseFit | None, DenseFit | None]:
    """As :func:`refined_by_rendering`, A's Gaussians into B and B's into A."""
    each = max(thread_count(threads) // 2, 1)

    def refined(way: tuple[Frame, Frame, RigidTransform]) -> DenseFit | None:
        return refined_by_rendering(*way, options, each, rule)

    forth, back = side_by_side(refined, ((a, b, b_from_a), (b, a, b_from_a.inv())), threads)
    if back is not None:
        covariance = inverse_covariance(back.b_from_a, back.covariance)
        back = replace(back, b_from_a=back.b_from_a.inv(), covariance=covariance)
    return forth, back


def searched_by_rendering(
    a: Frame, b: Frame, starts: Sequence[RigidTransform], threads: int | None = None
) -> tuple[DenseFit, DenseFit] | None:
    """The pose near one of several starts at which both images agree well, A's Gaussians in B and B's in A.

    Both ways must lead to one pose: nothing else confirms it. None where they do not.

    Args:
        a: RGB-D.
        b: RGB-D.
        starts: b_from_a, within some tens of centimetres and some degrees.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
    """
    best = None
    for start in starts:
        forth, back = refined_both_ways(a, b, start, _WIDE, threads, _STRICT)
        if forth is None or back is None:
            continue
        metres, degrees = pose_errors(forth.b_from_a, back.b_from_a)
        if metres > _SAME[0] or degrees > _SAME[1]:
            continue
        if best is None or _agreement(forth, back) > _agreement(*best):
            best = forth, back
    return best


def _agreement(forth: DenseFit, back: DenseFit) -> float:
    return forth.overlap * forth.inlier_fraction + back.overlap * back.inlier_fraction


def _reduced(frame: Frame) -> tuple[Frame, int]:
    """The frame at half size where it is large, whose depth is less noisy and cheaper to lift, and the stride."""
    if frame.camera.width < _HALVED_WIDTH or frame.depth is None or frame.image is None:
        return frame, 1
    depth = halved_depth(frame.depth)
    if np.mean(depth > 0) < _KEPT_WHEN_HALVED * np.mean(frame.depth > 0):
        return frame, max(1, round(frame.camera.width / 320))
    camera = frame.camera.pyramid(2)[1]
    image = np.rint(halved(frame.image.astype(np.float32))).astype(np.uint8)
    return Frame(camera, image, depth, frame.name), max(1, round(camera.width / 320))


def fused(fits: Sequence[DenseFit]) -> DenseFit:
    """One pose of several of the same two images, weighted by their information.

    They share most of the noise of both images, so together they are hardly surer than the better ones are: the
    information is averaged, not added (covariance intersection), but for a factor that was measured. Where two of them
    lie farther apart than their covariances let expect, the images err in ways that these do not know, such as rows and
    depth of another moment, and the covariance grows with the square of that distance.

    Args:
        fits: at least one.

    Source: Julier and Uhlmann, A non-divergent estimation algorithm in the presence of unknown correlations, ACC 1997.
    """
    base = fits[0].b_from_a
    inverses = [np.linalg.inv(fit.covariance) for fit in fits]
    shifts = [log(fit.b_from_a * base.inv()) for fit in fits]
    total = np.sum(inverses, axis=0)
    moment = np.sum([inverse @ shift for inverse, shift in zip(inverses, shifts, strict=True)], axis=0)
    apart = max((_distance(first, second) for first, second in combinations(fits, 2)), default=0.0)
    return DenseFit(
        perturbed(base, np.linalg.solve(total, moment)),
        np.linalg.inv(total) * max(_SHARED * len(fits), 1.0) * (1.0 + _APART * max(0.0, apart - _NOISE_APART)),
        float(np.mean([fit.overlap for fit in fits])),
        float(np.mean([fit.inlier_fraction for fit in fits])),
    )


def _distance(first: DenseFit, second: DenseFit) -> float:
    """Square of the distance of two answers in their covariances, added as if they were independent."""
    gap = log(first.b_from_a * second.b_from_a.inv())
    return float(gap @ np.linalg.solve(first.covariance + second.covariance, gap))
