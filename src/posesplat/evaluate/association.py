"""Which pose of an estimated trajectory belongs to which pose of the true one."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from posesplat.geometry.trajectory import Trajectory

Matching = Literal["timestamp", "name", "order"]


def associate(
    estimated: Trajectory, true: Trajectory, by: Matching = "timestamp", max_time_difference_s: float = 0.01
) -> tuple[Trajectory, Trajectory]:
    """The posed frames that two trajectories share, pair by pair.

    Args:
        estimated: the trajectory to judge; frames without a pose are left out.
        true: the trajectory to judge against; frames without a pose are left out.
        by: ``timestamp`` pairs nearest times, ``name`` equal names, ``order`` the k-th pose with the k-th.
        max_time_difference_s: largest gap of a pair, for ``timestamp`` only.

    Returns:
        Two trajectories of equal length, in the order of the estimate.

    Raises:
        ValueError: when nothing matches, names repeat, or ``order`` meets different lengths.
    """
    mine, theirs = estimated.successes(), true.successes()
    if not len(mine) or not len(theirs):
        raise ValueError(
            "Both trajectories must hold at least one pose; "
            f"got {len(mine)} estimated and {len(theirs)} true poses. Check the files."
        )
    if by == "timestamp":
        rows, columns = matching_times(mine.timestamps, theirs.timestamps, max_time_difference_s)
    elif by == "name":
        rows, columns = _matching_names(mine.names, theirs.names)
    else:
        if len(mine) != len(theirs):
            raise ValueError(
                "Trajectories must have equally many poses to be paired by order; "
                f"got {len(mine)} estimated and {len(theirs)} true. Pair them by timestamp or by name."
            )
        rows = columns = np.arange(len(mine))
    if not len(rows):
        raise ValueError(_nothing_matches(mine, theirs, by, max_time_difference_s))
    return mine.select(rows), theirs.select(columns)


def matching_times(
    first_s: Float[np.ndarray, " n"], second_s: Float[np.ndarray, " m"], max_difference_s: float
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Index pairs of nearest times, at most ``max_difference_s`` apart, each index used once.

    The shorter list looks for partners in the longer one; of two that want the same partner, the nearer has it.
    """
    if not max_difference_s >= 0:
        raise ValueError(f"The largest time difference must be >= 0 seconds; got {max_difference_s}.")
    if len(first_s) > len(second_s):
        columns, rows = matching_times(second_s, first_s, max_difference_s)
        order = np.argsort(rows, kind="stable")
        return rows[order], columns[order]
    order = np.argsort(second_s, kind="stable")
    sorted_s = second_s[order]
    after = np.searchsorted(sorted_s, first_s).clip(1, max(len(sorted_s) - 1, 1))
    neighbours = np.stack([after - 1, after]).clip(0, len(sorted_s) - 1)
    gaps = np.abs(sorted_s[neighbours] - first_s)
    nearest = np.argmin(gaps, axis=0)
    columns, gap = order[neighbours[nearest, np.arange(len(first_s))]], gaps.min(axis=0)
    rows = np.flatnonzero(gap <= max_difference_s)
    nearest_first = rows[np.argsort(gap[rows], kind="stable")]
    _, winners = np.unique(columns[nearest_first], return_index=True)
    rows = np.sort(nearest_first[winners])
    return rows, columns[rows]


def _matching_names(mine: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    for label, names in (("estimated", mine), ("true", theirs)):
        if len(set(names)) != len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise ValueError(
                f"Names must be unique to pair by name; the {label} trajectory repeats {repeated!r}. "
                "Pair by timestamp or by order (--match)."
            )
    column_of = {name: column for column, name in enumerate(theirs)}
    rows = [row for row, name in enumerate(mine) if name in column_of]
    return np.array(rows, dtype=np.intp), np.array([column_of[mine[row]] for row in rows], dtype=np.intp)


def _nothing_matches(mine: Trajectory, theirs: Trajectory, by: Matching, max_time_difference_s: float) -> str:
    if by == "name":
        return (
            f"No names in common: the estimate has {mine.names[0]!r}, ..., the truth {theirs.names[0]!r}, .... "
            "Pair by timestamp or by order."
        )
    return (
        f"No timestamps within {max_time_difference_s:g} s of each other: the estimate runs from "
        f"{mine.timestamps.min():.3f} to {mine.timestamps.max():.3f} s, the truth from {theirs.timestamps.min():.3f} "
        f"to {theirs.timestamps.max():.3f} s. Allow a larger difference "
        "(--max-time-difference-s), or pair by name or by order (--match)."
    )
