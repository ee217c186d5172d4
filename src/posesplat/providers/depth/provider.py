"""What a source of depth is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from posesplat.geometry.depth_map import DepthMap, DepthMeaning
from posesplat.geometry.estimate import ScaleSource
from posesplat.geometry.frame import Frame


@runtime_checkable
class DepthProvider(Protocol):
    """Gives the depth map of a frame; anything with these four members will do."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        ...

    @property
    def meaning(self) -> DepthMeaning:
        """What the values of all its maps are; see :data:`posesplat.geometry.depth_map.DepthMeaning`."""
        ...

    @property
    def source(self) -> ScaleSource:
        """Who says what a metre is, where the meaning is metric: ``depth sensor`` or ``learned depth``."""
        ...

    def depth(self, frame: Frame) -> DepthMap:
        """The depth map of a frame, on the frame's pixel grid and in its camera.

        Raises:
            ValueError: when the frame lacks what is needed.
            OSError: when a file is missing.
        """
        ...
