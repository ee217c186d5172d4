"""Poses of a few images of a view graph: chained two-view poses, resection, and one small bundle adjustment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import RigidTransform

from posesplat.align.bundle import AdjustedBundle, Bundle, Sightings, adjusted, camera_covariance, triangulated
from posesplat.align.global_start import KeypointStartOptions, absolute_pose
from posesplat.align.view_graph import Connection, ViewGraph
from posesplat.geometry.poses import direction_sigma_deg

OBSERVED_DEG = 10.0
"""Standard deviation of a direction of translation up to which it counts as observed."""
_BETTER = 1.2
"""How many times the points that fit a chained rotation must fit a resection to be preferred."""
_PARALLAX = 4.0
"""Parallax, in standard deviations of a keypoint, up to which translations follow noise."""


@dataclass(frozen=True)
class SubsetOptions:
    """How the images of a subset are posed."""

    scale_px: float = 2.0
    """Reprojection error at which an observation counts half."""
    inlier_px: float = 4.0
    """Observations farther off than this are dropped before the last adjustment."""
    min_observations: int = 12
    """Fewest points that a posed image must see."""
    max_points: int = 400
    """Most points that are adjusted, those seen by most images first."""
    min_noise_px: float = 0.5
    """Noise of a keypoint is not taken for smaller than this."""
    seed: int = 0
    """Of the resections."""


@dataclass(frozen=True)
class PosedImages:
    """Images that were posed together."""

    cam_from_first: dict[int, RigidTransform]
    """Poses by number of the image, relative to the first image of the subset; the unit of length is arbitrary."""
    covariances: dict[int, Float[np.ndarray, "6 6"]]
    """Of those poses, at a held size of the whole; missing where undetermined."""
    shared_points: dict[int, int]
    """How many points each image shares with the first one."""
    points: int
    """How many points were adjusted."""
    residual_px: float
    """Median reprojection error."""
    inlier_fraction: float
    """Share of the observations that fit."""
    parallax: float
    """What turns leave unexplained, median over the pair of images that sees most of it, in keypoint deviations."""

    def translation_sigma_deg(self, image: int) -> float:
        """Standard deviation of the direction of an image's translation, at most 90; 90 where nothing determines it."""
        return direction_sigma_deg(self.cam_from_first[image], self.covariances.get(image))

    def translation_observed(self, image: int) -> bool:
        """Whether the direction of an image's translation says anything."""
        return self.parallax >= _PARALLAX and self.translation_sigma_deg(image) <= OBSERVED_DEG


def posed_images(
    graph: ViewGraph, subset: Sequence[int], options: SubsetOptions = SubsetOptions()
) -> tuple[PosedImages | None, str]:
    """Poses of the images of a subset that hang together with its first one; or None and the reason.

    Two-view poses are chained along the strongest connections, points are triangulated from the pair that sees most
    parallax, the other images are placed by resection or by their chained rotation, and all is adjusted.

    Args:
        graph: connections of the images, kept between calls.
        subset: different numbers of images; the first one is the world.
        options: thresholds.
    """
    subset = list(subset)
    if len(set(subset)) != len(subset) or len(subset) < 2:
        raise ValueError(f"A subset needs at least two different images; got {subset}.")
    edges = _edges(graph, subset)
    tree = _spanning_tree(edges, subset[0])
    members = [image for image in subset if image == subset[0] or any(image in edge for edge in tree)]
    if len(members) < 2:
        return None, "nothing connects the first image with the others: too few matches agree with any pose"
    edges = {edge: found for edge, found in edges.items() if edge[0] in members and edge[1] in members}
    sightings, count = _sightings(graph, edges, members, options)
    if count < options.min_observations:
        return None, f"the images share {count} points; {options.min_observations} are needed"
    start = _start(graph, members, edges, tree, sightings, count, options)
    if start is None:
        return None, "no pair of images sees points before both cameras"
    first = adjusted(start, sightings, scale_px=2.0 * options.scale_px, iterations=8)
    kept = first.residuals_px < 2.0 * options.inlier_px
    sightings, points = _compact(sightings, first.bundle.points, kept)
    if len(points) < options.min_observations:
        return None, f"only {len(points)} points fit all images; {options.min_observations} are needed"
    final = adjusted(Bundle(first.bundle.cam_from_world, points), sightings, scale_px=options.scale_px)
    return _result(members, sightings, final, options), ""


