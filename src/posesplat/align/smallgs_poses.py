"""SmallGS, second half: the poses of a segment's frames, found together against frozen Gaussians.

A pose is nine numbers: the camera's centre, and the first two rows of a rotation, which Gram-Schmidt completes.
Sources: SmallGS, arXiv 2504.17810, equations 8 to 10; Zhou et al., On the Continuity of Rotation Representations, 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.adam import Adam
from posesplat.align.smallgs_fit import Target, picture_loss
from posesplat.align.smallgs_options import SmallgsOptions
from posesplat.align.smallgs_splats import Splats
from posesplat.geometry.poses import skew
from posesplat.kernels.gradients import backward, composite

_FIRST_ROWS = np.array([1.0, 0, 0, 0, 1, 0])


@dataclass(frozen=True)
class SegmentPoses:
    """Where the search of a segment ended."""

    world_from_cam: RigidTransform
    """Poses in the frame of the Gaussians, one a frame."""
    start_loss: float
    """Difference of the pictures with every camera where the Gaussians' own was."""
    loss: float
    """Difference of the pictures at the poses found; not finite when the search has diverged."""
    steps: int
    """Steps taken."""


def rotation_from_rows(rows: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, "n 3 3"]:
    """Rotation matrices whose first two rows are the two vectors made orthonormal, and whose third is their product."""
    first = rows[:, :3] / np.linalg.norm(rows[:, :3], axis=1, keepdims=True)
    second = rows[:, 3:] - np.sum(first * rows[:, 3:], axis=1, keepdims=True) * first
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=1)


