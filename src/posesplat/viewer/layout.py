"""Where things stand in the viewer: sizes, the first point of view, places of refused frames, results side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate.reports.tracking_facts import remark_pattern
from posesplat.geometry.poses import centre_covariance, interpolated
from posesplat.geometry.trajectory import Trajectory
from posesplat.viewer.shown import ShownResult

CHI2_95 = 7.814727903251179
"""95 % quantile of the chi-square distribution with three degrees of freedom."""
_MOST_POINTS = 20_000
_FRUSTUM_OF_DEPTH = 0.1
_FRUSTUM_OF_PATH = 0.6
_SMALLEST_FRUSTUM = 0.03
"""Size of a drawn camera: a share of the depth of the scene, less for short paths, never below the last."""
_MAGNIFICATIONS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_VISIBLE_ELLIPSOID = 0.25
"""Of a drawn camera; smaller ellipsoids are hard to see."""
_BACK, _UP, _AHEAD = 0.36, 0.2, 0.7
"""The first point of view: behind and above the cameras, looking past them; shares of the depth of the scene."""
_GAP = 0.15
"""Between results side by side; of the depth of the scene."""
_ROW_BACK = 0.4
_DEPTH_OF_PATH = 3.0
"""Distance taken for that of the scene where there are no Gaussians."""


@dataclass(frozen=True)
class Layout:
    """Sizes of one result's world, and how to look at it; lengths in its unit."""

    depth: float
    """Median distance from the cameras to what they see."""
    frustum: float
    """Length of a drawn camera."""
    forward: Float[np.ndarray, " 3"]
    """Mean viewing direction."""
    up: Float[np.ndarray, " 3"]
    """Mean upward direction of the cameras, across ``forward``."""
    centre: Float[np.ndarray, " 3"]
    """Middle of the cameras."""
    left: float
    """Reach of the scene to the left of ``centre``; negative."""
    right: float
    """Reach of the scene to the right of ``centre``."""

    @property
    def axes(self) -> Rotation:
        """From axes to the right, down and forward, as the cameras see them, to those of the world."""
        return Rotation.from_matrix(np.stack([np.cross(self.forward, self.up), -self.up, self.forward], axis=1))

    @property
    def eye(self) -> Float[np.ndarray, " 3"]:
        """Where to look from at first."""
        return self.centre + self.depth * (_UP * self.up - _BACK * self.forward)

    @property
    def target(self) -> Float[np.ndarray, " 3"]:
        """What to look at, and turn around, at first."""
        return self.centre + _AHEAD * self.depth * self.forward

    @staticmethod
    def of(result: ShownResult) -> Layout:
        """The layout of a result with cameras, of a map alone, or of nothing at all."""
        cameras = _cameras(result)
        points = np.zeros((0, 3))
        if result.gaussians is not None and len(result.gaussians):
            means = result.gaussians.means_in_world
            points = means[:: -(-len(means) // _MOST_POINTS)].astype(np.float64)
        if cameras is None:
            cameras = _standing_back(points)
        world_from_cam = cameras.inv()
        centres = world_from_cam.translation
        centre = np.median(centres, axis=0)
        forward = _unit(world_from_cam.rotation.apply([0.0, 0.0, 1.0]).mean(axis=0), np.array([0.0, 0.0, 1.0]))
        up = -world_from_cam.rotation.apply([0.0, 1.0, 0.0]).mean(axis=0)
        up = _unit(up - (up @ forward) * forward, _across(forward))
        path = float(np.linalg.norm(np.ptp(centres, axis=0)))
        right = np.cross(forward, up)
        depth = max(_DEPTH_OF_PATH * path, 1e-3)
        left, reach = -depth, depth
        if len(points):
            seen = cameras[len(centres) // 2].apply(points)[:, 2]
            ahead = seen[seen > 0]
            depth = float(np.median(ahead)) if len(ahead) else float(np.linalg.norm(points - centre, axis=1).mean())
            left, reach = (float(edge) for edge in np.percentile((points - centre) @ right, [2, 98]))
        size = _FRUSTUM_OF_DEPTH * depth
        if len(centres) > 2:
            size = min(size, max(_FRUSTUM_OF_PATH * path, _SMALLEST_FRUSTUM * depth))
        return Layout(depth, size, forward, up, centre, left, reach)


def side_by_side(layouts: Sequence[Layout]) -> list[RigidTransform]:
    """scene_from_world of each result: they stand in a row, to the right of the first, and are looked at alike.

    The scene is the first one's world; the others turn so that their cameras look the same way.
    """
    first = layouts[0]
    places: list[RigidTransform] = []
    along = 0.0
    for number, layout in enumerate(layouts):
        if number:
            before = layouts[number - 1]
            along += max(before.right, 0.0) - min(layout.left, 0.0) + _GAP * max(before.depth, layout.depth)
        turn = first.axes * layout.axes.inv()
        where = first.centre + along * first.axes.apply([1.0, 0.0, 0.0])
        places.append(RigidTransform.from_components(where - turn.apply(layout.centre), turn))
    return places


def overlaid(layouts: Sequence[Layout]) -> list[RigidTransform]:
    """scene_from_world of results that share a world."""
    return [RigidTransform.identity() for _ in layouts]


def first_view(
    layouts: Sequence[Layout], places: Sequence[RigidTransform]
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Point of view and target from which all results are seen: that of one, or farther back before a row."""
    moved = [place.apply(np.stack([layout.eye, layout.target])) for layout, place in zip(layouts, places, strict=True)]
    eye, target = np.mean(moved, axis=0)
    reach = float(np.linalg.norm(moved[-1][1] - moved[0][1]))
    return eye - _ROW_BACK * reach * layouts[0].forward, target


@dataclass(frozen=True)
class Ellipsoids:
    """95 % regions of camera centres."""

    frames: tuple[int, ...]
    """Whose."""
    centres: Float[np.ndarray, "n 3"]
    quats_wxyz: Float[np.ndarray, "n 4"]
    """Axes in the world."""
    radii: Float[np.ndarray, "n 3"]
    """Half axes, in the unit of the world."""

    def magnification(self, frustum: float) -> int:
        """The least round factor at which the median ellipsoid can be seen beside a camera of that size."""
        if not len(self.frames):
            return 1
        longest = float(np.median(self.radii.max(axis=1)))
        enough = [factor for factor in _MAGNIFICATIONS if factor * longest >= _VISIBLE_ELLIPSOID * frustum]
        return enough[0] if enough else _MAGNIFICATIONS[-1]


def ellipsoids(trajectory: Trajectory, largest: float) -> Ellipsoids:
    """The 95 % ellipsoids of the camera centres; frames without covariance are left out.

    Args:
        trajectory: the answer.
        largest: half axes beyond it say that the place is not known, and are not drawn.
    """
    frames, centres, rotations, radii = [], [], [], []
    for index, estimate in enumerate(trajectory):
        if estimate.cam_from_world is None or estimate.covariance is None:
            continue
        variances, axes = np.linalg.eigh(centre_covariance(estimate.cam_from_world, estimate.covariance))
        half = np.sqrt(CHI2_95 * variances.clip(min=0.0))
        if not np.isfinite(half).all() or half.max() > largest or half.max() == 0:
            continue
        axes[:, 0] *= np.sign(np.linalg.det(axes))
        frames.append(index)
        centres.append(estimate.cam_from_world.inv().translation)
        rotations.append(Rotation.from_matrix(axes).as_quat(scalar_first=True))
        radii.append(half)
    count = len(frames)
    return Ellipsoids(
        tuple(frames),
        np.reshape(centres, (count, 3)),
        np.reshape(rotations, (count, 4)),
        np.reshape(radii, (count, 3)),
    )


@dataclass(frozen=True)
class RefusedRun:
    """Frames in a row that were refused for one reason, and where on the path their gap is."""

    frames: tuple[int, ...]
    reason: str
    """Of the first."""
    places: Float[np.ndarray, "n 3"]
    """On the motion between the posed neighbours, where the cameras need not have been; at an end, the neighbour's."""


def refused_runs(trajectory: Trajectory) -> list[RefusedRun]:
    """The gaps of a trajectory that has a pose at all; none where there is no place to mark."""
    posed = np.flatnonzero(trajectory.posed)
    if not len(posed):
        return []
    runs: list[RefusedRun] = []
    for index in np.flatnonzero(~trajectory.posed):
        place, reason = _gap(trajectory, posed, int(index)), trajectory[int(index)].reason
        if runs and runs[-1].frames[-1] == index - 1 and remark_pattern(runs[-1].reason) == remark_pattern(reason):
            last = runs.pop()
            runs.append(RefusedRun((*last.frames, int(index)), last.reason, np.vstack([last.places, place])))
        else:
            runs.append(RefusedRun((int(index),), reason, place[None]))
    return runs


def _gap(trajectory: Trajectory, posed: np.ndarray, index: int) -> Float[np.ndarray, " 3"]:
    after = int(np.searchsorted(posed, index))
    ends = [int(posed[max(after - 1, 0)]), int(posed[min(after, len(posed) - 1)])]
    first, last = (trajectory[end].cam_from_world for end in ends)
    assert first is not None and last is not None
    share = (index - ends[0]) / (ends[1] - ends[0]) if ends[1] > ends[0] else 0.0
    return np.asarray(interpolated(first, last, share).inv().translation)


def _cameras(result: ShownResult) -> RigidTransform | None:
    """The cameras from which the world is looked at: the answer's, else the truth's, else the map's."""
    if result.trajectory.posed.any():
        return result.trajectory.cam_from_world()
    known = result.true_poses() or [view.cam_from_world for view in result.views]
    return RigidTransform.concatenate(known) if known else None


def _standing_back(points: Float[np.ndarray, "n 3"]) -> RigidTransform:
    """A camera outside of a scene of unknown orientation: in front of it, y down."""
    centre = np.median(points, axis=0) if len(points) else np.zeros(3)
    extent = float(np.percentile(np.linalg.norm(points - centre, axis=1), 80)) if len(points) else 1.0
    back = np.array([0.0, 0.0, -2.0 * extent])
    return RigidTransform.concatenate([RigidTransform.from_translation(-(centre + back))])


def _across(direction: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    other = np.eye(3)[int(np.argmin(np.abs(direction)))]
    return other - (other @ direction) * direction


def _unit(vector: Float[np.ndarray, " 3"], otherwise: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    """A vector at unit length, or another one's where it has none."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-9 else otherwise / np.linalg.norm(otherwise)
