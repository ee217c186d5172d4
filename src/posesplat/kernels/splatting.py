"""Typed wrappers over the compiled loops: rendering of a scene, and normal equations of a camera pose.

All poses are cam_from_world; all sums refer to a left perturbation (rotation rad, translation) of that pose. Results
are bit-identical for any number of threads. Formulas: docs/conventions.md and docs/localize.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import RigidTransform

from posesplat import _kernels
from posesplat.geometry.cameras import Camera
from posesplat.kernels.threads import thread_count

NEAR = 0.01
"""Gaussians whose centre is nearer than this (in units of the world) are not drawn, as in gsplat."""

BLOCK_PX: int = _kernels.LOOKUP_BLOCK
"""Side of the pixel blocks over which looked-up sums are split."""


class Scene:
    """Gaussians prepared for the kernels; the arrays are copied and checked once."""

    def __init__(
        self,
        means_in_world: Float32[np.ndarray, "n 3"],
        quats_wxyz: Float32[np.ndarray, "n 4"],
        scales: Float32[np.ndarray, "n 3"],
        opacities: Float32[np.ndarray, " n"],
        normals_in_world: Float32[np.ndarray, "n 3"],
        channels: Float32[np.ndarray, "n c"] | None = None,
    ) -> None:
        if channels is None:
            channels = np.zeros((len(opacities), 0), dtype=np.float32)
        arrays = (means_in_world, quats_wxyz, scales, opacities, normals_in_world, channels)
        self.handle = _kernels.Scene(*(np.ascontiguousarray(array, dtype=np.float32) for array in arrays))

    def __len__(self) -> int:
        return len(self.handle)

    @property
    def channels(self) -> int:
        """Number of colour or feature channels."""
        return int(self.handle.channels)


@dataclass(frozen=True)
class RobustTerm:
    """How residuals of one kind are weighed: Geman-McClure, and a gate against mixed surfaces."""

    scale: float
    """Residual (metres at depth 0, or channel units) whose weight is a quarter."""
    scale_growth: float = 0.0
    """k of scale(z) = scale (1 + k z^2); z in metres."""
    gate: float = 1e-4
    """Largest relative variance of inverse depth within a pixel that still counts as one surface."""

    def __post_init__(self) -> None:
        if not (self.scale > 0 and self.scale_growth >= 0 and self.gate >= 0):
            raise ValueError(
                f"RobustTerm needs scale > 0, scale_growth >= 0 and gate >= 0; got {self}. "
                "Scales are in metres for depth and in units of the channel for colour."
            )

    def packed(self) -> tuple[float, float, float]:
        """The three numbers in the kernel's order."""
        return self.scale, self.scale_growth, self.gate


@dataclass(frozen=True)
class NormalEquations:
    """Sums over pixels of one residual term, in units of its robust scale."""

    hessian: Float[np.ndarray, "d d"]
    """Gauss-Newton matrix; d = 6 (rotation, translation), or 8 with gain and bias of the channels."""
    gradient: Float[np.ndarray, " d"]
    """Gradient of the cost."""
    cost: float
    """Sum of r^2 / (1 + r^2) / 2; pixels without a counterpart pay the most, 1/2."""
    observed: float
    """Number of observed pixels (times channels)."""
    covered: float
    """Of those, the ones where the map shows one clean surface."""
    inliers: float
    """Of those, the ones within the robust scale."""
    weights: float = 0.0
    """Sum of the robust weights, with which the matrix is formed."""
    curvatures: float = 0.0
    """Sum of the second derivatives of the robust cost, with which its true Hessian would be formed."""
    block_gradients: Float[np.ndarray, "rows columns d"] | None = None
    """The gradient split over blocks of pixels, for a covariance that respects correlated pixels."""
    block_hessians: Float[np.ndarray, "rows columns t"] | None = None
    """The matrix split likewise, its upper triangle row by row."""

    def newton_ratio(self, least: float) -> float:
        """True Hessian over ``hessian``, at least ``least``; below 1 because a robust cost flattens out.

        Steps with ``hessian`` alone are too short by this factor, and covariances too small by its square.
        """
        return max(self.curvatures / self.weights, least) if self.weights > 0 else 1.0


