"""Bridged pairs with their truth, and what each way of choosing an answer makes of the same hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.consensus import Hypothesis, averaged, group_consensus
from posesplat.align.consensus_score import Calibration, best_hypothesis, features
from posesplat.evaluate.protocols.bridge_rooms import BridgeCase, StoredClips
from posesplat.methods.bridge import BridgeEstimator
from posesplat.methods.bridge_options import BridgeOptions

WAYS = ("pair", "average", "medoid", "D_total", "evidence", "oracle")
"""Ways of choosing: the pair alone, the mean of all poses, least D_med, the published least D_total, the calibrated
probability, and the best of all hypotheses, which needs the truth."""


@dataclass(frozen=True)
class BridgeTrial:
    """The hypotheses of one pair, the pair's own last, with the truth."""

    name: str
    kinds: tuple[str, ...]
    """Kind of each clip."""
    true: RigidTransform
    """b_from_a."""
    hypotheses: tuple[Hypothesis, ...]
    seconds: float = float("nan")
    """Processor time."""

    @property
    def pair(self) -> Hypothesis:
        """The two images alone."""
        return self.hypotheses[-1]

    def errors(self) -> Float[np.ndarray, "n 2"]:
        """Rotation and folded translation error of each hypothesis in degrees; NaN for failures."""
        return np.array([pose_error(one.b_from_a, self.true) for one in self.hypotheses])

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record."""
        return {
            "name": self.name,
            "kinds": list(self.kinds),
            "true": self.true.as_matrix().tolist(),
            "hypotheses": [one.to_json() for one in self.hypotheses],
            "seconds": self.seconds,
        }

    @staticmethod
    def from_json(record: dict[str, Any]) -> BridgeTrial:
        """The inverse of :meth:`to_json`."""
        return BridgeTrial(
            record["name"],
            tuple(record["kinds"]),
            RigidTransform.from_matrix(np.array(record["true"])),
            tuple(Hypothesis.from_json(one) for one in record["hypotheses"]),
            record["seconds"],
        )


def run_trial(case: BridgeCase, options: BridgeOptions) -> BridgeTrial:
    """Bridge one case with its own clips."""
    import time

    began = time.process_time()
    result = BridgeEstimator(options, StoredClips(case.clips)).estimate(case.a, case.b)
    elapsed = time.process_time() - began
    return BridgeTrial(case.name, case.kinds, case.b_from_a, result.evidence.hypotheses, elapsed)


def pose_error(b_from_a: RigidTransform | None, true: RigidTransform) -> tuple[float, float]:
    """Rotation error and angle between translations, folded at 90, in degrees; NaN where there is none.

    A translation of length 0, or a true one, has no direction: its error is NaN.
    """
    if b_from_a is None:
        return float("nan"), float("nan")
    turn = float(np.degrees((b_from_a.rotation * true.rotation.inv()).magnitude()))
    lengths = float(np.linalg.norm(b_from_a.translation)), float(np.linalg.norm(true.translation))
    if min(lengths) < 1e-9:
        return turn, float("nan")
    cosine = abs(float(b_from_a.translation @ true.translation)) / (lengths[0] * lengths[1])
    return turn, float(np.degrees(np.arccos(min(cosine, 1.0))))


def chosen_poses(trial: BridgeTrial, calibration: Calibration) -> dict[str, RigidTransform | None]:
    """What each of :data:`WAYS` answers; None where it has no answer."""
    clips = trial.hypotheses[:-1]
    consensus = group_consensus(clips, trial.pair)
    by_spread = sorted(consensus, key=lambda one: one.spread_deg)
    rotation = trial.errors()[:, 0]
    probability = calibration.probability(features(trial.hypotheses, trial.pair))
    best = best_hypothesis(trial.hypotheses, probability)
    fallback, mean = trial.pair.b_from_a, averaged(clips)

    def pose(index: int) -> RigidTransform | None:
        return trial.hypotheses[index].b_from_a

    return {
        "pair": fallback,
        "average": fallback if mean is None else mean,
        "medoid": pose(by_spread[0].medoid) if by_spread else fallback,
        "D_total": pose(consensus[0].medoid) if consensus else fallback,
        "evidence": None if best is None else pose(best),
        "oracle": pose(int(np.nanargmin(rotation))) if np.isfinite(rotation).any() else None,
    }


@dataclass(frozen=True)
class WayScore:
    """How one way of choosing did over many pairs; failures count as wrong in shares and are left out of means."""

    pairs: int
    failed: int
    mean_rotation_deg: float
    """MRE over the pairs with an answer."""
    median_rotation_deg: float
    mean_translation_deg: float
    """MTE over the pairs with a direction."""
    within_5: float
    within_15: float
    within_30: float
    auc_30: float
    """Mean share within 1, 2, ..., 30 degrees."""


def way_scores(trials: Sequence[BridgeTrial], calibration: Calibration) -> dict[str, WayScore]:
    """The scores of each of :data:`WAYS`; shares are of the rotation."""
    answers = [chosen_poses(trial, calibration) for trial in trials]
    scores = {}
    for way in WAYS:
        errors = np.array([pose_error(one[way], trial.true) for one, trial in zip(answers, trials, strict=True)])
        rotation = np.where(np.isfinite(errors[:, 0]), errors[:, 0], np.inf)
        known = np.isfinite(rotation)
        within = [float(np.mean(rotation <= limit)) for limit in range(1, 31)]
        directed = errors[np.isfinite(errors[:, 1]), 1]
        scores[way] = WayScore(
            len(trials),
            int((~known).sum()),
            float(rotation[known].mean()) if known.any() else float("nan"),
            float(np.median(rotation[known])) if known.any() else float("nan"),
            float(directed.mean()) if len(directed) else float("nan"),
            within[4],
            within[14],
            within[29],
            float(np.mean(within)),
        )
    return scores


def labelled_rows(
    trials: Sequence[BridgeTrial], near_deg: float = 15.0
) -> tuple[Float[np.ndarray, "n d"], np.ndarray, Float[np.ndarray, " n"]]:
    """Features of all hypotheses with poses, whether each is within ``near_deg``, and weights that sum to 1 a pair."""
    rows, right, weights = [], [], []
    for trial in trials:
        rotation = trial.errors()[:, 0]
        posed = np.isfinite(rotation)
        if not posed.any():
            continue
        rows.append(features(trial.hypotheses, trial.pair)[posed])
        right.append(rotation[posed] <= near_deg)
        weights.append(np.full(int(posed.sum()), 1.0 / posed.sum()))
    return np.concatenate(rows), np.concatenate(right), np.concatenate(weights)
