"""GSplatLoc as published: a camera pose from a depth image and a map of round splats, by Adam on rendered depth.

It is here so that anyone can run and compare it. Its expected depth lies nearer than the surface, so that the minimum
of its loss is displaced; :mod:`posesplat.align.refine` is the method to use. Source: GSplatLoc, arXiv 2412.20056, and
the values of its released code where the paper gives none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial import cKDTree
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.adam import Adam
from posesplat.align.depth_loss import depth_loss
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.frame import Frame
from posesplat.render.cpu import CpuRenderer

_PUBLISHED_WEIGHT_DECAY = 1e-3


@dataclass(frozen=True)
class GsplatlocOptions:
    """Settings of GSplatLoc; the defaults are the published ones, without the faults of the released code."""

    neighbours: int = 3
    """Nearest points over which the squared distances are averaged (3 in the paper, 4 in the released code)."""
    depth_weight: float = 0.8
    """Weight of the depth term; the term of depth edges has the rest."""
    quaternion_rate: float = 5e-4
    """First step size of the quaternion's components."""
    translation_rate: float = 1e-3
    """First step size of the translation, metres."""
    final_rate: float = 0.2
    """Share of the step sizes that is left after ``max_steps``; they decay exponentially."""
    max_steps: int = 2000
    """Most renderings."""
    min_steps: int = 100
    """Steps after which the patience begins to count."""
    patience: int = 200
    """Steps without a better loss after which the search ends."""
    rerendered_query: bool = False
    """Replace the measured depth of the query by the depth rendered from the query's own splats, as the published
    evaluation does: both sides then carry the same bias, and it does not show."""
    published_faults: bool = False
    """Do as the released code does where it departs from the paper:

    * splats have the scale sqrt(mean d^4) rather than sqrt(mean d^2): squared distances are squared again, and the
      splats of a dense map become points that only the renderer's blur makes visible;
    * missing depth of the map becomes splats at the camera's centre;
    * missing depth of the query counts as depth 0;
    * weight decay (1e-3) pulls the quaternion and the translation towards 0;
    * losses of the first ``min_steps`` steps, the start's included, are forgotten.
    """

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.patience < 1 or not 0 <= self.min_steps < self.max_steps:
            raise ValueError(
                "GsplatlocOptions needs neighbours >= 1, patience >= 1 and 0 <= min_steps < max_steps; "
                f"got {self}. A short run needs a smaller min_steps too."
            )
        rates = self.quaternion_rate > 0 and self.translation_rate > 0 and 0 < self.final_rate <= 1
        if not (0 <= self.depth_weight <= 1 and rates):
            raise ValueError(
                f"GsplatlocOptions needs 0 <= depth_weight <= 1, positive rates and 0 < final_rate <= 1; got {self}. "
                "Rates are step sizes in quaternion units and metres."
            )


@dataclass(frozen=True)
class GsplatlocResult:
    """Where the search ended: ``cam_from_world is None`` exactly when there is a ``reason``."""

    cam_from_world: RigidTransform | None
    """The pose of least loss among those that were rendered."""
    loss: float
    """Loss at that pose, metres."""
    start_loss: float
    """Loss at the start, metres."""
    overlap: float
    """Share of the query's pixels that were compared at that pose; the loss also falls when this does."""
    iterations: int
    """Renderings."""
    losses: Float[np.ndarray, " iterations"]
    """Loss at every rendered pose."""
    reason: str = ""
    """Empty, or one sentence: why there is no pose."""


