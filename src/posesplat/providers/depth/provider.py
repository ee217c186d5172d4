"""What a source of depth is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from posesplat.geometry.depth_map import DepthMap, DepthMeaning
from posesplat.geometry.frame import Frame


@runtime_checkable
class DepthProvider(Protocol):
    """Gives the depth map of a frame; anything with these three members will do."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        ...

    @property
    def meaning(self) -> DepthMeaning:
        """What the values of all its maps are; see :data:`posesplat.geometry.depth_map.DepthMeaning`."""
        ...

    def depth(self, frame: Frame) -> DepthMap:
        """The depth map of a frame, on the frame's pixel grid and in its camera.

        Raises:
            ValueError: when the frame lacks what is needed.
            OSError: when a file is missing.
        """
        ...
