"""Clips, and batches drawn from them: a few context views, and target views between them. Nothing knows a pose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info


@dataclass(frozen=True, eq=False)
class Clip:
    """Pictures of one place in the order in which a camera took them, and its lens."""

    images: UInt8[np.ndarray, "n h w 3"]
    """RGB."""
    intrinsics: Float32[np.ndarray, "n 3 3"]
    """Normalised pinholes: first row over the width, second over the height, corner-based."""


@runtime_checkable
class ClipSource(Protocol):
    """Where clips come from; all have pictures of one size."""

    def __len__(self) -> int:
        """How many clips there are."""
        ...

    def __getitem__(self, index: int) -> Clip:
        """One of them, the same at every call."""
        ...


@dataclass(frozen=True)
class Batch:
    """Views for one step of training: context first, then targets."""

    images: Float[Tensor, "b v 3 h w"]
    """RGB in [0, 1]."""
    intrinsics: Float[Tensor, "b v 3 3"]
    """Normalised pinholes."""
    context: int
    """How many of the views are context."""

    def pin_memory(self) -> Batch:
        """The batch in memory from which a GPU copies without waiting; the loader calls it."""
        return Batch(self.images.pin_memory(), self.intrinsics.pin_memory(), self.context)


@dataclass(frozen=True)
class GapSchedule:
    """How far apart the first and the last context view are, in frames: near at first, then farther.

    Source: SPFSplat, arXiv 2508.01171: on RealEstate10K from 25 to between 45 and 150 frames over half the training.
    """

    start: int = 2
    """Frames between them at first."""
    end_min: int = 2
    """Least number of frames between them in the end."""
    end_max: int = 9
    """Largest number in the end."""
    until: float = 0.4
    """Part of the training at which the end is reached."""

    def __post_init__(self) -> None:
        if not (self.start >= 2 and 2 <= self.end_min <= self.end_max and 0 < self.until <= 1):
            raise ValueError(
                f"GapSchedule needs gaps of at least 2 frames, end_min <= end_max and 0 < until <= 1; got {self}."
            )

    def bounds(self, progress: float) -> tuple[int, int]:
        """Least and largest gap at a part of the training between 0 and 1."""
        done = min(progress / self.until, 1.0)
        low = round(self.start + done * (self.end_min - self.start))
        return low, max(low, round(self.start + done * (self.end_max - self.start)))


@dataclass(frozen=True)
class SamplingOptions:
    """How batches are drawn."""

    batch: int = 8
    """Scenes in a batch."""
    max_context: int = 2
    """Most context views; a quarter of the batches have between 3 and this many."""
    targets: int = 1
    """Target views."""
    gaps: GapSchedule = GapSchedule()
    """Distance of the outer context views."""
    exposure: float = 0.15
    """Largest relative change of brightness, the same for all views of a scene."""
    seed: int = 0
    """The same seed and number give the same batch."""


def draw_batch(source: ClipSource, options: SamplingOptions, number: int, progress: float) -> Batch:
    """One batch: its clips, views, mirroring and exposure follow from the seed and its number.

    Raises:
        ValueError: for a clip of fewer than three pictures.
    """
    rng = np.random.default_rng([options.seed, number])
    context = 2
    if options.max_context > 2 and rng.random() < 0.25:
        context = int(rng.integers(3, options.max_context + 1))
    images, intrinsics = [], []
    for _ in range(options.batch):
        index = int(rng.integers(len(source)))
        clip = source[index]
        if len(clip.images) < 3:
            raise ValueError(
                f"A training clip needs at least 3 pictures; clip {index} has {len(clip.images)}. Leave it out."
            )
        chosen = _views(rng, len(clip.images), context, options.targets, options.gaps.bounds(progress))
        picture, lens = clip.images[chosen], clip.intrinsics[chosen].copy()
        if rng.random() < 0.5:
            picture = picture[:, :, ::-1]
            lens[:, 0, 2] = 1.0 - lens[:, 0, 2]
        gain = 1.0 + options.exposure * rng.uniform(-1.0, 1.0, size=3)
        images.append(np.clip(picture * (gain / 255.0).astype(np.float32), 0.0, 1.0))
        intrinsics.append(lens)
    stacked = torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 1, 4, 2, 3), dtype=np.float32))
    return Batch(stacked, torch.from_numpy(np.stack(intrinsics).astype(np.float32)), context)


def _views(rng: np.random.Generator, frames: int, context: int, targets: int, gaps: tuple[int, int]) -> list[int]:
    """Indices of context views (outermost first) and of target views between them."""
    low, high = (min(gap, frames - 1) for gap in gaps)
    gap = int(rng.integers(low, high + 1))
    first = int(rng.integers(0, frames - gap))
    inside = np.arange(first + 1, first + gap)
    outer = [first, first + gap]
    if rng.random() < 0.5:
        outer.reverse()
    middle = rng.choice(inside, context - 2, replace=len(inside) < context - 2).tolist() if context > 2 else []
    return outer + middle + rng.choice(inside, targets, replace=len(inside) < targets).tolist()


class BatchStream(IterableDataset):
    """The batches of the steps from ``first`` to ``steps``, in order, also when several workers make them.

    Of several devices that train in step, each has batches of its own.
    """

    def __init__(self, source: ClipSource, options: SamplingOptions, steps: int, first: int = 0) -> None:
        super().__init__()
        self.source, self.options, self.steps, self.first = source, options, steps, first
        self.device, self.devices = 0, 1

    def shared_by(self, device: int, devices: int) -> None:
        """Draw the batches of one of so many devices."""
        self.device, self.devices = device, devices

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        offset, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in range(self.first + offset, self.steps, stride):
            drawn = step * self.devices + self.device
            yield draw_batch(self.source, self.options, drawn, step / self.steps)
