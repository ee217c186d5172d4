"""Where to look at a map from: its own views, spread out, or viewpoints found in the Gaussians themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import looking_at
from posesplat.render.cpu import CpuRenderer, plane_depth

_PROBE_WIDTH = 64
_MOST_PROBED = 60_000
"""Gaussians that take part in the search for viewpoints; of larger maps an enlarged sample."""
_DIRECTIONS_INSIDE = 24
_DIRECTIONS_OUTSIDE = 14
_CLEAN_INSIDE, _CLEAN_OUTSIDE = 0.5, 0.15
"""Least share of a view that must show the map."""
_CELLS_PER_RADIUS = 20
_SMALLEST_GAIN = 0.02
"""A further viewpoint must show this share of the map anew."""
_INSIDE_SHARE = 0.7
"""Of the viewpoints: whether an opaque shell is a room or an object, only the colours on its two sides can tell."""


def map_views(
    splat_map: SplatMap, camera: Camera | None = None, count: int = 40, threads: int | None = None
) -> tuple[MapView, ...]:
    """At most ``count`` places to see the map from: its own views, or for maps without any, chosen ones.

    Args:
        splat_map: the map.
        camera: pinhole of the chosen views; only needed for maps without views.
        count: most views.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Raises:
        ValueError: for a map without views when no camera is given.
    """
    if splat_map.views:
        return spread_views(splat_map.views, count)
    if camera is None:
        raise ValueError(
            "A map without views needs the camera with which to look at it; got camera=None. "
            "Pass the camera of the frames that will be localised."
        )
    return covering_views(splat_map.gaussians, camera, count, threads)


def spread_views(views: Sequence[MapView], count: int) -> tuple[MapView, ...]:
    """At most ``count`` of the views, far from each other in place and direction, in their own order.

    Farthest-point sampling over (centre / spread of the centres, direction), from the view nearest to the middle.
    """
    if len(views) <= count:
        return tuple(views)
    centres = np.stack([view.cam_from_world.inv().translation for view in views])
    directions = np.stack([view.cam_from_world.rotation.as_matrix()[2] for view in views])
    middle = np.median(centres, axis=0)
    spread = max(float(np.median(np.linalg.norm(centres - middle, axis=1))), 1e-9)
    places = np.concatenate([(centres - middle) / spread, 2.0 * directions], axis=1)
    chosen = [int(np.argmin(np.linalg.norm(places - np.median(places, axis=0), axis=1)))]
    distance = np.full(len(views), np.inf)
    while len(chosen) < count:
        np.minimum(distance, np.linalg.norm(places - places[chosen[-1]], axis=1), out=distance)
        chosen.append(int(np.argmax(distance)))
    return tuple(views[index] for index in sorted(chosen))


def covering_views(
    gaussians: Gaussians, camera: Camera, count: int = 40, threads: int | None = None
) -> tuple[MapView, ...]:
    """Viewpoints that together show the map, found without knowing where it was seen from.

    Candidates stand on a lattice within the box of the opaque Gaussians and look in all directions, or stand around
    it and look at its middle. Those that show too little, or stand before a nearby surface, are dropped; of the rest
    a greedy choice shows as much of the map as possible. A share of the viewpoints is kept for the outside.
    """
    solid = gaussians.means_in_world[gaussians.opacities > 0.5].astype(np.float64)
    if len(solid) == 0:
        return ()
    middle, axes, half = _robust_box(solid)
    radius = float(np.linalg.norm(half))
    if radius == 0:
        return ()
    probe = camera.resized(_PROBE_WIDTH, max(round(_PROBE_WIDTH * camera.height / camera.width), 8))
    renderer = CpuRenderer(_sampled(gaussians, _MOST_PROBED), threads=threads)
    seen: dict[bytes, int] = {}
    chosen: list[RigidTransform] = []
    groups = (
        (_inside(middle, axes, half), round(_INSIDE_SHARE * count), _CLEAN_INSIDE, 0.05 * radius, 0.25 * radius),
        (_outside(middle, axes, radius), count, _CLEAN_OUTSIDE, 0.1 * radius, 0.5 * radius),
    )
    for candidates, most, least_clean, nearest, least_median in groups:
        cells = [
            _cells_seen(renderer, probe, pose, radius / _CELLS_PER_RADIUS, least_clean, nearest, least_median)
            for pose in candidates
        ]
        while len(chosen) < most:
            gains = [sum(1.0 / (1 + seen.get(cell, 0)) ** 2 for cell in shown) for shown in cells]
            best = int(np.argmax(gains))
            if gains[best] <= _SMALLEST_GAIN * max(len(seen), 1):
                break
            chosen.append(candidates[best])
            for cell in cells[best]:
                seen[cell] = seen.get(cell, 0) + 1
            cells[best] = ()
    return tuple(MapView(camera, pose, f"viewpoint {index}") for index, pose in enumerate(chosen))


def down_axis(poses: Sequence[RigidTransform]) -> Float[np.ndarray, " 3"]:
    """The mean of the cameras' y axes in the world: down, for cameras that are held upright more or less."""
    mean = np.mean([pose.rotation.as_matrix()[1] for pose in poses], axis=0)
    length = float(np.linalg.norm(mean))
    down = mean / length if length > 1e-6 else poses[0].rotation.as_matrix()[1]
    return np.asarray(down)


