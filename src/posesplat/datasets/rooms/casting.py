"""Ray casting: exact depth, surface, normal and colour at every pixel centre, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int16, Int64
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms.surfaces import Surface
from posesplat.geometry.cameras import Camera

_RAYS_AT_ONCE = 16384
_SHADED_AT_ONCE = 8192
_MIN_COSINE = 0.1


@dataclass(frozen=True)
class Highlight:
    """A lamp's mirror image on every surface: brightness that depends on the view.

    Source: Phong, Illumination for computer generated pictures, 1975.
    """

    lamp_in_world: tuple[float, float, float]
    """Position of the lamp in metres."""
    strength: float = 0.3
    """Brightness added at the centre of the mirror image, for colours in [0, 1]."""
    exponent: float = 20.0
    """Sharpness; larger is smaller."""


@dataclass(frozen=True, eq=False)
class RayHits:
    """What the rays through the pixel centres meet."""

    depth: Float[np.ndarray, "height width"]
    """Depth along the optical axis in metres, float64; 0 where nothing is met."""
    surface_ids: Int16[np.ndarray, "height width"]
    """Index of the surface met; -1 where there is none."""
    colour: Float32[np.ndarray, "height width 3"] | None
    """RGB in [0, 1], black where nothing is met; None when not asked for."""
    normals_in_world: Float[np.ndarray, "height width 3"] | None
    """Unit normals on the camera's side, 0 where nothing is met; None when not asked for."""


def cast_rays(
    surfaces: Sequence[Surface],
    camera: Camera,
    cam_from_world: RigidTransform,
    time_s: float = 0.0,
    *,
    colour: bool = True,
    normals: bool = False,
    prefilter: bool = True,
    highlight: Highlight | None = None,
) -> RayHits:
    """The nearest surface along the ray through each pixel centre.

    Args:
        surfaces: what may be met; ids are indices into it.
        camera: a pinhole; the lens is not applied.
        cam_from_world: single pose of the camera.
        time_s: when, for surfaces that move.
        colour: whether to evaluate the textures.
        normals: whether to return normals.
        prefilter: False gives the unfiltered colour of the point itself, the same from every distance.
        highlight: optional view-dependent brightness.
    """
    x = (np.arange(camera.width) + 0.5 - camera.cx) / camera.fx
    y = (np.arange(camera.height) + 0.5 - camera.cy) / camera.fy
    world_from_body = RigidTransform.concatenate([surface.world_from_body_at(time_s) for surface in surfaces])
    cam_from_body = (cam_from_world * world_from_body).as_matrix()
    depth, ids = _nearest(surfaces, cam_from_body, x, y)
    pixels = camera.height * camera.width
    colours = np.zeros((pixels, 3), dtype=np.float32) if colour else None
    world_normals = np.zeros((pixels, 3)) if normals else None
    lamp_in_cam = None if highlight is None else cam_from_world.apply(np.array(highlight.lamp_in_world))
    world_from_cam = cam_from_world.rotation.as_matrix().T
    for index, chosen in _pixels_by_surface(ids) if colour or normals else ():
        surface, to_cam, centre_in_cam = surfaces[index], cam_from_body[index, :3, :3], cam_from_body[index, :3, 3]
        row, column = np.divmod(chosen, camera.width)
        z = depth.ravel().take(chosen)
        points_in_cam = np.stack([x.take(column) * z, y.take(row) * z, z], axis=-1)
        points_in_body = (points_in_cam - centre_in_cam) @ to_cam
        normals_in_cam = surface.shape.normals(points_in_body) @ to_cam.T
        towards = -np.einsum("ni,ni->n", normals_in_cam, points_in_cam)
        if world_normals is not None:
            facing = normals_in_cam * np.where(towards < 0.0, -1.0, 1.0)[:, None]
            world_normals[chosen] = facing @ world_from_cam.T
        if colours is not None:
            footprint = np.zeros(len(z))
            if prefilter:
                distance = np.sqrt(np.einsum("ni,ni->n", points_in_cam, points_in_cam))
                footprint = z / camera.fx / np.sqrt(np.maximum(np.abs(towards) / distance, _MIN_COSINE))
            seen = surface.texture.colours(points_in_body, footprint)
            if highlight is not None and lamp_in_cam is not None:
                seen = seen + _gloss(points_in_cam, normals_in_cam, lamp_in_cam, highlight)
            colours[chosen] = np.clip(seen, 0.0, 1.0)
    size = (camera.height, camera.width, 3)
    return RayHits(
        np.where(ids >= 0, depth, 0.0),
        ids,
        None if colours is None else colours.reshape(size),
        None if world_normals is None else world_normals.reshape(size),
    )


