"""Maps of Gaussians from posed RGB-D frames."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.lifting import LiftedGaussians, LiftOptions, Surface, fit_surface, lift
from posesplat.geometry.frame import Frame
from posesplat.render.cpu import CpuRenderer, plane_depth


def calibrated(
    lifted: LiftedGaussians, surface: Surface, frame: Frame, rounds: int = 2, threads: int | None = None
) -> LiftedGaussians:
    """Move each mean along its viewing ray until the rendered surface meets the fitted one.

    Rendered tangent planes lie outside a convex surface, and the nearest of several noisy splats wins: both biases
    are removed here, once for each map.
    """
    from dataclasses import replace

    rows, columns = lifted.pixels.T
    target = surface.depth[rows, columns]
    gaussians = lifted.gaussians
    for _ in range(rounds):
        rendered = plane_depth(CpuRenderer(gaussians, threads=threads).planes(frame.camera, RigidTransform.identity()))
        found = rendered[rows, columns]
        ratio = np.divide(target, found, out=np.ones_like(target), where=found > 0)
        ratio[np.abs(ratio - 1) > 0.02] = 1.0
        gaussians = replace(gaussians, means_in_world=gaussians.means_in_world * ratio[:, None])
    return replace(lifted, gaussians=gaussians)


def lift_calibrated(frame: Frame, options: LiftOptions = LiftOptions(), threads: int | None = None) -> LiftedGaussians:
    """Gaussians of one RGB-D frame in its camera's frame, ready to be rendered without bias."""
    assert frame.depth is not None
    surface = fit_surface(frame.depth, frame.camera, threads)
    return calibrated(lift(frame, surface, options, threads), surface, frame, threads=threads)


def single_frame_map(frame: Frame, cam_from_world: RigidTransform, options: LiftOptions = LiftOptions()) -> Gaussians:
    """The Gaussians of one posed RGB-D frame in the world frame."""
    return lift_calibrated(frame, options).gaussians.transformed(cam_from_world.inv())
