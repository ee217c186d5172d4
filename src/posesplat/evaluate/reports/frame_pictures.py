"""A few frames of a sequence beside what a scene of Gaussians shows at their poses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from posesplat.align.tracks import evenly_spread
from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.reports.page import Page
from posesplat.evaluate.reports.pictures import Comparison, compare_frame
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.trajectory import Trajectory
from posesplat.providers.masks.provider import MaskProvider


@dataclass(frozen=True)
class ShownFrame:
    """A frame and how the scene looks from where it was found."""

    name: str
    comparison: Comparison


def compared_frames(
    scene: Gaussians,
    frames: FrameSequence,
    trajectory: Trajectory,
    among: Bool[np.ndarray, " n"],
    count: int,
    unit: str | None,
    masks: MaskProvider | None = None,
    threads: int | None = None,
) -> Iterator[ShownFrame]:
    """Render the scene for some frames, spread evenly.

    Args:
        scene: what is rendered.
        frames: those of the trajectory, in its order; the ones that are shown are read again.
        trajectory: where they were found.
        among: which frames may be shown; they have poses.
        count: how many are.
        unit: of the world, for captions; None when measured depth is in another one and not compared.
        masks: which pixels were used, where not all were.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
    """
    chosen = np.flatnonzero(among)
    for index in chosen[evenly_spread(len(chosen), count)]:
        pose = trajectory[int(index)].cam_from_world
        if pose is None:
            continue
        frame = frames[int(index)]
        mask = None if masks is None else masks.mask(frame)
        comparison = compare_frame(scene, frame, pose, unit, threads, mask)
        yield ShownFrame(trajectory.names[index], comparison)


def add_frame_pictures(
    page: Page, shown: Iterable[ShownFrame], level: int = 2, heading: str = "Map and camera", note: str = ""
) -> None:
    """Rendered, seen and difference for some frames."""
    for number, frame in enumerate(shown):
        if number == 0:
            page.add_heading(heading, level)
            text = "Brightness is matched before grey values are compared. Dark slate: nothing there."
            page.add_text(f"{note} {text}" if note else text)
        for pictures in (frame.comparison.colour, frame.comparison.depth):
            if pictures:
                page.add_pictures(pictures, f"Frame {frame.name}")
