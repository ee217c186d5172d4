"""Coarse-to-fine versions of an observation and of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.render.cpu import LUMA, Channels, CpuRenderer

_SMALLEST_WIDTH = 120
_MIXED_DEPTHS = 0.05
"""Relative spread of inverse depth beyond which four pixels are not one surface."""


@dataclass(frozen=True)
class QueryLevel:
    """One resolution of an observation."""

    camera: Camera
    """Pinhole of this resolution."""
    depth: Float32[np.ndarray, "h w"] | None
    """Metres, 0 = missing."""
    channels: Float32[np.ndarray, "h w c"] | None
    """Grey in [0, 1]."""
    gradients: Float32[np.ndarray, "h w c 2"] | None
    """Central differences of the channels per pixel."""


def level_count(camera: Camera) -> int:
    """Levels of a pyramid whose smallest is about 120-240 pixels wide."""
    count = 1
    while camera.width >> count >= _SMALLEST_WIDTH and camera.height >> count >= _SMALLEST_WIDTH // 2:
        count += 1
    return count


def query_pyramid(frame: Frame, use_depth: bool = True, use_image: bool = True) -> tuple[QueryLevel, ...]:
    """The observation at full size and at successive halvings down to about 120-240 pixels of width."""
    depth = frame.depth if use_depth else None
    grey = None
    if use_image and frame.image is not None:
        grey = (frame.image.astype(np.float32) @ LUMA)[..., None] / np.float32(255)
    levels = []
    for camera in frame.camera.pyramid(level_count(frame.camera)):
        levels.append(QueryLevel(camera, depth, grey, None if grey is None else image_gradients(grey)))
        depth = None if depth is None else halved_depth(depth)
        grey = None if grey is None else halved(grey)
    return tuple(levels)


def softened(query: Sequence[QueryLevel], blur_px: float) -> tuple[QueryLevel, ...]:
    """The levels with their channels blurred like a map whose splats have this standard deviation on the screen."""
    if not is_softened_by(blur_px):
        return tuple(query)
    import cv2

    levels = []
    for level in query:
        if level.channels is not None:
            blurred = cv2.GaussianBlur(level.channels, (0, 0), blur_px, borderType=cv2.BORDER_REPLICATE)
            blurred = np.asarray(blurred, dtype=np.float32).reshape(level.channels.shape)
            level = replace(level, channels=blurred, gradients=image_gradients(blurred))
        levels.append(level)
    return tuple(levels)


def is_softened_by(blur_px: float) -> bool:
    """Whether a blur is worth the work; gradients are found again after it."""
    return blur_px >= 0.3


def halved(image: Float32[np.ndarray, "h w c"]) -> Float32[np.ndarray, "h2 w2 c"]:
    """Mean of 2 x 2 pixels; an odd last row or column is dropped."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    image = image[:height, :width]
    return 0.25 * (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2])