def rows_gradient(rows: Float[np.ndarray, "n 6"], by_rotation: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 6"]:
    """Derivative for the rows of :func:`rotation_from_rows`, given that for the matrices."""

    def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sum(a * b, axis=1, keepdims=True)

    first, second, _ = np.moveaxis(rotation_from_rows(rows), 1, 0)
    a, b = rows[:, :3], rows[:, 3:]
    by_third = by_rotation[:, 2]
    by_second = by_rotation[:, 1] + np.cross(by_third, first)
    by_rest = by_second - dot(by_second, second) * second
    by_rest = by_rest / np.linalg.norm(b - dot(first, b) * first, axis=1, keepdims=True)
    by_first = by_rotation[:, 0] + np.cross(second, by_third) - dot(by_rest, first) * b - dot(first, b) * by_rest
    by_a = (by_first - dot(by_first, first) * first) / np.linalg.norm(a, axis=1, keepdims=True)
    return np.concatenate([by_a, by_rest - dot(by_rest, first) * first], axis=1)


def smoothness(path: Float[np.ndarray, "n d"]) -> tuple[float, Float[np.ndarray, "n d"]]:
    """Sum of |x_(i+1) - 2 x_i + x_(i-1)| along a path, and its derivative, which is 0 where a term is."""
    bends = path[2:] - 2 * path[1:-1] + path[:-2]
    lengths = np.linalg.norm(bends, axis=1, keepdims=True)
    units = np.divide(bends, lengths, out=np.zeros_like(bends), where=lengths > 0)
    slope = np.zeros_like(path)
    slope[2:] += units
    slope[1:-1] -= 2 * units
    slope[:-2] += units
    return float(lengths.sum()), slope


def path_smoothness(
    centres: Float[np.ndarray, "n 3"], rotations: Float[np.ndarray, "n 3 3"], published_faults: bool = False
) -> tuple[float, Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3 3"]]:
    """Smoothness of a segment's poses, with derivatives for centres and rotations.

    The path of the centres begins at the anchor, at 0. With ``published_faults`` it is that of the matrices, without
    the anchor.
    """
    if published_faults:
        matrices = np.concatenate([rotations, centres[:, :, None]], axis=2).reshape(len(centres), 12)
        value, slope = smoothness(matrices)
        slope = slope.reshape(-1, 3, 4)
        return value, slope[:, :, 3], slope[:, :, :3]
    value, slope = smoothness(np.concatenate([np.zeros((1, 3)), centres]))
    return value, slope[1:], np.zeros_like(rotations)


def find_poses(
    splats: Splats,
    targets: Sequence[Target],
    options: SmallgsOptions,
    progress: Callable[[int, float], None] | None = None,
    threads: int | None = None,
) -> SegmentPoses:
    """Find the poses of a segment's frames, all starting where the Gaussians' own camera is.

    The loss is the mean difference of rendered and seen pictures over all frames, masked to what is static in each,
    plus the weighted smoothness of the path; Adam goes down its exact gradient.

    Args:
        splats: fitted Gaussians in the frame of the anchor's camera.
        targets: one a frame, in order.
        options: steps and weights.
        progress: called after each step with its number (from 0) and the pictures' part of its loss.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
    """
    count = len(targets)
    numbers = np.zeros((count, 9))
    adam = Adam(9 * count, options.pose_weight_decay)
    start_loss = loss = np.nan
    step = 0
    for step in range(options.pose_steps):
        rows = numbers[:, 3:] + _FIRST_ROWS
        rotations, centres = rotation_from_rows(rows), numbers[:, :3]
        loss, by_centres, by_rotations = pictures_loss(splats, targets, rotations, centres, options, threads)
        start_loss = loss if step == 0 else start_loss
        if progress is not None:
            progress(step, loss)
        if not np.isfinite(loss):
            break
        weight = options.smoothness_at(step)
        _, by_path, by_turns = path_smoothness(centres, rotations, options.published_faults)
        by_rows = rows_gradient(rows, by_rotations + weight * by_turns)
        gradient = np.concatenate([by_centres + weight * by_path, by_rows], axis=1)
        rates = np.full(9 * count, options.pose_rate_at(step))
        numbers = adam.step(numbers.ravel(), gradient.ravel(), rates).reshape(count, 9)
    rotations, centres = rotation_from_rows(numbers[:, 3:] + _FIRST_ROWS), numbers[:, :3]
    if np.isfinite(loss):
        loss = pictures_loss(splats, targets, rotations, centres, options, threads, gradients=False)[0]
    poses = RigidTransform.from_components(centres, Rotation.from_matrix(rotations))
    return SegmentPoses(poses, float(start_loss), float(loss), step + 1)


def pictures_loss(
    splats: Splats,
    targets: Sequence[Target],
    rotations: Float[np.ndarray, "n 3 3"],
    centres: Float[np.ndarray, "n 3"],
    options: SmallgsOptions,
    threads: int | None = None,
    gradients: bool = True,
) -> tuple[float, Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3 3"]]:
    """Mean difference of the pictures, with derivatives for centres and rotations of world_from_cam.

    The latter are those among the matrices that move along the rotations.
    """
    total, share = 0.0, 1.0 / len(targets)
    by_centres, by_rotations = np.zeros_like(centres), np.zeros_like(rotations)
    seen = None
    for index, target in enumerate(targets):
        if seen is None or seen.basis is not None:  # features look the same from everywhere
            seen = splats.seen_from(centres[index])
        world_from_cam = RigidTransform.from_components(centres[index], Rotation.from_matrix(rotations[index]))
        image = composite(seen.scene, target.camera, world_from_cam.inv(), threads=threads)
        static = target.static[..., None]
        loss, by_image = picture_loss((image.channels - target.picture) * static, options)
        total += share * loss
        if not gradients or not np.isfinite(loss):
            continue
        by_image = by_image * (np.float32(share) * static)
        by = backward(seen.scene, image, by_channels=by_image, gaussians=seen.basis is not None, threads=threads)
        # exp(xi) * cam_from_world is the inverse of world_from_cam * exp(-xi).
        by_centres[index] = -rotations[index] @ by.pose[3:]
        by_rotations[index] = -0.5 * rotations[index] @ skew(by.pose[:3])
        if by.gaussians is not None:
            by_centres[index] -= splats.direction_gradients(seen, by.gaussians).sum(axis=0, dtype=np.float64)
    return total, by_centres, by_rotations
