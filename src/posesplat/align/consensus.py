"""Which of many relative poses of one pair to believe: distances, medoid, the published score, and evidence beside it.

Hypotheses come from anywhere: subsets of in-between frames, other estimators, seeds, focal lengths. They are grouped,
usually by the clip that they were made from. Poses are compared up to the length of their translation.
Source: Cai et al., Can generative video models help pose estimation?, CVPR 2025, section 3 (InterPose). docs/bridge.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform

LARGEST_TRANSLATION_DEG = 90.0
"""Most that two directions of translation differ by, since they are compared without their sign."""
PAIR_GROUP = "pair"
"""The group of the pose of the two images alone."""
NEAR_DEG = 15.0
"""Rotations within this angle support each other."""


@dataclass(frozen=True)
class Hypothesis:
    """One relative pose of a pair, or the failure to find one."""

    b_from_a: RigidTransform | None
    """x_in_b = b_from_a.apply(x_in_a), translation of any length; None where nothing was found."""
    source: str
    """What gave it: ``clip 2, frames 0 3 7 9 15``."""
    group: str = ""
    """What it shares its in-between frames with: the clip."""
    translation_observed: bool = True
    """False where the camera hardly moved, so that the direction of the translation says nothing."""
    evidence: Mapping[str, float] = field(default_factory=dict)
    """What speaks for it, by name; see :data:`posesplat.align.pair_evidence.EVIDENCE`."""
    reason: str = ""
    """Why there is no pose."""

    def __post_init__(self) -> None:
        if self.b_from_a is None and not self.reason:
            raise ValueError("A Hypothesis without a pose must give a reason; got an empty one.")

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record; evidence that is not finite is left out."""
        return {
            "b_from_a": None if self.b_from_a is None else self.b_from_a.as_matrix().tolist(),
            "source": self.source,
            "group": self.group,
            "translation_observed": bool(self.translation_observed),
            "evidence": {name: float(value) for name, value in self.evidence.items() if np.isfinite(value)},
            "reason": self.reason,
        }

    @staticmethod
    def from_json(record: dict[str, Any]) -> Hypothesis:
        """The inverse of :meth:`to_json`."""
        pose = record["b_from_a"]
        pose = None if pose is None else RigidTransform.from_matrix(np.array(pose))
        return Hypothesis(pose, **{name: value for name, value in record.items() if name != "b_from_a"})


@dataclass(frozen=True)
class GroupConsensus:
    """What the hypotheses of one group agree on."""

    group: str
    """Its name."""
    medoid: int
    """Index, among all hypotheses, of the one nearest to the others of the group."""
    spread_deg: float
    """Mean distance of the others to the medoid (the published D_med)."""
    total_deg: float
    """The same plus the distance to the pose of the pair alone (the published D_total); without one, the spread."""
    posed: int
    """How many hypotheses of the group have a pose."""
    tried: int
    """How many hypotheses the group has."""


def pose_distances(first: Sequence[Hypothesis], second: Sequence[Hypothesis]) -> Float[np.ndarray, "n m"]:
    """Distances in degrees between hypotheses that have poses: angle of rotation plus angle between translations.

    dist = arccos((tr(R2 R1^T) - 1) / 2) + arccos(|t1 . t2| / (|t1| |t2|)); the second term, at most 90, is left out
    where either translation was not observed or is zero.

    Raises:
        ValueError: for a hypothesis without a pose.
    """
    rotation = rotation_distances(first, second)
    (unit_first, known_first), (unit_second, known_second) = _directions(first), _directions(second)
    cosines = np.clip(np.abs(unit_first @ unit_second.T), 0.0, 1.0)
    angles = np.degrees(np.arccos(cosines))
    return rotation + np.where(known_first[:, None] & known_second, angles, 0.0)


def rotation_distances(first: Sequence[Hypothesis], second: Sequence[Hypothesis]) -> Float[np.ndarray, "n m"]:
    """Angles in degrees between the rotations of hypotheses that have poses."""
    quaternions = [np.array([_pose(one).rotation.as_quat() for one in part]).reshape(-1, 4) for part in (first, second)]
    cosines = np.clip(np.abs(quaternions[0] @ quaternions[1].T), 0.0, 1.0)
    # The half angle of nearly equal rotations is lost in the cosine: take it from the sine of the difference there.
    angles = 2.0 * np.degrees(np.arccos(cosines))
    for row, column in np.argwhere(cosines > 1.0 - 1e-6):
        change = _pose(first[row]).rotation * _pose(second[column]).rotation.inv()
        angles[row, column] = np.degrees(change.magnitude())
    return np.asarray(angles)


