"""Photographs with true poses, scene by scene, each with its own camera; lists of pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.spatial.transform import RigidTransform

from posesplat.datasets.sequences import FrameSequence
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.images import read_colour

_SAME_SHAPE = 0.02


@dataclass(frozen=True)
class PosedView:
    """One photograph on disk."""

    name: str
    """Its path within the data set."""
    path: Path
    lens: Camera
    """The camera at the size that its calibration is of, lens distortion included; the file may be a reduced copy."""
    cam_from_world: RigidTransform
    """True pose, OpenCV axes."""

    def read(self) -> Frame:
        """The photograph without its lens distortion.

        Raises:
            ValueError: when the file is no image, or of another shape than its camera.
        """
        image = read_colour(self.path)
        height, width = image.shape[:2]
        wide, high = width / self.lens.width, height / self.lens.height
        if abs(wide / high - 1.0) > _SAME_SHAPE:
            raise ValueError(
                f"{self.path} must have the shape of its camera, {self.lens.width} x {self.lens.height}, at any size; "
                f"got {width} x {height}. Copy the images as they were published."
            )
        lens = self.lens.resized(width, height)
        return FrameSequence(lens, [self.name], [0.0], lambda _: (image, None), has_depth=False)[0]


@dataclass(frozen=True, eq=False)
class ViewSet:
    """The photographs of one scene."""

    scene: str
    views: tuple[PosedView, ...]


def listed_names(path: Path, views: Sequence[ViewSet]) -> list[tuple[ViewSet, int, int]]:
    """The pairs of a text file: rows ``image_a image_b``, paths within the data set, and perhaps more columns.

    Source: the form in which NAVI's pairs are published (``custom_splits/pairwise_pixel_correspondences``).

    Raises:
        ValueError: when a row has another form, an image is not there, or two are of different scenes.
    """
    place = {view.name: (one, number) for one in views for number, view in enumerate(one.views)}
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        columns = line.split()
        if not columns or columns[0].startswith("#"):
            continue
        found = [place.get(name) for name in columns[:2]]
        if len(found) < 2 or found[0] is None or found[1] is None or found[0][0] is not found[1][0]:
            raise ValueError(
                f"{path} line {number} must name two images of one scene by their paths in the data set; got {line!r}. "
                "Correct it, or copy the images."
            )
        pairs.append((found[0][0], found[0][1], found[1][1]))
    return pairs
