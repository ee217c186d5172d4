"""Maps of Gaussians from posed RGB-D frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.lifting import LiftedGaussians, LiftOptions, Surface, fit_surface, lift
from posesplat.geometry.frame import Frame
from posesplat.render.cpu import CpuRenderer, plane_depth


_LARGEST_CORRECTION = 5e-4
"""Relative; curvature displaces the surface by far less, an occlusion edge by far more."""


def calibrated(
    lifted: LiftedGaussians, surface: Surface, frame: Frame, rounds: int = 3, threads: int | None = None
) -> LiftedGaussians:
    """Move each mean along its viewing ray until the rendered surface meets the measured one.

    Tangent planes lie outside a convex surface, and blending them leaves that bias: it is removed once for each map.
    Corrections that the noise of the depth could explain are not made, nor is anything near an occlusion edge.
    """
    rows, columns = lifted.pixels.T
    target = surface.depth[rows, columns]
    noise = 2.0 * surface.relative_error[rows, columns]
    gaussians = lifted.gaussians
    ratio = np.ones_like(target)
    for _ in range(rounds):
        view = CpuRenderer(gaussians, threads=threads).planes(frame.camera, RigidTransform.identity())
        assert view.variance is not None
        found = plane_depth(view)[rows, columns]
        step = np.divide(target, found, out=np.ones_like(target), where=found > 0)
        smooth = view.variance[rows, columns] < _LARGEST_CORRECTION**2
        needed = smooth & (np.abs(step - 1) > noise) & (np.abs(ratio * step - 1) < _LARGEST_CORRECTION)
        step = np.where(needed, step, 1.0).astype(np.float32)
        ratio *= step
        gaussians = replace(gaussians, means_in_world=gaussians.means_in_world * step[:, None])
    return replace(lifted, gaussians=gaussians)


def lift_calibrated(frame: Frame, options: LiftOptions = LiftOptions(), threads: int | None = None) -> LiftedGaussians:
    """Gaussians of one RGB-D frame in its camera's frame, ready to be rendered without bias."""
    assert frame.depth is not None
    surface = fit_surface(frame.depth, frame.camera, threads)
    return calibrated(lift(frame, surface, options, threads), surface, frame, threads=threads)


def single_frame_map(frame: Frame, cam_from_world: RigidTransform, options: LiftOptions = LiftOptions()) -> Gaussians:
    """The Gaussians of one posed RGB-D frame in the world frame."""
    return lift_calibrated(frame, options).gaussians.transformed(cam_from_world.inv())
