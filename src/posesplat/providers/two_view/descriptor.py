"""Matches without keypoints: surface patches of two RGB-D images that look most like each other."""

from __future__ import annotations

from posesplat.align.appearance_start import appearance_start
from posesplat.gaussians.flat_gaussians import lift_flat
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches


class DescriptorMatches:
    """Each other's most similar Gaussians, by gradients on their tangent planes; both frames need depth.

    They are accurate to a cell of some pixels only, so measured depth has to refine what they say.
    """

    name = "descriptor"

    def matches(self, a: Frame, b: Frame) -> Matches:
        """See :class:`posesplat.providers.two_view.provider.TwoViewProvider`; scores are cosines."""
        for frame in (a, b):
            if frame.depth is None or frame.image is None:
                raise ValueError(
                    f"--matcher descriptor needs RGB-D images; {frame.name!r} lacks depth or colour. Use sift."
                )
        found = appearance_start(lift_flat(a), lift_flat(b))
        return Matches(found.pixels_a, found.pixels_b, found.scores)