def _edges(graph: ViewGraph, subset: Sequence[int]) -> dict[tuple[int, int], Connection]:
    found = {}
    for first in sorted(subset):
        for second in sorted(subset):
            connection = graph.connection(first, second) if first < second else None
            if connection is not None:
                found[first, second] = connection
    return found


def _spanning_tree(edges: dict[tuple[int, int], Connection], root: int) -> list[tuple[int, int]]:
    """The connections with most matches that reach every image from the root (Prim), in the order of reaching."""
    reached = {root}
    tree: list[tuple[int, int]] = []
    while True:
        open_edges = [edge for edge in edges if (edge[0] in reached) != (edge[1] in reached)]
        if not open_edges:
            return tree
        best = max(open_edges, key=lambda edge: (len(edges[edge]), edge))
        tree.append(best)
        reached.update(best)


def _sightings(
    graph: ViewGraph, edges: dict[tuple[int, int], Connection], members: list[int], options: SubsetOptions
) -> tuple[Sightings, int]:
    """Keypoints joined over all connections to points; those that hold two keypoints of one image are dropped."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    sizes = [len(graph.keypoints(image)) for image in members]
    offsets = dict(zip(members, np.concatenate([[0], np.cumsum(sizes)[:-1]]), strict=True))
    total = int(sum(sizes))
    rows = np.concatenate([offsets[edge[0]] + found.first for edge, found in edges.items()])
    columns = np.concatenate([offsets[edge[1]] + found.second for edge, found in edges.items()])
    _, label = connected_components(coo_matrix((np.ones(len(rows)), (rows, columns)), (total, total)), directed=False)
    image_of = np.repeat(np.arange(len(members)), sizes)
    length = np.bincount(label)
    different = np.zeros((len(length), len(members)), dtype=bool)
    different[label, image_of] = True
    usable = (length >= 2) & (different.sum(axis=1) == length)
    chosen = np.argsort(-np.where(usable, length, 0), kind="stable")[: options.max_points]
    chosen = chosen[usable[chosen]]
    number = np.full(len(length), -1)
    number[chosen] = np.arange(len(chosen))
    observed = np.flatnonzero(number[label] >= 0)
    places = np.concatenate([graph.places(image) for image in members])
    focal = np.array([0.5 * (graph.frames[i].camera.fx + graph.frames[i].camera.fy) for i in members])
    return (
        Sightings(image_of[observed], number[label[observed]], places[observed], focal[image_of[observed]]),
        len(chosen),
    )


def _start(
    graph: ViewGraph,
    members: list[int],
    edges: dict[tuple[int, int], Connection],
    tree: list[tuple[int, int]],
    sightings: Sightings,
    count: int,
    options: SubsetOptions,
) -> Bundle | None:
    """Cameras and points to begin with, in the frame of the first member."""
    rotations = {members[0]: RigidTransform.identity()}
    for first, second in tree:
        turn = RigidTransform.from_rotation(edges[first, second].second_from_first.rotation)
        if first in rotations:
            rotations[second] = turn * rotations[first]
        else:
            rotations[first] = turn.inv() * rotations[second]
    edge = max(edges, key=lambda edge: (_parallax(graph, edge, edges[edge]), edge))
    known = {edge[0]: RigidTransform.identity(), edge[1]: edges[edge].second_from_first}
    while True:
        order = {image: index for index, image in enumerate(members)}
        numbers = [order[image] for image in known]
        among = np.isin(sightings.cameras, numbers)
        local = np.zeros(len(members), dtype=np.intp)
        local[numbers] = np.arange(len(numbers))
        part = sightings.select(among)
        part = Sightings(local[part.cameras], part.points, part.places, part.pixels)
        points = triangulated(tuple(known.values()), part, count)
        left = [image for image in members if image not in known]
        if not left:
            break
        placed = np.any(points != 0, axis=1)
        seen = {image: int(placed[sightings.points[sightings.cameras == order[image]]].sum()) for image in left}
        image = max(left, key=lambda one: (seen[one], -one))
        chained = rotations[image] * rotations[edge[0]].inv()
        known[image] = _placed(graph, image, order[image], points, sightings, chained, options)
    if not np.any(points != 0):
        return None
    first_from_edge = known[members[0]]
    cameras = tuple(known[image] * first_from_edge.inv() for image in members)
    moved = points @ first_from_edge.as_matrix().T
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    # A point that was triangulated nowhere would keep its place for ever: let it begin at its first ray, far away.
    return Bundle(cameras, np.where(lengths > 0, moved / np.maximum(lengths, 1e-12), np.array([0.0, 0.0, 1.0, 0.0])))


def _placed(
    graph: ViewGraph,
    image: int,
    number: int,
    points: Float[np.ndarray, "m 4"],
    sightings: Sightings,
    chained: RigidTransform,
    options: SubsetOptions,
) -> RigidTransform:
    """Pose of one more image from the points so far: by resection, or by its chained rotation if that fits as many.

    Where cameras only turn, the points' distances are noise, and resection from them may end anywhere.
    """
    seen = sightings.select(sightings.cameras == number)
    chosen = points[seen.points]
    placed = np.any(chosen != 0, axis=1)
    chosen, places, pixels = chosen[placed], seen.places[placed], seen.pixels[placed]
    turned = _moved_to(chained.rotation.apply(chosen[:, :3]), chosen[:, 3], places, pixels, options)
    chained = RigidTransform.from_components(turned, chained.rotation)
    near = chosen[:, 3] > 1e-3
    camera = graph.frames[image].camera
    ransac = KeypointStartOptions(
        min_inliers=options.min_observations, max_reprojection_error=8.0 / camera.width, max_iterations=1000
    )
    resected = absolute_pose(
        camera,
        places[near] * [camera.fx, camera.fy] + [camera.cx, camera.cy],
        chosen[near, :3] / chosen[near, 3:],
        options.seed,
        ransac,
    )
    if resected is None:
        return chained
    fits = [
        int((_gaps_px(pose, chosen, places, pixels) < 2.0 * options.inlier_px).sum()) for pose in (chained, resected)
    ]
    return resected if fits[1] > _BETTER * fits[0] else chained


def _moved_to(
    turned: Float[np.ndarray, "n 3"],
    weights: Float[np.ndarray, " n"],
    places: Float[np.ndarray, "n 2"],
    pixels: Float[np.ndarray, " n"],
    options: SubsetOptions,
) -> Float[np.ndarray, " 3"]:
    """The translation that moves turned homogeneous points to their places, by reweighted linear least squares."""
    rows = np.zeros((len(turned), 2, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = 1.0
    rows[:, :, 2] = -places
    right = -np.einsum("nij,nj->ni", rows, turned)
    rows = rows * weights[:, None, None]
    translation, trust = np.zeros(3), np.ones(len(turned))
    for _ in range(5):
        left = np.einsum("nij,nik,n->jk", rows, rows, trust) + 1e-9 * np.eye(3)
        translation = np.linalg.solve(left, np.einsum("nij,ni,n->j", rows, right, trust))
        gaps = np.linalg.norm(np.einsum("nij,j->ni", rows, translation) - right, axis=1) * pixels
        trust = 1.0 / (1.0 + (gaps / options.inlier_px) ** 2)
    return translation


def _gaps_px(
    pose: RigidTransform,
    points: Float[np.ndarray, "n 4"],
    places: Float[np.ndarray, "n 2"],
    pixels: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Reprojection errors; infinite behind the camera."""
    in_cam = points @ pose.as_matrix()[:3].T
    before = in_cam[:, 2] > 0
    z = np.where(before, in_cam[:, 2], 1.0)
    gaps = np.linalg.norm(in_cam[:, :2] / z[:, None] - places, axis=1) * pixels
    return np.asarray(np.where(before, gaps, np.inf))


