"""How two images that hardly overlap are bridged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from posesplat.geometry.cameras import Camera
from posesplat.methods.pair_options import PairOptions
from posesplat.providers.inbetween.provider import FIXED_PROMPTS

ScoreName = Literal["evidence", "published"]
"""evidence = the calibrated probability; published = least D_total, then the medoid of its clip."""


@dataclass(frozen=True)
class BridgeOptions:
    """Which frames are put between, and how the answer is chosen."""

    inbetween: str = "flow"
    """Where in-between frames come from; see :data:`posesplat.providers.inbetween.open.INBETWEEN_SPECS`."""
    estimator: str = "tracks"
    """What poses subsets; see :data:`posesplat.providers.multi_view.open.MULTI_VIEW_SPECS`."""
    prompts: tuple[str, ...] = FIXED_PROMPTS
    """What clips are asked to show: one clip for each, in each order."""
    both_orders: bool = True
    """Whether clips are also made from B to A: generators like to pan one way."""
    clip_camera: Camera | None = None
    """Pinhole of the frames between, where it is not that of A; clips that are made follow A and B themselves."""
    frames: int = 14
    """Frames of a clip between A and B, where that can be chosen."""
    subsets: int = 11
    """Subsets of each clip: one evenly spaced, the others random."""
    images: int = 5
    """Images of a subset, A and B among them."""
    score: ScoreName = "evidence"
    """How the answer is chosen."""
    min_probability: float = 0.5
    """Least probability that the rotation is within 15 degrees for an answer to be given; 0 always gives the best."""
    max_cost_usd: float = 0.0
    """Most that clips may cost; services refuse to start beyond it."""
    cache: Path | None = None
    """Folder for clips and poses of subsets, which are then not made twice; None keeps nothing."""
    workers: int = 1
    """Processes that pose subsets, one clip each."""
    seed: int = 0
    """Of clips, subsets and estimators."""
    pair: PairOptions = field(default_factory=PairOptions)
    """How the two images are posed alone."""

    def __post_init__(self) -> None:
        if self.images < 3 or self.subsets < 1 or self.frames < 1 or self.workers < 1 or not self.prompts:
            raise ValueError(
                "BridgeOptions needs images of at least 3, subsets, frames and workers of at least 1, and a prompt; "
                f"got images {self.images}, subsets {self.subsets}, frames {self.frames}, workers {self.workers}, "
                f"{len(self.prompts)} prompts."
            )
        if self.clip_camera is not None and self.clip_camera.distortion:
            raise ValueError(
                f"BridgeOptions.clip_camera must be a pinhole; got distortion {self.clip_camera.distortion}. "
                "Undistort the clips first."
            )
        if self.score not in ("evidence", "published"):
            raise ValueError(f"BridgeOptions.score must be evidence or published; got {self.score!r}.")
        if not 0.0 <= self.min_probability < 1.0 or self.max_cost_usd < 0.0:
            raise ValueError(
                f"BridgeOptions needs min_probability in [0, 1) and max_cost_usd of 0 or more; got "
                f"{self.min_probability} and {self.max_cost_usd}."
            )
