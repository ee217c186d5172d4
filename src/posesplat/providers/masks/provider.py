"""Masks of frames: what a source of masks is, masks in files, and several of them together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from posesplat.geometry.frame import Frame
from posesplat.images import IMAGE_SUFFIXES, read_colour
from posesplat.providers.named_files import NamedFiles, check_size

_USE = 128


@runtime_checkable
class MaskProvider(Protocol):
    """Says which pixels of a frame may be used; anything with these two members will do."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        ...

    def mask(self, frame: Frame) -> Bool[np.ndarray, "height width"]:
        """True where the frame's pixels may be used.

        Raises:
            OSError: when a file is missing.
            ValueError: when it does not fit the frame.
        """
        ...


class FolderMasks:
    """Masks in images of the frames' base names: 255 = use, 0 = ignore; other values go to the nearer of the two."""

    def __init__(self, folder: Path) -> None:
        """List the folder.

        Raises:
            FileNotFoundError: when there is no such folder.
            ValueError: when it has no images, or two of one base name.
        """
        self._files = NamedFiles(folder, IMAGE_SUFFIXES, "mask")
        self.name = f"folder {folder.name}"

    def mask(self, frame: Frame) -> Bool[np.ndarray, "height width"]:
        """See :class:`MaskProvider`."""
        path = self._files.of(frame)
        image = read_colour(path)
        check_size(path, image.shape, frame)
        if np.any(image != image[:, :, :1]):
            raise ValueError(
                f"A mask must be grey, 255 = use and 0 = ignore; {path} has colours. Export it in black and white."
            )
        return image[:, :, 0] >= _USE


class CombinedMasks:
    """Pixels that all of several sources of masks let through."""

    def __init__(self, parts: Sequence[MaskProvider]) -> None:
        """Combine at least one source.

        Raises:
            ValueError: when there is none.
        """
        if not parts:
            raise ValueError("CombinedMasks needs at least one source of masks; got none.")
        self._parts = tuple(parts)
        self.name = " and ".join(part.name for part in self._parts)

    def mask(self, frame: Frame) -> Bool[np.ndarray, "height width"]:
        """See :class:`MaskProvider`."""
        return np.logical_and.reduce([part.mask(frame) for part in self._parts])
