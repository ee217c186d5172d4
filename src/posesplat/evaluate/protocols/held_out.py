"""Frames held out of a map and asked for again: the protocol of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.protocols.reference import Reference
from posesplat.evaluate.protocols.trials import Answer, Query
from posesplat.geometry.trajectory import Trajectory

_HISTORY = 2
"""Frames that the constant-velocity baseline needs before the one that is asked for."""


@dataclass(frozen=True)
class HeldOut:
    """A sequence split into frames of the map and frames that are asked for."""

    frames: FrameSequence
    """All frames, with true poses."""
    map_indices: tuple[int, ...]
    """Frames of the map."""
    query_indices: tuple[int, ...]
    """Frames asked for; none of them is in the map."""

    @staticmethod
    def split(frames: FrameSequence, map_every: int = 2, most_queries: int | None = None) -> HeldOut:
        """Every ``map_every``-th frame into the map, of the others at most ``most_queries``, evenly spread.

        The first frames are not asked for where there are later ones, as they have no motion before them.

        Raises:
            ValueError: when true poses are missing, or nothing is left to ask for.
        """
        if frames.cam_from_world is None or any(pose is None for pose in frames.cam_from_world):
            raise ValueError("Held-out frames need the true pose of every frame; some are missing. Use other frames.")
        others = [index for index in range(len(frames)) if index % map_every]
        if not others:
            raise ValueError(
                f"Frames to ask for must be left when every {map_every}th of {len(frames)} goes into the map; got none."
            )
        others = [index for index in others if index >= _HISTORY] or others
        if most_queries is not None and len(others) > most_queries:
            # The middles of equal parts.
            spread = (np.arange(most_queries) + 0.5) * len(others) / most_queries
            others = [others[int(position)] for position in spread]
        return HeldOut(frames, tuple(range(0, len(frames), map_every)), tuple(others))

    def reference(self, threads: int | None = None) -> Reference:
        """What maps are built from."""
        images = tuple(self.frames[index] for index in self.map_indices)
        return Reference(images, tuple(self._pose(index) for index in self.map_indices), threads)

    def queries(self) -> list[tuple[int, Query]]:
        """The frames asked for with their index; each starts at the true pose of the nearest frame of the map."""
        found = []
        for index in self.query_indices:
            nearest = min(self.map_indices, key=lambda other: abs(other - index))
            history = (self._pose(index - 2), self._pose(index - 1)) if index >= _HISTORY else None
            found.append((index, Query(self.frames[index], self._pose(nearest), self._pose(index), history)))
        return found

    def _pose(self, index: int) -> RigidTransform:
        poses = self.frames.cam_from_world
        pose = None if poses is None else poses[index]
        if pose is None:
            raise ValueError(f"Frame {self.frames.names[index]!r} has no true pose. Use frames with true poses.")
        return pose


def answered_trajectory(answers: Sequence[Answer], method: str) -> tuple[Trajectory, list[RigidTransform]]:
    """One method's answers as a trajectory, and the true poses of its frames."""
    chosen = [answer for answer in answers if answer.method == method]
    trajectory = Trajectory(
        tuple(answer.estimate for answer in chosen),
        np.array([answer.query.frame.timestamp for answer in chosen]),
        tuple(answer.query.frame.name for answer in chosen),
    )
    return trajectory, [answer.query.true for answer in chosen]