def pose_arguments(cam_from_world: RigidTransform) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Rotation (row by row) and camera centre, as the kernel takes a pose."""
    matrix = cam_from_world.as_matrix()
    rotation = matrix[:3, :3]
    centre = -rotation.T @ matrix[:3, 3]
    return tuple(rotation.ravel().tolist()), tuple(centre.tolist())


def camera_argument(camera: Camera) -> Any:
    """The kernel's own camera."""
    return _kernels.Camera(camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height)


def contiguous(array: np.ndarray | None) -> np.ndarray | None:
    """The array as the kernel takes it: float32, row by row."""
    return None if array is None else np.ascontiguousarray(array, dtype=np.float32)


@dataclass(frozen=True)
class View:
    """Images rendered from a scene; fields are None when they were not asked for."""

    camera: Camera
    """The camera of the view."""
    cam_from_world: RigidTransform
    """The pose of the view."""
    alpha: Float32[np.ndarray, "h w"]
    """Accumulated opacity."""
    depth: Float32[np.ndarray, "h w"] | None = None
    """Expected depth of the Gaussians' centres, normalised by alpha; 0 where alpha is 0."""
    planes: Float32[np.ndarray, "h w 3"] | None = None
    """Plane vectors m: inverse depth along the ray r = ((u-cx)/fx, (v-cy)/fy, 1) is m . r; 0 where alpha is 0."""
    variance: Float32[np.ndarray, "h w"] | None = None
    """Relative variance of inverse depth within the pixel; 1 where alpha is 0."""
    channels: Float32[np.ndarray, "h w c"] | None = None
    """Channels normalised by alpha."""
    gradients: Float32[np.ndarray, "h w c 2"] | None = None
    """Derivative of the channels for a shift of all splats by one pixel in x and in y."""
    jacobian: Float32[np.ndarray, "h w 6"] | None = None
    """Derivative of the expected depth for a left perturbation of the pose."""


def render(
    scene: Scene,
    camera: Camera,
    cam_from_world: RigidTransform,
    *,
    planes: bool = False,
    channels: bool = False,
    gradients: bool = False,
    jacobian: bool = False,
    layer: float = 0.0,
    threads: int | None = None,
) -> View:
    """Render planes (with variance) or else expected depth, and optionally channels and derivatives.

    Args:
        scene: n Gaussians.
        camera: pinhole of the view.
        cam_from_world: pose of the view.
        planes: plane vectors instead of expected depth.
        channels: the scene's channels.
        gradients: their derivative for a shift in the image (needs planes and channels).
        jacobian: exact derivative of the expected depth (without planes).
        layer: relative depth within which splats do not hide each other (planes only); 0 is front-to-back compositing.
            Among noisy splats of one surface the nearest would win and pull the surface towards the camera.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Raises:
        ValueError: for a combination that is not available.
    """
    if (planes and jacobian) or (gradients and not (planes and channels)) or (jacobian and channels):
        raise ValueError(
            "render offers planes [+ channels [+ gradients]], or expected depth [+ channels | + jacobian]; "
            f"got planes={planes}, channels={channels}, gradients={gradients}, jacobian={jacobian}."
        )
    flags = _kernels.PLANES if planes else _kernels.EXPECTED_DEPTH
    flags |= _kernels.CHANNELS if channels else 0
    flags |= _kernels.CHANNEL_GRADIENTS if gradients else 0
    flags |= _kernels.DEPTH_JACOBIAN if jacobian else 0
    rotation, centre = pose_arguments(cam_from_world)
    images = _kernels.render(
        scene.handle, camera_argument(camera), rotation, centre, flags, NEAR, layer, thread_count(threads)
    )
    return View(camera, cam_from_world, **images)


