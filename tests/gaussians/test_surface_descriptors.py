"""Descriptors on surfaces: the same place of a textured wall from two views, and a wall without texture."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms import textured_wall
from posesplat.gaussians.surface_descriptors import surface_descriptors
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import perturbed

CAMERA = Camera(260.0, 260.0, 160.0, 120.0, 320, 240)


def test_a_place_looks_the_same_from_nearer_and_aslant() -> None:
    wall = textured_wall(3)
    first = wall.default_view
    second = RigidTransform.from_components([0.25, 0.0, -0.4], Rotation.from_euler("y", 12, degrees=True)) * first
    frames = [wall.render(CAMERA, view) for view in (first, second)]
    rng = np.random.default_rng(0)
    pixels = rng.integers([100, 70], [220, 170], (150, 2))
    depth = frames[0].depth[pixels[:, 1], pixels[:, 0]].astype(np.float64)
    points = CAMERA.rays_at(pixels + 0.5) * depth[:, None]
    corners = points[[0, 50, 100]]
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    normal /= -np.linalg.norm(normal) * np.sign(normal[2])
    second_from_first = second * first.inv()
    found = [
        surface_descriptors(
            frame.image, CAMERA, move.apply(points), np.tile(move.rotation.apply(normal), (len(points), 1))
        )
        for frame, move in zip(frames, (RigidTransform.identity(), second_from_first), strict=True)
    ]
    # What all places share says nothing: it is taken off, as alignment does.
    values = [part.values - part.values.mean(axis=0) for part in found]
    values = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in values]
    alike = values[0] @ values[1].T
    gaps = np.linalg.norm(points[:, None] - points, axis=2)
    nearest = gaps[np.arange(len(points)), alike.argmax(axis=1)]
    assert np.mean(nearest < 0.1) > 0.8  # by chance: 2 %
    np.testing.assert_allclose(np.linalg.norm(found[0].values, axis=1), 1, rtol=1e-5)


def test_a_blank_wall_is_not_trusted() -> None:
    points = CAMERA.rays(20).reshape(-1, 3) * 2.0
    normals = np.tile([0.0, 0.0, -1.0], (len(points), 1))
    image = np.full((240, 320, 3), 120, dtype=np.uint8)
    blank = surface_descriptors(image, CAMERA, points, normals)
    assert blank.trust.max() == 0 and np.isfinite(blank.values).all()
    image[:, ::2] = 255
    image[:, ::4] = 0
    assert surface_descriptors(image, CAMERA, points, normals).trust.mean() > 0.5


def test_brightness_does_not_matter() -> None:
    wall = textured_wall(1)
    image = wall.render(CAMERA, perturbed(wall.default_view, np.zeros(6))).image
    points = CAMERA.rays(20).reshape(-1, 3) * 2.0
    normals = np.tile([0.0, 0.0, -1.0], (len(points), 1))
    darker = np.uint8(np.rint(0.6 * image + 10.0))
    one, other = (surface_descriptors(picture, CAMERA, points, normals).values for picture in (image, darker))
    cosines = np.sum(one * other, axis=1)
    assert np.median(cosines) > 0.95
