"""Matches chosen by a word: ``sift``, ``descriptor``, ``loftr:``, ``lightglue:``, a file, or ``identity``."""

from __future__ import annotations

from pathlib import Path

from posesplat.providers.specs import unknown_spec
from posesplat.providers.two_view.descriptor import DescriptorMatches
from posesplat.providers.two_view.file import FileMatches, IdentityMatches
from posesplat.providers.two_view.networks import LIGHTGLUE_KINDS, LOFTR_KINDS, NetworkMatches
from posesplat.providers.two_view.provider import TwoViewProvider
from posesplat.providers.two_view.sift import SiftMatches

TWO_VIEW_SPECS = {
    "sift": "SIFT keypoints, no weights needed",
    "descriptor": "patches of surface that look alike, without keypoints; both images need depth",
    "loftr:CHECKPOINT": "EfficientLoFTR: a folder, or owner/name on the Hugging Face hub",
    "lightglue:CHECKPOINT": "LightGlue with its checkpoint's detector; SuperPoint's weights are non-commercial",
    "file:PATH": "matches in an .npz or text file, corner-based pixels",
    "identity": "each place with itself: the baseline of standing still",
}
"""What ``--matcher`` takes, and what it means."""


def open_two_view(spec: str) -> TwoViewProvider:
    """The source of matches that a word chooses; see :data:`TWO_VIEW_SPECS`.

    Args:
        spec: ``sift``, ``descriptor``, ``loftr:CHECKPOINT``, ``lightglue:CHECKPOINT``, ``file:PATH`` or ``identity``.

    Raises:
        ImportError: when a network is asked for and torch or transformers is not installed.
        OSError: when there is no such file or checkpoint.
        ValueError: when the word means nothing, or the checkpoint is of another kind.

    Example:
        >>> open_two_view("sift").name
        'sift'
    """
    if spec == "sift":
        return SiftMatches()
    if spec == "descriptor":
        return DescriptorMatches()
    if spec == "identity":
        return IdentityMatches()
    kind, colon, place = spec.partition(":")
    if colon and place:
        if kind == "loftr":
            return NetworkMatches(place, LOFTR_KINDS)
        if kind == "lightglue":
            return NetworkMatches(place, LIGHTGLUE_KINDS, min_score=0.1)
        if kind == "file":
            return FileMatches(Path(place).expanduser())
    raise unknown_spec("--matcher", spec, TWO_VIEW_SPECS)