def _parallax(graph: ViewGraph, edge: tuple[int, int], connection: Connection) -> float:
    """Matches of a connection times the median angle, in degrees up to 8, that a turn leaves unexplained."""
    rays = []
    for image, index in zip(edge, (connection.first, connection.second), strict=True):
        places = graph.places(image)[index]
        ray = np.column_stack([places, np.ones(len(places))])
        rays.append(ray / np.linalg.norm(ray, axis=1, keepdims=True))
    turned = connection.second_from_first.rotation.apply(rays[0])
    angle = float(np.degrees(np.median(np.arccos(np.clip((turned * rays[1]).sum(axis=1), -1.0, 1.0)))))
    return len(connection) * min(angle, 8.0)


def _compact(
    sightings: Sightings, points: Float[np.ndarray, "m 4"], kept: np.ndarray
) -> tuple[Sightings, Float[np.ndarray, "n 4"]]:
    """The observations that are kept, without points that are then seen only once."""
    seen = np.bincount(sightings.points[kept], minlength=len(points))
    stays = seen >= 2
    kept = kept & stays[sightings.points]
    number: Int[np.ndarray, " m"] = np.cumsum(stays) - 1
    part = sightings.select(kept)
    return Sightings(part.cameras, number[part.points], part.places, part.pixels), points[stays]


