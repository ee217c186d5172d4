"""Rivals that polish a start on all matches at once, on matched points or on reprojections and epipolar distances.

The first was the strongest of the published ways when they were compared; it is kept as it was then.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import least_squares
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate.pair_rivals import (
    FEWEST_MATCHES,
    LiftedMatches,
    Rated,
    five_point,
    perspective,
    starts,
)
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.geometry.poses import skew

_SIGMAS_M = (0.07, 0.04, 0.025, 0.015)
_STEPS = 5
_POLISHES = 2
_PIXEL = 1.5
_TRUNCATED = 9.0
_LOG_SCALE = 0.08
_DEPTH_ERROR = {True: 0.01, False: 0.06}
"""Relative error of a depth, measured and not."""


def point_pairs(a: Frame, b: Frame, matches: Matches, measured: bool) -> Rated:
    """Several starts, each refined by a robust distance of matched points; the most soft inliers win.

    The covariance of a point is wide along its ray and a pixel across; with depth that is not measured the
    relative scale is estimated too, and split evenly between the images. The score is sum (1 + m / 9)^-1 over squared
    Mahalanobis distances m.
    """
    lifted = LiftedMatches.of(a, b, matches)
    if len(lifted) < FEWEST_MATCHES:
        return Rated(PoseEstimate.failure(f"{len(lifted)} matches have depth on both sides."), 0.0)
    problem = _PointPairs(a, b, lifted, measured)
    found = [
        problem.refined(estimate.cam_from_world.inv())
        for estimate in starts(a, b, matches, measured)
        if estimate.cam_from_world is not None
    ]
    if not found:
        return Rated(PoseEstimate.failure("No start from the matches."), 0.0)
    a_from_b, score = max(found, key=lambda one: one[1])
    scale = Scale(True, "depth sensor" if measured else "learned depth")
    return Rated(PoseEstimate(True, "", a_from_b.inv(), scale=scale, source="matched points"), score)


def monocular_depth_pose(a: Frame, b: Frame, matches: Matches, reprojection_px: float, epipolar_px: float) -> Rated:
    """Pose and relative scale of two depth maps from reprojections both ways and epipolar distances.

    The better of five-point and PnP, polished on its inliers by a robust cost of the same terms as that of PoseLib's
    monocular-depth solver, whose own RANSAC samples other starts. The scale is split evenly between the images.
    Source: Yu et al., Relative pose estimation through affine corrections of monocular depth priors, CVPR 2025.
    """
    lifted = LiftedMatches.of(a, b, matches)
    if len(lifted) < FEWEST_MATCHES:
        return Rated(PoseEstimate.failure(f"{len(lifted)} matches have depth on both sides."), 0.0)
    results = []
    for rated in (perspective(a, b, matches), five_point(a, b, matches)):
        if rated.estimate.cam_from_world is None:
            continue
        pose = rated.estimate.cam_from_world
        state = np.concatenate([pose.rotation.as_rotvec(), pose.translation, [0.0]])
        for _ in range(_POLISHES):
            agree = _agreeing(_reprojections(state, a, b, lifted, reprojection_px, epipolar_px))
            if agree.sum() < FEWEST_MATCHES:
                break
            some = lifted.select(agree)

            def residuals(at: Float[np.ndarray, " 7"], some: LiftedMatches = some) -> np.ndarray:
                return _reprojections(at, a, b, some, reprojection_px, epipolar_px)

            state = least_squares(residuals, state, loss="cauchy", x_scale="jac", max_nfev=20).x
        final = _reprojections(state, a, b, lifted, reprojection_px, epipolar_px)
        cost = float(np.minimum(_squared(final), 1.0).sum())
        results.append((cost, float(_agreeing(final).sum()), state))
    if not results:
        return Rated(PoseEstimate.failure("No start from the matches."), 0.0)
    _, inliers, state = min(results, key=lambda one: one[0])
    translation = state[3:6] * np.exp(-0.5 * state[6])
    pose = RigidTransform.from_components(translation, Rotation.from_rotvec(state[:3]))
    estimate = PoseEstimate(True, "", pose, scale=Scale(True, "learned depth"), source="monocular depth")
    return Rated(estimate, inliers)


def poselib_monocular(a: Frame, b: Frame, matches: Matches, reprojection_px: float, epipolar_px: float) -> Rated:
    """PoseLib's own solver for two images with monocular depth.

    Raises:
        ValueError: where the installed PoseLib (2.0.5) has none.
    """
    import poselib

    solve = getattr(poselib, "estimate_monodepth_relative_pose", None)
    if solve is None:
        raise ValueError(
            "The installed PoseLib must have estimate_monodepth_relative_pose; it has not. Build its master."
        )
    from posesplat.align.global_start import poselib_camera

    lifted = LiftedMatches.of(a, b, matches)
    if len(lifted) < FEWEST_MATCHES:
        return Rated(PoseEstimate.failure(f"{len(lifted)} matches have depth on both sides."), 0.0)
    found, evidence = solve(
        lifted.pixels_a,
        lifted.pixels_b,
        lifted.points_a[:, 2],
        lifted.points_b[:, 2],
        poselib_camera(a.camera),
        poselib_camera(b.camera),
        {"max_errors": [reprojection_px, epipolar_px], "seed": 0},
        {},
    )
    model = getattr(found, "pose", found)
    factor = float(getattr(found, "scale", 1.0))
    translation = np.asarray(model.t) / np.sqrt(factor)
    pose = RigidTransform.from_components(translation, Rotation.from_matrix(np.asarray(model.R)))
    estimate = PoseEstimate(True, "", pose, scale=Scale(True, "learned depth"), source="PoseLib monocular depth")
    return Rated(estimate, float(evidence.get("num_inliers", np.nan)))


def _squared(residuals: Float[np.ndarray, " n"]) -> Float[np.ndarray, " matches"]:
    """Squared residuals of each match over their thresholds: both reprojections and the epipolar distance, mean."""
    parts = np.square(residuals).reshape(5, -1)
    return np.asarray((parts[0] + parts[1] + parts[2] + parts[3] + parts[4]) / 3.0)


def _agreeing(residuals: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " matches"]:
    """Which matches lie within all three thresholds."""
    parts = np.square(residuals).reshape(5, -1)
    return np.asarray((parts[0] + parts[1] < 1.0) & (parts[2] + parts[3] < 1.0) & (parts[4] < 1.0))


class _PointPairs:
    """The robust objective over matched points, e^(-s/2) X_A = R e^(s/2) X_B + t: the scale is split."""

    def __init__(self, a: Frame, b: Frame, lifted: LiftedMatches, measured: bool) -> None:
        self.points_a, self.points_b = lifted.points_a, lifted.points_b
        self.scaled = not measured
        error = _DEPTH_ERROR[measured]
        across = [
            (_PIXEL * points[:, 2] / frame.camera.fx) ** 2 for points, frame in ((self.points_a, a), (self.points_b, b))
        ]
        self.across = across[0] + across[1]
        unit_a, self.unit_b = (
            points / np.linalg.norm(points, axis=1, keepdims=True) for points in (self.points_a, self.points_b)
        )
        self.deep_b = (error * self.points_b[:, 2]) ** 2
        along = (error * self.points_a[:, 2]) ** 2
        self.fixed = self.across[:, None, None] * np.eye(3) + along[:, None, None] * _outer(unit_a)

    def refined(self, a_from_b: RigidTransform) -> tuple[RigidTransform, float]:
        """The pose after annealed Gauss-Newton steps, and its soft inliers."""
        scale = 0.0
        for sigma in _SIGMAS_M:
            for _ in range(_STEPS):
                a_from_b, scale = self._step(a_from_b, scale, _TRUNCATED * max(1.0, sigma / _SIGMAS_M[-1]))
        gap, inverse, _, _ = self._gaps(a_from_b, scale)
        squared = np.einsum("ni,nij,nj->n", gap, inverse, gap)
        return a_from_b, float(np.sum(1.0 / (1.0 + squared / _TRUNCATED)))

    def _gaps(self, a_from_b: RigidTransform, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Differences, inverse covariances, and both sets of points, all in A."""
        turned = a_from_b.rotation.apply(self.points_b) * np.exp(0.5 * scale)
        grown = self.points_a * np.exp(-0.5 * scale)
        rays = a_from_b.rotation.apply(self.unit_b)
        covariance = self.fixed + self.deep_b[:, None, None] * _outer(rays)
        return grown - turned - a_from_b.translation, np.linalg.inv(covariance), grown, turned

    def _step(self, a_from_b: RigidTransform, scale: float, width: float) -> tuple[RigidTransform, float]:
        gap, inverse, grown, turned = self._gaps(a_from_b, scale)
        squared = np.einsum("ni,nij,nj->n", gap, inverse, gap)
        weights = (1.0 + squared / width) ** -2
        columns = [skew(turned), np.tile(-np.eye(3), (len(gap), 1, 1))]
        if self.scaled:
            columns.append(-0.5 * (grown + turned)[:, :, None])
        jacobian = np.concatenate(columns, axis=2)
        weighted = np.einsum("n,nij,njk->nik", weights, inverse, jacobian)
        hessian = np.einsum("nij,nik->jk", jacobian, weighted)
        gradient = np.einsum("nij,ni->j", weighted, gap)
        if self.scaled:
            hessian[6, 6] += 0.5 / _LOG_SCALE**2
            gradient[6] += 0.5 * scale / _LOG_SCALE**2
        damping = 1e-6 * np.trace(hessian) / len(hessian)
        step = -np.linalg.solve(hessian + damping * np.eye(len(hessian)), gradient)
        angle = float(np.linalg.norm(step[:3]))
        turn = Rotation.from_rotvec(step[:3] * min(1.0, 0.3 / max(angle, 1e-12)))
        moved = RigidTransform.from_components(a_from_b.translation + step[3:6], turn * a_from_b.rotation)
        return moved, scale + float(step[6]) if self.scaled else scale