def gsplatloc_gaussians(
    frame: Frame, cam_from_world: RigidTransform, options: GsplatlocOptions = GsplatlocOptions()
) -> Gaussians:
    """One round, opaque Gaussian for each measured pixel, as wide as the distance to its neighbours.

    Args:
        frame: reference with depth in metres.
        cam_from_world: its pose.
        options: ``neighbours`` and ``published_faults`` count.

    Raises:
        ValueError: when the frame has no depth, or fewer measured pixels than neighbours are needed.
    """
    depth = _depth_of(frame)
    rows, columns = np.nonzero(depth > 0)
    if len(rows) <= options.neighbours:
        raise ValueError(
            f"Frame {frame.name!r} must have more than {options.neighbours} pixels with depth to become a map; "
            f"got {len(rows)}. Check the depth file and its scale."
        )
    points = frame.camera.rays()[rows, columns].astype(np.float64) * depth[rows, columns, None]
    distances = np.asarray(cKDTree(points).query(points, k=options.neighbours + 1)[0])[:, 1:]
    power = 4 if options.published_faults else 2
    scales = np.sqrt(np.mean(distances**power, axis=1))
    if options.published_faults:
        missing = np.nonzero(depth <= 0)
        rows, columns = np.append(rows, missing[0]), np.append(columns, missing[1])
        points = np.vstack([points, np.zeros((len(missing[0]), 3))])
        scales = np.append(scales, np.zeros(len(missing[0])))
    count = len(points)
    return Gaussians(
        means_in_world=cam_from_world.inv().apply(points).astype(np.float32),
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], dtype=np.float32), (count, 1)),
        scales=np.repeat(scales[:, None], 3, axis=1).astype(np.float32),
        opacities=np.ones(count, dtype=np.float32),
        colors=None if frame.image is None else frame.image[rows, columns].astype(np.float32) / np.float32(255),
    )


def gsplatloc_refine(
    gaussians: Gaussians,
    frame: Frame,
    start: RigidTransform,
    options: GsplatlocOptions = GsplatlocOptions(),
    progress: Callable[[int, float], None] | None = None,
    threads: int | None = None,
) -> GsplatlocResult:
    """Refine the pose of a depth image against a map by the published optimisation.

    The loss is 0.8 mean |D - D_q| + 0.2 mean |S(D) - S(D_q)|, with D the expected depth that gsplat renders, D_q the
    query's, both 0 wherever either is missing, and S the Sobel magnitude; the means are over all pixels of the image.
    Its exact gradient drives Adam over the quaternion and translation of world_from_cam in the map's principal axes.

    Args:
        gaussians: the map, usually from :func:`gsplatloc_gaussians`.
        frame: query with depth in metres.
        start: cam_from_world at which to begin.
        options: see :class:`GsplatlocOptions`.
        progress: called after each rendering with its number (from 0) and its loss; what it raises, and an interrupt,
            ends the call.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Returns:
        The best pose seen, or none with a reason when the map is not in view at the start.

    Raises:
        ValueError: when the frame has no depth.
    """
    observed = _query_depth(frame, options, threads)
    renderer = CpuRenderer(gaussians, threads=threads)
    principal_from_world = principal_axes(gaussians.means_in_world)
    search = _Search(options, principal_from_world * start.inv())
    cam_from_world = start
    for step in range(options.max_steps):
        view = renderer.depth(frame.camera, cam_from_world, jacobian=True)
        assert view.depth is not None and view.jacobian is not None
        mask = compared_pixels(view.depth, observed, options.published_faults)
        overlap = float(mask.mean())
        if overlap == 0:
            break
        loss, by_depth = depth_loss(view.depth * mask, observed * mask, options.depth_weight)
        search.record(loss, overlap, cam_from_world)
        if progress is not None:
            progress(step, loss)
        if search.exhausted:
            break
        by_pose = np.einsum("hw,hwk->k", by_depth * mask, view.jacobian, dtype=np.float64)
        cam_from_world = search.step(by_pose).inv() * principal_from_world
    return search.result()


def compared_pixels(
    rendered: Float32[np.ndarray, "h w"], observed: Float32[np.ndarray, "h w"], count_missing: bool = False
) -> Bool[np.ndarray, "h w"]:
    """Where both depths are known; with ``count_missing``, wherever something was rendered."""
    return np.asarray((rendered != 0) & (count_missing | (observed > 0)))


def principal_axes(points: Float32[np.ndarray, "n 3"]) -> RigidTransform:
    """The rigid transform that puts the points' median at 0 and their axes of largest spread along x, y and z.

    It changes the coordinates in which the pose is optimised, and so the path that Adam takes.
    """
    if len(points) < 2:
        return RigidTransform.identity()
    centre = np.median(points, axis=0).astype(np.float64)
    _, axes = np.linalg.eigh(np.cov(points.T.astype(np.float64)))
    axes = axes[:, ::-1]
    if np.linalg.det(axes) < 0:
        axes = axes * [-1, 1, 1]
    rotation = axes.T
    return RigidTransform.from_components(-rotation @ centre, Rotation.from_matrix(rotation))


def pose_from_parameters(parameters: Float[np.ndarray, " 7"]) -> RigidTransform:
    """world_from_cam of a quaternion (w, x, y, z; any length) and a translation."""
    return RigidTransform.from_components(parameters[4:], Rotation.from_quat(parameters[:4], scalar_first=True))


