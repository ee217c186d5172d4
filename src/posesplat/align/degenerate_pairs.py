"""What two images without depth cannot tell: no parallax, and one plane."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.match_alignment import MatchFit, MatchRefineOptions, refine_matches
from posesplat.align.matched_depths import MatchedDepths

LEAST_PARALLAX = 3.0
"""Median parallax, in standard deviations of a matched place, below which a translation follows noise."""
_PLANAR = 0.85
"""Share of the inliers on one plane beyond which the scene may be one."""
_HOMOGRAPHY_PX = 3.0
_ROTATION_STEPS = 8


def parallax(matched: MatchedDepths, inliers: Bool[np.ndarray, " n"], start: Rotation) -> float:
    """Median distance, in standard deviations of a matched place, that a turn of the camera leaves unexplained.

    Args:
        matched: matches; their depths take no part.
        inliers: those that count.
        start: rotation from A to B to begin with.
    """
    if not inliers.any():
        return 0.0
    rays_a, rays_b = (side.rays[inliers] for side in (matched.a, matched.b))
    unit_b = rays_b / np.linalg.norm(rays_b, axis=1, keepdims=True)
    rotation, sigma = start, np.inf
    for _ in range(_ROTATION_STEPS):
        turned = rotation.apply(rays_a)
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        gaps = np.linalg.norm(np.cross(turned, unit_b), axis=1)
        sigma = max(1.5 * float(np.median(gaps)), 1e-9)
        weights = (1.0 + (gaps / sigma) ** 2) ** -2.0
        change, _ = Rotation.align_vectors(unit_b, turned, weights)
        rotation = change * rotation
    focal = 0.5 * (matched.a.camera.fx + matched.b.camera.fx)
    return float(np.median(gaps) * focal / (np.sqrt(2.0) * matched.noise.pixel_px))


def without_parallax(matched: MatchedDepths, fit: MatchFit) -> str:
    """Why no translation can be told although a pose fits; empty when there is parallax enough."""
    seen = parallax(matched, fit.inliers, fit.state.b_from_a.rotation)
    if seen >= LEAST_PARALLAX:
        return ""
    turn = float(np.degrees(fit.state.b_from_a.rotation.magnitude()))
    return (
        f"No parallax: a turn of the camera by {turn:.2f} deg explains the matches to {seen:.1f} standard deviations, "
        "so the direction of the translation is not observable. Give depth, or images from places farther apart."
    )


def planar_solutions(
    matched: MatchedDepths, fit: MatchFit, options: MatchRefineOptions = MatchRefineOptions()
) -> list[MatchFit]:
    """The poses that a plane allows, refined like any start, if the matches may lie on one; none otherwise.

    Two poses explain a plane equally well without depth; images of a bare wall cannot tell them apart.

    Source: Malis and Vargas, Deeper understanding of the homography decomposition, INRIA 2007 (as OpenCV has it).
    """
    import cv2
    import poselib

    inliers = fit.inliers
    pixels_a, pixels_b = matched.matches.pixels_a[inliers], matched.matches.pixels_b[inliers]
    if len(pixels_a) < 8:
        return []
    homography, evidence = poselib.estimate_homography(
        pixels_a, pixels_b, {"max_reproj_error": _HOMOGRAPHY_PX, "max_iterations": 2000, "seed": 0}, {}
    )
    on_plane = np.asarray(evidence["inliers"], dtype=bool)
    if on_plane.mean() < _PLANAR or not np.isfinite(homography).all():
        return []
    between_rays = np.linalg.inv(matched.b.camera.matrix) @ homography @ matched.a.camera.matrix
    _, rotations, translations, normals = cv2.decomposeHomographyMat(between_rays, np.eye(3))
    found = []
    for rotation, translation, normal in zip(rotations, translations, normals, strict=True):
        length = float(np.linalg.norm(translation))
        facing: Float[np.ndarray, " n"] = matched.a.rays[inliers] @ normal.ravel()
        if length == 0 or np.mean(facing > 0) < 0.5:
            continue
        pose = RigidTransform.from_components(translation.ravel() / length, Rotation.from_matrix(rotation))
        found.append(refine_matches(matched, pose, options))
    return sorted(found, key=lambda other: other.cost)