def _reprojections(
    state: Float[np.ndarray, " 7"],
    a: Frame,
    b: Frame,
    lifted: LiftedMatches,
    reprojection_px: float,
    epipolar_px: float,
) -> Float[np.ndarray, " n"]:
    """Reprojection errors both ways and Sampson distances, each over its threshold, five a match.

    The state is a rotation vector and translation b_from_a in metres of A's depth, and the logarithm of what B's
    depth must be multiplied by to be in A's metres.
    """
    pose = RigidTransform.from_components(state[3:6], Rotation.from_rotvec(state[:3]))
    forward = _projected(b, pose.apply(lifted.points_a)) - lifted.pixels_b
    backward = _projected(a, pose.inv().apply(np.exp(state[6]) * lifted.points_b)) - lifted.pixels_a
    sampson = _sampson(pose, a, b, lifted)
    return np.concatenate([*(forward / reprojection_px).T, *(backward / reprojection_px).T, sampson / epipolar_px])


def _projected(frame: Frame, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Projection that stays finite behind the camera, far outside the image."""
    z = np.maximum(points[:, 2], 1e-3)
    camera = frame.camera
    return np.stack([camera.fx * points[:, 0] / z + camera.cx, camera.fy * points[:, 1] / z + camera.cy], axis=-1)


def _sampson(pose: RigidTransform, a: Frame, b: Frame, lifted: LiftedMatches) -> Float[np.ndarray, " n"]:
    """First-order epipolar distances in pixels."""
    essential = skew(pose.translation) @ pose.rotation.as_matrix()
    rays_a, rays_b = a.camera.rays_at(lifted.pixels_a), b.camera.rays_at(lifted.pixels_b)
    on_b, on_a = rays_a @ essential.T, rays_b @ essential
    slopes = [line[:, :2] / (frame.camera.fx, frame.camera.fy) for line, frame in ((on_b, b), (on_a, a))]
    size = np.sqrt(sum(np.sum(slope**2, axis=1) for slope in slopes))
    return np.sum(rays_b * on_b, axis=1) / np.maximum(size, 1e-12)


def _outer(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 3"]:
    return vectors[:, :, None] * vectors[:, None, :]
