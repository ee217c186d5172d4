"""Matches between two views that a network without matching implies: its points seen from its poses."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.cameras import Camera
from posesplat.learned.network import Prediction
from posesplat.learned.two_view import rigid

_STEP_PX = 4
"""Distance of the pixels whose points are looked at."""
_SIGMA = 0.05
"""Distance between the points of both views, as a share of their depth, at which trust has fallen to exp(-1/2)."""
_NEAREST = 1e-3


def predicted_matches(
    prediction: Prediction, view: int, first: Camera, other: Camera, scene: int = 0
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Pixels in the first view, the pixels of another context view that show the same points, and trust; both ways.

    Trust is high where both views put the point at the same place; so it is low for what the other view does not see.

    Args:
        prediction: of the network.
        view: which other view.
        first: pinhole of the first view at the network's size.
        other: pinhole of the other one.
        scene: of the batch.
    """
    points = [prediction.points[scene, index].detach().cpu().numpy().astype(np.float32) for index in (0, view)]
    other_from_first = rigid(prediction.cam_from_first[scene, view])
    here, there, trust = _seen(points[0], points[1], other_from_first, other)
    back_there, back_here, back_trust = _seen(points[1], points[0], RigidTransform.identity(), first)
    return (
        np.concatenate([here, back_here]),
        np.concatenate([there, back_there]),
        np.concatenate([trust, back_trust]),
    )


def _seen(
    own_in_first: Float32[np.ndarray, "h w 3"],
    others_in_first: Float32[np.ndarray, "h2 w2 3"],
    cam_from_first: RigidTransform,
    camera: Camera,
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Pixels of one view, where the camera of another sees their points, and how far both views agree on these."""
    import cv2

    grid = own_in_first[::_STEP_PX, ::_STEP_PX]
    rows, columns = np.indices(grid.shape[:2]) * _STEP_PX + 0.5
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    centres = grid.reshape(-1, 3).astype(np.float64)
    in_cam = cam_from_first.apply(centres)
    before = np.isfinite(in_cam).all(axis=1) & (in_cam[:, 2] > _NEAREST)
    pixels, centres, in_cam = pixels[before], centres[before], in_cam[before]
    places = camera.project(in_cam)
    inside = (places >= 0).all(axis=1) & (places <= [camera.width, camera.height]).all(axis=1)
    pixels, centres, places, depth = pixels[inside], centres[inside], places[inside], in_cam[inside, 2]
    if not len(pixels):
        return pixels, places, np.zeros(0)
    maps = (places - 0.5).astype(np.float32)[:, None]
    met = cv2.remap(others_in_first, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    gap = np.linalg.norm(met.reshape(-1, 3) - centres, axis=1) / depth
    return pixels, places, np.exp(-0.5 * (gap / _SIGMA) ** 2)
