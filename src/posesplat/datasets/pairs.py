"""Two images with a known relative pose, opened only when asked for: the element of every list of pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scipy.spatial.transform import RigidTransform

from posesplat.geometry.frame import Frame


@dataclass(frozen=True, eq=False)
class ImagePair:
    """Images A and B of one place and the true motion from one to the other."""

    name: str
    """Identifies the pair within its list."""
    scene: str
    """What it shows; pairs of one scene are not independent of each other."""
    b_from_a: RigidTransform
    """True pose: x_in_b = b_from_a.apply(x_in_a), OpenCV axes."""
    metric: bool
    """Whether the translation is in metres."""
    read: Callable[[], tuple[Frame, Frame]]
    """Decodes both images; a frame has depth where the data set does."""
