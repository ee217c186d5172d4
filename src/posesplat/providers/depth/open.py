"""Depth chosen by a word: ``sensor``, a folder, or ``transformers:CHECKPOINT``."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from posesplat.images import DepthUnits
from posesplat.providers.depth.measured import FolderDepth, SensorDepth, Stored
from posesplat.providers.depth.monocular import MonocularDepth
from posesplat.providers.depth.provider import DepthProvider
from posesplat.providers.specs import unknown_spec

DEPTH_SPECS = {
    "sensor": "the frames' own depth",
    "DIR": "a folder of depth maps in metres x depth_scale, with the frames' base names",
    "relative:DIR": "the same, depth up to a factor",
    "disparity:DIR": "the same, inverse depth up to a factor",
    "affine:DIR": "the same, inverse depth up to a factor and a shift",
    "transformers:CHECKPOINT": "a network: a folder, or owner/name on the Hugging Face hub",
}
"""What ``--depth`` takes, and what it means."""


def open_depth(spec: str, units: DepthUnits = DepthUnits(1000.0)) -> DepthProvider:
    """The source of depth that a word chooses; see :data:`DEPTH_SPECS`.

    Args:
        spec: ``sensor``, ``DIR``, ``relative:DIR``, ``disparity:DIR``, ``affine:DIR`` or ``transformers:CHECKPOINT``.
        units: how the values of files in metres become metres.

    Raises:
        ImportError: when a network is asked for and torch or transformers is not installed.
        OSError: when there is no such folder or checkpoint.
        ValueError: when the word means nothing, the folder holds no depth maps, or the checkpoint is of another kind.

    Example:
        >>> open_depth("transformers:depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf").meaning
        'metric'
    """
    if spec == "sensor":
        return SensorDepth()
    if spec and Path(spec).expanduser().is_dir():
        return FolderDepth(Path(spec).expanduser(), "metric", units)
    kind, colon, place = spec.partition(":")
    if colon and place and kind == "transformers":
        return MonocularDepth(place)
    for stored in get_args(Stored):
        if colon and place and kind == stored:
            return FolderDepth(Path(place).expanduser(), stored, units)
    if not colon and "/" in spec:
        raise FileNotFoundError(
            f"Expected a folder of depth maps at {spec}; there is none. Check the path; a network is asked for as "
            f"transformers:{spec}."
        )
    raise unknown_spec("--depth", spec, DEPTH_SPECS)
