"""The four data sets on which InterPose was measured, as cases of ``bench bridge``, where they are on this machine.

The paper's own pairs were never published: a ``pairs.txt`` in a data set's folder is taken where there is one, else
pairs whose cameras differ by the paper's angles are drawn. Clips are made of the photographs between, as in
:mod:`posesplat.evaluate.protocols.bridge_real`. Source: Cai et al., CVPR 2025, table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from posesplat.datasets.published_views import cambridge_views, dl3dv_views, navi_views, scannet_views
from posesplat.datasets.samples import data_folder
from posesplat.datasets.view_sets import ViewSet, listed_names
from posesplat.evaluate.protocols.bridge_real import Photos, photo_case
from posesplat.evaluate.protocols.bridge_rooms import BridgeCase

_TRIES = 4
"""Scenes that are tried for each pair that is drawn."""


@dataclass(frozen=True)
class ListedSet:
    """One data set."""

    open: Callable[[Path], list[ViewSet]]
    turns_deg: tuple[float, float]
    """Angles between A and B, as in the paper."""
    lists: tuple[str, ...] = ("pairs.txt",)
    """Where a list of pairs may lie in the folder."""


LISTS = {
    "cambridge": ListedSet(cambridge_views, (50.0, 65.0)),
    "scannet": ListedSet(scannet_views, (50.0, 65.0)),
    "dl3dv": ListedSet(dl3dv_views, (50.0, 90.0)),
    "navi": ListedSet(
        navi_views,
        (50.0, 90.0),
        ("pairs.txt", "custom_splits/pairwise_pixel_correspondences/pairs-multiview.txt"),
    ),
}
"""By the name of the folder in the folder of data sets."""


def listed_cases(name: str, root: Path | None, count: int, seed: int) -> list[Callable[[], BridgeCase | None]]:
    """Makers of up to ``count`` cases; one gives None where too few photographs lie between its A and B.

    Args:
        name: a key of :data:`LISTS`.
        root: of the data sets.
        count: of pairs, taken evenly from a list, else drawn.
        seed: of pairs and clips.

    Raises:
        MissingData: when the data set is not there.
        ValueError: when its files have another form.
    """
    chosen, folder = LISTS[name], data_folder(name, root)
    sets = chosen.open(folder)
    listing = next((folder / path for path in chosen.lists if (folder / path).is_file()), None)
    if listing is not None:
        pairs = listed_names(listing, sets)
        taken = np.unique(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int))
        return [partial(_listed, name, pairs[k], seed + number, chosen.turns_deg) for number, k in enumerate(taken)]
    return [partial(_drawn, name, sets, seed + number, chosen.turns_deg) for number in range(count)]


def _listed(name: str, pair: tuple[ViewSet, int, int], seed: int, turns_deg: tuple[float, float]) -> BridgeCase | None:
    scene, first, second = pair
    return photo_case(_photos(name, scene), seed, turns_deg, (first, second))


def _drawn(name: str, sets: list[ViewSet], seed: int, turns_deg: tuple[float, float]) -> BridgeCase | None:
    order = np.random.default_rng(seed).permutation(len(sets))[:_TRIES]
    cases: Iterator[BridgeCase | None] = (photo_case(_photos(name, sets[k]), seed, turns_deg) for k in order)
    return next((case for case in cases if case is not None), None)


def _photos(name: str, scene: ViewSet) -> Photos:
    views = scene.views
    labels = tuple(Path(view.name).stem for view in views)
    poses = tuple(view.cam_from_world for view in views)
    return Photos(f"{name} {scene.scene}", labels, poses, lambda k: views[k].read())
