"""Depth that is there already: in the frame, or in files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from posesplat.geometry.depth_map import DepthMap, DepthMeaning
from posesplat.geometry.estimate import ScaleSource
from posesplat.geometry.frame import Frame
from posesplat.images import DEPTH_SUFFIXES, DepthUnits, read_depth, stored_depth
from posesplat.providers.named_files import NamedFiles, check_size

Stored = Literal["metric", "relative", "disparity", "affine"]
"""What depth files hold: metres x scale; depth up to a factor; inverse depth up to a factor; inverse depth up to a
factor and a shift."""
_MEANINGS: dict[Stored, DepthMeaning] = {
    "metric": "metric",
    "relative": "relative",
    "disparity": "relative",
    "affine": "affine",
}


class SensorDepth:
    """The frame's own depth."""

    name = "sensor"
    meaning: DepthMeaning = "metric"
    source: ScaleSource = "depth sensor"

    def depth(self, frame: Frame) -> DepthMap:
        """See :class:`posesplat.providers.depth.provider.DepthProvider`."""
        if frame.depth is None:
            raise ValueError(
                f"Depth 'sensor' needs frames with depth; {frame.name!r} is colour alone. Pass RGB-D frames (a folder "
                "with rgb/ and depth/, or a TUM, Replica or 7-Scenes layout), or a folder of depth maps."
            )
        return DepthMap.of(frame.depth, "metric")


class FolderDepth:
    """Depth maps in files of the frames' base names: 16-bit PNG, TIFF or PGM, and NumPy arrays."""

    source: ScaleSource = "depth sensor"

    def __init__(self, folder: Path, stored: Stored = "metric", units: DepthUnits = DepthUnits(1000.0)) -> None:
        """List the folder.

        Args:
            folder: where the files lie.
            stored: what they hold. Of depths (``metric`` and ``relative``) and of integers, 0 means not known.
            units: how values become metres, for ``metric``; nothing else is needed of the others.

        Raises:
            FileNotFoundError: when there is no such folder.
            ValueError: when it has no depth maps, or two of one base name.
        """
        self._files = NamedFiles(folder, DEPTH_SUFFIXES, "depth map")
        self._stored, self._units = stored, units
        self.name = f"folder {folder.name}"
        self.meaning = _MEANINGS[stored]

    def depth(self, frame: Frame) -> DepthMap:
        """See :class:`posesplat.providers.depth.provider.DepthProvider`."""
        path = self._files.of(frame)
        if self._stored == "metric":
            metres = read_depth(path, self._units)
            check_size(path, metres.shape, frame)
            return DepthMap.of(metres, "metric")
        stored = stored_depth(path)
        check_size(path, stored.shape, frame)
        values = stored.astype(np.float32)
        known = np.isfinite(values) if stored.dtype.kind == "f" else stored != 0
        if self._stored == "relative":
            known &= values > 0
            values = np.divide(np.float32(1), values, out=np.zeros_like(values), where=known)
        return DepthMap.of(values, self.meaning, known)