def halved_depth(depth: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h2 w2"]:
    """Mean inverse depth of 2 x 2 pixels, exact on planes; 0 where pixels are missing or not of one surface."""
    height, width = depth.shape[0] // 2 * 2, depth.shape[1] // 2 * 2
    cells = np.stack([depth[i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)])
    nearest, farthest = cells.min(axis=0), cells.max(axis=0)
    good = (nearest > 0) & (farthest * (1 - _MIXED_DEPTHS) <= nearest)
    inverse = np.divide(1.0, cells, where=good, out=np.zeros_like(cells)).mean(axis=0)
    return np.divide(1.0, inverse, where=good, out=np.zeros_like(inverse))


def image_gradients(image: Float32[np.ndarray, "h w c"]) -> Float32[np.ndarray, "h w c 2"]:
    """Central differences in x and y, 0 on the border."""
    gradients = np.zeros((*image.shape, 2), dtype=np.float32)
    gradients[:, 1:-1, :, 0] = 0.5 * (image[:, 2:] - image[:, :-2])
    gradients[1:-1, :, :, 1] = 0.5 * (image[2:] - image[:-2])
    return gradients


class MapPyramid:
    """A map at full detail and at coarser ones, each ready to render."""

    def __init__(
        self,
        gaussians: Gaussians,
        levels: int,
        with_color: bool,
        seen_from: Float[np.ndarray, "3"] | None = None,
        threads: int | None = None,
    ) -> None:
        channels: Channels = "grey" if with_color else "none"
        coarse = [gaussians]
        for level in range(1, levels):
            coarse.append(coarsened(gaussians, 2**level, seen_from) if is_surface_map(gaussians) else gaussians)
        self.renderers = [CpuRenderer(part, channels, seen_from, threads) for part in coarse]

    def blur_px(self, camera: Camera, cam_from_world: RigidTransform) -> float:
        """See :func:`disc_blur_px`."""
        return disc_blur_px(self.renderers[0].gaussians, camera, cam_from_world)

    def __getitem__(self, level: int) -> CpuRenderer:
        return self.renderers[min(level, len(self.renderers) - 1)]


def disc_blur_px(gaussians: Gaussians, camera: Camera, cam_from_world: RigidTransform) -> float:
    """Standard deviation in pixels by which discs of one colour each blur the texture they were made from.

    Maps that were trained to render sharp images do not blur: their colours make up for it.
    """
    if not is_surface_map(gaussians):
        return 0.0
    every = slice(None, None, max(len(gaussians) // 5000, 1))
    matrix = cam_from_world.as_matrix()
    points = gaussians.means_in_world[every] @ matrix[:3, :3].T + matrix[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = camera.project(points)
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height)
    if not inside.any():
        return 0.0
    sigma = np.median(gaussians.scales, axis=1)[every][inside] * camera.fx / points[inside, 2]
    # A quarter more variance from the smoothing before sampling, and the renderer's own blur of 0.3 px^2.
    return round(float(np.sqrt(1.25 * np.median(sigma) ** 2 + 0.3)), 1)


def is_surface_map(gaussians: Gaussians) -> bool:
    """True when most Gaussians are opaque discs, so that neighbours may be replaced by a larger disc."""
    if len(gaussians) == 0:
        return False
    flat = gaussians.scales.min(axis=1) < 0.35 * np.median(gaussians.scales, axis=1)
    return bool(np.mean(flat & (gaussians.opacities > 0.9)) > 0.9)


def coarsened(gaussians: Gaussians, factor: int, seen_from: Float[np.ndarray, "3"] | None = None) -> Gaussians:
    """Discs merged over cells ``factor`` times their own spacing, among those that face the same way."""
    normals = gaussians.normals().astype(np.float64)
    spacing = np.sort(gaussians.scales, axis=1)[:, 1].astype(np.float64)
    octave = np.round(np.log2(np.maximum(spacing, 1e-9))).astype(np.int64)
    cell = factor * 1.4 * np.exp2(octave)
    index = np.floor(gaussians.means_in_world / cell[:, None]).astype(np.int64)
    axis = np.argmax(np.abs(normals), axis=1)
    facing = 2 * axis + (normals[np.arange(len(normals)), axis] > 0)
    keys = np.column_stack([index, octave, facing])
    # One 64-bit key a cell: a hash is enough, a collision would only merge two discs.
    multipliers = np.array([73856093, 19349663, 83492791, 2654435761, 97531], dtype=np.int64)
    hashed = (keys * multipliers).sum(axis=1)
    _, group, size = np.unique(hashed, return_inverse=True, return_counts=True)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(group, column) for column in values.T], axis=1) / size[:, None]

    mean_normals = mean(normals)
    length = np.linalg.norm(mean_normals, axis=1, keepdims=True)
    first = np.zeros(len(size), dtype=np.int64)
    first[group[::-1]] = np.arange(len(group))[::-1]
    mean_normals = np.where(length > 0.1, mean_normals / np.maximum(length, 1e-9), normals[first])
    helper = np.where(np.abs(mean_normals[:, :1]) < 0.7, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    tangent = np.cross(helper, mean_normals)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    frames = Rotation.from_matrix(np.stack([tangent, np.cross(mean_normals, tangent), mean_normals], axis=2))
    sigma = factor * mean(spacing[:, None])
    return Gaussians(
        means_in_world=mean(gaussians.means_in_world).astype(np.float32),
        quats_wxyz=frames.as_quat(scalar_first=True).astype(np.float32),
        scales=(sigma * np.array([1.0, 1.0, 0.1])).astype(np.float32),
        opacities=np.ones(len(size), dtype=np.float32),
        colors=mean(gaussians.rgb(seen_from)).astype(np.float32) if gaussians.has_color else None,
        normals_in_world=mean_normals.astype(np.float32),
    )
