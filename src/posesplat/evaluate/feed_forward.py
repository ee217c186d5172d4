"""How well the feed-forward network poses pairs of views of rooms it has never seen, with rivals that know nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms.clips import covisible_fraction, room_clip
from posesplat.evaluate.metrics import pose_auc
from posesplat.geometry.cameras import Camera
from posesplat.learned.clips import Batch
from posesplat.learned.matching import STRIDE_PX, cell_places
from posesplat.learned.network import Prediction, SplatNetwork
from posesplat.learned.two_view import folded_errors_deg, match_pixels, pnp_pose, predict, refined_relative_pose, rigid

HELD_OUT_SEED = 5_000_000
"""Rooms from this seed on are for judging only."""
THRESHOLDS_DEG = (5.0, 10.0, 20.0)
_FRAMES = 10
_PNP_PX = 2.5


@dataclass(frozen=True, eq=False)
class ViewPair:
    """Two views of one room and the truth about them."""

    images: UInt8[np.ndarray, "2 h w 3"]
    """RGB."""
    camera: Camera
    """The pinhole of both."""
    second_from_first: RigidTransform
    """True relative pose, metres."""
    overlap: float
    """Share of the pixels of one view that the other sees, the smaller of the two."""
    between: UInt8[np.ndarray, "h w 3"] | None = None
    """A picture taken on the way from one to the other; None where they are neighbours."""


@dataclass(frozen=True)
class PairScores:
    """Errors of one way to a pose over all pairs."""

    auc: tuple[float, ...]
    """AUC of the larger of both errors at 5, 10 and 20 degrees, in [0, 1]."""
    rotation_deg: float
    """Median error."""
    translation_deg: float
    """Median error of the direction, whatever its sign."""


def held_out_pairs(
    count: int, width: int, height: int, overlap: tuple[float, float] = (0.2, 0.7), seed: int = HELD_OUT_SEED
) -> list[ViewPair]:
    """Pairs of views, two a room, whose overlap lies between bounds.

    Args:
        count: pairs.
        width: of the images.
        height: of the images.
        overlap: least and largest share of covisible pixels.
        seed: first room.
    """
    pairs: list[ViewPair] = []
    while len(pairs) < count:
        seed += 1
        try:
            clip = room_clip(seed, _FRAMES, width, height, depth=True)
        except ValueError:  # no walk fits into that room
            continue
        pairs += _pairs_of(clip.images, clip.depth, clip.camera, clip.cam_from_world, overlap, seed)
    return pairs[:count]


def _pairs_of(
    images: np.ndarray,
    depth: np.ndarray | None,
    camera: Camera,
    cam_from_world: RigidTransform,
    overlap: tuple[float, float],
    seed: int,
) -> list[ViewPair]:
    assert depth is not None
    rng = np.random.default_rng(seed)
    found: list[ViewPair] = []
    for first, second in rng.permutation([(i, j) for i in range(_FRAMES) for j in range(_FRAMES) if i != j])[:20]:
        relative = cam_from_world[int(second)] * cam_from_world[int(first)].inv()
        forth = covisible_fraction(depth[first], depth[second], camera, relative)
        back = covisible_fraction(depth[second], depth[first], camera, relative.inv())
        if overlap[0] <= min(forth, back) <= overlap[1]:
            between = images[(first + second) // 2] if abs(first - second) > 1 else None
            found.append(ViewPair(images[[first, second]], camera, relative, min(forth, back), between))
        if len(found) == 2:
            break
    return found


def score_network(network: SplatNetwork, pairs: Sequence[ViewPair], batch: int = 16) -> dict[str, PairScores]:
    """Scores of ``identity``, the pose ``head``, ``network`` (after its epipolar steps), ``pnp`` and ``refined``."""
    errors: dict[str, list[tuple[float, float]]] = {}
    for start in range(0, len(pairs), batch):
        chosen = pairs[start : start + batch]
        prediction = predict(network, as_batch(chosen))
        for scene, pair in enumerate(chosen):
            for name, pose in _answers(prediction, pair, scene).items():
                failed = (180.0, 90.0)
                error = failed if pose is None else folded_errors_deg(pose, pair.second_from_first)
                errors.setdefault(name, []).append(error)
    return {name: _scores(np.array(values)) for name, values in errors.items()}


def pair_answers(network: SplatNetwork, pair: ViewPair) -> dict[str, RigidTransform | None]:
    """The poses of one pair under the names of :func:`score_network`."""
    return _answers(predict(network, as_batch([pair])), pair, 0)


def as_batch(pairs: Sequence[ViewPair]) -> Batch:
    """Pairs as the network takes them: both views are context."""
    images = np.stack([pair.images for pair in pairs]).transpose(0, 1, 4, 2, 3).astype(np.float32) / np.float32(255.0)
    lenses = np.stack([np.repeat(pair.camera.resized(1, 1).matrix[None], 2, axis=0) for pair in pairs])
    return Batch(torch.from_numpy(images), torch.from_numpy(lenses.astype(np.float32)), 2)


def _answers(prediction: Prediction, pair: ViewPair, scene: int) -> dict[str, RigidTransform | None]:
    camera = pair.camera
    network = rigid(prediction.cam_from_first[scene, 1])
    answers: dict[str, RigidTransform | None] = {
        "identity": RigidTransform.from_translation([0.0, 0.0, 1.0]),
        "head": rigid(prediction.head_cam_from_first[scene, 1]),
        "network": network,
        "pnp": _by_centres(prediction, camera, scene),
    }
    if prediction.to_first is not None:
        matches = match_pixels(prediction, 1, camera.height, camera.width, scene)
        answers["refined"] = refined_relative_pose(network, pair.images, *matches, (camera, camera))
    return answers


def _by_centres(prediction: Prediction, camera: Camera, scene: int) -> RigidTransform | None:
    """PnP: the first view's Gaussians at their matches in the second, or the second's own at their pixels."""
    height, width = camera.height, camera.width
    opacities = prediction.splats.opacities[scene].unflatten(0, (-1, height, width))
    if prediction.from_first is None:
        own = cell_places(height, width, torch.device("cpu")).numpy() * np.array([width, height], dtype=np.float64)
        centres = prediction.points[scene, 1].flatten(0, 1)
        return pnp_pose(
            centres.cpu().double().numpy(), own, opacities[1].flatten().cpu().double().numpy(), camera, _PNP_PX
        )
    middle = slice(STRIDE_PX // 2, None, STRIDE_PX)
    centres = prediction.points[scene, 0, middle, middle].flatten(0, 1).cpu().double().numpy()
    places = prediction.from_first.places[scene, 0].cpu().double().numpy() * [width, height]
    trust = prediction.from_first.weights[scene, 0].cpu().double().numpy()
    seen = opacities[0, middle, middle].flatten().cpu().double().numpy()
    return pnp_pose(centres, places, np.where(trust > 0.2, seen, 0.0), camera, _PNP_PX)


def _scores(errors: np.ndarray) -> PairScores:
    worst = errors.max(axis=1)
    rotation, translation = np.median(errors, axis=0)
    return PairScores(pose_auc(worst, THRESHOLDS_DEG), float(rotation), float(translation))
