"""Umeyama's least-squares similarity between two trajectories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform, Rotation

Alignment = Literal["se3", "sim3", "none"]

_ALIKE = "Evaluate with align='none' (--align none)."
_RANK_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Similarity:
    """The change of world frame x_in_b = scale * (b_from_a rotation) x_in_a + translation."""

    rotation: Rotation
    """Rotation b_from_a."""
    translation: Float[np.ndarray, " 3"]
    """Origin of a in b, in the unit of b."""
    scale: float = 1.0
    """Length in b of a unit of a."""

    @staticmethod
    def identity() -> Similarity:
        """The similarity that changes nothing."""
        return Similarity(Rotation.identity(), np.zeros(3))

    def apply(self, points_in_a: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points in b, shape as given."""
        flat = np.reshape(points_in_a, (-1, 3))
        return np.reshape(self.scale * self.rotation.apply(flat) + self.translation, np.shape(points_in_a))

    def moved_cameras(self, cam_from_a: RigidTransform) -> RigidTransform:
        """The cam_from_b of the same cameras: centres move and scale, orientations turn; batch shape is kept."""
        rotation = cam_from_a.rotation * self.rotation.inv()
        centres_in_b = self.apply(cam_from_a.inv().translation)
        return RigidTransform.from_components(-rotation.apply(centres_in_b), rotation)

    def inverse(self) -> Similarity:
        """The change of frame a_from_b.

        Raises:
            ValueError: when the scale is 0, which puts everything into one point.
        """
        if self.scale <= 0:
            raise ValueError(f"Only a similarity with a positive scale has an inverse; got scale {self.scale}.")
        rotation = self.rotation.inv()
        return Similarity(rotation, -rotation.apply(self.translation) / self.scale, 1.0 / self.scale)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record: scale and the 4x4 matrix [scale R, t]."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.scale * self.rotation.as_matrix(), self.translation
        return {"scale": self.scale, "matrix": matrix.tolist()}


def umeyama(
    points_in_a: Float[np.ndarray, "n 3"], points_in_b: Float[np.ndarray, "n 3"], with_scale: bool
) -> Similarity:
    """The similarity b_from_a of least squared distance between paired points.

    Args:
        points_in_a: camera centres (or other points), in any unit.
        points_in_b: the same points in the other frame.
        with_scale: True for Sim(3), False for SE(3).

    Raises:
        ValueError: for fewer than 3 points, or points without spread or on one line, which leave a rotation open.

    Source: Umeyama, Least-squares estimation of transformation parameters, PAMI 1991, equations 38 to 43.
    """
    if len(points_in_a) < 3:
        raise ValueError(f"Alignment needs at least 3 pairs of poses; got {len(points_in_a)}. {_ALIKE}")
    mean_a, mean_b = points_in_a.mean(axis=0), points_in_b.mean(axis=0)
    from_a, from_b = points_in_a - mean_a, points_in_b - mean_b
    left, spread, right = np.linalg.svd(from_b.T @ from_a / len(from_a))
    rounding = np.finfo(np.float64).eps * max(np.abs(points_in_a).max(), np.abs(points_in_b).max(), 1e-300)
    if min(np.abs(from_a).max(), np.abs(from_b).max()) <= 16 * rounding:
        raise ValueError(f"Alignment needs camera centres that move; got a trajectory that stands still. {_ALIKE}")
    if spread[1] <= _RANK_TOLERANCE * spread[0]:
        raise ValueError(
            "Alignment needs camera centres off a straight line (the rotation about the line stays open); "
            f"got singular values {spread[0]:.3g}, {spread[1]:.3g}, {spread[2]:.3g}. {_ALIKE}"
        )
    signs = np.ones(3)
    signs[2] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    rotation = Rotation.from_matrix(left * signs @ right)
    scale = float((spread * signs).sum() / np.mean(np.sum(from_a**2, axis=1))) if with_scale else 1.0
    return Similarity(rotation, mean_b - scale * rotation.apply(mean_a), scale)


def aligned(estimated: RigidTransform, true: RigidTransform, align: Alignment) -> tuple[RigidTransform, Similarity]:
    """The estimated cam_from_world moved into the true world, and the similarity that moved them.

    Args:
        estimated: cam_from_world, shape (n,).
        true: cam_from_world of the same frames, shape (n,).
        align: ``se3`` and ``sim3`` fit :func:`umeyama` to the camera centres, ``none`` leaves poses as they are.
    """
    if align == "none":
        return estimated, Similarity.identity()
    true_from_estimated = umeyama(estimated.inv().translation, true.inv().translation, with_scale=align == "sim3")
    return true_from_estimated.moved_cameras(estimated), true_from_estimated
