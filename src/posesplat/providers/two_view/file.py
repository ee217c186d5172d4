"""Matches that are there already, in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches

_ACCEPTED = (
    "an .npz file with pixels_a (n, 2), pixels_b (n, 2) and optionally scores (n,), or text with the columns "
    "x_a y_a x_b y_b [score], in corner-based pixels"
)


class FileMatches:
    """The matches of one pair from an NPZ or text file, in corner-based pixels of the frames."""

    def __init__(self, path: Path) -> None:
        """Remember the file.

        Raises:
            FileNotFoundError: when there is no such file.
        """
        if not path.is_file():
            raise FileNotFoundError(f"Expected matches at {path}: {_ACCEPTED}; there is no such file. Check the path.")
        self.path = path
        self.name = f"file {path.name}"

    def matches(self, a: Frame, b: Frame) -> Matches:
        """See :class:`posesplat.providers.two_view.provider.TwoViewProvider`."""
        found = self._read()
        for pixels, frame, which in ((found.pixels_a, a, "A"), (found.pixels_b, b, "B")):
            size = (frame.camera.width, frame.camera.height)
            if len(pixels) and ((pixels < 0).any() or (pixels > size).any()):
                raise ValueError(
                    f"{self.path}: matches of image {which} must lie within its {size[0]} x {size[1]} pixels; got "
                    f"{pixels.min():g} to {pixels.max():g}. Scale them to the size of the frame."
                )
        return found

    def _read(self) -> Matches:
        try:
            if self.path.suffix.lower() == ".npz":
                with np.load(self.path) as stored:
                    pixels_a, pixels_b = stored["pixels_a"], stored["pixels_b"]
                    scores = stored["scores"] if "scores" in stored else np.ones(len(pixels_a))
                    return Matches(pixels_a, pixels_b, scores)
            rows = np.loadtxt(self.path, ndmin=2)
            if rows.shape[1] not in (4, 5) and rows.size:
                raise ValueError(f"{rows.shape[1]} columns")
            rows = rows.reshape(-1, rows.shape[1] if rows.size else 4)
            return Matches(rows[:, :2], rows[:, 2:4], rows[:, 4] if rows.shape[1] == 5 else np.ones(len(rows)))
        except (ValueError, KeyError, OSError) as error:
            raise ValueError(f"{self.path} must be {_ACCEPTED}; got {error}. Write it so.") from error


class IdentityMatches:
    """Each place of a grid matched with the same place of the other image: the baseline of standing still."""

    name = "identity"

    def __init__(self, spacing: float = 0.04) -> None:
        """Choose the grid.

        Args:
            spacing: of neighbouring places, as a share of the image's width.
        """
        self.spacing = spacing

    def matches(self, a: Frame, b: Frame) -> Matches:
        """See :class:`posesplat.providers.two_view.provider.TwoViewProvider`."""
        step = self.spacing * a.camera.width
        columns = np.arange(0.5 * step, a.camera.width, step)
        rows = np.arange(0.5 * step, a.camera.height, step)
        pixels = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        scale = np.array([b.camera.width / a.camera.width, b.camera.height / a.camera.height])
        return Matches(pixels, pixels * scale, np.ones(len(pixels)))
