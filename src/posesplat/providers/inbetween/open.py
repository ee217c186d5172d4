"""In-between frames chosen by a word: ``flow``, a folder of clips, ``diffusers:PATH``, ``runway`` or ``luma``."""

from __future__ import annotations

from pathlib import Path

from posesplat.providers.checkpoints import check_place
from posesplat.providers.inbetween.clip_files import ClipFiles
from posesplat.providers.inbetween.diffusion import DiffusionClips
from posesplat.providers.inbetween.flow import FlowMorph
from posesplat.providers.inbetween.provider import InbetweenProvider
from posesplat.providers.inbetween.services import LumaClips, RunwayClips
from posesplat.providers.specs import unknown_spec

INBETWEEN_SPECS = {
    "flow": "morphs along optical flow: no weights, for small gaps",
    "DIR": "a folder of clips made by any tool: videos, or folders of images; names that end in _ba run from B to A",
    "diffusers:CHECKPOINT": "a first-and-last-frame pipeline (Wan, LTX): a folder, or owner/name on the hub",
    "runway": "Runway's service; key in RUNWAYML_API_SECRET, costs money",
    "luma": "Luma's service; key in LUMAAI_API_KEY, costs money, images by URL",
}
"""What ``--inbetween`` takes, and what it means."""


def open_inbetween(spec: str, image_urls: tuple[str, str] | None = None) -> InbetweenProvider:
    """The source of in-between frames that a word chooses; see :data:`INBETWEEN_SPECS`.

    Args:
        spec: ``flow``, ``DIR``, ``diffusers:CHECKPOINT``, ``runway`` or ``luma``.
        image_urls: where A and B can be fetched, for services that take images by URL only (``luma``).

    Raises:
        ImportError: when something is asked for that is not installed.
        OSError: when there is no such folder or checkpoint.
        ValueError: when the word means nothing, the folder holds no clips, or a key is missing.

    Example:
        >>> open_inbetween("flow").name
        'flow'
    """
    if spec == "flow":
        return FlowMorph()
    if spec and Path(spec).expanduser().is_dir():
        return ClipFiles(Path(spec).expanduser())
    kind, colon, place = spec.partition(":")
    if kind == "diffusers" and colon and place:
        check_place(place, "In-between frames by diffusers", "model_index.json")
        return DiffusionClips(place)
    if spec == "runway":
        return RunwayClips()
    if spec == "luma":
        return LumaClips(image_urls)
    raise unknown_spec("--inbetween", spec, INBETWEEN_SPECS)
