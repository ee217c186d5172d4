"""Real pairs: RGB-D clips by overlap, and photographs whose translation is known up to scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.tracks import evenly_spread
from posesplat.datasets.mapfree_pairs import mapfree_pairs
from posesplat.datasets.pairs import ImagePair
from posesplat.datasets.re10k_pairs import re10k_pairs
from posesplat.datasets.samples import MissingData, data_folder, real_sequence
from posesplat.datasets.scannet_pairs import scannet_pairs
from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.protocols.pair_cases import PairCase, PairSource
from posesplat.evaluate.protocols.pair_overlap import LEVELS, level_of, overlap
from posesplat.evaluate.protocols.reference import at_width
from posesplat.geometry.frame import Frame

RGBD = ("iclaug_livingroom1", "tum_fr1_rpy", "tum_fr1_desk9", "tum_fr1_xyz10")
"""Clips with depth; poses of TUM come from motion capture, those of iclaug from a reconstruction."""
LISTS: dict[str, Callable[[Path], list[ImagePair]]] = {
    "scannet_test_1500": scannet_pairs,
    "mapfree_test": mapfree_pairs,
    "re10k_test": lambda folder: re10k_pairs(folder, folder / "evaluation_index_re10k.json"),
}
"""Published lists of pairs by the folder that holds them."""
RGB = (
    ("strecha/fountain-P11", True),
    ("lund_door12", False),
    ("fox50", False),
    ("robustmvd_sample7", False),
    ("middlebury_templeRing19", True),
)
"""Photographs, and whether their true translations are metres."""
TRUTH_ERROR = {"tum": (0.3, 0.003), "iclaug": (0.1, 0.005)}
"""Degrees and metres of the true poses by what a clip's name begins with: motion capture is good to 1 to 3 mm and 0.3
degrees, the reconstruction behind iclaug drifts by 1 to 2 mm in 10 cm."""
LEAST_BASELINE_M = 0.02
_CANDIDATES = 2500
_GREATEST_ANGLE_DEG = 60.0
_ANGLE_LEVELS = {"< 15 deg": (0.0, 15.0), "15-30 deg": (15.0, 30.0), "30-60 deg": (30.0, 60.0)}
_LEAST_SHIFT = 1e-3
_PHOTO_WIDTH = 1280


@dataclass(frozen=True)
class _Choice:
    first: int
    second: int
    level: str
    share: float


def rgbd_sources(name: str, root: Path | None, count: int, seed: int) -> list[PairSource]:
    """Pairs of a clip, at most ``count`` of each overlap level, drawn evenly from all of them.

    Pairs less than 2 cm apart are left out: their truth is no better than their motion.

    Raises:
        MissingData: when the clip is not there.
    """
    sequence = real_sequence(name, root)
    poses = _known_poses(name, sequence)
    kept = sorted(poses)
    if len(kept) < 2:
        raise MissingData(
            f"The data set {name!r} must have two frames with true poses; got {len(kept)}. Add poses.txt."
        )
    depths = {index: sequence[index].depth for index in kept}
    rng = np.random.default_rng([seed, len(sequence)])
    candidates = [(first, second) for first in kept for second in kept if first != second]
    order = rng.permutation(len(candidates))[:_CANDIDATES]
    chosen: list[_Choice] = []
    for first, second in (candidates[place] for place in order.tolist()):
        b_from_a = poses[second] * poses[first].inv()
        if np.linalg.norm(b_from_a.translation) < LEAST_BASELINE_M:
            continue
        depth_a, depth_b = depths[first], depths[second]
        if depth_a is None or depth_b is None:
            continue
        share = overlap(depth_a, sequence.camera, depth_b, sequence.camera, b_from_a, step=16)
        level = level_of(share)
        if level is not None and sum(one.level == level for one in chosen) < count:
            chosen.append(_Choice(first, second, level, share))
        if all(sum(one.level == level for one in chosen) >= count for level in LEVELS):
            break
    chosen.sort(key=lambda one: (list(LEVELS).index(one.level), one.first, one.second))  # type: ignore[arg-type]
    return list(_sources(name, sequence, poses, chosen, metric=True))


def rgb_sources(name: str, metric: bool, root: Path | None, count: int, seed: int) -> list[PairSource]:
    """Pairs of photographs by the angle between the cameras, at most ``count`` of each level.

    Raises:
        MissingData: when the photographs are not there.
    """
    sequence = real_sequence(name, root)
    poses = _known_poses(name, sequence)
    kept = sorted(poses)
    rng = np.random.default_rng([seed, len(sequence)])
    candidates = [(first, second) for first in kept for second in kept if first != second]
    chosen: list[_Choice] = []
    extent = max((float(np.linalg.norm((poses[j] * poses[i].inv()).translation)) for i, j in candidates), default=0.0)
    for first, second in (candidates[place] for place in rng.permutation(len(candidates)).tolist()):
        b_from_a = poses[second] * poses[first].inv()
        angle = float(np.degrees(b_from_a.rotation.magnitude()))
        level = next((word for word, (low, high) in _ANGLE_LEVELS.items() if low <= angle < high), None)
        if level is None or np.linalg.norm(b_from_a.translation) < _LEAST_SHIFT * extent:
            continue
        if sum(one.level == level for one in chosen) < count:
            chosen.append(_Choice(first, second, level, float("nan")))
    chosen.sort(key=lambda one: (list(_ANGLE_LEVELS).index(one.level), one.first, one.second))
    return list(_sources(name, sequence, poses, chosen, metric=metric))


def listed_sources(name: str, root: Path | None, count: int) -> list[PairSource]:
    """Pairs of a published list, ``count`` of them taken evenly; all are of one level.

    Raises:
        MissingData: when the folder is not there.
    """
    pairs = LISTS[name](data_folder(name, root))
    kept = [pairs[place] for place in evenly_spread(len(pairs), count).tolist()]
    return [
        PairSource(pair.name, pair.scene, name, partial(_listed_case, name, pair, number))
        for number, pair in enumerate(kept)
    ]


def _listed_case(name: str, pair: ImagePair, number: int) -> PairCase:
    a, b = pair.read()
    return PairCase(pair.name, pair.scene, name, name, float("nan"), a, b, pair.b_from_a, number, pair.metric)


def _known_poses(name: str, sequence: FrameSequence) -> dict[int, RigidTransform]:
    if sequence.cam_from_world is None:
        raise MissingData(f"The data set {name!r} must have true poses; its folder has none. Add poses.txt.")
    return {index: pose for index, pose in enumerate(sequence.cam_from_world) if pose is not None}


def _sources(
    name: str, sequence: FrameSequence, poses: dict[int, RigidTransform], chosen: list[_Choice], metric: bool
) -> Iterator[PairSource]:
    for one in chosen:
        b_from_a = poses[one.second] * poses[one.first].inv()
        label = f"{name} {one.first} {one.second}"
        make = partial(_case, label, name, sequence, one, b_from_a, metric)
        yield PairSource(label, name, one.level, make)


def _case(
    label: str, name: str, sequence: FrameSequence, one: _Choice, b_from_a: RigidTransform, metric: bool
) -> PairCase:
    return PairCase(
        label,
        name,
        name,
        one.level,
        one.share,
        _reduced(sequence[one.first]),
        _reduced(sequence[one.second]),
        b_from_a,
        1000 * one.first + one.second,
        metric,
        next((size for start, size in TRUTH_ERROR.items() if name.startswith(start)), (0.0, 0.0)),
    )


def _reduced(frame: Frame) -> Frame:
    """The frame halved until its longer side has at most 1280 pixels."""
    longer = max(frame.camera.width, frame.camera.height)
    return at_width(frame, _PHOTO_WIDTH * frame.camera.width // longer) if longer > _PHOTO_WIDTH else frame
