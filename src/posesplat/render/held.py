"""A renderer that keeps its last view for as long as the camera stays near it."""

from __future__ import annotations

from copy import copy

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.kernels.splatting import View
from posesplat.render.cpu import Channels, CpuRenderer


class HeldRenderer(CpuRenderer):
    """Renders again only when the camera has left the last view; views tell the pose they were rendered at.

    For frames of a nearly still camera, which :class:`posesplat.kernels.splatting.FrozenView` compares with one view.
    """

    def __init__(
        self, gaussians: Gaussians, channels: Channels = "none", held_px: float = 20.0, threads: int | None = None
    ) -> None:
        """Prepare Gaussians.

        Args:
            gaussians: what is rendered.
            channels: see :func:`posesplat.render.cpu.channel_values`.
            held_px: a view is kept while the camera is within this many pixels at unit depth.
            threads: see :func:`posesplat.kernels.threads.thread_count`.
        """
        super().__init__(gaussians, channels, threads=threads)
        self._held_px = held_px
        self._last: View | None = None

    def planes(self, camera: Camera, cam_from_world: RigidTransform) -> View:
        """A view of this camera from the given pose or near it."""
        last = self._last
        if last is None or last.camera != camera or self._moved_px(last, cam_from_world) > self._held_px:
            last = self._last = super().planes(camera, cam_from_world)
        return last

    def apart(self, threads: int | None = None) -> HeldRenderer:
        """A renderer of the same Gaussians, begun with the same view, that is free to hold another one."""
        another = copy(self)
        another.threads = threads
        return another

    @staticmethod
    def _moved_px(view: View, cam_from_world: RigidTransform) -> float:
        change = poses.log(cam_from_world * view.cam_from_world.inv())
        return float(np.abs(change).max()) * view.camera.fx
