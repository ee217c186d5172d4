"""What a source of poses for subsets of images is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.trajectory import Trajectory


@dataclass(frozen=True)
class PosedSubset:
    """The poses of one subset, or the reason why there are none."""

    trajectory: Trajectory
    """One estimate an image, in the order of the subset; the world is its first image, the unit of length arbitrary."""
    translation_observed: tuple[bool, ...]
    """For each image, whether the direction from the first one is told by parallax; False for failures."""
    evidence: Mapping[str, float] = field(default_factory=dict)
    """How well the images hang together: ``points``, ``shared_points`` (of the first two images), ``residual_px``."""

    def __post_init__(self) -> None:
        if len(self.translation_observed) != len(self.trajectory):
            raise ValueError(
                f"PosedSubset needs translation_observed for each of its {len(self.trajectory)} images; got "
                f"{len(self.translation_observed)}."
            )

    @staticmethod
    def of(
        frames: Sequence[Frame],
        subset: Sequence[int],
        estimates: Sequence[PoseEstimate],
        translation_observed: Sequence[bool],
        evidence: Mapping[str, float] | None = None,
    ) -> PosedSubset:
        """The answer for a subset, with the names and times of its frames."""
        times = np.array([frames[image].timestamp for image in subset])
        names = tuple(frames[image].name for image in subset)
        return PosedSubset(Trajectory(tuple(estimates), times, names), tuple(translation_observed), evidence or {})


def check_subsets(frames: Sequence[Frame], subsets: Sequence[Sequence[int]]) -> None:
    """What every provider asks of its input.

    Raises:
        ValueError: for a frame without an image, or a subset without two different frames.
    """
    for frame in frames:
        if frame.image is None:
            raise ValueError(f"Subsets need images; frame {frame.name!r} has depth only. Pass colour frames.")
    for subset in subsets:
        if len(set(subset)) != len(subset) or len(subset) < 2:
            raise ValueError(f"A subset needs at least two different images; got {list(subset)}.")


@runtime_checkable
class MultiViewProvider(Protocol):
    """Poses subsets of images; anything with these two members will do."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        ...

    def pose_subsets(
        self,
        frames: Sequence[Frame],
        subsets: Sequence[Sequence[int]],
        on_done: Callable[[], None] | None = None,
    ) -> list[PosedSubset]:
        """The poses of each subset; what the subsets share (keypoints, matches) is computed once.

        An image, or a whole subset, that cannot be posed is a failure with its reason in the trajectory.

        Args:
            frames: images with pinhole cameras.
            subsets: numbers of frames, at least two different ones each.
            on_done: called after each subset.

        Raises:
            ValueError: for a frame without an image, or a subset that is none.
        """
        ...
