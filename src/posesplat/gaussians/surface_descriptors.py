"""Weight-free descriptors: gradient orientations around a point, sampled on its surface rather than on the image.

Samples lie on two rings in the tangent plane, of one size in metres, and are projected: a change of distance or slant
moves them with the surface. Their first axis follows the image's vertical, so that a large roll changes the descriptor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from posesplat.geometry.cameras import Camera

RINGS_M = (0.06, 0.12)
"""Radii of the rings, metres."""
RADII_PX = (10.0, 60.0)
"""The outer ring's radius in an image 640 pixels wide is kept within these."""
SAMPLES = 1 + 8 * len(RINGS_M)
ORIENTATIONS = 8
_WORKING_WIDTH = 320
_BLUR_PX = 1.5
_HALF_TRUST = 1.5
"""Mean gradient, grey levels a pixel, at which a descriptor is trusted by half."""


@dataclass(frozen=True)
class SurfaceDescriptors:
    """Descriptors of points on a surface."""

    values: Float32[np.ndarray, "n d"]
    """Unit vectors of :data:`SAMPLES` x :data:`ORIENTATIONS` numbers, none negative."""
    trust: Float32[np.ndarray, " n"]
    """How much there is to describe, in [0, 1): 0 on a blank wall."""


def surface_descriptors(
    image: UInt8[np.ndarray, "h w 3"],
    camera: Camera,
    points_in_cam: Float[np.ndarray, "n 3"],
    normals_in_cam: Float[np.ndarray, "n 3"],
) -> SurfaceDescriptors:
    """Describe the image around points of a surface.

    Args:
        image: RGB, 8 bit.
        camera: its pinhole.
        points_in_cam: on the surface, metres, in front of the camera.
        normals_in_cam: unit normals of the surface there.

    Sources: Tola, Lepetit, Fua, DAISY, PAMI 2010 (orientation maps on rings); Arandjelovic and Zisserman, Three things
    everyone should know to improve object retrieval, 2012 (square roots).
    """
    import cv2

    reduction = max(camera.width / _WORKING_WIDTH, 1.0)
    working = camera.resized(round(camera.width / reduction), max(round(camera.height / reduction), 1))
    grey = cv2.resize(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (working.width, working.height), interpolation=cv2.INTER_AREA
    )
    maps, strength = _orientation_maps(np.asarray(grey))
    places = _sample_places(working, points_in_cam, normals_in_cam)
    columns = np.clip(places[..., 0], 0, working.width - 1).astype(np.int64)
    rows = np.clip(places[..., 1], 0, working.height - 1).astype(np.int64)
    flat = rows * working.width + columns
    values = maps.reshape(-1, ORIENTATIONS)[flat]
    values /= np.linalg.norm(values, axis=2, keepdims=True) + 1.0
    values = values.reshape(len(values), SAMPLES * ORIENTATIONS)
    values /= np.maximum(values.sum(axis=1, keepdims=True), 1e-9)
    energy = strength.ravel()[flat].mean(axis=1)
    return SurfaceDescriptors(np.sqrt(values, out=values), energy / (energy + np.float32(_HALF_TRUST)))


def _orientation_maps(
    grey: UInt8[np.ndarray, "h w"],
) -> tuple[Float32[np.ndarray, "h w k"], Float32[np.ndarray, "h w"]]:
    """Blurred positive parts of the derivative along eight directions, and the gradient's size, grey levels a pixel."""
    import cv2

    smooth = cv2.GaussianBlur(grey, (0, 0), 0.8).astype(np.float32)
    along_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
    along_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    maps = np.empty((*grey.shape, ORIENTATIONS), dtype=np.float32)
    for k in range(ORIENTATIONS):
        angle = 2 * np.pi * k / ORIENTATIONS
        part = np.maximum(np.float32(np.cos(angle)) * along_x + np.float32(np.sin(angle)) * along_y, 0)
        maps[..., k] = cv2.GaussianBlur(part, (0, 0), _BLUR_PX)
    return maps, cv2.GaussianBlur(np.hypot(along_x, along_y), (0, 0), _BLUR_PX)


def _sample_places(
    camera: Camera, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n samples 2"]:
    """Pixels of the centre and of the rings in the tangent plane, corner-based."""
    down = np.array([0.0, 1.0, 0.0]) - normals * normals[:, 1:2]
    length = np.linalg.norm(down, axis=1, keepdims=True)
    ahead = np.array([0.0, 0.0, 1.0]) - normals * normals[:, 2:]
    down = np.where(length > 0.1, down, ahead)  # floors and ceilings seen from straight above
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    right = np.cross(down, normals)
    right *= np.where(right[:, :1] < 0, -1.0, 1.0)
    per_metre = camera.fx / points[:, 2]
    low, high = (radius * camera.width / 640 for radius in RADII_PX)
    outer = RINGS_M[-1] * per_metre
    scale = np.clip(outer, low, high) / outer
    angles = 2 * np.pi * np.arange(8) / 8
    offsets = [np.zeros((1, 2))]
    offsets += [radius * np.column_stack([np.cos(angles), np.sin(angles)]) for radius in RINGS_M]
    x, y = np.concatenate(offsets).T
    steps = x[:, None] * right[:, None] + y[:, None] * down[:, None]
    samples = points[:, None] + scale[:, None, None] * steps
    samples[..., 2] = np.maximum(samples[..., 2], 0.2 * points[:, None, 2])
    return camera.project(samples)
