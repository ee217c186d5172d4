"""Gaussians to images and back, for training: one differentiable entry over our kernels (CPU) and gsplat (CUDA).

Both draw plain front-to-back alpha blending with the same footprint, so that the same scene gives the same numbers:
:func:`posesplat.kernels.gradients.composite` on the CPU, gsplat's classic mode with its expected depth on CUDA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform
from torch import Tensor

from posesplat.geometry.cameras import Camera
from posesplat.learned.plain_rasteriser import NEAR, composite_plain

Backend = Literal["auto", "kernels", "gsplat", "plain"]


@dataclass(frozen=True)
class Rendering:
    """Images of a batch of scenes, composited on black."""

    channels: Float[Tensor, "b v h w c"]
    """Sum of w c; black shows through where alpha is below 1."""
    depth: Float[Tensor, "b v h w"]
    """Expected depth of the centres, sum w z / sum w; 0 where alpha is 0."""
    alpha: Float[Tensor, "b v h w"]
    """Accumulated opacity."""


def rasterise(
    means_in_world: Float[Tensor, "b n 3"],
    quats_wxyz: Float[Tensor, "b n 4"],
    scales: Float[Tensor, "b n 3"],
    opacities: Float[Tensor, "b n"],
    channels: Float[Tensor, "b n c"],
    cam_from_world: Float[Tensor, "b v 4 4"],
    intrinsics_px: Float[Tensor, "b v 3 3"],
    width: int,
    height: int,
    *,
    backend: Backend = "auto",
) -> Rendering:
    """Render b scenes of n Gaussians from v views each, differentiable in everything but the intrinsics.

    Args:
        means_in_world: centres.
        quats_wxyz: orientations, of any length but zero.
        scales: standard deviations along the axes, in units of the world.
        opacities: in [0, 1].
        channels: colours or features; for spherical harmonics see :func:`posesplat.learned.harmonics.view_colours`.
        cam_from_world: poses, rigid. The kernels' gradient is the one along rigid motions; a gradient that would
            leave them is dropped.
        intrinsics_px: pinholes in corner-based pixels.
        width: of the images.
        height: of the images.
        backend: "auto" takes gsplat for CUDA tensors and the kernels for the others; "plain" is the slow torch twin.

    Raises:
        ValueError: for a backend that does not fit the tensors' device, or is unknown.
        ImportError: when gsplat is asked for and not installed.
    """
    on_gpu = means_in_world.is_cuda
    if backend == "auto":
        backend = "gsplat" if on_gpu else "kernels"
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}; got {backend!r}.")
    if (backend == "gsplat") != on_gpu and backend != "plain":
        raise ValueError(
            f"backend {backend!r} needs {'CUDA' if backend == 'gsplat' else 'CPU'} tensors; "
            f"got {means_in_world.device}. Move the tensors, or take backend='auto'."
        )
    gaussians = (means_in_world, quats_wxyz, scales, opacities, channels)
    if backend == "gsplat":
        return _by_gsplat(gaussians, cam_from_world, intrinsics_px, width, height)
    views = []
    for scene in range(len(means_in_world)):
        parts = [part[scene] for part in gaussians]
        for pose, intrinsics in zip(cam_from_world[scene], intrinsics_px[scene], strict=True):
            if backend == "plain":
                means, quats, sizes, opacity, values = parts
                views.append(composite_plain(means, quats, sizes, opacity, values, pose, intrinsics, width, height))
            else:
                fx, fy, cx, cy = (float(intrinsics[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
                views.append(_KernelComposite.apply(*parts, pose, Camera(fx, fy, cx, cy, width, height)))
    sizes = cam_from_world.shape[:2]
    images, depths, alphas = (torch.stack(kind).unflatten(0, sizes) for kind in zip(*views, strict=True))
    return Rendering(images, depths, alphas)


class _KernelComposite(torch.autograd.Function):
    """One view of one scene by the kernels, forward and backward."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        from posesplat.kernels.gradients import composite
        from posesplat.kernels.splatting import Scene

        *tensors, camera = arguments
        means, quats, scales, opacities, channels, pose = (tensor.detach().cpu() for tensor in tensors)
        normals = np.zeros(means.shape, dtype=np.float32)
        normals[:, 2] = 1.0  # of no account here: planes are not rendered
        means_, quats_, scales_, opacities_, channels_ = (
            array.float().numpy() for array in (means, quats, scales, opacities, channels)
        )
        scene = Scene(means_, quats_, scales_, opacities_, normals, channels_)
        cam_from_world = RigidTransform.from_matrix(pose.double().numpy())
        image = composite(scene, camera, cam_from_world)
        ctx.scene, ctx.image, ctx.pose = scene, image, pose.double()
        ctx.dtypes = [tensor.dtype for tensor in tensors]
        dtype = means.dtype
        return tuple(torch.from_numpy(part.copy()).to(dtype) for part in (image.channels, image.depth, image.alpha))

    @staticmethod
    def backward(ctx: Any, *by_outputs: Tensor) -> tuple[Any, ...]:
        from posesplat.kernels.gradients import backward

        by_channels, by_depth, by_alpha = (by.detach().float().contiguous().numpy() for by in by_outputs)
        found = backward(ctx.scene, ctx.image, by_channels=by_channels, by_depth=by_depth, by_alpha=by_alpha)
        assert found.gaussians is not None
        by = found.gaussians
        parts = (by.means_in_world, by.quats_wxyz, by.scales, by.opacities, by.channels)
        tensors = [torch.from_numpy(part) for part in parts]
        tensors.append(_by_matrix(torch.from_numpy(found.pose), ctx.pose))
        return *(tensor.to(dtype) for tensor, dtype in zip(tensors, ctx.dtypes, strict=True)), None


def _by_matrix(by_tangent: Float[Tensor, "6"], cam_from_world: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
    """The derivative for a pose's matrix that gives the one for its left tangent (rotation, translation).

    exp(xi) moves R by [omega] R and t by omega x t + v; with a = g_omega - t x g_v, the matrix [a] R / 2 has the inner
    product a . omega with [omega] R.
    """
    by_translation = by_tangent[3:]
    a, b, c = by_tangent[:3] - torch.linalg.cross(cam_from_world[:3, 3], by_translation)
    zero = torch.zeros_like(a)
    turn = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero]).reshape(3, 3)
    result = torch.zeros_like(cam_from_world)
    result[:3, :3] = 0.5 * turn @ cam_from_world[:3, :3]
    result[:3, 3] = by_translation
    return result


def _by_gsplat(
    gaussians: tuple[Tensor, ...],
    cam_from_world: Float[Tensor, "b v 4 4"],
    intrinsics_px: Float[Tensor, "b v 3 3"],
    width: int,
    height: int,
) -> Rendering:
    from gsplat import rasterization

    images, alphas, _ = rasterization(
        *(part.float().contiguous() for part in gaussians),
        viewmats=cam_from_world.float().contiguous(),
        Ks=intrinsics_px.float().contiguous(),
        width=width,
        height=height,
        near_plane=NEAR,
        render_mode="RGB+ED",
        packed=False,
    )
    return Rendering(images[..., :-1], images[..., -1], alphas[..., 0])
