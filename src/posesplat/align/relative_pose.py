"""The relative pose of two images from matches alone: five points and LO-RANSAC, by PoseLib."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.global_start import poselib_camera
from posesplat.geometry.cameras import Camera
from posesplat.geometry.matches import Matches


def relative_pose(
    matches: Matches,
    camera_a: Camera,
    camera_b: Camera,
    *,
    max_epipolar_px: float = 1.0,
    min_points: int = 8,
    max_iterations: int = 10_000,
    min_iterations: int = 1000,
    seed: int = 0,
) -> tuple[RigidTransform | None, Bool[np.ndarray, " n"]]:
    """b_from_a with a translation of length 1, and the matches that agree; None in place of a pose that few support.

    Args:
        matches: with outliers.
        camera_a: pinhole of image A.
        camera_b: pinhole of image B.
        max_epipolar_px: a match agrees within this Sampson error.
        min_points: fewest matches that must agree.
        max_iterations: most random samples.
        min_iterations: fewest random samples, however many matches agree.
        seed: of the samples.

    Source: Nister, An efficient solution to the five-point relative pose problem, PAMI 2004; Larsson, PoseLib, 2020.
    """
    import poselib

    if len(matches) < min_points:
        return None, np.zeros(len(matches), dtype=bool)
    found, evidence = poselib.estimate_relative_pose(
        matches.pixels_a,
        matches.pixels_b,
        poselib_camera(camera_a),
        poselib_camera(camera_b),
        {
            "max_epipolar_error": max_epipolar_px,
            "seed": seed,
            "max_iterations": max_iterations,
            "min_iterations": min(min_iterations, max_iterations),
        },
        {},
    )
    agrees = np.asarray(evidence["inliers"], dtype=bool)
    rotation, translation = np.asarray(found.R), np.asarray(found.t)
    length = float(np.linalg.norm(translation))
    if agrees.sum() < min_points or not np.isfinite(rotation).all() or not 0 < length < np.inf:
        return None, agrees
    return RigidTransform.from_components(translation / length, Rotation.from_matrix(rotation)), agrees
