"""Where to start when nothing is known about the pose: keypoints against the map's views, or depth against them.

Both give hypotheses, best first, for :func:`posesplat.align.refine.refine`; an empty list when nothing fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.keypoints import KeypointIndex, Keypoints, detect_in_frame, reprojection_errors
from posesplat.align.least_squares import Objective, State, minimise, weighted
from posesplat.align.pyramid import MapPyramid, QueryLevel, halved_depth
from posesplat.align.viewpoints import down_axis
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import pose_errors
from posesplat.kernels.splatting import RobustTerm, normal_equations


@dataclass(frozen=True)
class StartHypothesis:
    """A pose from which a refinement may start, and what speaks for it."""

    cam_from_world: RigidTransform
    """The pose."""
    inliers: int
    """Keypoints of the frame (or pixels of its depth) that agree with the pose."""
    matches: int
    """Keypoints of the frame with a match in the map (or pixels with depth)."""
    source: str
    """What gave the pose: the views matched, or the view nearest to the search's start."""
    cost: float = float("nan")
    """Mean robust cost of the depth; NaN for keypoints."""


@dataclass(frozen=True)
class KeypointStartOptions:
    """How a frame's keypoints become pose hypotheses."""

    ratio: float = 0.85
    """A match's descriptor distance is at most this share of the second best one's in the same view."""
    probe_keypoints: int = 500
    """Strongest keypoints of the frame with which the views are ranked."""
    matched_views: int = 8
    """Best views that all keypoints are matched with."""
    single_views: int = 3
    """Best views that give a hypothesis each, beside the one of all matched views together."""
    max_reprojection_error: float = 0.008
    """Largest distance of an inlier, as a share of the image's width."""
    min_inliers: int = 15
    """Fewest keypoints that must agree with a pose."""
    min_cells: int = 6
    """Fewest cells of a 16 x 12 grid over the image that they must occupy: a clump proves little."""
    max_iterations: int = 20_000
    """Most random samples for each hypothesis."""


@dataclass(frozen=True)
class _Matches:
    """Keypoints of a frame matched with points of the map; a keypoint may have several, one from each view."""

    keypoints: Int[np.ndarray, " n"]
    pixels: Float[np.ndarray, "n 2"]
    points_in_world: Float[np.ndarray, "n 3"]

    @staticmethod
    def union(parts: Sequence[_Matches]) -> _Matches:
        return _Matches(
            np.concatenate([part.keypoints for part in parts]),
            np.concatenate([part.pixels for part in parts]),
            np.concatenate([part.points_in_world for part in parts]),
        )


def keypoint_starts(
    index: KeypointIndex,
    frame: Frame,
    max_starts: int = 3,
    seed: int = 0,
    options: KeypointStartOptions = KeypointStartOptions(),
) -> list[StartHypothesis]:
    """Poses of a frame from keypoints shared with rendered views of the map, most inliers first; maybe none.

    Args:
        index: the map's keypoints.
        frame: what was seen, with an image.
        max_starts: most hypotheses; near copies of a better one are left out.
        seed: of the random samples.
        options: thresholds.

    Raises:
        ValueError: for a frame without an image.
    """
    camera, keypoints = detect_in_frame(frame, index.options)
    if len(keypoints) < options.min_inliers or not index.views:
        return []
    probe = keypoints.select(slice(options.probe_keypoints))
    votes = [len(match(probe, view.keypoints, options.ratio)[0]) for view in index.views]
    ranked = np.argsort(np.negative(votes), kind="stable")[: options.matched_views]
    parts, names = [], []
    for number in ranked:
        view = index.views[number]
        mine, theirs = match(keypoints, view.keypoints, options.ratio)
        parts.append(_Matches(mine, keypoints.pixels[mine], view.points_in_world[theirs]))
        names.append(view.view.name)
    union = _Matches.union(parts)
    trials = [(union, f"{len(parts)} views")]
    by_count = sorted(range(len(parts)), key=lambda number: -len(parts[number].keypoints))
    trials += [(parts[number], f"view {names[number]}") for number in by_count[: options.single_views]]
    hypotheses: list[tuple[StartHypothesis, set[int]]] = []
    for matches, source in trials:
        pose = absolute_pose(camera, matches.pixels, matches.points_in_world, seed, options)
        if pose is None:
            continue
        errors = reprojection_errors(camera, pose, union.points_in_world, union.pixels)
        agreeing = errors <= options.max_reprojection_error * camera.width
        inliers = set(union.keypoints[agreeing].tolist())
        if len(inliers) >= options.min_inliers and _cells(camera, union.pixels[agreeing]) >= options.min_cells:
            matched = len(np.unique(union.keypoints))
            hypotheses.append((StartHypothesis(pose, len(inliers), matched, f"keypoints of {source}"), inliers))
    hypotheses.sort(key=lambda hypothesis: -hypothesis[0].inliers)
    kept: list[tuple[StartHypothesis, set[int]]] = []
    for hypothesis, inliers in hypotheses:
        # Two poses that explain the same keypoints lead to the same minimum.
        if all(2 * len(inliers & other) < len(inliers) for _, other in kept):
            kept.append((hypothesis, inliers))
    return [hypothesis for hypothesis, _ in kept[:max_starts]]


