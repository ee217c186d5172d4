"""The Gaussians of two images in one world, that of camera A."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.lifting import LiftOptions, NoSurface, lift
from posesplat.geometry.frame import Frame

_STRIDE_PX = 2


@dataclass(frozen=True)
class LiftedPair:
    """The Gaussians of each image in the frame of its own camera; None for one without depth."""

    a: Gaussians | None
    b: Gaussians | None

    @staticmethod
    def of(a: Frame, b: Frame, threads: int | None = None) -> LiftedPair:
        """Lift both images.

        Args:
            a: image A, with depth where there is any.
            b: image B likewise.
            threads: see :func:`posesplat.kernels.threads.thread_count`.
        """
        return LiftedPair(_lifted(a, threads), _lifted(b, threads))

    def in_camera_a(self, b_from_a: RigidTransform) -> Gaussians | None:
        """Both sets in camera A's frame; None when neither image has depth."""
        b = None if self.b is None else self.b.transformed(b_from_a.inv())
        sets = [gaussians for gaussians in (self.a, b) if gaussians is not None]
        return Gaussians.merge(sets) if sets else None


def _lifted(frame: Frame, threads: int | None) -> Gaussians | None:
    if frame.depth is None:
        return None
    try:
        return lift(frame, options=LiftOptions(stride=_STRIDE_PX), threads=threads).gaussians
    except NoSurface:
        return None
