"""The ways to a metric relative pose that ours is compared with: from matches and depth, or from depth alone.

All take frames A and B and, where they need them, matches, and answer with b_from_a as the ``cam_from_world`` of a
PoseEstimate whose world is camera A. Minimal solvers and RANSAC are PoseLib's, GICP is small_gicp's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.global_start import KeypointStartOptions, absolute_pose, poselib_camera
from posesplat.align.keypoints import reprojection_errors
from posesplat.evaluate.alignment import umeyama
from posesplat.evaluate.cloud_map import CloudMap, Denoiser
from posesplat.evaluate.rivals import RegistrationOptions, gicp
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches

FEWEST_MATCHES = 6
_SAMPLES = 1000
_LOCAL_STEPS = 5
_SENSOR = Scale(True, "depth sensor")


@dataclass(frozen=True)
class Rated:
    """An answer and how sure its method is of it."""

    estimate: PoseEstimate
    """b_from_a as ``cam_from_world``, or a refusal."""
    score: float = float("nan")
    """Larger is surer, comparable between pairs; NaN from methods that say nothing."""
    accepted: bool = True
    """False when the method itself says that its answer should not be used; the pose is then its best guess."""
    parts_s: dict[str, float] = field(default_factory=dict)
    """Wall time by part, from methods that tell."""


@dataclass(frozen=True)
class LiftedMatches:
    """Matches with depth on both sides, as points."""

    pixels_a: Float[np.ndarray, "n 2"]
    pixels_b: Float[np.ndarray, "n 2"]
    points_a: Float[np.ndarray, "n 3"]
    """In camera A, metres."""
    points_b: Float[np.ndarray, "n 3"]
    """In camera B, metres."""

    @staticmethod
    def of(a: Frame, b: Frame, matches: Matches) -> LiftedMatches:
        """The matches at which both frames know their depth."""
        depth_a, depth_b = depths_at(a, matches.pixels_a), depths_at(b, matches.pixels_b)
        known = (depth_a > 0) & (depth_b > 0)
        of_a, of_b = matches.pixels_a[known], matches.pixels_b[known]
        points_a = a.camera.rays_at(of_a) * depth_a[known, None]
        return LiftedMatches(of_a, of_b, points_a, b.camera.rays_at(of_b) * depth_b[known, None])

    def __len__(self) -> int:
        return len(self.pixels_a)

    def select(self, index: Bool[np.ndarray, " n"]) -> LiftedMatches:
        """The matches picked by a mask."""
        return LiftedMatches(self.pixels_a[index], self.pixels_b[index], self.points_a[index], self.points_b[index])


def depths_at(frame: Frame, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """Median of the known depths in the 3 x 3 pixels about places in the image; 0 where there is none.

    Raises:
        ValueError: for a frame without depth.
    """
    if frame.depth is None:
        raise ValueError(f"Frame {frame.name!r} must have depth for a metric pose; got none. Pass an RGB-D frame.")
    height, width = frame.depth.shape
    columns, rows = np.floor(pixels).astype(np.int64).T
    around = [
        frame.depth[np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    values = np.sort(np.where(np.stack(around) > 0, np.stack(around), np.inf), axis=0)
    known = np.count_nonzero(np.isfinite(values), axis=0)
    middle = np.take_along_axis(values, (np.maximum(known, 1) - 1)[None] // 2, axis=0)[0]
    return np.where(known > 0, middle, 0.0).astype(np.float64)


def five_point(a: Frame, b: Frame, matches: Matches, max_epipolar_px: float = 1.0) -> Rated:
    """Rotation and direction from the essential matrix; length from depth at its inliers, or 1 without depth.

    Each inlier with depth says how long the translation is; their median is taken, weighted by parallax squared.
    Source: Nister, An efficient solution to the five-point relative pose problem, PAMI 2004; LO-RANSAC of PoseLib.
    """
    import poselib

    if len(matches) < FEWEST_MATCHES:
        return _refused(f"{len(matches)} matches; an essential matrix needs {FEWEST_MATCHES}")
    options = {"max_epipolar_error": max_epipolar_px, "seed": 0, "max_iterations": 10_000}
    cameras = poselib_camera(a.camera), poselib_camera(b.camera)
    refinement = {"loss_type": "CAUCHY", "loss_scale": 0.25 * max_epipolar_px}
    found, evidence = poselib.estimate_relative_pose(matches.pixels_a, matches.pixels_b, *cameras, options, refinement)
    inliers = np.asarray(evidence["inliers"], dtype=bool)
    rotation, direction = np.asarray(found.R), np.asarray(found.t)
    length = float(np.linalg.norm(direction))
    if inliers.sum() < FEWEST_MATCHES or not np.isfinite(rotation).all() or not 0 < length < np.inf:
        return _refused(f"{int(inliers.sum())} matches agree with an essential matrix")
    unit = RigidTransform.from_components(direction / length, Rotation.from_matrix(rotation))
    score = float(inliers.sum())
    if a.depth is None or b.depth is None:
        return Rated(PoseEstimate(True, "", unit, scale=Scale(False, "unknown"), source="five-point"), score)
    metres = _length_along(unit, a, b, matches.select(inliers))
    if metres is None:
        return _refused("no depth at the matches that agree")
    pose = RigidTransform.from_components(metres * unit.translation, unit.rotation)
    return Rated(PoseEstimate(True, "", pose, scale=_SENSOR, source="five-point"), score)


def perspective(a: Frame, b: Frame, matches: Matches, max_error_px: float = 8.0) -> Rated:
    """PnP from the depth of A into image B, and from B's into A; the one with more inliers."""
    found = [_one_way(a, b, matches, max_error_px), _one_way(b, a, matches.swapped(), max_error_px)]
    forward, backward = found
    if backward.estimate.cam_from_world is not None:
        turned = backward.estimate.replace(cam_from_world=backward.estimate.cam_from_world.inv())
        backward = Rated(turned, backward.score)
    return max((forward, backward), key=lambda rated: rated.score if rated.estimate.success else -1.0)


