"""The matches that all contenders share: SIFT of both images, found once a pair."""

from __future__ import annotations

import time
from dataclasses import dataclass

from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.providers.two_view.sift import SiftMatches


@dataclass(frozen=True)
class FoundMatches:
    """Matches and what they cost."""

    matches: Matches
    """Of images A and B."""
    cpu_s: float
    """Processor time, all threads."""
    wall_s: float
    """Wall time."""


def timed_matches(a: Frame, b: Frame) -> FoundMatches:
    """SIFT matches with their cost."""
    began, began_cpu = time.perf_counter(), time.process_time()
    found = SiftMatches().matches(a, b)
    return FoundMatches(found, time.process_time() - began_cpu, time.perf_counter() - began)
