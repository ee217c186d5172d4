"""Two cameras that see the same random points: exact matches and depths, spoilt as a test needs."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.matched_depths import MatchedDepths, MatchNoise, Side
from posesplat.geometry.cameras import Camera
from posesplat.geometry.matches import Matches
from posesplat.geometry.poses import exp

CAMERA_A = Camera(525.0, 525.0, 320.0, 240.0, 640, 480)
CAMERA_B = Camera(400.0, 410.0, 250.0, 150.0, 500, 300)
B_FROM_A = exp(np.array([0.05, -0.2, 0.03, 0.3, -0.1, 0.15]))


def seen_twice(
    count: int = 200,
    pixel_px: float = 0.0,
    relative_depth: float = 0.0,
    outliers: float = 0.0,
    b_from_a: RigidTransform = B_FROM_A,
    noise: MatchNoise = MatchNoise(),
    seed: int = 0,
    flat: bool = False,
    known: tuple[float, float] = (1.0, 1.0),
    factors: tuple[float, float] = (1.0, 1.0),
) -> MatchedDepths:
    """Matches of points before both cameras.

    Args:
        count: how many.
        pixel_px: noise of the places.
        relative_depth: noise of the depths.
        outliers: share of the matches that are random.
        b_from_a: the true motion.
        noise: what the solver is told.
        seed: of everything random.
        flat: all points on one plane.
        known: share of depths that were measured, of A and of B.
        factors: by which the depths of A and of B are too large.
    """
    rng = np.random.default_rng(seed)
    points = np.zeros((0, 3))
    while len(points) < count:
        pixels = rng.uniform([0, 0], [640, 480], (4 * count, 2))
        depth = rng.uniform(1.0, 4.0, len(pixels))
        if flat:
            depth = 1.0 / (CAMERA_A.rays_at(pixels) @ [0.1, -0.05, 0.4])
        candidates = CAMERA_A.rays_at(pixels) * depth[:, None]
        in_b = CAMERA_B.project(b_from_a.apply(candidates))
        inside = (np.nan_to_num(in_b, nan=-1.0) >= 0).all(axis=1) & (in_b < [500, 300]).all(axis=1)
        points = np.concatenate([points, candidates[inside]])
    points = points[:count]
    pixels_a, pixels_b = CAMERA_A.project(points), CAMERA_B.project(b_from_a.apply(points))
    depth_a, depth_b = points[:, 2] * factors[0], b_from_a.apply(points)[:, 2] * factors[1]
    pixels_a = pixels_a + pixel_px * rng.standard_normal((count, 2))
    pixels_b = pixels_b + pixel_px * rng.standard_normal((count, 2))
    wrong = rng.random(count) < outliers
    pixels_b[wrong] = rng.uniform([0, 0], [500, 300], (int(wrong.sum()), 2))
    depth_b[wrong] = rng.uniform(1.0, 4.0, int(wrong.sum()))
    sides = []
    for pixels, depth, camera, share in (
        (pixels_a, depth_a, CAMERA_A, known[0]),
        (pixels_b, depth_b, CAMERA_B, known[1]),
    ):
        depth = depth * np.exp(relative_depth * rng.standard_normal(count))
        depth = np.where(rng.random(count) < share, depth, 0.0)
        sides.append(side(pixels, depth, camera, noise))
    return MatchedDepths(Matches(pixels_a, pixels_b, np.ones(count)), sides[0], sides[1], noise)


def side(pixels: np.ndarray, depth: np.ndarray, camera: Camera, noise: MatchNoise) -> Side:
    """One image's part, its depths given instead of read from a depth image."""
    x, y = (2.0 * pixels / [camera.width, camera.height] - 1.0).T
    fields = np.stack([np.ones(len(x)), x, y, x**2 - 1 / 3, x * y, y**2 - 1 / 3], axis=1)
    deviations = np.where(depth > 0, np.hypot(noise.relative_depth, noise.depth_growth_per_m * depth), 1e3)
    return Side(camera, camera.rays_at(pixels), depth, deviations, fields[:, : noise.bias_terms])
