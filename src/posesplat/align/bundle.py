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
from scipy.sparse import csr_array
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
class _Sums:
    """Adds what observations say to their cameras, their points, and their pairs of both."""

    of_camera: csr_array
    of_point: csr_array
    of_both: csr_array

    @staticmethod
    def of(sightings: Sightings, cameras: int, points: int) -> _Sums:
        each, count = np.arange(len(sightings.cameras)), len(sightings.cameras)
        pairs = sightings.points * cameras + sightings.cameras

        def sums(places: Int[np.ndarray, " k"], size: int) -> csr_array:
            return csr_array((np.ones(count), (places, each)), (size, count))

        return _Sums(sums(sightings.cameras, cameras), sums(sightings.points, points), sums(pairs, points * cameras))


@dataclass(frozen=True)
class _State:
    """A bundle whose cameras are matrices: transforms one by one would cost more than all else."""

    matrices: Float[np.ndarray, "c 4 4"]
    points: Float[np.ndarray, "m 4"]


@dataclass(frozen=True)
class _Projected:
    """What a bundle makes of its observations."""

    in_cam: Float[np.ndarray, "k 3"]
    place: Float[np.ndarray, "k 2"]
    depth: Float[np.ndarray, " k"]
    residuals: Float[np.ndarray, "k 2"]
    squared: Float[np.ndarray, " k"]
    weights: Float[np.ndarray, " k"]
    cost: float


@dataclass(frozen=True)
class _Linear:
    """Normal equations of cameras and points, not yet reduced."""

    cost: float
    residuals_px: Float[np.ndarray, " k"]
    blocks: Float[np.ndarray, "c 6 6"]
    gradient: Float[np.ndarray, "c 6"]
    point_blocks: Float[np.ndarray, "m 3 3"]
    point_gradients: Float[np.ndarray, "m 3"]
    mixed: Float[np.ndarray, "m d 3"]
    bases: Float[np.ndarray, "m 4 3"]


@dataclass(frozen=True)
class _Reduced:
    """Normal equations of the free cameras, points eliminated."""

    matrix: Float[np.ndarray, "d d"]
    gradient: Float[np.ndarray, " d"]
    point_inverses: Float[np.ndarray, "m 3 3"]


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
    first, *_ = bundle.cam_from_world
    state = _State(np.stack([pose.as_matrix() for pose in bundle.cam_from_world]), bundle.points)
    sums = _Sums.of(sightings, len(state.matrices), len(state.points))
    linear = _linearised(state, sightings, scale_px, sums)
    for _ in range(iterations):
        done += 1
        step = _stepped(state, linear, _reduced(linear, damping), damping)
        cost = np.inf if step is None else _projected(step, sightings, scale_px).cost
        if step is None or not cost < linear.cost:
            damping *= 8.0
            if damping > 1e6:
                break
            continue
        gain = (linear.cost - cost) / max(linear.cost, 1e-12)
        state, damping = step, max(damping / 5.0, 1e-9)
        linear = _linearised(state, sightings, scale_px, sums)
        if gain < min_gain:
            break
    found = Bundle((first, *map(RigidTransform.from_matrix, state.matrices[1:])), state.points)
    return AdjustedBundle(found, linear.residuals_px, _reduced(linear, 0.0).matrix, done)


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


def _projected(state: _State, sightings: Sightings, scale_px: float) -> _Projected:
    """Residuals and the robust cost of a state."""
    in_cam = np.einsum("kij,kj->ki", state.matrices[sightings.cameras, :3], state.points[sightings.points])
    visible = in_cam[:, 2] > _NEAREST
    z = np.where(visible, in_cam[:, 2], 1.0)
    place = in_cam[:, :2] / z[:, None]
    residuals = np.where(visible[:, None], (place - sightings.places) * sightings.pixels[:, None], 0.0)
    squared = np.where(visible, (residuals**2).sum(axis=1), np.inf)
    ratio = np.where(visible, squared, 1e4 * scale_px**2) / scale_px**2
    weights = np.where(visible, 1.0 / (1.0 + ratio), 0.0)
    return _Projected(in_cam, place, z, residuals, squared, weights, float(np.log1p(ratio).sum()))


