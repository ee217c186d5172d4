"""Published lists for feed-forward splatting: RealEstate10K, ACID and DL3DV by evaluation index, at 256 x 256."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.tracks import evenly_spread
from posesplat.datasets.re10k_pairs import IndexedViews, indexed_views
from posesplat.datasets.samples import data_folder
from posesplat.geometry.frame import Frame
from posesplat.learned.working_views import covering_crop

LISTS = {
    "re10k_test": "evaluation_index_re10k.json",
    "acid_test": "evaluation_index_acid.json",
    "dl3dv_test": "evaluation_index_dl3dv.json",
}
"""Evaluation index by the folder of ``POSESPLAT_DATA`` that holds it with chunks (or camera files and images)."""
SIDE_PX = 256


@dataclass(frozen=True, eq=False)
class ListedCase:
    """Context views to be reconstructed, and targets to be drawn."""

    scene: str
    """Key of the scene."""
    overlap: str
    """Level of the list, ``all`` where it has none."""
    second_from_first: RigidTransform
    """True motion from the first context view to the last, length up to scale."""
    read: Callable[[], tuple[tuple[Frame, ...], tuple[Frame, ...]]]
    """Decodes the first and the last context view, and the targets, cropped to 256 x 256."""


def listed_cases(name: str, root: Path | None, count: int) -> list[ListedCase]:
    """Entries of a list, at most ``count`` taken evenly; those outside the published levels of overlap are left out.

    Raises:
        MissingData: when the folder is not there.
        FileNotFoundError: when its index is not there.
        ValueError: when the list has another form.

    Source: Ye et al., NoPoSplat, ICLR 2025; Huang and Mikolajczyk, SPFSplatV2, arXiv 2509.17246.
    """
    folder = data_folder(name, root)
    kept = [views for views in indexed_views(folder, folder / LISTS[name]) if views.overlap != "ignored"]
    cases = []
    for place in evenly_spread(len(kept), count).tolist():
        views = kept[place]
        second_from_first = views.cam_from_first[views.context - 1]
        cases.append(ListedCase(views.scene, views.overlap or "all", second_from_first, partial(_opened, views)))
    return cases


def _opened(views: IndexedViews) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
    frames = [_cropped(frame) for frame in views.read()]
    return (frames[0], frames[views.context - 1]), tuple(frames[views.context :])


def _cropped(frame: Frame) -> Frame:
    image, camera = covering_crop(np.asarray(frame.image), frame.camera, SIDE_PX, SIDE_PX)
    return Frame(camera, image, None, frame.name)
