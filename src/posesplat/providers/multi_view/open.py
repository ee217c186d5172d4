"""Poses of subsets chosen by a word: ``tracks``, ``sfm``, ``da3:CHECKPOINT``, ``network``, or another package's."""

from __future__ import annotations

from importlib.metadata import entry_points

from posesplat.align.subset_poses import SubsetOptions
from posesplat.align.view_graph import ViewGraphOptions
from posesplat.providers.multi_view.colmap_run import ColmapOptions
from posesplat.providers.multi_view.da3 import Da3Poses
from posesplat.providers.multi_view.provider import MultiViewProvider
from posesplat.providers.multi_view.sfm import SfmPoses
from posesplat.providers.multi_view.tracks import TrackPoses
from posesplat.providers.specs import unknown_spec

MULTI_VIEW_SPECS = {
    "tracks": "SIFT tracks, chained two-view poses and a small bundle adjustment: fast, nothing to install",
    "sfm": "COLMAP's mapper on each subset; needs pycolmap",
    "da3:CHECKPOINT": "Depth Anything 3: a folder with config.json and model.safetensors; needs depth-anything-3",
    "network[:WEIGHTS]": "the feed-forward network of reconstruct, tiny by default; needs torch",
}
"""What ``--estimator`` takes, and what it means."""
ENTRY_POINTS = "posesplat.multi_view"
"""Packages add words of their own by entry points of this group: functions of what follows the colon, and the seed.

``network`` is one of them, since the network lies above the providers.
"""


def open_multi_view(spec: str, seed: int = 0) -> MultiViewProvider:
    """The source of poses that a word chooses; see :data:`MULTI_VIEW_SPECS`.

    Args:
        spec: ``tracks``, ``sfm``, ``da3:CHECKPOINT``, ``network`` or ``network:WEIGHTS``.
        seed: of everything random.

    Raises:
        ImportError: when what it needs is not installed.
        OSError: when a checkpoint is missing.
        ValueError: when the word means nothing, or pycolmap is not installed.

    Example:
        >>> open_multi_view("tracks").name
        'tracks'
    """
    if spec == "tracks":
        return TrackPoses(ViewGraphOptions(seed=seed), SubsetOptions(seed=seed))
    if spec == "sfm":
        return SfmPoses(ColmapOptions(seed=seed))
    kind, _, place = spec.partition(":")
    if kind == "da3" and place:
        return Da3Poses(place)
    for entry in entry_points(group=ENTRY_POINTS, name=kind):
        opened: MultiViewProvider = entry.load()(place, seed)
        return opened
    raise unknown_spec("--estimator", spec, MULTI_VIEW_SPECS)
