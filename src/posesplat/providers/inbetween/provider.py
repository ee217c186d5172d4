"""What a source of in-between frames is, and what it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

Image = UInt8[np.ndarray, "_ _ 3"]
"""An RGB image of any size, 8 bit."""
FIXED_PROMPTS = (
    "A slow, steady camera movement through the same static scene.",
    "The camera pans and moves smoothly from one view of a place to another; nothing in the scene moves or changes.",
)
"""What is asked for where nobody describes the scene."""


@dataclass(frozen=True)
class ClipRequest:
    """One clip to make: a camera that moves from the first image to the last."""

    first: Image
    """RGB, 8 bit."""
    last: Image
    """RGB, 8 bit, of the same size."""
    prompt: str = FIXED_PROMPTS[0]
    """What the clip shows; sources without language ignore it."""
    seed: int = 0
    """Of everything random; clips that are to differ need different ones."""
    count: int = 14
    """How many frames between the two are wanted; sources may give another number."""
    backward: bool = False
    """Whether the first image is B, for sources that hold A and B elsewhere."""
    number: int = 0
    """Which clip it is, for sources that hold some already."""
    keep: Path | None = None
    """A folder that survives a crash, for what must not be paid twice; it takes no part in what is made."""

    def __post_init__(self) -> None:
        if self.first.shape != self.last.shape:
            raise ValueError(
                f"A clip needs two images of one size; got {self.first.shape[:2]} and {self.last.shape[:2]}. "
                "Resize one."
            )
        if self.count < 1:
            raise ValueError(f"A clip needs at least 1 frame between its ends; got {self.count}.")


@runtime_checkable
class InbetweenProvider(Protocol):
    """Makes frames between two images; anything with these members will do."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        ...

    @property
    def stored_clips(self) -> int | None:
        """How many clips it holds already; None where it makes as many as it is asked for."""
        ...

    @property
    def usd_per_clip(self) -> float:
        """What a clip costs, in US dollars; 0 where it runs here."""
        ...

    def identity(self) -> dict[str, Any]:
        """JSON-ready: all that, beside the request, decides what is made. Part of the cache's key."""
        ...

    def frames(self, request: ClipRequest) -> list[Image]:
        """Frames strictly between the first and the last image, in order, of the request's size.

        Raises:
            OSError: when a file, a checkpoint or a service is missing.
            ValueError: when the source cannot make what is asked for.
        """
        ...
