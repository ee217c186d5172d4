"""What errors of the cameras' calibration do to a pose that was found from matches.

Every match is shifted alike, so that no scatter of the matches tells of it: with a thousand matches it is most of the
pose's error. Each camera has four errors: of the focal length, of both coordinates of the principal point, and of the
distortion that was taken away, which grows with the cube of the distance from the middle.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from posesplat.align.match_alignment import MatchFit, shifts_of_pose
from posesplat.align.matched_depths import MatchedDepths, Side

_FOCAL = 2.0
"""Relative deviation of a focal length by that of the principal point in focal lengths; as calibrations report them."""


def calibration_covariance(matched: MatchedDepths, fit: MatchFit, error: float) -> Float[np.ndarray, "6 6"]:
    """Covariance of b_from_a (left perturbation; rad, metres) due to the calibration of both cameras.

    To first order, the cameras independent of each other.

    Args:
        matched: the matches.
        fit: the pose found.
        error: standard deviation of the principal point, and of the shift of an image's corner by distortion, both as
            shares of the focal length; twice that of the focal length. 0 = exact.
    """
    if error == 0:
        return np.zeros((6, 6))
    misread = [replace(matched, a=side) for side in _misread(matched.a, error)]
    misread += [replace(matched, b=side) for side in _misread(matched.b, error)]
    shifts = shifts_of_pose(matched, misread, fit)
    return shifts.T @ shifts


def _misread(side: Side, error: float) -> list[Side]:
    """A side with each error of its camera in turn, as large as one standard deviation."""
    camera, flat = side.camera, side.rays[:, :2]
    corner = np.hypot(camera.width / camera.fx, camera.height / camera.fy) / 2.0
    radial = flat * (np.sum(flat**2, axis=1) / corner**3)[:, None]
    shifts = (_FOCAL * flat, np.array([1.0, 0.0]), np.array([0.0, 1.0]), radial)
    sides = []
    for shift in shifts:
        rays = side.rays.copy()
        rays[:, :2] += error * shift
        sides.append(replace(side, rays=rays))
    return sides
