"""Poses of subsets chosen by a word: ``tracks`` or ``sfm``."""

from __future__ import annotations

from posesplat.align.subset_poses import SubsetOptions
from posesplat.align.view_graph import ViewGraphOptions
from posesplat.providers.multi_view.colmap_run import ColmapOptions
from posesplat.providers.multi_view.provider import MultiViewProvider
from posesplat.providers.multi_view.sfm import SfmPoses
from posesplat.providers.multi_view.tracks import TrackPoses
from posesplat.providers.specs import unknown_spec

MULTI_VIEW_SPECS = {
    "tracks": "SIFT tracks, chained two-view poses and a small bundle adjustment: fast, nothing to install",
    "sfm": "COLMAP's mapper on each subset; needs pycolmap",
}
"""What ``--estimator`` takes, and what it means."""


def open_multi_view(spec: str, seed: int = 0) -> MultiViewProvider:
    """The source of poses that a word chooses; see :data:`MULTI_VIEW_SPECS`.

    Args:
        spec: ``tracks`` or ``sfm``.
        seed: of everything random.

    Raises:
        ValueError: when the word means nothing, or what it needs is not installed.

    Example:
        >>> open_multi_view("tracks").name
        'tracks'
    """
    if spec == "tracks":
        return TrackPoses(ViewGraphOptions(seed=seed), SubsetOptions(seed=seed))
    if spec == "sfm":
        return SfmPoses(ColmapOptions(seed=seed))
    raise unknown_spec("--estimator", spec, MULTI_VIEW_SPECS)
