"""``posesplat evaluate EST GT``: errors of a trajectory."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from posesplat.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from posesplat.evaluate.evaluation import Evaluation


@dataclass(frozen=True)
class Options:
    """Two trajectory files in any format that posesplat reads, and how to compare them."""

    estimated: Annotated[Positional[Path], arg(metavar="EST")]
    """Trajectory to judge."""
    true: Annotated[Positional[Path], arg(metavar="GT")]
    """Trajectory to judge against."""
    align: Literal["se3", "sim3", "none"] = "se3"
    """Bring the estimate into the true world first: rotation and translation, also scale, or not at all."""
    match: Literal["timestamp", "name", "order"] = "timestamp"
    """Pair frames by nearest time, by equal name, or the k-th with the k-th."""
    max_time_difference_s: float = 0.01
    """Largest gap of a pair of timestamps, seconds."""
    delta: int = 1
    """Frames between the two poses of a relative error."""
    all_pairs: bool = False
    """Take relative errors from every frame on, not only pairs that do not overlap."""
    json: bool = False
    """Print JSON instead of a table."""


def run(options: Options) -> int:
    """Evaluate, print, and say through the exit status whether every frame of the estimate has a pose."""
    from posesplat.evaluate.evaluation import evaluate
    from posesplat.io.formats import read_trajectory

    estimated, true = read_trajectory(options.estimated), read_trajectory(options.true)
    if not estimated.posed.any():
        sys.stderr.write(f"posesplat: {options.estimated} has no posed frame to evaluate\n")
        return ExitStatus.NONE_POSED
    evaluation = evaluate(
        estimated,
        true,
        align=options.align,
        match=options.match,
        max_time_difference_s=options.max_time_difference_s,
        delta=options.delta,
        all_pairs=options.all_pairs,
    )
    if options.json:
        sys.stdout.write(json.dumps(evaluation.to_json(), indent=2, allow_nan=False) + "\n")
    else:
        _print_table(evaluation)
    return ExitStatus.of(evaluation.posed, evaluation.frames)


def _print_table(evaluation: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    pairs = "all pairs" if evaluation.all_pairs else "consecutive pairs"
    rows = [
        ("ATE (m)", evaluation.ate_translation),
        ("ATE (deg)", evaluation.ate_rotation_deg),
        ("RPE (m)", evaluation.rpe_translation),
        ("RPE (deg)", evaluation.rpe_rotation_deg),
    ]
    table = Table(title=f"{evaluation.compared} frames compared, alignment {evaluation.align}", title_justify="left")
    table.add_column("error")
    for column in ("rmse", "mean", "median", "std", "min", "max"):
        table.add_column(column, justify="right")
    for name, statistics in rows:
        if statistics is not None:
            s = statistics
            table.add_row(name, *(f"{value:.6f}" for value in (s.rmse, s.mean, s.median, s.std, s.min, s.max)))
    console = Console()
    console.print(table)
    console.print(f"RPE over {evaluation.delta} frame(s), {pairs}; m is the unit of the true trajectory")
    if evaluation.align == "sim3":
        console.print(f"scale of the alignment {evaluation.true_from_estimated.scale:.6f}")
    if evaluation.speed_difference is not None:
        console.print(f"difference of mean speeds {evaluation.speed_difference:.6f} m/s")
    if evaluation.posed < evaluation.frames:
        console.print(f"{evaluation.frames - evaluation.posed} of {evaluation.frames} frames have no pose")
