"""Whether a method knows when it is wrong: thresholds on its score, set on other scenes than they are judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binomtest

WANTED_PRECISION = 0.95


@dataclass(frozen=True)
class Flagged:
    """Answers that were accepted, and how many of them, and of all good ones, are good."""

    accepted: int
    """How many."""
    asked: int
    """Of how many."""
    precision: float
    """Good ones among the accepted; NaN without any."""
    low: float
    """Lower end of the precision's 95 % Wilson interval."""
    high: float
    """Upper end."""
    recall: float
    """Accepted ones among the good; NaN without any."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share; (0, 1) without anything counted."""
    if count == 0:
        return 0.0, 1.0
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def flagged(accepted: Bool[np.ndarray, " n"], good: Bool[np.ndarray, " n"]) -> Flagged:
    """Precision and recall of accepted answers."""
    both = int(np.count_nonzero(accepted & good))
    count, all_good = int(np.count_nonzero(accepted)), int(np.count_nonzero(good))
    low, high = wilson(both, count)
    nan = float("nan")
    return Flagged(count, len(good), both / count if count else nan, low, high, both / all_good if all_good else nan)


def threshold_for(
    scores: Float[np.ndarray, " n"], good: Bool[np.ndarray, " n"], precision: float = WANTED_PRECISION
) -> float:
    """The smallest score from which on answers reach a precision; infinite when none does.

    Answers of equal score are accepted together; NaN scores are never accepted.
    """
    known = np.flatnonzero(~np.isnan(scores))
    order = known[np.argsort(-scores[known], kind="stable")]
    if not len(order):
        return float("inf")
    hits = np.cumsum(good[order]) / np.arange(1, len(order) + 1)
    values = scores[order]
    last_of_equal = np.append(values[:-1] != values[1:], True)
    reached = np.flatnonzero(last_of_equal & (hits >= precision))
    return float(values[reached[-1]]) if len(reached) else float("inf")


def accepted_elsewhere(
    scores: Float[np.ndarray, " n"],
    good: Bool[np.ndarray, " n"],
    scenes: Sequence[str],
    precision: float = WANTED_PRECISION,
) -> Bool[np.ndarray, " n"]:
    """Which answers reach the threshold that all scenes but their own call for."""
    names = np.array(scenes)
    accepted = np.zeros(len(scores), dtype=bool)
    for scene in dict.fromkeys(scenes):
        own = names == scene
        with np.errstate(invalid="ignore"):
            accepted[own] = scores[own] >= threshold_for(scores[~own], good[~own], precision)
    return accepted


def precision_recall(
    scores: Float[np.ndarray, " n"], good: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Precision and recall at every threshold, surest answers first; empty without scores or good answers."""
    known = np.flatnonzero(~np.isnan(scores))
    order = known[np.argsort(-scores[known], kind="stable")]
    if not len(order) or not good.any():
        return np.zeros(0), np.zeros(0)
    values, hits = scores[order], np.cumsum(good[order])
    ends = np.flatnonzero(np.append(values[:-1] != values[1:], True))
    return hits[ends] / (ends + 1), hits[ends] / np.count_nonzero(good)
