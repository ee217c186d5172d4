"""Estimates of a video's frames, told in the order of the frames however late they come."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame, UnreadableFrame
from posesplat.geometry.trajectory import Trajectory


class Recorder:
    """One estimate a frame; the listener hears of each once it and all before it are known."""

    def __init__(
        self, on_estimate: Callable[[str, PoseEstimate], None] | None = None, done: Trajectory | None = None
    ) -> None:
        """Begin with nothing, or after the frames that are ``done`` and told."""
        self._names: list[str] = [] if done is None else list(done.names)
        self._timestamps: list[float] = [] if done is None else list(done.timestamps)
        self._estimates: list[PoseEstimate | None] = [] if done is None else list(done)
        self._told = len(self._estimates)
        self._on_estimate = on_estimate
        self._clock = time.perf_counter()

    def __len__(self) -> int:
        return len(self._names)

    def register(self, frame: Frame | UnreadableFrame) -> int:
        """Take the next frame; returns its number."""
        self._names.append(frame.name)
        self._timestamps.append(frame.timestamp)
        self._estimates.append(None)
        return len(self._names) - 1

    def name(self, index: int) -> str:
        """The name of a frame."""
        return self._names[index]

    def give(self, index: int, estimate: PoseEstimate) -> None:
        """Say what is known of a frame; a later answer replaces an earlier one."""
        self._estimates[index] = estimate

    def rescale(self, scale: Scale) -> None:
        """Say what the unit of the estimates so far is: that of the world once something sets it."""
        for index, estimate in enumerate(self._estimates):
            if estimate is not None and estimate.success:
                self._estimates[index] = estimate.replace(scale=scale)

    def estimate(self, index: int) -> PoseEstimate | None:
        """What is known of a frame by now."""
        return self._estimates[index]

    def tell(self) -> None:
        """Tell the listener what is known by now, up to the first frame that still waits; share out the time spent."""
        ready = []
        for estimate in self._estimates[self._told :]:
            if estimate is None:
                break
            ready.append(estimate)
        now = time.perf_counter()
        spent = (now - self._clock) / max(len(ready), 1)
        self._clock = now if ready else self._clock
        for estimate in ready:
            timed = estimate.replace(runtime_s=spent)
            self._estimates[self._told] = timed
            if self._on_estimate is not None:
                self._on_estimate(self._names[self._told], timed)
            self._told += 1

    def trajectory(self) -> Trajectory:
        """All frames up to the first one that still waits."""
        self.tell()
        done = [estimate for estimate in self._estimates[: self._told] if estimate is not None]
        return Trajectory(tuple(done), np.array(self._timestamps[: self._told]), tuple(self._names[: self._told]))
