"""From evidence to a probability: how likely each hypothesis' rotation is within 15 degrees of the truth.

A logistic function of a few terms; what is missing counts as average. Its numbers were fitted on synthetic rooms and
lie in ``consensus_calibration.json`` with what made them (:mod:`posesplat.evaluate.protocols.bridge_calibration`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from posesplat.align.consensus import NEAR_DEG, PAIR_GROUP, Hypothesis, pose_distances, rotation_distances, support

FEATURES = (
    "own_spread",
    "own_support",
    "other_support",
    "pair_distance",
    "epipolar",
    "reprojection",
    "overlap",
    "unmet",
    "moved_deg",
    "cheirality",
    "points",
    "shared_points",
    "residual_px",
    "translation_observed",
)
"""What the probability rests on; see :func:`features`."""
_CLOSE_DEG = 2.0
_CALIBRATION = Path(__file__).with_name("consensus_calibration.json")


def features(hypotheses: Sequence[Hypothesis], pair: Hypothesis | None = None) -> Float[np.ndarray, "n d"]:
    """The terms of :data:`FEATURES` for each hypothesis, NaN where nothing is known; all NaN for failures.

    Distances and counts enter as log(1 + x), terms above chance as their inverse hyperbolic sine.
    """
    rows = np.full((len(hypotheses), len(FEATURES)), np.nan)
    agreement = support(hypotheses)
    for index, one in enumerate(hypotheses):
        if one.b_from_a is None:
            continue
        others = [
            other
            for number, other in enumerate(hypotheses)
            if number != index and other.group == one.group and other.b_from_a is not None
        ]
        values = {"own_support": agreement[index, 0], "other_support": agreement[index, 1]}
        if others:
            values["own_spread"] = np.log1p(float(pose_distances([one], others).mean()))
        if pair is not None and pair.b_from_a is not None and pair is not one:
            values["pair_distance"] = np.log1p(float(pose_distances([one], [pair])[0, 0]))
        for name in ("epipolar", "reprojection"):
            values[name] = np.arcsinh(one.evidence.get(name, np.nan))
        for name in ("moved_deg", "points", "shared_points", "residual_px"):
            values[name] = np.log1p(one.evidence.get(name, np.nan))
        for name in ("overlap", "unmet", "cheirality"):
            values[name] = one.evidence.get(name, np.nan)
        values["translation_observed"] = float(one.translation_observed)
        rows[index] = [values.get(name, np.nan) for name in FEATURES]
    return rows


@dataclass(frozen=True)
class Calibration:
    """A logistic function of :data:`FEATURES`."""

    mean: Float[np.ndarray, " d"]
    """Of each term, which also stands for those that are missing."""
    deviation: Float[np.ndarray, " d"]
    """Standard deviation of each term."""
    weights: Float[np.ndarray, " d"]
    """Of the standardised terms."""
    bias: float
    made: dict[str, Any] = field(default_factory=dict)
    """What it was fitted on, and how well it did elsewhere."""

    def probability(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """The probability of each row; NaN for rows without any term."""
        logits = self.standardised(rows) @ self.weights + self.bias
        return np.where(np.isfinite(rows).any(axis=1), 1.0 / (1.0 + np.exp(-logits)), np.nan)

    def standardised(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Terms less their mean over their deviation, at most 4 in size; 0 where missing."""
        return np.asarray(np.clip(np.nan_to_num((rows - self.mean) / self.deviation, nan=0.0), -4.0, 4.0))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record."""
        terms = {
            name: {"mean": float(self.mean[k]), "deviation": float(self.deviation[k]), "weight": float(self.weights[k])}
            for k, name in enumerate(FEATURES)
        }
        return {"near_deg": NEAR_DEG, "bias": self.bias, "terms": terms, "made": self.made}

    @staticmethod
    def from_json(record: dict[str, Any]) -> Calibration:
        """The inverse of :meth:`to_json`."""
        terms = [record["terms"][name] for name in FEATURES]
        mean, deviation, weights = (np.array([term[key] for term in terms]) for key in ("mean", "deviation", "weight"))
        return Calibration(mean, deviation, weights, record["bias"], record.get("made", {}))


def fitted_calibration(
    rows: Float[np.ndarray, "n d"],
    right: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"] | None = None,
    *,
    ridge: float = 1.0,
    made: dict[str, Any] | None = None,
) -> Calibration:
    """The logistic function of greatest likelihood with a ridge on its weights (Newton's method).

    Args:
        rows: of :func:`features`.
        right: whether each hypothesis was within 15 degrees.
        weights: of each row; by default 1. Hypotheses of one pair are not independent: weigh each pair the same.
        ridge: of the standardised weights.
        made: what the rows come from.

    Raises:
        ValueError: for rows without both outcomes.
    """
    if right.all() or not right.any():
        raise ValueError(
            f"A calibration needs right and wrong hypotheses; got {int(right.sum())} of {len(right)} right."
        )
    known = np.isfinite(rows)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, rows, 0.0).sum(axis=0) / count
    variance = np.where(known, (rows - mean) ** 2, 0.0).sum(axis=0) / count
    blank = Calibration(mean, np.sqrt(np.maximum(variance, 1e-12)), np.zeros(rows.shape[1]), 0.0)
    terms = np.column_stack([blank.standardised(rows), np.ones(len(rows))])
    share = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    penalty = ridge * np.diag([*np.ones(rows.shape[1]), 1e-6])
    solution = np.zeros(terms.shape[1])
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-terms @ solution))
        gradient = terms.T @ (share * (chance - right)) + penalty @ solution
        hessian = (terms * (share * chance * (1 - chance))[:, None]).T @ terms + penalty
        step = np.linalg.solve(hessian, gradient)
        solution -= step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return Calibration(blank.mean, blank.deviation, solution[:-1], float(solution[-1]), made or {})


def best_hypothesis(hypotheses: Sequence[Hypothesis], probabilities: Float[np.ndarray, " n"]) -> int | None:
    """The hypothesis to answer with: near the most probable one, where most of the odds are close together.

    The probability tells right from wrong, not good from better. Among the poses whose rotation is within 15 degrees of
    the most probable one, that with the greatest product of its probability and the sum of all their odds, each less by
    exp(-angle / 2 degrees), is taken; the pose of the two images alone goes before all others, since it was refined on
    them. None where all probabilities are NaN.

    Args:
        hypotheses: of all groups.
        probabilities: of :meth:`Calibration.probability`.
    """
    if not np.isfinite(probabilities).any():
        return None
    top = int(np.nanargmax(probabilities))
    posed = [index for index in range(len(hypotheses)) if np.isfinite(probabilities[index])]
    turns = rotation_distances([hypotheses[top]], [hypotheses[index] for index in posed])[0]
    near = [index for index, turn in zip(posed, turns, strict=True) if turn <= NEAR_DEG]
    alone = [index for index in near if hypotheses[index].group == PAIR_GROUP]
    if alone:
        return alone[0]
    poses = [hypotheses[index] for index in near]
    chances = probabilities[near]
    close = np.exp(-rotation_distances(poses, poses) / _CLOSE_DEG)
    return near[int(np.argmax(chances * (close @ (chances / (1.0 - chances + 1e-3)))))]


def expected_calibration_error(
    probability: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], bins: int = 10
) -> float:
    """Mean gap between stated probability and share that was right, over equal bins weighed by their counts.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    cell = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [
        abs(float(probability[cell == k].mean()) - float(right[cell == k].mean())) * float((cell == k).mean())
        for k in range(bins)
        if (cell == k).any()
    ]
    return float(sum(gaps))


@cache
def shipped_calibration() -> Calibration:
    """The calibration that comes with the package."""
    return Calibration.from_json(json.loads(_CALIBRATION.read_text(encoding="utf-8")))
