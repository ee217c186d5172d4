"""Matches by predicted geometry: on a plane they are its homography, and what is hidden is not trusted."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import RigidTransform, Rotation
from small_networks import PUBLISHED, network

from posesplat.datasets.rooms.clips import room_clip
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.learned.gaussian_head import SplatBatch
from posesplat.learned.network import Prediction
from posesplat.learned.predicted_matches import predicted_matches
from posesplat.learned.reconstruction import reconstruct
from posesplat.learned.two_view import folded_errors_deg

FIRST, OTHER = Camera(60.0, 62.0, 31.0, 25.0, 64, 48), Camera(70.0, 70.0, 33.0, 23.0, 64, 48)
NORMAL, DISTANCE = np.array([0.2, -0.1, 1.0]), 3.0
"""The plane n . x = d in the frame of the first camera."""
OTHER_FROM_FIRST = RigidTransform.from_components([0.3, -0.1, 0.15], Rotation.from_rotvec([0.05, -0.12, 0.08]))


def on_plane(camera: Camera, cam_from_first: RigidTransform) -> np.ndarray:
    """Where the rays of a camera's pixels meet the plane, in the frame of the first."""
    first_from_cam = cam_from_first.inv()
    rays = first_from_cam.rotation.apply(camera.rays().reshape(-1, 3))
    centre = first_from_cam.translation
    lengths = (DISTANCE - NORMAL @ centre) / (rays @ NORMAL)
    return (centre + lengths[:, None] * rays).reshape(camera.height, camera.width, 3)


def prediction(points: list[np.ndarray]) -> Prediction:
    """What a network would say that knows all."""
    maps = torch.from_numpy(np.stack(points).astype(np.float32))[None]
    poses = torch.from_numpy(np.stack([np.eye(4), OTHER_FROM_FIRST.as_matrix()]).astype(np.float32))[None]
    none = torch.zeros(1, 0, 3)
    splats = SplatBatch(none, torch.zeros(1, 0, 4), none, torch.zeros(1, 0), torch.zeros(1, 0, 1, 3))
    return Prediction(splats, maps, maps, poses, poses, None, None)


def through_plane(pixels: np.ndarray) -> np.ndarray:
    """Pixels of the first camera moved by the plane's homography K2 (R + t n' / d) K1^-1."""
    turn, shift = OTHER_FROM_FIRST.rotation.as_matrix(), OTHER_FROM_FIRST.translation
    homography = OTHER.matrix @ (turn + np.outer(shift, NORMAL) / DISTANCE) @ np.linalg.inv(FIRST.matrix)
    moved = np.c_[pixels, np.ones(len(pixels))] @ homography.T
    return moved[:, :2] / moved[:, 2:]


def test_matches_on_a_plane_are_its_homography() -> None:
    points = [on_plane(FIRST, RigidTransform.identity()), on_plane(OTHER, OTHER_FROM_FIRST)]
    first, second, trust = predicted_matches(prediction(points), 1, FIRST, OTHER)
    assert len(first) > 250
    assert np.abs(through_plane(first) - second).max() < 1e-3
    within = ((second > 0.5) & (second < [63.5, 47.5]) & (first > 0.5) & (first < [63.5, 47.5])).all(axis=1)
    assert trust[within].min() > 0.99


def test_what_another_surface_hides_is_not_trusted() -> None:
    points = [on_plane(FIRST, RigidTransform.identity()), on_plane(OTHER, OTHER_FROM_FIRST)]
    centre = OTHER_FROM_FIRST.inv().translation
    points[1][:, :24] = centre + 0.6 * (points[1][:, :24] - centre)
    _, second, trust = predicted_matches(prediction(points), 1, FIRST, OTHER)
    hidden = second[:, 0] < 20
    assert hidden.sum() > 40 and trust[hidden].max() < 1e-3
    assert trust[(second[:, 0] > 26) & (second < [63.5, 47.5]).all(axis=1) & (second > 0.5).all(axis=1)].min() > 0.9


def test_views_that_see_nothing_of_each_other_have_no_matches() -> None:
    points = [on_plane(FIRST, RigidTransform.identity())] * 2
    away = prediction([points[0], -points[0]])
    turned = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))[None, None]
    poses = torch.cat([away.cam_from_first[:, :1], turned], dim=1)
    blind = Prediction(away.splats, away.points, away.raw_points, poses, poses, None, None)
    first, second, trust = predicted_matches(blind, 1, FIRST, OTHER)
    assert len(first) == len(second) == len(trust) == 0


def test_a_published_network_without_training_leaves_the_poses_to_sift() -> None:
    clip = room_clip(5_000_031, 4, 128, 128)
    frames = [Frame(clip.camera, clip.images[index], None, f"{index}.png") for index in (0, 3)]
    found = reconstruct(frames, network=network(PUBLISHED)).trajectory[1].cam_from_world
    assert found is not None
    assert max(folded_errors_deg(found, clip.cam_from_world[3] * clip.cam_from_world[0].inv())) < 1.0
