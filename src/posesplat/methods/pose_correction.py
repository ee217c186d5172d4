"""Poses of a map's frames that contradict each other: corrected while the map is built, and undone in its answers.

Trajectories drift and motion capture jitters by some millimetres and tenths of a degree. A map fused at such poses has
blurred surfaces. Here each frame is aligned with the map so far, and where the alignment contradicts the given pose
beyond its covariance, the frame enters the map at the better one. The given poses stay with the map's views, so that
poses are told in the world of the given ones: relative to the views nearest to them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.agreement import AgreementRule, measure_agreement
from posesplat.align.fine import FineOptions
from posesplat.align.least_squares import State
from posesplat.align.pyramid import disc_blur_px, query_pyramid, softened
from posesplat.align.refine import refine_near
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.splat_map import MapView
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import log, perturbed
from posesplat.render.cpu import CpuRenderer

_LOG = logging.getLogger(__name__)

_CONTRADICTION = 60.0
"""Squared Mahalanobis length beyond which a pose is contradicted; that of a true pose exceeds it once in 10^10 times,
were the noise normal, and never did in synthetic rooms."""
_GIVEN_SIGMA = np.array([np.radians(0.5)] * 3 + [0.01] * 3)
"""How far given poses may be off (rad, m): directions that the frame does not determine stay as they were given."""
_LARGEST = (np.radians(3.0), 0.05)
"""Larger corrections (rad, m) are more likely mistakes of the alignment."""
_OPTIONS = FineOptions(first_scale_m=0.05, renders=2)
_RULE = AgreementRule(min_overlap=0.3, min_inlier_fraction=0.6)
_NEAREST = 2
_METRES_PER_RADIAN = 2.0
"""Turning by an angle changes the view as much as moving by this times the angle."""


def consistent_pose(
    scene: Gaussians, frame: Frame, given: RigidTransform, threads: int | None = None
) -> RigidTransform:
    """The pose at which a frame agrees with a map, or the given one where that is not contradicted.

    Args:
        scene: the map so far, in metres.
        frame: an RGB-D frame.
        given: its cam_from_world.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
    """
    with_color = scene.has_color and frame.image is not None
    query = query_pyramid(frame, use_image=with_color)
    if with_color:
        query = softened(query, disc_blur_px(scene, query[0].camera, given))
    renderer = CpuRenderer(scene, "grey" if with_color else "none", threads=threads)
    found = refine_near(renderer, query, State(given), _OPTIONS, threads=threads)
    pose = found.state.cam_from_world
    covariance = found.covariance()
    if covariance is None or measure_agreement(found.view, query[0], pose, _RULE).refusal:
        return given
    change = log(pose * given.inv())
    if change @ np.linalg.solve(covariance, change) < _CONTRADICTION:
        return given
    prior = np.diag(_GIVEN_SIGMA**2)
    change = prior @ np.linalg.solve(prior + covariance, change)
    if np.linalg.norm(change[:3]) > _LARGEST[0] or np.linalg.norm(change[3:]) > _LARGEST[1]:
        _LOG.warning("Frame %r contradicts the map by more than a correction; its given pose is kept.", frame.name)
        return given
    return perturbed(given, change)


class LocalWorld:
    """The world of the given poses, as it lies near each view of a map whose views were corrected."""

    def __init__(self, views: Sequence[MapView]) -> None:
        self._corrected = any(view.given_cam_from_world is not None for view in views)
        if self._corrected:
            given = [(view.given_cam_from_world, view.cam_from_world) for view in views]
            self._given = RigidTransform.concatenate([pose if first is None else first for first, pose in given])
            self._in_map = RigidTransform.concatenate([view.cam_from_world for view in views])
            self._map_from_world = self._in_map.inv() * self._given

    def to_map(self, cam_from_world: RigidTransform) -> RigidTransform:
        """A pose told in the world of the given poses, as a pose in the map."""
        if not self._corrected:
            return cam_from_world
        return cam_from_world * self._near(cam_from_world, self._given).inv()

    def to_world(self, cam_from_map: RigidTransform) -> RigidTransform:
        """A pose in the map, told in the world of the given poses; covariances (left perturbations) stay the same."""
        if not self._corrected:
            return cam_from_map
        return cam_from_map * self._near(cam_from_map, self._in_map)

    def _near(self, pose: RigidTransform, views: RigidTransform) -> RigidTransform:
        """map_from_world as the views nearest to a pose have it, weighted by the inverse of their distance."""
        relative = log(views * pose.inv())
        distance = np.linalg.norm(relative[:, 3:], axis=1) + _METRES_PER_RADIAN * np.linalg.norm(
            relative[:, :3], axis=1
        )
        nearest = np.argsort(distance, kind="stable")[:_NEAREST]
        weights = 1.0 / (distance[nearest] + 1e-3)
        base = self._map_from_world[int(nearest[0])]
        changes = log(self._map_from_world[nearest] * base.inv())
        return perturbed(base, weights @ changes / weights.sum())
