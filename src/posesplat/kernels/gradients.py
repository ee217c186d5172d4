"""Classic alpha compositing and its full backward pass: what a loss over the image asks of the Gaussians and the pose.

The image is the sum of w_i c_i over the Gaussians, front to back on black, with gsplat's rules; see docs/kernel.md.
Results are bit-identical for any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy.spatial.transform import RigidTransform

from posesplat import _kernels
from posesplat.geometry.cameras import Camera
from posesplat.kernels.splatting import NEAR, Scene, camera_argument, contiguous, pose_arguments, render
from posesplat.kernels.threads import thread_count


@dataclass(frozen=True)
class Composite:
    """An image composited on black, and where it was seen from."""

    camera: Camera
    """The camera of the image."""
    cam_from_world: RigidTransform
    """The pose of the image."""
    channels: Float32[np.ndarray, "h w c"]
    """Sum of w c, not divided by alpha: black shows through where alpha is below 1."""
    depth: Float32[np.ndarray, "h w"]
    """Expected depth of the centres, sum w z / sum w (gsplat's "ED"); 0 where alpha is 0."""
    alpha: Float32[np.ndarray, "h w"]
    """Accumulated opacity, sum of w."""


@dataclass(frozen=True)
class GaussianGradients:
    """Derivatives of a loss for each number of each Gaussian; 0 where a Gaussian does not reach the image."""

    means_in_world: Float32[np.ndarray, "n 3"]
    """For the centres."""
    quats_wxyz: Float32[np.ndarray, "n 4"]
    """For the quaternions as given, whatever their length."""
    scales: Float32[np.ndarray, "n 3"]
    """For the standard deviations."""
    opacities: Float32[np.ndarray, " n"]
    """For the opacities."""
    channels: Float32[np.ndarray, "n c"]
    """For the channel values."""
    screen: Float32[np.ndarray, "n 2"]
    """For the centres on the screen, per pixel in x and y."""
    visible: Bool[np.ndarray, " n"]
    """Which Gaussians reach the image."""

    def screen_norms(self, camera: Camera) -> Float32[np.ndarray, " n"]:
        """Norm of ``screen`` in units of half the image's sides, by which gsplat's strategies densify."""
        half_sides = np.array([camera.width / 2, camera.height / 2], dtype=np.float32)
        return np.linalg.norm(self.screen * half_sides, axis=1)


@dataclass(frozen=True)
class Gradients:
    """Derivatives of a loss."""

    pose: Float64[np.ndarray, " 6"]
    """For a left perturbation (rotation rad, translation) of cam_from_world."""
    gaussians: GaussianGradients | None
    """For the Gaussians, if they were asked for."""


def composite(scene: Scene, camera: Camera, cam_from_world: RigidTransform, *, threads: int | None = None) -> Composite:
    """Composite a scene's channels, expected depth and alpha on black.

    Args:
        scene: n Gaussians with c channels (any number, 0 too).
        camera: pinhole of the image.
        cam_from_world: pose of the image.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Source: Kerbl et al., 3D Gaussian Splatting, 2023, equation 3; screen covariances as gsplat's classic mode.
    """
    view = render(scene, camera, cam_from_world, channels=True, threads=threads)
    assert view.channels is not None and view.depth is not None
    np.multiply(view.channels, view.alpha[..., None], out=view.channels)
    return Composite(camera, cam_from_world, view.channels, view.depth, view.alpha)


def backward(
    scene: Scene,
    image: Composite,
    *,
    by_channels: Float32[np.ndarray, "h w c"] | None = None,
    by_depth: Float32[np.ndarray, "h w"] | None = None,
    by_alpha: Float32[np.ndarray, "h w"] | None = None,
    gaussians: bool = True,
    threads: int | None = None,
) -> Gradients:
    """Derivatives of a loss for the scene and the pose, given its derivatives for the image.

    They are those of the image as composited: the order of the Gaussians, an alpha clamped at 0.999, one below 1/255,
    and where a ray ends, count as fixed.

    Args:
        scene: the scene, unchanged since ``image`` was made.
        image: what :func:`composite` gave.
        by_channels: derivative for ``image.channels``; None = 0.
        by_depth: derivative for ``image.depth``.
        by_alpha: derivative for ``image.alpha``.
        gaussians: False gives the pose's derivative only, which is faster.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Raises:
        ValueError: for derivatives that are not finite or have another shape than the image.
    """
    result = _kernels.backward(
        scene.handle,
        camera_argument(image.camera),
        *pose_arguments(image.cam_from_world),
        contiguous(image.channels),
        contiguous(image.alpha),
        contiguous(image.depth),
        contiguous(by_channels),
        contiguous(by_alpha),
        contiguous(by_depth),
        gaussians,
        NEAR,
        thread_count(threads),
    )
    pose = result.pop("pose")
    if not gaussians:
        return Gradients(pose, None)
    visible = result.pop("visible") > 0
    return Gradients(pose, GaussianGradients(**result, visible=visible))