def match(query: Keypoints, reference: Keypoints, ratio: float) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Indices of keypoints that are each other's nearest and much nearer than the second one (Lowe's ratio test)."""
    if len(query) == 0 or len(reference) < 2:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    similarity = query.descriptors @ reference.descriptors.T
    rows = np.arange(len(query))
    best = similarity.argmax(axis=1)
    mutual = similarity.argmax(axis=0)[best] == rows
    first = similarity[rows, best].copy()
    similarity[rows, best] = -1.0
    second = similarity.max(axis=1)
    good = mutual & (1 - first < ratio**2 * (1 - second))
    return rows[good], best[good]


def absolute_pose(
    camera: Camera,
    pixels: Float[np.ndarray, "n 2"],
    points_in_world: Float[np.ndarray, "n 3"],
    seed: int,
    options: KeypointStartOptions,
) -> RigidTransform | None:
    """cam_from_world of a pinhole camera from matches with outliers (LO-RANSAC with P3P, PoseLib); None without one."""
    import poselib

    if len(pixels) < options.min_inliers:
        return None
    threshold = options.max_reprojection_error * camera.width
    ransac = {
        "max_reproj_error": threshold,
        "max_iterations": options.max_iterations,
        "min_iterations": min(500, options.max_iterations),
        "seed": seed,
    }
    # The origin is moved into the points: maps may lie far from the world's.
    centre = np.median(points_in_world, axis=0)
    found, evidence = poselib.estimate_absolute_pose(
        pixels,
        points_in_world - centre,
        poselib_camera(camera),
        ransac,
        {"loss_type": "CAUCHY", "loss_scale": 0.25 * threshold},
    )
    rotation, translation = np.asarray(found.R), np.asarray(found.t)
    if evidence["num_inliers"] < 4 or not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        return None
    return RigidTransform.from_components(translation - rotation @ centre, Rotation.from_matrix(rotation))


def poselib_camera(camera: Camera) -> dict[str, Any]:
    """A pinhole camera as PoseLib takes it, whose pixels are corner-based too."""
    params = [camera.fx, camera.fy, camera.cx, camera.cy]
    return {"model": "PINHOLE", "width": camera.width, "height": camera.height, "params": params}


def _cells(camera: Camera, pixels: Float[np.ndarray, "n 2"]) -> int:
    """How many cells of a 16 x 12 grid over the image hold a pixel."""
    cells = np.floor(pixels / [camera.width / 16, camera.height / 12]).astype(np.int64)
    return len(np.unique(cells, axis=0))


@dataclass(frozen=True)
class DepthStartOptions:
    """How a depth image alone becomes pose hypotheses."""

    yaws_deg: tuple[float, ...] = tuple(range(0, 360, 30))
    """Turns about the down axis that are tried at each view."""
    max_width: int = 80
    """The depth is reduced to at most this width."""
    search_scale_m: float = 0.5
    """Geman-McClure scale of the signed distances with which views are ranked."""
    scales_m: tuple[float, ...] = (0.5, 0.2, 0.05)
    """Scales of the refinement of the best ones; hypotheses are compared at the last."""
    refined: int = 24
    """How many are refined."""
    iterations: int = 8
    """Most evaluations for each scale."""
    gate: float = 1e-2
    """Largest relative variance of inverse depth in a pixel; coarse pixels mix more than fine ones."""
    min_inlier_fraction: float = 0.5
    """Least share of the depth pixels within the last scale."""


def depth_starts(
    map_levels: MapPyramid,
    query: Sequence[QueryLevel],
    view_poses: Sequence[RigidTransform],
    max_starts: int = 5,
    options: DepthStartOptions = DepthStartOptions(),
    threads: int | None = None,
) -> list[StartHypothesis]:
    """Poses of a depth image from a search around the views of a metric map, lowest cost first; maybe none.

    Rooms look alike to a depth image (turned by a right angle, or by another wall): refine all hypotheses, then choose.

    Args:
        map_levels: the map.
        query: the observation, with depth, full size first.
        view_poses: cam_from_world from which the map was seen, see :func:`posesplat.align.viewpoints.map_views`.
        max_starts: most hypotheses; near copies of a better one are left out.
        options: extent of the search.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Raises:
        ValueError: for a query without depth.
    """
    camera, depth = _reduced_depth(query[-1], options.max_width)
    renderer = map_levels[len(query) - 1]
    if not view_poses or not depth.any() or not len(renderer.scene):
        return []

    def evaluate(state: State, scale: float) -> Objective:
        sums, _ = normal_equations(
            renderer.scene,
            camera,
            state.cam_from_world,
            depth=depth,
            depth_term=RobustTerm(scale, 0.0, options.gate),
            layer=renderer.layer,
            threads=threads,
        )
        return weighted(sums, None, 1.0 / max(sums.observed, 1.0), 0.0)

    down = down_axis(view_poses)
    candidates = [
        (State(turned(pose, down, yaw)), f"depth at view {number} turned by {yaw:g} deg")
        for number, pose in enumerate(view_poses)
        for yaw in options.yaws_deg
    ]
    costs = [evaluate(state, options.search_scale_m).cost for state, _ in candidates]
    found: list[StartHypothesis] = []
    for number in np.argsort(costs, kind="stable")[: options.refined]:
        state, source = candidates[number]
        for scale in options.scales_m:
            minimum = minimise(
                lambda at, scale=scale: evaluate(at, scale),  # type: ignore[misc]
                state,
                max_iterations=options.iterations,
                min_step=0.02 / camera.fx,
            )
            state = minimum.state
        sums = minimum.objective.depth
        assert sums is not None
        if sums.inliers >= options.min_inlier_fraction * max(sums.observed, 1.0):
            cost = minimum.objective.cost
            found.append(StartHypothesis(state.cam_from_world, round(sums.inliers), round(sums.observed), source, cost))
    found.sort(key=lambda hypothesis: hypothesis.cost)
    kept: list[StartHypothesis] = []
    for hypothesis in found:
        if all(_apart(hypothesis.cam_from_world, other.cam_from_world) for other in kept):
            kept.append(hypothesis)
    return kept[:max_starts]


def turned(cam_from_world: RigidTransform, axis_in_world: Float[np.ndarray, " 3"], degrees: float) -> RigidTransform:
    """The pose of the camera after a turn about an axis through its own centre."""
    turn = Rotation.from_rotvec(np.radians(degrees) * np.asarray(axis_in_world))
    rotation = cam_from_world.rotation * turn.inv()
    return RigidTransform.from_components(-rotation.apply(cam_from_world.inv().translation), rotation)


def _reduced_depth(level: QueryLevel, max_width: int) -> tuple[Camera, Float32[np.ndarray, "h w"]]:
    """The depth of a level and its camera, halved until at most ``max_width`` pixels wide."""
    if level.depth is None:
        raise ValueError("depth_starts needs a query with depth; got a level without. Use keypoint_starts for images.")
    camera, depth = level.camera, level.depth
    while camera.width > max_width and camera.height >= 2:
        camera, depth = camera.pyramid(2)[1], halved_depth(depth)
    return camera, depth


def _apart(first: RigidTransform, second: RigidTransform) -> bool:
    """True when two poses are too far from each other to lead to one minimum: 0.1 m or three degrees."""
    metres, degrees = pose_errors(first, second)
    return bool(metres > 0.1 or degrees > 3.0)