def _pixels_by_surface(ids: Int16[np.ndarray, "height width"]) -> Iterator[tuple[int, Int64[np.ndarray, " n"]]]:
    """Surface indices with the flat indices of pixels that see them, in pieces whose data stay in the cache."""
    flat = ids.ravel()
    for index in np.flatnonzero(np.bincount(flat[flat >= 0])):
        chosen = np.flatnonzero(flat == index)
        for start in range(0, len(chosen), _SHADED_AT_ONCE):
            yield int(index), chosen[start : start + _SHADED_AT_ONCE]


def _nearest(
    surfaces: Sequence[Surface],
    cam_from_body: Float[np.ndarray, "surfaces 4 4"],
    x: Float[np.ndarray, " width"],
    y: Float[np.ndarray, " height"],
) -> tuple[Float[np.ndarray, "height width"], Int16[np.ndarray, "height width"]]:
    """Depth (infinite where nothing is met) and surface index (-1) along the rays (x, y, 1)."""
    depth = np.full((len(y), len(x)), np.inf)
    ids = np.full(depth.shape, -1, dtype=np.int16)
    rows_at_once = max(1, _RAYS_AT_ONCE // len(x))
    for index, (surface, matrix) in enumerate(zip(surfaces, cam_from_body, strict=True)):
        window = _window(matrix[:3, 3], surface.shape.bounding_radius_m, x, y)
        if window is None:
            continue
        rows, columns = window
        rotation = matrix[:3, :3].T
        origin = -rotation @ matrix[:3, 3]
        along_x = rotation[:, :1] * x[columns]
        for start in range(rows.start, rows.stop, rows_at_once):
            block = slice(start, min(start + rows_at_once, rows.stop)), columns
            along_y = rotation[:, 1:2] * y[block[0]] + rotation[:, 2:]
            met = surface.shape.intersect(origin, along_x[:, None, :] + along_y[:, :, None])
            nearer = met < depth[block]
            np.copyto(depth[block], met, where=nearer)
            ids[block][nearer] = index
    return depth, ids


def _window(
    centre_in_cam: Float[np.ndarray, "3"],
    radius_m: float,
    x: Float[np.ndarray, " width"],
    y: Float[np.ndarray, " height"],
) -> tuple[slice, slice] | None:
    """Rows and columns of the pixels that can see a ball; None when none can."""
    if centre_in_cam[2] <= -radius_m:
        return None
    spans = []
    for across, values in ((centre_in_cam[1], y), (centre_in_cam[0], x)):
        distance = math.hypot(across, centre_in_cam[2])
        low, high = -math.inf, math.inf
        if distance > radius_m:
            direction, half = math.atan2(across, centre_in_cam[2]), math.asin(radius_m / distance)
            if direction - half > -0.5 * math.pi:
                low = math.tan(min(direction - half, 0.5 * math.pi))
            if direction + half < 0.5 * math.pi:
                high = math.tan(max(direction + half, -0.5 * math.pi))
        margin = 1e-9 * (1.0 + abs(values[-1] - values[0]))
        spans.append(slice(int(np.searchsorted(values, low - margin)), int(np.searchsorted(values, high + margin))))
        if spans[-1].start >= spans[-1].stop:
            return None
    return spans[0], spans[1]


def _gloss(
    points_in_cam: Float[np.ndarray, "n 3"],
    normals_in_cam: Float[np.ndarray, "n 3"],
    lamp_in_cam: Float[np.ndarray, "3"],
    highlight: Highlight,
) -> Float32[np.ndarray, "n 1"]:
    """Phong's specular term: the lamp's ray, mirrored at the surface, against the ray to the camera."""
    view = points_in_cam / np.linalg.norm(points_in_cam, axis=-1, keepdims=True)
    mirrored = view - 2.0 * np.einsum("ni,ni->n", view, normals_in_cam)[:, None] * normals_in_cam
    to_lamp = lamp_in_cam - points_in_cam
    to_lamp /= np.maximum(np.linalg.norm(to_lamp, axis=-1, keepdims=True), 1e-12)
    match = np.maximum(np.einsum("ni,ni->n", mirrored, to_lamp), 0.0)
    gloss: Float32[np.ndarray, "n 1"] = (highlight.strength * match**highlight.exponent).astype(np.float32)[:, None]
    return gloss
