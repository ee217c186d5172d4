"""Poses of a sequence as they come, so that an interrupted command keeps those it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from posesplat.cli.progress import progress_bar

if TYPE_CHECKING:
    from posesplat.datasets.sequences import FrameSequence
    from posesplat.geometry.estimate import PoseEstimate
    from posesplat.geometry.trajectory import Trajectory


def collected(
    label: str, frames: FrameSequence, work: Callable[[Callable[[str, PoseEstimate], None]], object]
) -> tuple[Trajectory, bool]:
    """The poses of the frames done, and whether the rest was interrupted.

    Args:
        label: stands before the progress bar.
        frames: what is posed, in order.
        work: poses them, and hands each frame's name and estimate to the function that it is given.
    """
    from posesplat.geometry.trajectory import Trajectory

    done: list[PoseEstimate] = []
    interrupted = False
    with progress_bar(label, len(frames)) as advance:

        def keep(name: str, estimate: PoseEstimate) -> None:
            done.append(estimate)
            advance("" if estimate.success else f"{name}: {estimate.reason}")

        try:
            work(keep)
        except KeyboardInterrupt:
            interrupted = True
    return Trajectory(tuple(done), frames.timestamps[: len(done)], frames.names[: len(done)]), interrupted
