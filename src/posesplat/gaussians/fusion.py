"""Gaussians that several depth frames have measured: what a new frame says about each of them, and taking it in.

Source: Keller et al., Real-time 3D reconstruction in dynamic scenes using point-based fusion, 2013 (running weighted
means of surface elements); here the weights are inverse variances, and coverage is rendered instead of rasterised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.lifting import LiftedGaussians, Surface, smoothed_colors
from posesplat.geometry.cameras import Camera

_NEAR = 0.01
"""Gaussians nearer to the camera than this (metres) are not compared."""
_EXTRAPOLATION = 1e-5
"""Relative error of a curved surface at up to half a pixel from the pixel whose plane stands for it."""


@dataclass(frozen=True)
class FusedGaussians:
    """Gaussians in the world frame, with how often and how well each was measured."""

    gaussians: Gaussians
    """The current estimate, with normals towards the cameras that saw them."""
    information: Float[np.ndarray, " n"]
    """Inverse variance of the position along the normal, 1 / m^2."""
    offsets: Float32[np.ndarray, " n"]
    """Signed distance from the measured surface to the mean along the normal in metres: the calibration's work."""
    sightings: Int[np.ndarray, " n"]
    """Frames that measured this surface here."""
    violations: Int[np.ndarray, " n"]
    """Frames that saw through this place."""

    def __len__(self) -> int:
        return len(self.gaussians)

    def select(self, index: Bool[np.ndarray, " n"]) -> FusedGaussians:
        """The Gaussians picked by a mask."""
        return FusedGaussians(
            self.gaussians.select(index),
            self.information[index],
            self.offsets[index],
            self.sightings[index],
            self.violations[index],
        )

    def joined(self, other: FusedGaussians) -> FusedGaussians:
        """These Gaussians, then the others."""
        return FusedGaussians(
            Gaussians.merge([self.gaussians, other.gaussians]),
            np.concatenate([self.information, other.information]),
            np.concatenate([self.offsets, other.offsets]),
            np.concatenate([self.sightings, other.sightings]),
            np.concatenate([self.violations, other.violations]),
        )


def first_sighting(lifted: LiftedGaussians, surface: Surface, cam_from_world: RigidTransform) -> FusedGaussians:
    """The Gaussians of one frame, each measured once."""
    rows, columns = lifted.pixels.T
    planes = surface.planes[rows, columns].astype(np.float64)
    distances = _signed_distances(lifted.gaussians.means_in_world.astype(np.float64), planes)
    count = len(rows)
    return FusedGaussians(
        lifted.gaussians.transformed(cam_from_world.inv()),
        1.0 / _variances(surface, rows, columns),
        distances.astype(np.float32),
        np.ones(count, dtype=np.int32),
        np.zeros(count, dtype=np.int32),
    )


