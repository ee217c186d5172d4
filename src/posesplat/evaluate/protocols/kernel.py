"""Times of the compiled kernels: one call of each, as localisation makes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat import _kernels
from posesplat.align.pyramid import query_pyramid
from posesplat.datasets.rooms import box_room
from posesplat.evaluate.protocols.report import Column, Report, Row, Table
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.lifting import LiftOptions, lift
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import perturbed
from posesplat.kernels.splatting import FrozenView, lookup, normal_equations
from posesplat.render.cpu import CpuRenderer

_WIDTHS = (640, 320, 160)
_OFFSET = np.array([0.01, -0.008, 0.005, 0.01, -0.01, 0.01])


@dataclass(frozen=True)
class KernelSettings:
    """What is timed and how often."""

    runs: int = 15
    """Timed calls of each kernel after two that are not; the median is reported."""
    widths: tuple[int, ...] = (320, 640)
    """Image widths in pixels; heights are three quarters."""
    strides: tuple[int, ...] = (2, 1)
    """The scene has one Gaussian every so many pixels of a 640 x 480 frame: 2 gives 77 k, 1 gives 307 k."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads; the first is what the others are compared with."""
    seed: int = 0
    """Of the room."""

    def __post_init__(self) -> None:
        if self.runs < 1 or not all((self.widths, self.strides, self.threads)):
            raise ValueError(f"The kernel benchmark needs at least one run, width, stride and thread; got {self}.")
        if not set(self.widths) <= set(_WIDTHS) or min(self.strides) < 1 or min(self.threads) < 1:
            raise ValueError(
                f"The kernel benchmark needs widths among {_WIDTHS}, and strides and threads of at least 1; got {self}."
            )


COLUMNS = (
    Column("kernel", "kernel"),
    Column("gaussians", "Gaussians"),
    Column("size", "image"),
    Column("instruction_set", "instruction set"),
    Column("threads", "threads"),
    Column("runs", "runs"),
    Column("median_ms", "ms", ".2f"),
    Column("least_ms", "least ms", ".2f"),
    Column("speed_up", "x 1 thread", ".2f"),
    Column("speed_up_of_least", "of least", ".2f"),
    Column("baseline_ms", "baseline ms", ".2f"),
    Column("times_baseline", "x baseline", ".2f"),
)


def run(settings: KernelSettings, report: Report, on_progress: Callable[[str, int, int], None]) -> None:
    """Time every kernel at every size, in the best instruction set and in the baseline; rows are reported as they are.

    Args:
        settings: what and how often.
        report: gets the table, also after an interrupt.
        on_progress: called with what is done, the number of parts done, and their total.
    """
    frame = box_room(settings.seed).render(_camera(640), box_room(settings.seed).default_view, supersample=1)
    rows: list[Row] = []
    total = len(settings.strides) * len(settings.widths)
    try:
        for stride in settings.strides:
            gaussians = lift(frame, options=LiftOptions(stride=stride)).gaussians
            for width in settings.widths:
                on_progress("kernel", len(rows) // (4 * len(settings.threads)), total)
                for name, call in _calls(gaussians, frame, width).items():
                    rows += _timed(name, call, settings, {"gaussians": len(gaussians), "size": _size(width)})
    finally:
        if rows:
            note = "Baseline: the same source compiled for any processor of this kind, timed in turn with the other."
            title = "One call of each kernel on the frame of a room"
            report.tables.append(Table("kernel", title, COLUMNS, tuple(rows), (note,)))


def _camera(width: int) -> Camera:
    scale = width / 640
    return Camera(525 * scale, 525 * scale, 320 * scale, 240 * scale, width, width * 3 // 4)


def _size(width: int) -> str:
    return f"{width} x {width * 3 // 4}"


def _calls(gaussians: Gaussians, frame: Frame, width: int) -> dict[str, Callable[[int], object]]:
    """Calls that take a number of threads; the pose is a little off, so that residuals are not zero."""
    camera = _camera(width)
    query = query_pyramid(frame)[_WIDTHS.index(width)]
    pose = perturbed(RigidTransform.identity(), _OFFSET)
    plain, grey = CpuRenderer(gaussians), CpuRenderer(gaussians, "grey")
    frozen = FrozenView(grey.planes(camera, RigidTransform.identity()))

    def forward(threads: int) -> object:
        plain.threads = threads
        return plain.depth(camera, pose)

    def plane(threads: int) -> object:
        return normal_equations(plain.scene, camera, pose, depth=query.depth, layer=plain.layer, threads=threads)

    def joint(threads: int) -> object:
        return normal_equations(
            grey.scene, camera, pose, depth=query.depth, channels=query.channels, layer=grey.layer, threads=threads
        )

    def looked_up(threads: int) -> object:
        return lookup(
            frozen,
            camera,
            pose,
            depth=query.depth,
            channels=query.channels,
            gradients=query.gradients,
            threads=threads,
        )

    return {
        "forward depth": forward,
        "planes + normal equations": plane,
        "planes, grey + normal equations": joint,
        "lookup, depth and grey": looked_up,
    }


def _timed(name: str, call: Callable[[int], object], settings: KernelSettings, fields: Row) -> list[Row]:
    """One row for each number of threads; all variants take turns, so that a busy machine is busy for all of them."""
    best, baseline = _kernels.instruction_set(), _kernels.instruction_sets()[0]
    variants = [(kind, threads) for threads in settings.threads for kind in dict.fromkeys((best, baseline))]
    times: dict[tuple[str, int], list[float]] = {variant: [] for variant in variants}
    for run_number in range(-2, settings.runs):
        for kind, threads in variants:
            with _instruction_set(kind):
                began = time.perf_counter()
                call(threads)
                spent = time.perf_counter() - began
            if run_number >= 0:
                times[kind, threads].append(1e3 * spent)
    medians = {variant: float(np.median(values)) for variant, values in times.items()}
    return [
        {
            "kernel": name,
            **fields,
            "instruction_set": best,
            "threads": threads,
            "runs": settings.runs,
            "median_ms": medians[best, threads],
            "least_ms": min(times[best, threads]),
            "speed_up_of_least": min(times[best, settings.threads[0]]) / min(times[best, threads]),
            "speed_up": medians[best, settings.threads[0]] / medians[best, threads],
            "baseline": baseline,
            "baseline_ms": medians[baseline, threads],
            "times_baseline": medians[baseline, threads] / medians[best, threads],
        }
        for threads in settings.threads
    ]


@contextmanager
def _instruction_set(name: str) -> Iterator[None]:
    before = _kernels.instruction_set()
    _kernels.select_instruction_set(name)
    try:
        yield
    finally:
        _kernels.select_instruction_set(before)