def normal_equations(
    scene: Scene,
    camera: Camera,
    cam_from_world: RigidTransform,
    *,
    depth: Float32[np.ndarray, "h w"] | None = None,
    channels: Float32[np.ndarray, "h w c"] | None = None,
    depth_term: RobustTerm = RobustTerm(0.05),
    channel_term: RobustTerm = RobustTerm(0.1),
    gain: float = 1.0,
    bias: float = 0.0,
    min_alpha: float = 0.5,
    layer: float = 0.0,
    threads: int | None = None,
) -> tuple[NormalEquations, NormalEquations]:
    """Render at a pose and sum the residuals against observed depth and channels in the same pass.

    Args:
        scene: n Gaussians with c channels.
        camera: pinhole of the observation, h x w.
        cam_from_world: pose at which to render and linearise.
        depth: observed depth in metres, 0 = missing; residual = signed distance to the rendered plane in metres.
        channels: observed channels; residual = gain * rendered + bias - observed.
        depth_term: robust weights of the depth residuals.
        channel_term: robust weights of the channel residuals.
        gain: exposure gain of the observation.
        bias: exposure offset of the observation.
        min_alpha: pixels with less accumulated opacity count as not covered.
        layer: see :func:`render`.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Returns:
        Sums of the depth term (6 unknowns) and of the channel term (8 unknowns).
    """
    rotation, centre = pose_arguments(cam_from_world)
    depth_sums, channel_sums = _kernels.normal_equations(
        scene.handle,
        camera_argument(camera),
        rotation,
        centre,
        contiguous(depth),
        contiguous(channels),
        depth_term.packed(),
        channel_term.packed(),
        gain,
        bias,
        min_alpha,
        NEAR,
        layer,
        thread_count(threads),
    )
    return NormalEquations(**depth_sums), NormalEquations(**channel_sums)


class FrozenView:
    """A rendered view with planes against which a moving query is compared without rendering again."""

    def __init__(self, view: View) -> None:
        if view.planes is None or view.variance is None:
            raise ValueError("FrozenView needs a view rendered with planes=True; got one without planes.")
        rotation, centre = pose_arguments(view.cam_from_world)
        self.handle = _kernels.RenderedView(
            camera_argument(view.camera), rotation, centre, view.planes, view.variance, view.alpha, view.channels
        )
        self.view = view


def lookup(
    frozen: FrozenView,
    camera: Camera,
    cam_from_world: RigidTransform,
    *,
    depth: Float32[np.ndarray, "h w"] | None = None,
    channels: Float32[np.ndarray, "h w c"] | None = None,
    gradients: Float32[np.ndarray, "h w c 2"] | None = None,
    depth_term: RobustTerm = RobustTerm(0.05),
    channel_term: RobustTerm = RobustTerm(0.1),
    gain: float = 1.0,
    bias: float = 0.0,
    min_alpha: float = 0.5,
    occlusion: float = 0.1,
    step: int = 1,
    use_depth: bool = True,
    threads: int | None = None,
) -> tuple[NormalEquations, NormalEquations]:
    """Sum the residuals of a query at a new pose against a view that was rendered once.

    Depth: each query point is moved into the view and compared with the plane found there. Channels: each view point
    is moved into the query and compared with the image found there, with the query's own image gradient.

    Args:
        frozen: the rendered view.
        camera: pinhole of the query, h x w.
        cam_from_world: pose of the query.
        depth: observed depth in metres, 0 = missing; also hides view points behind what the query sees.
        channels: observed channels.
        gradients: their derivative in x and y per pixel.
        depth_term: robust weights of the depth residuals.
        channel_term: robust weights of the channel residuals.
        gain: exposure gain of the observation.
        bias: exposure offset of the observation.
        min_alpha: view pixels with less accumulated opacity count as not covered.
        occlusion: relative depth difference beyond which a view point counts as hidden in the query; 0 = never.
        step: use every step-th pixel in x and y.
        use_depth: False uses the depth for hiding only.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Returns:
        Sums of the depth term (6 unknowns) and of the channel term (8 unknowns), split over blocks of pixels too.
    """
    rotation, centre = pose_arguments(cam_from_world)
    depth_sums, channel_sums = _kernels.lookup(
        frozen.handle,
        camera_argument(camera),
        rotation,
        centre,
        contiguous(depth),
        contiguous(channels),
        contiguous(gradients),
        depth_term.packed(),
        channel_term.packed(),
        gain,
        bias,
        min_alpha,
        occlusion,
        step,
        use_depth,
        thread_count(threads),
    )
    for sums, blocked in ((depth_sums, camera), (channel_sums, frozen.view.camera)):
        columns = -(-blocked.width // BLOCK_PX)
        for name in ("block_gradients", "block_hessians"):
            split = sums[name]
            sums[name] = split.reshape(-1, columns, split.shape[1]) if len(split) else None
    return NormalEquations(**depth_sums), NormalEquations(**channel_sums)
