"""What a source of matches is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches


@runtime_checkable
class TwoViewProvider(Protocol):
    """Gives the matches of two images; anything with these two members will do."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        ...

    def matches(self, a: Frame, b: Frame) -> Matches:
        """Matched places of two frames, each in the pixels of its own camera; none where nothing is found.

        Raises:
            ValueError: when a frame lacks what is needed.
            OSError: when a file is missing.
        """
        ...
