"""A prior on the path of a camera: neighbouring steps are alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.linalg import solveh_banded
from scipy.spatial.transform import RigidTransform

from posesplat.geometry import poses

_ROUNDS = 3


def smoothed_path(
    cam_from_reference: RigidTransform, covariance: Float[np.ndarray, "frames 6 6"], weight: float
) -> RigidTransform:
    """The poses of least sum of squared deviations from the given ones and of second differences along the path.

    Minimises sum_i x_i^T C_i^-1 x_i + weight sum_i d_i^T H d_i over left perturbations x_i of the poses T_i, where
    d_i = log(T_i+1 T_i^-1) - log(T_i T_i-1^-1) is how much the step changes and H the mean of all C_i^-1, so that a
    weight of 1 trusts the prior as much as one frame. The path starts at the reference, which does not move. Steps are
    short, so that a perturbation adds to them. Source: the smoothness term of SmallGS (arXiv 2504.17810), with squares.

    Args:
        cam_from_reference: poses in order of time, shape (frames,).
        covariance: of each one's left perturbation.
        weight: of the prior; 0 leaves the poses as they are.

    Returns:
        The smoothed poses.
    """
    frames = len(cam_from_reference)
    if weight == 0 or frames < 2:
        return cam_from_reference
    information = np.linalg.inv(covariance)
    prior = weight * information.mean(axis=0)
    # Row i of the second differences of (reference, frame 1, ..., frame n), whose first column is held fixed.
    rows = np.arange(frames - 1)
    differences = np.zeros((frames - 1, frames + 1))
    differences[rows, rows], differences[rows, rows + 1], differences[rows, rows + 2] = 1.0, -2.0, 1.0
    differences = differences[:, 1:]
    banded = _upper_band(information, differences.T @ differences, prior)
    reference = RigidTransform.identity()
    given, path = cam_from_reference, cam_from_reference
    for _ in range(_ROUNDS):
        whole = RigidTransform.concatenate([reference, path])
        steps = poses.log(whole[1:] * whole[:-1].inv())
        moved = poses.log(path * given.inv())
        gradient = np.einsum("fij,fj->fi", information, moved) + differences.T @ np.diff(steps, axis=0) @ prior
        change = -solveh_banded(banded, gradient.ravel(), check_finite=False).reshape(frames, 6)
        path = poses.exp(change) * path
    return path


def _upper_band(
    blocks: Float[np.ndarray, "frames 6 6"],
    coupling: Float[np.ndarray, "frames frames"],
    prior: Float[np.ndarray, "6 6"],
) -> Float[np.ndarray, "band unknowns"]:
    """blockdiag(blocks) + coupling (x) prior, whose frames couple with the next two, in SciPy's upper banded form."""
    frames = len(blocks)
    band = np.zeros((18, 6 * frames))
    for row in range(frames):
        for column in range(row, min(row + 3, frames)):
            block = coupling[row, column] * prior + (blocks[row] if row == column else 0.0)
            for i in range(6):
                for j in range(6):
                    above = 6 * (column - row) + j - i
                    if above >= 0:
                        band[17 - above, 6 * column + j] = block[i, j]
    return band