def _result(members: list[int], sightings: Sightings, final: AdjustedBundle, options: SubsetOptions) -> PosedImages:
    fits = final.residuals_px < options.inlier_px
    per_image = np.bincount(sightings.cameras[fits], minlength=len(members))
    noise = max(options.min_noise_px, float(np.median(final.residuals_px)) / 1.1774)
    cameras, covariances, shared = {}, {}, {}
    of_first = np.isin(sightings.points, sightings.points[fits & (sightings.cameras == 0)])
    for number, image in enumerate(members):
        if per_image[number] < options.min_observations and number:
            continue
        cameras[image] = final.bundle.cam_from_world[number]
        shared[image] = int((fits & of_first & (sightings.cameras == number)).sum())
        covariance = np.zeros((6, 6)) if number == 0 else camera_covariance(final, number, noise)
        if covariance is not None:
            covariances[image] = covariance
    return PosedImages(
        cameras,
        covariances,
        shared,
        len(final.bundle.points),
        float(np.median(final.residuals_px)) if len(fits) else float("nan"),
        float(np.mean(fits)) if len(fits) else 0.0,
        _largest_parallax(sightings, final.bundle, options.min_observations) / noise,
    )


def _largest_parallax(sightings: Sightings, bundle: Bundle, fewest: int) -> float:
    """Median distance in pixels that a turn alone leaves, of the pair of images for which it is largest."""
    cameras = bundle.cam_from_world
    places = np.full((len(cameras), len(bundle.points), 2), np.nan)
    places[sightings.cameras, sightings.points] = sightings.places
    pixels = float(np.median(sightings.pixels)) if len(sightings.pixels) else 0.0
    largest = 0.0
    for first in range(len(cameras)):
        for second in range(first + 1, len(cameras)):
            both = np.isfinite(places[first, :, 0] + places[second, :, 0])
            if both.sum() < fewest:
                continue
            turn = cameras[second].rotation * cameras[first].rotation.inv()
            turned = turn.apply(np.column_stack([places[first, both], np.ones(int(both.sum()))]))
            gaps = turned[:, :2] / turned[:, 2:] - places[second, both]
            largest = max(largest, pixels * float(np.median(np.linalg.norm(gaps, axis=1))))
    return largest