def rigid_ransac(a: Frame, b: Frame, matches: Matches, max_distance_m: float = 0.04) -> Rated:
    """Three matched points a hypothesis, all matches within a distance count, least squares on those.

    Source: Umeyama, PAMI 1991, in RANSAC with local optimisation.
    """
    lifted = LiftedMatches.of(a, b, matches)
    if len(lifted) < FEWEST_MATCHES:
        return _refused(f"{len(lifted)} matches with depth on both sides; {FEWEST_MATCHES} are needed")
    points_a, points_b = lifted.points_a, lifted.points_b
    drawn = np.random.default_rng(0).integers(len(lifted), size=(_SAMPLES, 3))
    rotations, shifts = _rigid_batch(points_a[drawn], points_b[drawn])
    counts = np.empty(_SAMPLES)
    for start in range(0, _SAMPLES, 100):
        part = slice(start, start + 100)
        moved = np.einsum("sij,nj->sni", rotations[part], points_a) + shifts[part, None]
        counts[part] = np.count_nonzero(np.sum((moved - points_b) ** 2, axis=-1) < max_distance_m**2, axis=1)
    best = int(np.argmax(counts))
    pose = RigidTransform.from_components(shifts[best], Rotation.from_matrix(rotations[best]))
    for _ in range(_LOCAL_STEPS):
        near = np.sum((pose.apply(points_a) - points_b) ** 2, axis=1) < max_distance_m**2
        if near.sum() < FEWEST_MATCHES:
            return _refused(f"{int(near.sum())} matches agree within {max_distance_m:g} m")
        try:
            fitted = umeyama(points_a[near], points_b[near], with_scale=False)
        except ValueError:
            break
        pose = RigidTransform.from_components(fitted.translation, fitted.rotation)
    return Rated(PoseEstimate(True, "", pose, scale=_SENSOR, source="3D-3D RANSAC"), float(near.sum()))


def registered(
    a: Frame,
    b: Frame,
    start: RigidTransform,
    distances_m: Sequence[float],
    denoise: Denoiser | None = None,
    voxel_size_m: float = 0.03,
) -> Rated:
    """GICP of B's depth against A's from a start, coarse to fine; never refused for a small overlap.

    Its score is the share of B's points with a neighbour in A.
    """
    options = RegistrationOptions(
        voxel_size_m, tuple(distances_m), max_iterations=20, acceptable_step=math.inf, min_inlier_fraction=0.0
    )
    try:
        cloud = CloudMap.from_frames([a], [RigidTransform.identity()], denoise)
    except ValueError as error:
        return _refused(str(error))
    estimate = gicp(b, start, cloud, options, denoise)
    return Rated(estimate, estimate.inlier_fraction)


