"""Matches that are known already."""

from __future__ import annotations

from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches


class GivenMatches:
    """The same matches whatever the frames."""

    def __init__(self, matches: Matches, name: str) -> None:
        self._matches = matches
        self.name = name

    def matches(self, a: Frame, b: Frame) -> Matches:
        """See :class:`posesplat.providers.two_view.provider.TwoViewProvider`."""
        del a, b
        return self._matches
