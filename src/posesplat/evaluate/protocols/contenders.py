"""The methods that are compared: ours, the published one, point-cloud registration, and doing nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from posesplat.align.gsplatloc import GsplatlocOptions, gsplatloc_gaussians, gsplatloc_refine
from posesplat.evaluate import rivals
from posesplat.evaluate.cloud_map import CloudMap
from posesplat.evaluate.protocols.reference import Denoising, Reference, at_width, denoised
from posesplat.evaluate.protocols.trials import Locate, Method, Query
from posesplat.evaluate.rivals import RegistrationOptions
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.methods.localize import LocalizeOptions, Localizer, ObjectiveName

PLANE = "ours, plane"
JOINT = "ours, joint"
COLOUR = "ours, colour"
UNSTARTED = "ours, colour, no start"
GSPLATLOC = "GSplatLoc"
IDENTITY = "identity"
VELOCITY = "constant velocity"

ARRIVAL = (0.5, 0.2, 0.1)
"""Correspondence distances that reach the answer from 20 cm and 10 degrees, in metres."""
CLOSE = (*ARRIVAL, 0.05, 0.03)
"""The same, and then only the closest neighbours: better on clean depth."""


_DEFAULT_STOP: dict[str, Any] = {
    "max_correspondence_distances_m": (0.5,),
    "max_iterations": 20,
    "translation_eps_m": 1e-3,
    "rotation_eps_rad": math.radians(0.1),
    "acceptable_step": math.inf,
}


@dataclass(frozen=True)
class Registration:
    """One configuration of a rival."""

    kind: str
    """GICP or ICP (point to plane)."""
    voxel_size_m: float
    denoising: Denoising = "raw"
    distances_m: tuple[float, ...] = ARRIVAL
    fitted_normals: bool = False
    """Point to plane only: normals of planes fitted in the depth image rather than to neighbouring points."""
    most_queries: int | None = None
    """For configurations that are too slow for more, and not the rival's best."""
    default_stop: bool = False
    """Stop as small_gicp does by default (1 mm, 0.1 degrees, 20 steps): less accurate, and faster."""

    @property
    def name(self) -> str:
        """As it stands in the tables."""
        parts = [f"{self.kind} {100 * self.voxel_size_m:g} cm", self.denoising]
        parts += ["close"] if self.distances_m == CLOSE else []
        parts += ["fitted normals"] if self.fitted_normals else []
        parts += ["default stop"] if self.default_stop else []
        return ", ".join(parts)


def ours(objective: ObjectiveName, name: str, threads: int | None = None, start: bool = True) -> Method:
    """Localisation in the reference's map of Gaussians; without depth for the colour objective."""

    def prepare(reference: Reference) -> Locate:
        localizer = Localizer(reference.scene, LocalizeOptions(objective=objective, threads=threads))
        localizer.prepare(reference.frames[0])

        def locate(query: Query) -> PoseEstimate:
            frame = replace(query.frame, depth=None) if objective == "colour" else query.frame
            return localizer.localize(frame, query.start if start else None)

        return locate

    return Method(name, prepare, ours=True)


def registration(configuration: Registration, threads: int | None = None) -> Method:
    """A rival on point clouds; denoising the query is part of its time, preparing the map is not."""
    options = RegistrationOptions(
        voxel_size_m=configuration.voxel_size_m,
        max_correspondence_distances_m=configuration.distances_m,
        num_threads=threads or 1,
    )
    if configuration.default_stop:
        options = replace(options, **_DEFAULT_STOP)
    method = rivals.gicp if configuration.kind == "GICP" else rivals.point_to_plane_icp

    def denoise(frame: Frame) -> Frame:
        return denoised(frame, configuration.denoising, threads)

    def prepare(reference: Reference) -> Locate:
        cloud: CloudMap = reference.cloud(configuration.denoising, configuration.fitted_normals)
        return lambda query: method(query.frame, query.start, cloud, options, denoise)

    return Method(configuration.name, prepare, most_queries=configuration.most_queries)


def gsplatloc(
    most_queries: int, width: int = 320, options: GsplatlocOptions = GsplatlocOptions(), threads: int | None = None
) -> Method:
    """The published method on true sensor depth; its map is that of the reference frame nearest to the start."""

    def prepare(reference: Reference) -> Locate:
        maps: dict[int, Gaussians] = {}

        def locate(query: Query) -> PoseEstimate:
            index = reference.nearest(query.start)
            if index not in maps:
                frame = at_width(reference.frames[index], width)
                maps[index] = gsplatloc_gaussians(frame, reference.cam_from_world[index], options)
            began = time.perf_counter()
            result = gsplatloc_refine(maps[index], at_width(query.frame, width), query.start, options, threads=threads)
            runtime_s = time.perf_counter() - began
            if result.cam_from_world is None:
                return PoseEstimate.failure(result.reason, runtime_s=runtime_s)
            return PoseEstimate(
                True, "", result.cam_from_world, runtime_s=runtime_s, iterations=result.iterations, cost=result.loss
            )

        return locate

    return Method(f"{GSPLATLOC} {width} px", prepare, most_queries=most_queries)


def identity() -> Method:
    """The start itself."""
    return Method(IDENTITY, lambda reference: lambda query: rivals.identity(query.frame, query.start))


def constant_velocity() -> Method:
    """The last true motion once more."""

    def locate(query: Query) -> PoseEstimate:
        if query.history is None:
            return PoseEstimate.failure("The first frames have no motion before them.")
        return rivals.constant_velocity(*query.history)

    return Method(VELOCITY, lambda reference: locate)


def chosen(methods: list[Method], names: Sequence[str]) -> list[Method]:
    """The methods whose name contains one of ``names``, whatever the case; all of them for none."""
    return [method for method in methods if not names or any(name.lower() in method.name.lower() for name in names)]