def parameter_gradient(
    parameters: Float[np.ndarray, " 7"], gradient: Float[np.ndarray, " 6"]
) -> Float[np.ndarray, " 7"]:
    """A gradient over the parameters of :func:`pose_from_parameters`.

    Args:
        parameters: quaternion and translation of world_from_cam.
        gradient: derivative for a left perturbation (rotation, translation) of cam_from_world.
    """
    # exp(xi) * cam_from_world is the inverse of world_from_cam * exp(-xi): the camera turns by -omega about its own
    # axes and its centre moves by -R v. A quaternion turns by theta about its own axes when it grows by q (0, theta/2).
    length = np.linalg.norm(parameters[:4])
    w, x, y, z = parameters[:4] / length
    own_axes = np.array([[-x, -y, -z], [w, -z, y], [z, w, -x], [-y, x, w]])
    rotation = pose_from_parameters(parameters).rotation
    return np.concatenate([-2 / length * own_axes @ gradient[:3], -rotation.apply(gradient[3:])])


@dataclass(frozen=True)
class _Seen:
    """A rendered pose and how well it fits."""

    loss: float
    overlap: float = 0.0
    cam_from_world: RigidTransform | None = None


class _Search:
    """The state of the optimisation: parameters, step sizes, the best pose, and how long ago that was."""

    def __init__(self, options: GsplatlocOptions, principal_from_cam: RigidTransform) -> None:
        self.options = options
        quat_wxyz = principal_from_cam.rotation.as_quat(scalar_first=True)
        self.parameters = np.concatenate([quat_wxyz, principal_from_cam.translation])
        self.rates = np.repeat([options.quaternion_rate, options.translation_rate], [4, 3])
        self.decay = options.final_rate ** (1 / options.max_steps)
        self.adam = Adam(7, _PUBLISHED_WEIGHT_DECAY if options.published_faults else 0.0)
        self.losses: list[float] = []
        self.best = _Seen(np.inf)
        self.stale = 0

    def record(self, loss: float, overlap: float, cam_from_world: RigidTransform) -> None:
        """Take note of the loss at a rendered pose."""
        step = len(self.losses)
        self.losses.append(loss)
        if self.options.published_faults and step == self.options.min_steps + 1:
            self.best = _Seen(np.inf)
        if loss < self.best.loss:
            self.best, self.stale = _Seen(loss, overlap, cam_from_world), 0
        elif step > self.options.min_steps:
            self.stale += 1

    @property
    def exhausted(self) -> bool:
        """True when the patience has run out."""
        return self.stale >= self.options.patience

    def step(self, by_pose: Float[np.ndarray, " 6"]) -> RigidTransform:
        """The next principal_from_cam, given the loss's derivative for a left perturbation of cam_from_world."""
        gradient = parameter_gradient(self.parameters, by_pose)
        self.parameters = self.adam.step(self.parameters, gradient, self.rates)
        self.rates = self.decay * self.rates
        return pose_from_parameters(self.parameters)

    def result(self) -> GsplatlocResult:
        """The best pose, or none when nothing could be compared even at the start."""
        found = self.best.cam_from_world is not None
        return GsplatlocResult(
            cam_from_world=self.best.cam_from_world,
            loss=self.best.loss,
            start_loss=self.losses[0] if found else np.inf,
            overlap=self.best.overlap,
            iterations=len(self.losses),
            losses=np.array(self.losses),
            reason="" if found else "No pixel of the query's depth meets the map as seen from the start.",
        )


def _depth_of(frame: Frame) -> Float32[np.ndarray, "h w"]:
    if frame.depth is None:
        raise ValueError(
            f"Frame {frame.name!r} must have depth in metres for GSplatLoc, which compares nothing else; got an image "
            "only. Give it a depth image, or use the colour objective."
        )
    return frame.depth


def _query_depth(frame: Frame, options: GsplatlocOptions, threads: int | None) -> Float32[np.ndarray, "h w"]:
    measured = _depth_of(frame)
    if not options.rerendered_query:
        return measured
    identity = RigidTransform.identity()
    own = CpuRenderer(gsplatloc_gaussians(frame, identity, options), threads=threads)
    rendered = own.depth(frame.camera, identity).depth
    assert rendered is not None
    return rendered
