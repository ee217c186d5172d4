"""The CPU renderer: a set of Gaussians ready to be seen from anywhere."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.kernels.splatting import Scene, View, render

Channels = Literal["none", "grey", "rgb", "features"]

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601), as OpenCV uses them."""


def channel_values(
    gaussians: Gaussians, channels: Channels, seen_from: Float[np.ndarray, "3"] | None = None
) -> Float32[np.ndarray, "n c"] | None:
    """Per-Gaussian channel values; view-dependent colour is evaluated for a camera at ``seen_from``.

    Raises:
        ValueError: when the Gaussians do not carry the channels asked for.
    """
    if channels == "none":
        return None
    if channels == "features":
        if gaussians.features is None:
            raise ValueError("These Gaussians carry no features; got features=None. Choose grey, rgb or none.")
        return gaussians.features
    rgb = gaussians.rgb(seen_from)
    return rgb if channels == "rgb" else (rgb @ LUMA)[:, None]


LAYER = 0.02
"""Relative depth within which splats count as one surface and are averaged instead of hiding each other."""


class CpuRenderer:
    """Renders one set of Gaussians with the compiled kernels."""

    def __init__(
        self,
        gaussians: Gaussians,
        channels: Channels = "none",
        seen_from: Float[np.ndarray, "3"] | None = None,
        threads: int | None = None,
        layer: float = LAYER,
    ) -> None:
        self.gaussians = gaussians
        self.layer = layer
        self.threads = threads
        self.scene = Scene(
            gaussians.means_in_world,
            gaussians.quats_wxyz,
            gaussians.scales,
            gaussians.opacities,
            gaussians.normals(),
            channel_values(gaussians, channels, seen_from),
        )

    def planes(self, camera: Camera, cam_from_world: RigidTransform) -> View:
        """Plane vectors, their variance, alpha and channels (if any)."""
        return render(
            self.scene,
            camera,
            cam_from_world,
            planes=True,
            channels=self.scene.channels > 0,
            layer=self.layer,
            threads=self.threads,
        )

    def depth(self, camera: Camera, cam_from_world: RigidTransform, jacobian: bool = False) -> View:
        """Expected depth of the centres (gsplat's "ED"), alpha, and on request its exact pose Jacobian."""
        return render(self.scene, camera, cam_from_world, jacobian=jacobian, threads=self.threads)


def plane_depth(view: View) -> Float32[np.ndarray, "h w"]:
    """Depth of the rendered planes along each pixel's ray in metres; 0 where nothing was rendered."""
    if view.planes is None:
        raise ValueError("plane_depth needs a view rendered with planes; got one with expected depth only.")
    inverse = np.einsum("hwk,hwk->hw", view.planes, view.camera.rays())
    seen = (inverse > 1e-6) & (view.alpha > 0)
    depth = np.zeros_like(inverse)
    np.divide(1.0, inverse, out=depth, where=seen)
    return depth
