"""What a map may be built from, shared by all methods so that none gets more than another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.pyramid import halved, halved_depth
from posesplat.evaluate.cloud_map import CloudMap
from posesplat.gaussians.lifting import fit_surface
from posesplat.gaussians.splat_map import SplatMap
from posesplat.geometry.frame import Frame
from posesplat.kernels.plane_fit import fit_planes
from posesplat.methods.mapping import build_map

Denoising = Literal["raw", "smoothed", "planes"]
"""raw = the sensor's depth; smoothed = as our own maps are; planes = least-squares planes in 11 x 11 pixels."""

_STRONG_RADIUS = 5
_MANY_FRAMES = 4


def denoised(frame: Frame, how: Denoising, threads: int | None = None) -> Frame:
    """The frame with its depth smoothed."""
    if how == "raw" or frame.depth is None:
        return frame
    if how == "smoothed":
        return replace(frame, depth=fit_surface(frame.depth, frame.camera, threads).depth)
    return replace(frame, depth=fit_planes(frame.depth, frame.camera, radius=_STRONG_RADIUS, threads=threads).depth)


def fitted_normals(frame: Frame, threads: int | None = None) -> Float[np.ndarray, "height width 3"]:
    """Unit normals towards the camera of planes fitted to raw depth; zero where no plane fits."""
    assert frame.depth is not None
    planes = fit_planes(frame.depth, frame.camera, radius=_STRONG_RADIUS, threads=threads).planes.astype(np.float64)
    length = np.linalg.norm(planes, axis=-1, keepdims=True)
    return np.divide(-planes, length, where=length > 0, out=np.zeros_like(planes))


def at_width(frame: Frame, width: int) -> Frame:
    """The frame halved until it is at most ``width`` pixels wide."""
    while frame.camera.width > width:
        camera = frame.camera.pyramid(2)[1]
        image = None
        if frame.image is not None:
            image = np.rint(halved(frame.image.astype(np.float32))).astype(np.uint8)
        frame = replace(
            frame, camera=camera, image=image, depth=None if frame.depth is None else halved_depth(frame.depth)
        )
    return frame


@dataclass(frozen=True)
class Reference:
    """Posed RGB-D frames; maps of Gaussians and clouds are made of them once, when first needed."""

    frames: tuple[Frame, ...]
    cam_from_world: tuple[RigidTransform, ...]
    threads: int | None = None
    _clouds: dict[tuple[Denoising, bool], CloudMap] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def scene(self) -> SplatMap:
        """The map of Gaussians, built as ``posesplat map`` does."""
        return build_map(list(self.frames), list(self.cam_from_world), threads=self.threads)

    def cloud(self, how: Denoising, with_normals: bool = False) -> CloudMap:
        """The map as points; of more than a few frames every second pixel in x and y, so that it fits in memory."""
        key = (how, with_normals)
        if key not in self._clouds:
            thin = _every_second_pixel if len(self.frames) > _MANY_FRAMES else _all_pixels
            normals = [fitted_normals(frame, self.threads) for frame in self.frames] if with_normals else None
            self._clouds[key] = CloudMap.from_frames(
                self.frames,
                list(self.cam_from_world),
                denoise=lambda frame: thin(denoised(frame, how, self.threads)),
                normals_in_cam=normals,
            )
        return self._clouds[key]

    def nearest(self, cam_from_world: RigidTransform) -> int:
        """The index of the frame seen from the least distance to a pose."""
        centre = cam_from_world.inv().translation
        distances = [np.linalg.norm(pose.inv().translation - centre) for pose in self.cam_from_world]
        return int(np.argmin(distances))


def _all_pixels(frame: Frame) -> Frame:
    return frame


def _every_second_pixel(frame: Frame) -> Frame:
    assert frame.depth is not None
    depth = np.zeros_like(frame.depth)
    depth[::2, ::2] = frame.depth[::2, ::2]
    return replace(frame, depth=depth)