def then_registered(
    start: Rated, a: Frame, b: Frame, distances_m: Sequence[float], denoise: Denoiser | None = None
) -> Rated:
    """GICP from the answer of another method, which also gives the score; refused where that one is."""
    if start.estimate.cam_from_world is None:
        return start
    refined = registered(a, b, start.estimate.cam_from_world, distances_m, denoise)
    return Rated(refined.estimate, start.score)


def starts(a: Frame, b: Frame, matches: Matches, measured: bool) -> list[PoseEstimate]:
    """The answers of five-point, PnP both ways and, where depth is measured, 3D-3D RANSAC."""
    ways: list[Callable[[Frame, Frame, Matches], Rated]] = [five_point, perspective]
    if measured:
        ways.append(rigid_ransac)
    return [rated.estimate for way in ways if (rated := way(a, b, matches)).estimate.success]


def _one_way(a: Frame, b: Frame, matches: Matches, max_error_px: float) -> Rated:
    """PnP of points of A in image B."""
    depth = depths_at(a, matches.pixels_a)
    known = depth > 0
    points = a.camera.rays_at(matches.pixels_a[known]) * depth[known, None]
    pixels = matches.pixels_b[known]
    options = KeypointStartOptions(
        max_reprojection_error=max_error_px / b.camera.width, min_inliers=FEWEST_MATCHES, max_iterations=10_000
    )
    found = absolute_pose(b.camera, pixels, points, 0, options)
    if found is None:
        return _refused(f"{int(known.sum())} matches with depth do not give a pose")
    score = float(np.count_nonzero(reprojection_errors(b.camera, found, points, pixels) < max_error_px))
    return Rated(PoseEstimate(True, "", found, scale=_SENSOR, source="PnP"), score)


def _length_along(unit: RigidTransform, a: Frame, b: Frame, matches: Matches) -> float | None:
    """The length of b_from_a's translation: points of A must project onto their matches in B, and the other way."""
    lengths, weights = [np.zeros(0)], [np.zeros(0)]
    for first, second, pose, pixels, partners in (
        (a, b, unit, matches.pixels_a, matches.pixels_b),
        (b, a, unit.inv(), matches.pixels_b, matches.pixels_a),
    ):
        depth = depths_at(first, pixels)
        known = depth > 0
        turned = pose.rotation.apply(first.camera.rays_at(pixels[known]) * depth[known, None])
        rays = second.camera.rays_at(partners[known])
        # ray x (R X + s t) = 0 for the length s.
        across, other = np.cross(rays, pose.translation), np.cross(rays, turned)
        parallax = np.sum(across**2, axis=1)
        usable = parallax > 1e-12
        lengths.append(-np.sum(across * other, axis=1)[usable] / parallax[usable])
        weights.append(parallax[usable] / np.sum(turned[usable] ** 2, axis=1))
    values, weight = np.concatenate(lengths), np.concatenate(weights)
    if not len(values):
        return None
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(max(values[order][np.searchsorted(total, 0.5 * total[-1])], 0.0))


def _rigid_batch(
    points_a: Float[np.ndarray, "s k 3"], points_b: Float[np.ndarray, "s k 3"]
) -> tuple[Float[np.ndarray, "s 3 3"], Float[np.ndarray, "s 3"]]:
    """Rotations and translations b_from_a of least squared distance for many small sets; degenerate sets give some."""
    mean_a, mean_b = points_a.mean(axis=1), points_b.mean(axis=1)
    spread = np.einsum("ski,skj->sij", points_b - mean_b[:, None], points_a - mean_a[:, None])
    left, _, right = np.linalg.svd(spread)
    signs = np.ones((len(spread), 3))
    signs[:, 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    rotations = (left * signs[:, None, :]) @ right
    return rotations, mean_b - np.einsum("sij,sj->si", rotations, mean_a)


def _refused(reason: str) -> Rated:
    return Rated(PoseEstimate.failure(f"{reason[0].upper()}{reason[1:]}."), 0.0)
