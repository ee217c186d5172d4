"""The faithful GARPS mode of `pair`: its overlap objective alone, from a given start."""

from __future__ import annotations

import time

import numpy as np
from jaxtyping import Float32
from scipy.spatial.transform import RigidTransform

from posesplat.align.garps import GarpsOptions, garps_refine
from posesplat.align.mixture import MixtureOptions
from posesplat.gaussians.flat_gaussians import FlatOptions, lift_flat
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame
from posesplat.providers.features.provider import FeatureProvider


def garps(
    a: Frame,
    b: Frame,
    start: RigidTransform,
    options: GarpsOptions = GarpsOptions(),
    *,
    lifting: FlatOptions = FlatOptions(),
    features: FeatureProvider | None = None,
    least_agreement: float = MixtureOptions.least_agreement,
    scale: Scale = Scale(True, "depth sensor"),
    threads: int | None = None,
) -> PoseEstimate:
    """The relative pose of two frames with depth, by the correlation of their Gaussian mixtures alone.

    Args:
        a: frame with depth, metres; an image adds colour and features.
        b: the other; camera and size may differ.
        start: b_from_a at which to begin.
        options: see :class:`posesplat.align.garps.GarpsOptions`.
        lifting: how frames become Gaussians.
        features: semantic features, such as DINOv2's; None = weight-free descriptors.
        least_agreement: below this share of agreement between what both frames see there is no answer. The paper has
            no such test; 0 takes any.
        scale: who says that the depths are metres.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Returns:
        b_from_a as ``cam_from_world``, the world being camera a; no covariance. It fails when the mixtures do not
        overlap, when the search ends at a worse objective than the start's, or when too little agrees at the end.

    Raises:
        ValueError: when a frame has no depth, or no surface, or when features are given and a frame has no image.

    Source: Li and Campbell, GARPS, arXiv 2509.13652.
    """
    began = time.perf_counter()
    channels = _channels(features, (a, b))
    sets = [lift_flat(frame, lifting, seen, threads) for frame, seen in zip((a, b), channels, strict=True)]
    result = garps_refine(sets[0], sets[1], start, options, threads=threads)
    reason = result.reason
    if result.b_from_a is not None and result.cost > result.start_cost:
        reason = (
            f"The objective is worse at the end than at the start: -log E is {result.cost:.4g} instead of "
            f"{result.start_cost:.4g}."
        )
    elif result.b_from_a is not None and result.agreement < least_agreement:
        reason = (
            f"Where the search ended, what both frames should see agrees by {result.agreement:.0%} only; at least "
            f"{least_agreement:.0%} are needed. Start nearer, or the frames show different things."
        )
    return PoseEstimate(
        success=not reason,
        reason=reason,
        cam_from_world=None if reason else result.b_from_a,
        scale=scale,
        inlier_fraction=result.agreement,
        overlap=result.overlap,
        cost=result.cost,
        iterations=result.iterations,
        runtime_s=time.perf_counter() - began,
        source="garps",
    )


def _channels(features: FeatureProvider | None, frames: tuple[Frame, Frame]) -> list[Float32[np.ndarray, "..."] | None]:
    if features is None:
        return [None, None]
    images = [frame.image for frame in frames if frame.image is not None]
    if len(images) < 2:
        raise ValueError(f"Features {features.name!r} need both frames to have an image; got depth only.")
    features.fit(images)
    return [features.features(image) for image in images]
