"""Masks chosen by a word: a folder, ``auto``, or both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from posesplat.providers.masks.provider import FolderMasks, MaskProvider
from posesplat.providers.specs import unknown_spec

MASK_SPECS = {
    "DIR": "a folder of images with the frames' base names, 255 = use, 0 = ignore",
    "auto": "what does not move with the scene is left out",
    "DIR+auto": "both",
}
"""What ``--masks`` takes, and what it means."""


@dataclass(frozen=True)
class MaskChoice:
    """Which masks were asked for. What moves is known only once points were followed, so ``auto`` is a wish."""

    given: MaskProvider | None = None
    """Masks known before anything is tracked; None when there are none."""
    auto: bool = False
    """Also leave out what does not move with the scene: of :func:`posesplat.align.motion_mask.motion_mask`."""


def open_masks(spec: str) -> MaskChoice:
    """The masks that a word chooses; see :data:`MASK_SPECS`.

    Args:
        spec: ``DIR``, ``auto`` or ``DIR+auto``.

    Raises:
        OSError: when there is no such folder.
        ValueError: when the word means nothing, or the folder holds no images.

    Example:
        >>> open_masks("masks+auto").auto
        True
    """
    if spec == "auto":
        return MaskChoice(auto=True)
    place = spec.removesuffix("+auto")
    if place and Path(place).expanduser().is_dir():
        return MaskChoice(FolderMasks(Path(place).expanduser()), auto=place != spec)
    if "/" in place:
        raise FileNotFoundError(f"Expected a folder of masks at {place}; there is none. Check the path.")
    raise unknown_spec("--masks", spec, MASK_SPECS)