def _linearised(state: _State, sightings: Sightings, scale_px: float, sums: _Sums) -> _Linear:
    """Normal equations at a state."""
    seen = _projected(state, sightings, scale_px)
    count, cameras, observed = len(state.points), len(state.matrices), len(sightings.points)
    # Derivatives by the point in the camera frame, scaled so that their squares are weighted ones.
    scales = sightings.pixels * np.sqrt(seen.weights)
    by_cam = np.zeros((observed, 2, 3))
    by_cam[:, 0, 0] = by_cam[:, 1, 1] = scales / seen.depth
    by_cam[:, :, 2] = -seen.place * (scales / seen.depth)[:, None]
    residuals = seen.residuals * np.sqrt(seen.weights)[:, None]
    bases = _tangents(state.points)
    to_point = by_cam @ (state.matrices[sightings.cameras, :3] @ bases[sightings.points])
    to_camera = np.concatenate(
        [-by_cam @ poses.skew(seen.in_cam), by_cam * state.points[sightings.points, 3, None, None]], axis=2
    )
    of_camera, of_point = to_camera.transpose(0, 2, 1), to_point.transpose(0, 2, 1)
    mixed = sums.of_both @ (of_camera @ to_point).reshape(observed, 18)
    return _Linear(
        seen.cost,
        np.sqrt(seen.squared),
        (sums.of_camera @ (of_camera @ to_camera).reshape(observed, 36)).reshape(cameras, 6, 6),
        sums.of_camera @ (of_camera @ residuals[:, :, None])[:, :, 0],
        (sums.of_point @ (of_point @ to_point).reshape(observed, 9)).reshape(count, 3, 3),
        sums.of_point @ (of_point @ residuals[:, :, None])[:, :, 0],
        mixed.reshape(count, cameras, 6, 3)[:, 1:].reshape(count, 6 * (cameras - 1), 3),
        bases,
    )


def _reduced(linear: _Linear, damping: float) -> _Reduced:
    """The cameras' equations; points are eliminated with their diagonals raised by the damping."""
    point_blocks = linear.point_blocks.copy()
    diagonal = np.einsum("mii->mi", linear.point_blocks)
    point_blocks[:, range(3), range(3)] = diagonal * (1.0 + damping) + 1e-6 * (1.0 + diagonal.max(axis=1))[:, None]
    inverses = np.linalg.inv(point_blocks)
    free = linear.mixed.shape[1]
    folded = linear.mixed @ inverses
    matrix = -np.tensordot(folded, linear.mixed, axes=((0, 2), (0, 2)))
    for camera, block in enumerate(linear.blocks[1:]):
        part = slice(6 * camera, 6 * camera + 6)
        matrix[part, part] += block + damping * np.diag(np.diag(block))
    gradient = linear.gradient[1:].ravel() - np.einsum("mif,mf->i", folded, linear.point_gradients)
    return _Reduced(matrix.reshape(free, free), gradient, inverses)


def _stepped(state: _State, linear: _Linear, reduced: _Reduced, damping: float) -> _State | None:
    size = len(reduced.gradient)
    # The length of all translations is free: a little of everything keeps the system regular.
    regular = reduced.matrix + (1e-9 + 1e-6 * damping) * max(float(np.trace(reduced.matrix)), 1e-12) * np.eye(size)
    try:
        step = -np.linalg.solve(regular, reduced.gradient)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(step).all():
        return None
    along = np.einsum("mdf,d->mf", linear.mixed, step) + linear.point_gradients
    moves = -np.einsum("mij,mj->mi", reduced.point_inverses, along)
    points = state.points + np.einsum("mij,mj->mi", linear.bases, moves)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    matrices = state.matrices.copy()
    matrices[1:] = poses.exp(step.reshape(-1, 6)).as_matrix() @ matrices[1:]
    return _State(matrices, points)


def _tangents(points: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "m 4 3"]:
    """An orthonormal basis of the directions in which each unit point can move: three columns of a reflection."""
    mirror = points.copy()
    mirror[:, 3] += np.where(points[:, 3] < 0, -1.0, 1.0)
    lengths = np.maximum((mirror**2).sum(axis=1), 1e-12)
    return np.asarray(np.eye(4)[:, :3] - 2.0 * mirror[:, :, None] * mirror[:, None, :3] / lengths[:, None, None])
