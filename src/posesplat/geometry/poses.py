"""Rules for poses: tangents in (rotation, translation) order, left perturbations, adjoints, covariances.

The pose type is :class:`scipy.spatial.transform.RigidTransform`; its own ``exp_coords`` already come in the order
(rotation, translation), so these functions only name the conventions. Source: Sola et al., A micro Lie theory, 2018.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform, Rotation

_BERNOULLI = (-1 / 2, 1 / 12, 0.0, -1 / 720, 0.0, 1 / 30240, 0.0, -1 / 1209600)
"""B_n / n!, n from 1: the inverse left Jacobian is the series of these times the n-th power of ad."""


def exp(tangent: Float[np.ndarray, "*n 6"]) -> RigidTransform:
    """The transform exp(xi) of a tangent (omega, v) in radians and metres."""
    return RigidTransform.from_exp_coords(tangent)


def log(transform: RigidTransform) -> Float[np.ndarray, "*n 6"]:
    """The tangent (omega, v) of a transform; the inverse of :func:`exp`."""
    return transform.as_exp_coords()


def perturbed(cam_from_world: RigidTransform, tangent: Float[np.ndarray, " 6"]) -> RigidTransform:
    """The left perturbation exp(xi) * cam_from_world, in which all covariances are expressed."""
    return exp(tangent) * cam_from_world


def skew(vector: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """The matrix [v]_x with [v]_x u = v x u."""
    v = np.asarray(vector, dtype=np.float64)
    zero = np.zeros_like(v[..., 0])
    rows = [zero, -v[..., 2], v[..., 1], v[..., 2], zero, -v[..., 0], -v[..., 1], v[..., 0], zero]
    return np.stack(rows, axis=-1).reshape(*v.shape[:-1], 3, 3)


def adjoint(transform: RigidTransform) -> Float[np.ndarray, "*n 6 6"]:
    """The matrix Ad with b exp(xi) b^-1 = exp(Ad xi), for tangents in (rotation, translation) order."""
    rotation = transform.rotation.as_matrix()
    result = np.zeros((*rotation.shape[:-2], 6, 6))
    result[..., :3, :3] = result[..., 3:, 3:] = rotation
    result[..., 3:, :3] = skew(transform.translation) @ rotation
    return result


def inverse_left_jacobian(tangents: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, "n 6 6"]:
    """Derivative of log(exp(d) exp(xi)) by d at 0: the series in ad(xi), to its eighth power.

    Source: Sola et al., A micro Lie theory, 2018, section II-E; relative error below 1e-7 up to 1 rad, 1e-3 at 3 rad.
    """
    ad = np.zeros((len(tangents), 6, 6))
    ad[:, :3, :3] = ad[:, 3:, 3:] = skew(tangents[:, :3])
    ad[:, 3:, :3] = skew(tangents[:, 3:])
    result = np.tile(np.eye(6), (len(tangents), 1, 1))
    power = result
    for coefficient in _BERNOULLI:
        power = power @ ad
        result = result + coefficient * power
    return result


def inverse_covariance(b_from_a: RigidTransform, covariance: Float[np.ndarray, "6 6"]) -> Float[np.ndarray, "6 6"]:
    """Covariance of a_from_b, given that of b_from_a (both as left perturbations)."""
    change = adjoint(b_from_a.inv())
    return np.asarray(change @ covariance @ change.T)


def centre_covariance(cam_from_world: RigidTransform, covariance: Float[np.ndarray, "6 6"]) -> Float[np.ndarray, "3 3"]:
    """Covariance of the camera's centre in the world, to first order.

    exp(xi) * cam_from_world has its centre at c - R^T v for small xi = (omega, v): the turn leaves it where it is.
    """
    world_from_cam = cam_from_world.rotation.as_matrix().T
    return np.asarray(world_from_cam @ covariance[3:, 3:] @ world_from_cam.T)


def composed_covariance(
    c_from_b: RigidTransform,
    covariance_c_from_b: Float[np.ndarray, "6 6"],
    covariance_b_from_a: Float[np.ndarray, "6 6"],
) -> Float[np.ndarray, "6 6"]:
    """Covariance of c_from_b * b_from_a for independent errors, to first order."""
    change = adjoint(c_from_b)
    return np.asarray(covariance_c_from_b + change @ covariance_b_from_a @ change.T)


def pose_errors(
    estimated: RigidTransform, true: RigidTransform
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Distance between camera centres in the unit of the world, and angle between orientations in degrees.

    Both arguments are cam_from_world, of equal batch shape.
    """
    centre_gap = estimated.inv().translation - true.inv().translation
    angle = (estimated.rotation * true.rotation.inv()).magnitude()
    return np.asarray(np.linalg.norm(centre_gap, axis=-1)), np.asarray(np.degrees(angle))


def interpolated(first: RigidTransform, second: RigidTransform, fraction: float) -> RigidTransform:
    """The pose a ``fraction`` of the way along the screw motion from ``first`` to ``second``; beyond 1 extrapolates."""
    return exp(fraction * log(second * first.inv())) * first


def looking_at(
    centre_in_world: Float[np.ndarray, " 3"],
    target_in_world: Float[np.ndarray, " 3"],
    down_in_world: Float[np.ndarray, " 3"],
) -> RigidTransform:
    """cam_from_world of a camera at ``centre`` whose z axis points at ``target`` and y axis towards ``down``."""
    forward = np.asarray(target_in_world, float) - np.asarray(centre_in_world, float)
    distance = np.linalg.norm(forward)
    right = np.cross(np.asarray(down_in_world, float), forward)
    if distance == 0 or np.linalg.norm(right) < 1e-12 * distance:
        raise ValueError(
            "looking_at needs a target away from the centre and a down axis not along the view; "
            f"got centre {centre_in_world}, target {target_in_world}, down {down_in_world}."
        )
    forward, right = forward / distance, right / np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    centre = np.asarray(centre_in_world, dtype=np.float64)
    return RigidTransform.from_components(-rotation @ centre, Rotation.from_matrix(rotation))


def rescaled(transform: RigidTransform, unit: float) -> RigidTransform:
    """The same transform with lengths told in another unit, of which one old unit has ``unit``."""
    return RigidTransform.from_components(unit * transform.translation, transform.rotation)


def rescaled_covariance(covariance: Float[np.ndarray, "*n 6 6"], unit: float) -> Float[np.ndarray, "*n 6 6"]:
    """The covariance that belongs to :func:`rescaled`."""
    factor = np.array([1.0, 1.0, 1.0, unit, unit, unit])
    return np.asarray(covariance * factor[:, None] * factor)


def direction_sigma_deg(transform: RigidTransform, covariance: Float[np.ndarray, "6 6"] | None) -> float:
    """Standard deviation of the direction of a translation across itself, at most 90; 90 where nothing tells it.

    Args:
        transform: with a translation of any length.
        covariance: of it, left perturbation (rad, the translation's unit); None where it is not known.
    """
    length = float(np.linalg.norm(transform.translation))
    if covariance is None or length <= 0:
        return 90.0
    along = transform.translation / length
    across = np.eye(3) - np.outer(along, along)
    largest = float(np.linalg.eigvalsh(across @ covariance[3:, 3:] @ across)[-1])
    return min(float(np.degrees(np.sqrt(max(largest, 0.0)) / length)), 90.0)