def _signed_distances(points: Float[np.ndarray, "n 3"], planes: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Metres from each plane to its point, positive on the camera's side; infinite where there is no plane."""
    lengths = np.linalg.norm(planes, axis=1)
    distances = np.full(len(points), np.inf)
    np.divide(1.0 - np.sum(planes * points, axis=1), lengths, out=distances, where=lengths > 0)
    return distances


def _variances(
    surface: Surface, rows: Int[np.ndarray, " n"], columns: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Variance of a measured plane, which is 1 / |m| away, along its normal; 0 where there is no plane."""
    lengths = np.linalg.norm(surface.planes[rows, columns].astype(np.float64), axis=1)
    relative = surface.relative_error[rows, columns].astype(np.float64)
    errors: Float[np.ndarray, " n"] = np.divide(relative, lengths, out=np.zeros(len(rows)), where=lengths > 0)
    return np.square(errors)


@dataclass(frozen=True)
class Comparison:
    """What one frame says about the Gaussians in its field of view."""

    index: Int[np.ndarray, " m"]
    """Which Gaussians lie in the field of view; the other fields follow this order."""
    pixels: Float[np.ndarray, "m 2"]
    """Where their centres project, (x, y) with corner-based pixel centres."""
    distances: Float[np.ndarray, " m"]
    """Signed distance from the measured surface to the Gaussian's surface in metres, positive on the camera's side."""
    variances: Float[np.ndarray, " m"]
    """Variance of the measured surface along its normal, square metres."""
    measured: Bool[np.ndarray, " m"]
    """The pixel itself measures this Gaussian's surface."""
    present: Bool[np.ndarray, " m"]
    """A pixel beside it does (or the pixel itself), so that the surface is known to be there."""
    transparent: Bool[np.ndarray, " m"]
    """The pixel and all its neighbours see far through the place of the Gaussian."""


def compare(
    fused: FusedGaussians,
    surface: Surface,
    camera: Camera,
    cam_from_world: RigidTransform,
    *,
    sigmas: float,
    tolerance: float,
    free_space_margin: float,
) -> Comparison:
    """Compare Gaussians with the surface that a frame measured.

    Args:
        fused: n Gaussians in the world frame.
        surface: planes of the frame.
        camera: its pinhole.
        cam_from_world: its pose.
        sigmas: distances within this many standard deviations of both are the same surface.
        tolerance: so are distances within this fraction of the depth.
        free_space_margin: Gaussians nearer than the measured depth by this fraction are seen through.
    """
    height, width = surface.depth.shape
    rotation = cam_from_world.rotation.as_matrix()
    points = fused.gaussians.means_in_world @ rotation.T + cam_from_world.translation
    depth = np.maximum(points[:, 2], _NEAR)
    x = camera.fx * points[:, 0] / depth + camera.cx
    y = camera.fy * points[:, 1] / depth + camera.cy
    index = np.nonzero((points[:, 2] > _NEAR) & (x >= 0) & (x < width) & (y >= 0) & (y < height))[0]
    x, y, points, depth = x[index], y[index], points[index], depth[index]
    rows, columns = y.astype(np.int64), x.astype(np.int64)
    normals = fused.gaussians.normals()[index] @ rotation.T
    facing = np.sum(normals * points, axis=1) < 0
    on_surface = points - fused.offsets[index, None] * normals

    planes = surface.planes[rows, columns].astype(np.float64)
    distances = _signed_distances(on_surface, planes)
    variances = _variances(surface, rows, columns) + np.square(_EXTRAPOLATION * depth)
    own_variances = 1.0 / fused.information[index]
    allowed = np.maximum(sigmas * np.sqrt(variances + own_variances), tolerance * depth)
    # Measured planes point away from the camera: a Gaussian of the same surface has the opposite normal.
    agrees = facing & (np.sum(planes * normals, axis=1) < 0)
    measured = agrees & (np.abs(distances) <= allowed)

    present = measured.copy()
    missed = np.nonzero(facing & ~measured)[0]
    nearest = np.full(len(missed), np.inf)
    for dy, dx in product((-1, 0, 1), repeat=2):
        beside = np.clip(rows[missed] + dy, 0, height - 1), np.clip(columns[missed] + dx, 0, width - 1)
        near = np.abs(_signed_distances(on_surface[missed], surface.planes[beside].astype(np.float64)))
        noise = np.sqrt(_variances(surface, *beside) + own_variances[missed])
        present[missed] |= np.isfinite(near) & (near <= np.maximum(sigmas * noise, tolerance * depth[missed]))
        nearest = np.minimum(nearest, surface.depth[beside])
    transparent = np.zeros(len(index), dtype=bool)
    transparent[missed] = depth[missed] < (1.0 - free_space_margin) * nearest
    return Comparison(index, np.stack([x, y], axis=1), distances, variances, measured, present, transparent & ~present)


def updated(
    fused: FusedGaussians,
    comparison: Comparison,
    surface: Surface,
    seen_colors: Float32[np.ndarray, "m 3"] | None,
    cam_from_world: RigidTransform,
) -> FusedGaussians:
    """The Gaussians after a frame: position along the normal, normal and colour as weighted means over the frames.

    ``seen_colors`` are those that the frame shows of the measured ones, in the map's exposure.
    """
    seen = comparison.measured
    index, pixels = comparison.index[seen], comparison.pixels[seen]
    rows, columns = pixels[:, 1].astype(np.int64), pixels[:, 0].astype(np.int64)
    gaussians = fused.gaussians
    information, sightings, violations = fused.information.copy(), fused.sightings.copy(), fused.violations.copy()
    added = 1.0 / comparison.variances[seen]
    gain = added / (information[index] + added)

    old_normals = gaussians.normals()[index].astype(np.float64)
    means = gaussians.means_in_world.copy()
    means[index] -= ((gain * comparison.distances[seen])[:, None] * old_normals).astype(np.float32)
    planes = surface.planes[rows, columns].astype(np.float64)
    measured_normals = -(planes / np.linalg.norm(planes, axis=1, keepdims=True)) @ cam_from_world.rotation.as_matrix()
    new_normals = (1 - gain)[:, None] * old_normals + gain[:, None] * measured_normals
    new_normals /= np.linalg.norm(new_normals, axis=1, keepdims=True)
    normals, quats_wxyz = gaussians.normals().copy(), gaussians.quats_wxyz.copy()
    normals[index] = new_normals
    quats_wxyz[index] = _turned(quats_wxyz[index].astype(np.float64), old_normals, new_normals)
    colors = gaussians.colors
    if colors is not None and seen_colors is not None:
        share = 1.0 / (sightings[index] + 1.0)
        colors = colors.copy()
        colors[index] += share[:, None] * (seen_colors - colors[index])

    information[index] += added
    sightings[index] += 1
    violations[comparison.index[comparison.transparent]] += 1
    moved = replace(gaussians, means_in_world=means, quats_wxyz=quats_wxyz, colors=colors, normals_in_world=normals)
    return FusedGaussians(moved, information, fused.offsets, sightings, violations)


def colors_of(comparison: Comparison, image: UInt8[np.ndarray, "h w 3"], stride: int) -> Float32[np.ndarray, "m 3"]:
    """The colours that a frame shows of the Gaussians it measures, smoothed like those of new ones."""
    return _sampled(smoothed_colors(image, stride), comparison.pixels[comparison.measured])


def _turned(
    quats_wxyz: Float[np.ndarray, "n 4"], before: Float[np.ndarray, "n 3"], after: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 4"]:
    """Orientations after the shortest rotations that carry one unit vector into the other.

    The product of the quaternions (1 + before . after, before x after) and q, written out: it is four times faster
    than the general composition of rotations.
    """
    real, vector = 1.0 + np.sum(before * after, axis=1), np.cross(before, after)
    w, xyz = quats_wxyz[:, 0], quats_wxyz[:, 1:]
    product = np.empty_like(quats_wxyz)
    product[:, 0] = real * w - np.sum(vector * xyz, axis=1)
    product[:, 1:] = real[:, None] * xyz + w[:, None] * vector + np.cross(vector, xyz)
    return np.asarray(product / np.linalg.norm(product, axis=1, keepdims=True))


def _sampled(image: Float32[np.ndarray, "h w c"], pixels: Float[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n c"]:
    """Bilinear values at corner-based pixel coordinates."""
    places = pixels.T[::-1] - 0.5
    channels = [map_coordinates(image[..., channel], places, order=1, mode="nearest") for channel in range(3)]
    return np.stack(channels, axis=1)
