"""Loops of small-motion bundle adjustment: residual lengths, and the sums of a Gauss-Newton step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from posesplat import _kernels


@dataclass(frozen=True)
class Projection:
    """What predicts where points of a reference are seen: poses, inverse depths, and rays through a lens."""

    rotations: Float[np.ndarray, "frames 3 3"]
    """Of cam_from_reference."""
    translations: Float[np.ndarray, "frames 3"]
    """Of cam_from_reference, in units of the scene."""
    inverse_depths: Float[np.ndarray, " points"]
    """In the reference camera."""
    rays: Float[np.ndarray, "2 points"]
    """Viewing rays of the reference, at z = 1."""
    offsets: Float[np.ndarray, "frames 2 points"]
    """Seen pixels less the principal point."""
    focal: tuple[float, float]
    """Focal lengths in pixels."""

    def arrays(self) -> tuple[np.ndarray, ...]:
        """Contiguous arrays in the order that the kernels take them."""
        fields = (self.rotations, self.translations, self.inverse_depths, self.rays, self.offsets)
        return tuple(np.ascontiguousarray(field, dtype=np.float64) for field in fields)


@dataclass(frozen=True)
class LensBend:
    """How rays and seen pixels move with the radial term."""

    rays: Float[np.ndarray, "2 points"]
    """Change of the reference's rays at z = 1."""
    offsets: Float[np.ndarray, "frames 2 points"]
    """Change of the seen pixels."""


@dataclass(frozen=True)
class MotionSums:
    """Weighted Gauss-Newton sums. A frame has 6 unknowns; with a lens 8: log focal length and radial term follow."""

    frames: Float[np.ndarray, "frames dof dof"]
    """Blocks of the Hessian, one a frame."""
    frames_gradient: Float[np.ndarray, "frames dof"]
    """Gradient, one a frame."""
    mixed: Float[np.ndarray, "frames 6 points"]
    """Blocks between poses and inverse depths."""
    points: Float[np.ndarray, " points"]
    """Diagonal of the Hessian over inverse depths."""
    points_gradient: Float[np.ndarray, " points"]
    """Gradient over inverse depths."""
    lens_mixed: Float[np.ndarray, "2 points"] | None
    """Blocks between lens and inverse depths; None without a lens."""


def residual_lengths(
    projection: Projection, seen: Bool[np.ndarray, "frames points"], deviations: Float[np.ndarray, " points"]
) -> Float[np.ndarray, "frames points"]:
    """Distance between predicted and seen pixels over the points' deviations; 0 where not seen."""
    out = np.empty(seen.shape)
    _kernels.small_motion_lengths(
        *projection.arrays(), projection.focal, np.ascontiguousarray(seen), np.ascontiguousarray(deviations), out
    )
    return out


def motion_sums(
    projection: Projection, weights: Float[np.ndarray, "frames points"], bend: LensBend | None = None
) -> MotionSums:
    """The sums of one step over (rotation, translation) of each frame, inverse depths, and the lens when given."""
    frames, points = weights.shape
    dof = 6 if bend is None else 8
    blocks, gradient = np.zeros((frames, dof, dof)), np.zeros((frames, dof))
    mixed, depths, depths_gradient = np.empty((frames, 6, points)), np.zeros(points), np.zeros(points)
    lens_mixed = None if bend is None else np.zeros((2, points))
    _kernels.small_motion_sums(
        *projection.arrays(),
        projection.focal,
        np.ascontiguousarray(weights),
        None if bend is None else np.ascontiguousarray(bend.rays),
        None if bend is None else np.ascontiguousarray(bend.offsets),
        blocks,
        gradient,
        mixed,
        depths,
        depths_gradient,
        lens_mixed,
    )
    return MotionSums(blocks, gradient, mixed, depths, depths_gradient, lens_mixed)