def medoid(distances: Float[np.ndarray, "n n"]) -> tuple[int, float]:
    """The row with the least mean distance to the others, and that mean; the first of equals.

    With a single row the mean distance is NaN: one opinion has no spread.

    Raises:
        ValueError: for an empty matrix.
    """
    count = len(distances)
    if count == 0:
        raise ValueError("A medoid needs at least one pose; got none.")
    if count == 1:
        return 0, float("nan")
    means = (distances.sum(axis=1) - np.diag(distances)) / (count - 1)
    chosen = int(np.argmin(means))
    return chosen, float(means[chosen])


def group_consensus(
    hypotheses: Sequence[Hypothesis], pair: Hypothesis | None = None, min_posed: int = 2
) -> list[GroupConsensus]:
    """The consensus of every group with at least ``min_posed`` poses, least D_total first.

    The first entry is the published choice: its medoid is the answer, and its spread is the answer's uncertainty.

    Args:
        hypotheses: of all groups, failures among them.
        pair: the pose of the two images alone; None, or one without a pose, leaves D_total = D_med.
        min_posed: fewest poses of a group that is believed; a single pose has no spread.
    """
    groups: dict[str, list[int]] = {}
    for index, one in enumerate(hypotheses):
        groups.setdefault(one.group, []).append(index)
    found = []
    for group, members in groups.items():
        posed = [index for index in members if hypotheses[index].b_from_a is not None]
        if len(posed) < max(min_posed, 2):
            continue
        poses = [hypotheses[index] for index in posed]
        chosen, spread = medoid(pose_distances(poses, poses))
        total = spread
        if pair is not None and pair.b_from_a is not None:
            total += float(pose_distances([poses[chosen]], [pair])[0, 0])
        found.append(GroupConsensus(group, posed[chosen], spread, total, len(posed), len(members)))
    return sorted(found, key=lambda one: one.total_deg)


def support(hypotheses: Sequence[Hypothesis], *, near_deg: float = NEAR_DEG) -> Float[np.ndarray, "n 2"]:
    """How many hypotheses agree with each, softly counted: shares of its own group, and of the other groups.

    A hypothesis at the angle d between rotations counts exp(-(d / near_deg)^2). Every group weighs the same, and every
    failure counts as one that does not agree. NaN where there is nothing to ask; zero for failures themselves.

    Args:
        hypotheses: of all groups, failures among them.
        near_deg: angle at which agreement falls to 1 / e.
    """
    names = list(dict.fromkeys(one.group for one in hypotheses))
    posed = [index for index, one in enumerate(hypotheses) if one.b_from_a is not None]
    poses = [hypotheses[index] for index in posed]
    agreement = np.zeros((len(hypotheses),) * 2)
    if poses:
        agreement[np.ix_(posed, posed)] = np.exp(-((rotation_distances(poses, poses) / near_deg) ** 2))
    result = np.full((len(hypotheses), 2), np.nan)
    of_group = np.array([names.index(one.group) for one in hypotheses], dtype=np.intp)
    for index in range(len(hypotheses)):
        own = of_group == of_group[index]
        own[index] = False
        if own.any():
            result[index, 0] = agreement[index, own].mean()
        others = [agreement[index, of_group == other].mean() for other in range(len(names)) if other != of_group[index]]
        if others:
            result[index, 1] = float(np.mean(others))
    return result


def averaged(hypotheses: Sequence[Hypothesis]) -> RigidTransform | None:
    """The mean rotation (chordal) and mean direction of translation of all poses: a baseline, not an answer.

    Directions are averaged as axes, without their sign; the sign is that of most of them. None without any pose.
    """
    from scipy.spatial.transform import Rotation

    poses = [one for one in hypotheses if one.b_from_a is not None]
    if not poses:
        return None
    rotation = Rotation.concatenate([_pose(one).rotation for one in poses]).mean()
    units, known = _directions(poses)
    if not known.any():
        return RigidTransform.from_components(np.zeros(3), rotation)
    units = units[known]
    axis = np.linalg.eigh(units.T @ units)[1][:, -1]
    sign = 1.0 if np.sum(units @ axis) >= 0 else -1.0
    return RigidTransform.from_components(sign * axis, rotation)


def _pose(one: Hypothesis) -> RigidTransform:
    if one.b_from_a is None:
        raise ValueError(f"Distances need poses; {one.source!r} has none ({one.reason}). Leave failures out.")
    return one.b_from_a


def _directions(hypotheses: Sequence[Hypothesis]) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Unit translations, and which of them mean something."""
    vectors = np.array([_pose(one).translation for one in hypotheses], dtype=np.float64).reshape(-1, 3)
    lengths = np.linalg.norm(vectors, axis=1)
    known = np.array([one.translation_observed for one in hypotheses], dtype=bool) & (lengths > 0)
    return vectors / np.where(lengths > 0, lengths, 1.0)[:, None], known
