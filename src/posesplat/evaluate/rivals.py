"""What every localisation result is compared with: standing still, moving on, and point-cloud registration.

A rival answers the same question as localisation does (observation, start, map) with the same type, PoseEstimate.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.cloud_map import (
    CloudMap,
    Denoiser,
    PreparedCloud,
    downsampled,
    measured,
    points_in_cam,
    prepared,
)
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import exp

_FEWEST_POINTS = 20


@dataclass(frozen=True)
class RegistrationOptions:
    """How point clouds are registered; the defaults stop late, to show the rival at its best."""

    voxel_size_m: float = 0.03
    """Both clouds are averaged over cubes of this size; 0 keeps every point."""
    max_correspondence_distances_m: tuple[float, ...] = (0.5, 0.2, 0.1)
    """One registration for each, coarse to fine; farther neighbours are ignored."""
    neighbours: int = 10
    """How many nearest points give a normal or a covariance."""
    max_iterations: int = 100
    """Upper limit of steps in each registration."""
    translation_eps_m: float = 1e-6
    """A step shorter than this has converged ..."""
    rotation_eps_rad: float = 1e-6
    """... when it also turns less than this."""
    acceptable_step: float = 5e-4
    """When steps run out (neighbours that swap to and fro), a step below this in metres and radians passes."""
    min_inlier_fraction: float = 0.1
    """Below this share of query points with a neighbour in the map there is no answer."""
    num_threads: int = 1
    """Threads of small_gicp; more than one may change the last digits."""

    def __post_init__(self) -> None:
        distances = self.max_correspondence_distances_m
        if not distances or min(distances) <= 0 or not self.voxel_size_m >= 0 or self.max_iterations < 1:
            raise ValueError(
                "Registration needs positive correspondence distances and a voxel size >= 0, in metres, and at least "
                f"one iteration; got {distances}, {self.voxel_size_m} and {self.max_iterations}."
            )


TIGHT = RegistrationOptions()
"""The defaults."""


def identity(query: Frame, start: RigidTransform, cloud: CloudMap | None = None) -> PoseEstimate:
    """The start itself: the error that any method must beat."""
    return PoseEstimate(True, "", start, runtime_s=0.0, source="identity")


def constant_velocity(before_last: RigidTransform, last: RigidTransform) -> PoseEstimate:
    """The last motion once more, in the camera's own frame: the error that any tracker must beat.

    Args:
        before_last: cam_from_world two frames ago.
        last: cam_from_world one frame ago.
    """
    return PoseEstimate(True, "", last * before_last.inv() * last, runtime_s=0.0, source="constant velocity")


def gicp(
    query: Frame,
    start: RigidTransform,
    cloud: CloudMap,
    options: RegistrationOptions = TIGHT,
    denoise: Denoiser | None = None,
) -> PoseEstimate:
    """Generalised ICP of the query's depth against the map (small_gicp).

    The work of preparing the map is done at its first query and not part of ``runtime_s``.

    Args:
        query: observation with depth.
        start: cam_from_world to start from.
        cloud: the map.
        options: voxel size, schedule and stopping rule.
        denoise: applied to the query first; part of ``runtime_s``.

    Source: Segal, Haehnel, Thrun, Generalized-ICP, RSS 2009.
    """
    return _registered("GICP", query, start, cloud, options, denoise)


def point_to_plane_icp(
    query: Frame,
    start: RigidTransform,
    cloud: CloudMap,
    options: RegistrationOptions = TIGHT,
    denoise: Denoiser | None = None,
) -> PoseEstimate:
    """Point-to-plane ICP of the query's depth against the map; arguments as :func:`gicp`.

    Runs in small_gicp on normals that it estimates; a map that brings its own normals is registered by Gauss-Newton in
    NumPy over small_gicp's k-d tree, whose ``runtime_s`` says nothing about ICP in C++.

    Source: Chen and Medioni, Object modelling by registration of multiple range images, 1992.
    """
    return _registered("PLANE_ICP", query, start, cloud, options, denoise)


@dataclass(frozen=True)
class _Outcome:
    world_from_cam: RigidTransform
    step: Float[np.ndarray, " 6"]
    """The Newton step (rotation, translation) that the last iteration would take."""
    inliers: int
    cost: float
    iterations: int


def _registered(
    kind: Literal["GICP", "PLANE_ICP"],
    query: Frame,
    start: RigidTransform,
    cloud: CloudMap,
    options: RegistrationOptions,
    denoise: Denoiser | None,
) -> PoseEstimate:
    source = {"GICP": "GICP", "PLANE_ICP": "point-to-plane ICP"}[kind]
    target = cloud.prepared(options.voxel_size_m, options.neighbours, options.num_threads)
    began = time.perf_counter()
    seen = denoise(query) if denoise else query
    points = points_in_cam(seen, measured(seen))
    if min(len(points), len(target.points)) < _FEWEST_POINTS:
        return PoseEstimate.failure(
            f"Too few points to register: {len(points)} in the query, {len(target.points)} in the map.", source=source
        )
    if kind == "GICP":
        query_cloud = prepared(points, None, options.voxel_size_m, options.neighbours, options.num_threads).cloud
    else:
        query_cloud = downsampled(points, options.voxel_size_m)
    map_normals = target.normals if kind == "PLANE_ICP" else None
    world_from_cam, iterations = start.inv(), 0
    for distance in options.max_correspondence_distances_m:
        if map_normals is None:
            outcome = _small_gicp_steps(kind, target, query_cloud, world_from_cam, distance, options)
        else:
            query_points = query_cloud.points()[:, :3]
            outcome = _plane_steps(target, map_normals, query_points, world_from_cam, distance, options)
        world_from_cam, iterations = outcome.world_from_cam, iterations + outcome.iterations
    inlier_fraction = outcome.inliers / len(query_cloud)
    turn, shift = float(np.linalg.norm(outcome.step[:3])), float(np.linalg.norm(outcome.step[3:]))
    evidence: dict[str, Any] = {
        "inlier_fraction": inlier_fraction,
        "cost": outcome.cost,
        "iterations": iterations,
        "runtime_s": time.perf_counter() - began,
        "source": source,
    }
    if inlier_fraction < options.min_inlier_fraction:
        return PoseEstimate.failure(
            f"The query hardly meets the map: {inlier_fraction:.1%} of its points have a neighbour within "
            f"{distance:g} m, at least {options.min_inlier_fraction:.0%} are needed.",
            **evidence,
        )
    still_moving = f"still moving by {1e3 * shift:.2g} mm and {np.degrees(turn):.2g} degrees after {iterations} steps"
    if not max(turn, shift) <= options.acceptable_step:
        return PoseEstimate.failure(f"Not converged: {still_moving}.", **evidence)
    converged = shift <= options.translation_eps_m and turn <= options.rotation_eps_rad
    return PoseEstimate(
        True,
        "",
        world_from_cam.inv(),
        scale=Scale(True, "depth sensor"),
        warnings=() if converged else (still_moving,),
        **evidence,
    )


def _small_gicp_steps(
    kind: str,
    target: PreparedCloud,
    query_cloud: Any,
    world_from_cam: RigidTransform,
    distance: float,
    options: RegistrationOptions,
) -> _Outcome:
    import small_gicp

    result = small_gicp.align(
        target.cloud,
        query_cloud,
        target.tree,
        world_from_cam.as_matrix(),
        registration_type=kind,
        max_correspondence_distance=distance,
        num_threads=options.num_threads,
        max_iterations=options.max_iterations,
        rotation_epsilon=options.rotation_eps_rad,
        translation_epsilon=options.translation_eps_m,
    )
    # small_gicp's own flag is no guide: it is set when nothing overlaps, and not set when a solved problem stalls.
    return _Outcome(
        world_from_cam=RigidTransform.from_matrix(result.T_target_source),
        step=_newton_step(result.H, result.b),
        inliers=result.num_inliers,
        cost=result.error,
        iterations=result.iterations + 1,
    )


def _plane_steps(
    target: PreparedCloud,
    map_normals: Float[np.ndarray, "m 3"],
    points: Float[np.ndarray, "n 3"],
    world_from_cam: RigidTransform,
    distance: float,
    options: RegistrationOptions,
) -> _Outcome:
    """Gauss-Newton on the distances to the planes through the nearest map points, right perturbation."""
    iterations = 0
    while True:
        points_in_world = world_from_cam.apply(points)
        nearest, squared_distance = target.tree.batch_nearest_neighbor_search(points_in_world, options.num_threads)
        near = np.asarray(squared_distance) <= distance**2
        index = np.asarray(nearest)[near]
        normals = map_normals[index]
        residual = np.sum(normals * (points_in_world[near] - target.points[index]), axis=-1)
        normals_in_cam = world_from_cam.rotation.inv().apply(normals)
        jacobian = np.concatenate([np.cross(points[near], normals_in_cam), normals_in_cam], axis=-1)
        step = _newton_step(jacobian.T @ jacobian, jacobian.T @ residual)
        turn, shift = np.linalg.norm(step[:3]), np.linalg.norm(step[3:])
        iterations += 1
        converged = turn <= options.rotation_eps_rad and shift <= options.translation_eps_m
        if converged or iterations == options.max_iterations:
            return _Outcome(world_from_cam, step, int(near.sum()), 0.5 * float(residual @ residual), iterations)
        world_from_cam = world_from_cam * exp(step)


def _newton_step(hessian: Float[np.ndarray, "6 6"], gradient: Float[np.ndarray, " 6"]) -> Float[np.ndarray, " 6"]:
    """The step to the minimum, zero along directions that the geometry leaves open."""
    return np.asarray(-np.linalg.pinv(hessian, rcond=1e-9, hermitian=True) @ gradient)
