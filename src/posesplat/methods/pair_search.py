"""The pose of two RGB-D images whose matches are too few: mixtures of Gaussians aligned from several starts."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.spatial.transform import RigidTransform

from posesplat.align.appearance_start import appearance_start
from posesplat.align.mixture import MixturePair
from posesplat.gaussians.flat_gaussians import lift_flat
from posesplat.gaussians.lifting import NoSurface
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import pose_errors

_SAME_DEG, _SAME_M = 0.5, 0.02


def mixture_poses(
    a: Frame, b: Frame, starts: Sequence[RigidTransform], threads: int | None = None
) -> list[RigidTransform]:
    """Poses at which the Gaussians of both images overlap well, best first; from the starts and from appearance.

    Args:
        a: RGB-D.
        b: RGB-D.
        starts: b_from_a to begin at, besides the one that appearance gives.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
    """
    try:
        first, second = (lift_flat(frame, threads=threads) for frame in (a, b))
    except NoSurface:
        return []
    by_look = appearance_start(first, second, threads=threads).b_from_a
    pair = MixturePair(first, second, threads=threads)
    results = [pair.aligned(start) for start in (*starts, *([] if by_look is None else [by_look]))]
    poses: list[RigidTransform] = []
    for result in sorted(results, key=lambda result: -result.agreement):
        pose = result.b_from_a
        if pose is not None and not result.reason and not any(_same(pose, other) for other in poses):
            poses.append(pose)
    return poses


def _same(first: RigidTransform, second: RigidTransform) -> bool:
    metres, degrees = pose_errors(first, second)
    return bool(metres < _SAME_M and degrees < _SAME_DEG)