def _robust_box(
    points: Float[np.ndarray, "n 3"],
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Centre, axes (rows, widest first) and half sizes of a box along the principal axes that holds most points."""
    points = points[:: max(len(points) // 50_000, 1)]
    median = np.median(points, axis=0)
    near = points - median
    distance = np.linalg.norm(near, axis=1)
    near = near[distance <= 3 * np.median(distance)]
    axes = np.linalg.eigh(near.T @ near)[1].T[::-1]
    low, high = np.quantile(near @ axes.T, [0.03, 0.97], axis=0)
    return median + 0.5 * (low + high) @ axes, axes, 0.5 * (high - low)


def _sampled(gaussians: Gaussians, most: int) -> Gaussians:
    """Every k-th Gaussian, enlarged so that surfaces stay closed."""
    stride = -(-len(gaussians) // most)
    if stride <= 1:
        return gaussians
    part = gaussians.select(slice(None, None, stride))
    return replace(part, scales=part.scales * np.float32(np.sqrt(stride)))


def _sphere(count: int) -> Float[np.ndarray, "n 3"]:
    """Directions spread evenly over the sphere (Fibonacci lattice)."""
    z = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=1)


def _towards(
    centre: Float[np.ndarray, " 3"], direction: Float[np.ndarray, " 3"], axes: Float[np.ndarray, "3 3"]
) -> RigidTransform:
    down = axes[2] if abs(direction @ axes[2]) < 0.98 else axes[0]
    return looking_at(centre, centre + direction, down)


def _inside(
    middle: Float[np.ndarray, " 3"], axes: Float[np.ndarray, "3 3"], half: Float[np.ndarray, " 3"]
) -> list[RigidTransform]:
    fractions = (0.0, -0.5, 0.5)
    centres = [middle + (np.array([a, b, 0.0]) * half) @ axes for a in fractions for b in fractions]
    turns = Rotation.from_rotvec(np.radians(25.0) * np.arange(len(centres))[:, None] * [0.0, 0.0, 1.0])
    directions = _sphere(_DIRECTIONS_INSIDE)
    return [
        _towards(centre, direction @ axes, axes)
        for centre, turn in zip(centres, turns, strict=True)
        for direction in turn.apply(directions)
    ]


def _outside(middle: Float[np.ndarray, " 3"], axes: Float[np.ndarray, "3 3"], radius: float) -> list[RigidTransform]:
    offsets = _sphere(_DIRECTIONS_OUTSIDE) @ axes
    return [_towards(middle + 2.0 * radius * offset, -offset, axes) for offset in offsets]


def _cells_seen(
    renderer: CpuRenderer,
    camera: Camera,
    pose: RigidTransform,
    cell: float,
    least_clean: float,
    nearest: float,
    least_median: float,
) -> tuple[bytes, ...]:
    """Names of the cells of space whose surface a view shows, and of the side it shows; none for a view of no worth."""
    view = renderer.planes(camera, pose)
    depth = plane_depth(view).astype(np.float64)
    good = (view.alpha > 0.8) & (depth > 0)
    if good.mean() < least_clean or np.quantile(depth[good], 0.03) < nearest or np.median(depth[good]) < least_median:
        return ()
    assert view.planes is not None
    points = pose.inv().apply(camera.rays()[good] * depth[good][:, None])
    outward = pose.rotation.inv().apply(view.planes[good])
    side = np.argmax(np.abs(outward), axis=1)
    side = 2 * side + (outward[np.arange(len(side)), side] > 0)
    cells = np.column_stack([np.floor(points / cell).astype(np.int64), side])
    index: Int[np.ndarray, "n 4"] = np.unique(cells, axis=0)
    return tuple(row.tobytes() for row in index)
