"""Bundle adjustment of a few cameras and homogeneous points: points at infinity and pure turns are no exception.

Points are unit vectors of four numbers, moved in their tangent space; cameras are moved from the left. Normal equations
are reduced to the cameras (Schur complement).
Source: Triggs et al., Bundle adjustment, a modern synthesis, 2000, sections 2.2 and 6.1; Forstner and Wrobel,
Photogrammetric computer vision, 2016, section 10.2 (spherically normalised coordinates).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import RigidTransform

from posesplat.geometry import poses

_NEAREST = 1e-3
"""Least z of a unit point in a camera frame that still projects."""
_GAUGE = 1e6


@dataclass(frozen=True)
class Sightings:
    """Where points were seen by cameras: one entry an observation."""

    cameras: Int[np.ndarray, " k"]
    """Number of the camera."""
    points: Int[np.ndarray, " k"]
    """Number of the point."""
    places: Float[np.ndarray, "k 2"]
    """x / z and y / z in the camera frame."""
    pixels: Float[np.ndarray, " k"]
    """Pixels that a place of one unit spans: the focal length."""

    def select(self, index: Bool[np.ndarray, " k"]) -> Sightings:
        """Some of the observations."""
        return Sightings(self.cameras[index], self.points[index], self.places[index], self.pixels[index])


@dataclass(frozen=True)
class Bundle:
    """Cameras and points that are adjusted together."""

    cam_from_world: tuple[RigidTransform, ...]
    """The cameras; the first one is held fixed."""
    points: Float[np.ndarray, "m 4"]
    """Homogeneous points in the world, unit vectors."""


@dataclass(frozen=True)
class AdjustedBundle:
    """An adjusted bundle and how well it fits."""

    bundle: Bundle
    residuals_px: Float[np.ndarray, " k"]
    """Distance of each observation; infinite behind a camera."""
    reduced: Float[np.ndarray, "d d"]
    """Normal equations of all cameras but the first, points eliminated, in 1 / px^2 for residuals in pixels."""
    iterations: int


@dataclass(frozen=True)
class _System:
    cost: float
    residuals_px: Float[np.ndarray, " k"]
    reduced: Float[np.ndarray, "d d"]
    gradient: Float[np.ndarray, " d"]
    point_inverses: Float[np.ndarray, "m 3 3"]
    point_gradients: Float[np.ndarray, "m 3"]
    mixed: Float[np.ndarray, "m d 3"]
    bases: Float[np.ndarray, "m 4 3"]


def adjusted(
    bundle: Bundle, sightings: Sightings, *, scale_px: float = 2.0, iterations: int = 15, min_gain: float = 1e-4
) -> AdjustedBundle:
    """The bundle of least robust reprojection error near the given one, by Levenberg and Marquardt's method.

    The cost of an observation at r pixels is Cauchy's, log(1 + (r / scale_px)^2). The length of translations is not
    determined by it and stays about what it was.

    Args:
        bundle: to begin with.
        sightings: of its cameras and points.
        scale_px: residual at which an observation's weight is a half.
        iterations: most steps.
        min_gain: relative decrease of the cost below which it ends.
    """
    damping, done = 1e-3, 0
    system = _system(bundle, sightings, scale_px, damping)
    for _ in range(iterations):
        done += 1
        step = _stepped(bundle, system, damping)
        tried = None if step is None else _system(step, sightings, scale_px, damping)
        if step is None or tried is None or not tried.cost < system.cost:
            damping *= 8.0
            if damping > 1e6:
                break
            system = _system(bundle, sightings, scale_px, damping)
            continue
        gain = (system.cost - tried.cost) / max(system.cost, 1e-12)
        bundle, damping = step, max(damping / 5.0, 1e-9)
        system = _system(bundle, sightings, scale_px, damping)
        if gain < min_gain:
            break
    final = _system(bundle, sightings, scale_px, 0.0)
    return AdjustedBundle(bundle, final.residuals_px, final.reduced, done)


def camera_covariance(adjustment: AdjustedBundle, camera: int, noise_px: float) -> Float[np.ndarray, "6 6"] | None:
    """Covariance of one camera's pose while the size of the whole is held, left perturbation; None if undetermined.

    Args:
        adjustment: of :func:`adjusted`.
        camera: its number, not 0.
        noise_px: standard deviation of an observation along each axis.
    """
    count = len(adjustment.bundle.cam_from_world) - 1
    scaling = np.zeros((count, 6))
    scaling[:, 3:] = [pose.translation for pose in adjustment.bundle.cam_from_world[1:]]
    length = float(np.linalg.norm(scaling))
    information = adjustment.reduced.copy()
    if length > 0:
        direction = scaling.ravel() / length
        information += _GAUGE * float(np.trace(information)) * np.outer(direction, direction)
    try:
        covariance = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        return None
    block = noise_px**2 * covariance[6 * camera - 6 : 6 * camera, 6 * camera - 6 : 6 * camera]
    block = 0.5 * (block + block.T)
    usable = np.isfinite(block).all() and np.linalg.eigvalsh(block)[0] > -1e-9 * np.trace(block) > -np.inf
    return np.asarray(block) if usable else None


def triangulated(
    cam_from_world: tuple[RigidTransform, ...], sightings: Sightings, count: int
) -> Float[np.ndarray, "count 4"]:
    """Homogeneous points from their places, by linear least squares (DLT); the sign puts them before most cameras.

    Points seen by fewer than two cameras come out as zero.

    Source: Hartley and Zisserman, Multiple view geometry, 2004, section 12.2.
    """
    matrices = np.stack([pose.as_matrix()[:3] for pose in cam_from_world])[sightings.cameras]
    rows = sightings.places[:, :, None] * matrices[:, 2:3] - matrices[:, :2]
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    squares = np.zeros((count, 4, 4))
    np.add.at(squares, sightings.points, np.einsum("kri,krj->kij", rows, rows))
    points = np.linalg.eigh(squares)[1][:, :, 0]
    seen = np.bincount(sightings.points, minlength=count)
    depths = np.einsum("ki,ki->k", matrices[:, 2], points[sightings.points])
    before = np.bincount(sightings.points, np.sign(depths), minlength=count)
    return np.asarray(points * np.where(before < 0, -1.0, 1.0)[:, None] * (seen >= 2)[:, None])


def _system(bundle: Bundle, sightings: Sightings, scale_px: float, damping: float) -> _System:
    """Normal equations at a state; points are eliminated with their diagonals raised by the damping."""
    matrices = np.stack([pose.as_matrix()[:3] for pose in bundle.cam_from_world])
    count, cameras = len(bundle.points), len(matrices)
    seen_by, seen = sightings.cameras, sightings.points
    points = bundle.points[seen]
    in_cam = np.einsum("kij,kj->ki", matrices[seen_by], points)
    visible = in_cam[:, 2] > _NEAREST
    z = np.where(visible, in_cam[:, 2], 1.0)
    place = in_cam[:, :2] / z[:, None]
    residuals = np.where(visible[:, None], (place - sightings.places) * sightings.pixels[:, None], 0.0)
    squared = np.where(visible, (residuals**2).sum(axis=1), np.inf)
    ratio = np.where(visible, squared, 1e4 * scale_px**2) / scale_px**2
    cost = float(np.log1p(ratio).sum())
    weights = np.where(visible, 1.0 / (1.0 + ratio), 0.0)

    by_cam = np.zeros((len(seen), 2, 3))
    by_cam[:, 0, 0] = by_cam[:, 1, 1] = 1.0 / z
    by_cam[:, :, 2] = -place / z[:, None]
    by_cam *= sightings.pixels[:, None, None]
    bases = _tangents(bundle.points)
    to_point = by_cam @ (matrices[seen_by] @ bases[seen])
    to_camera = np.concatenate([-by_cam @ poses.skew(in_cam), by_cam * points[:, 3, None, None]], axis=2)
    weighted = to_camera * weights[:, None, None]

    blocks = np.zeros((cameras, 6, 6))
    np.add.at(blocks, seen_by, weighted.transpose(0, 2, 1) @ to_camera)
    gradient = np.zeros((cameras, 6))
    np.add.at(gradient, seen_by, np.einsum("kri,kr->ki", weighted, residuals))
    point_blocks = np.zeros((count, 3, 3))
    np.add.at(point_blocks, seen, (to_point * weights[:, None, None]).transpose(0, 2, 1) @ to_point)
    point_gradients = np.zeros((count, 3))
    np.add.at(point_gradients, seen, np.einsum("kri,kr,k->ki", to_point, residuals, weights))
    mixed = np.zeros((count, cameras, 6, 3))
    np.add.at(mixed, (seen, seen_by), weighted.transpose(0, 2, 1) @ to_point)

    diagonal = np.einsum("mii->mi", point_blocks)
    point_blocks[:, range(3), range(3)] = diagonal * (1.0 + damping) + 1e-6 * (1.0 + diagonal.max(axis=1))[:, None]
    inverses = np.linalg.inv(point_blocks)
    free = 6 * (cameras - 1)
    to_free = mixed[:, 1:].reshape(count, free, 3)
    folded = to_free @ inverses
    reduced = np.zeros((free, free))
    for camera in range(cameras - 1):
        part = slice(6 * camera, 6 * camera + 6)
        reduced[part, part] = blocks[camera + 1]
        reduced[range(part.start, part.stop), range(part.start, part.stop)] *= 1.0 + damping
    reduced -= folded.transpose(1, 0, 2).reshape(free, -1) @ to_free.transpose(1, 0, 2).reshape(free, -1).T
    right = gradient[1:].ravel() - np.einsum("mif,mf->i", folded, point_gradients)
    return _System(cost, np.sqrt(squared), reduced, right, inverses, point_gradients, to_free, bases)


def _stepped(bundle: Bundle, system: _System, damping: float) -> Bundle | None:
    size = len(system.gradient)
    # The length of all translations is free: a little of everything keeps the system regular.
    regular = system.reduced + (1e-9 + 1e-6 * damping) * max(float(np.trace(system.reduced)), 1e-12) * np.eye(size)
    try:
        step = -np.linalg.solve(regular, system.gradient)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(step).all():
        return None
    along = np.einsum("mdf,d->mf", system.mixed, step) + system.point_gradients
    moves = -np.einsum("mij,mj->mi", system.point_inverses, along)
    points = bundle.points + np.einsum("mij,mj->mi", system.bases, moves)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    first, *others = bundle.cam_from_world
    moved = [poses.perturbed(pose, step[6 * index : 6 * index + 6]) for index, pose in enumerate(others)]
    return Bundle((first, *moved), points)


def _tangents(points: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "m 4 3"]:
    """An orthonormal basis of the directions in which each unit point can move: three columns of a reflection."""
    mirror = points.copy()
    mirror[:, 3] += np.where(points[:, 3] < 0, -1.0, 1.0)
    lengths = np.maximum((mirror**2).sum(axis=1), 1e-12)
    return np.asarray(np.eye(4)[:, :3] - 2.0 * mirror[:, :, None] * mirror[:, None, :3] / lengths[:, None, None])
