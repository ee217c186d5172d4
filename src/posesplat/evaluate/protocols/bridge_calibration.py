"""Make the numbers behind the probability of ``bridge``: bridge synthetic pairs, fit, and judge on other rooms.

``python -m posesplat.evaluate.protocols.bridge_calibration --out FOLDER`` keeps each pair's hypotheses in the folder,
goes on where it stopped, and writes ``consensus_calibration.json``, which is then copied beside
:mod:`posesplat.align.consensus_score`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from posesplat.align.consensus_score import (
    Calibration,
    best_hypothesis,
    expected_calibration_error,
    features,
    fitted_calibration,
)
from posesplat.evaluate.protocols.bridge_rooms import YAW_BINS, room_case
from posesplat.evaluate.protocols.bridge_trials import BridgeTrial, labelled_rows, run_trial, way_scores
from posesplat.files import write_text
from posesplat.methods.bridge_options import BridgeOptions
from posesplat.methods.pair_options import PairOptions

TRIAL_OPTIONS = BridgeOptions(min_probability=0.0, pair=PairOptions(depth="none"))
"""As in use, but that every answer is given."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CalibrationOptions:
    """Which rooms are bridged."""

    out: Path
    """Folder for the pairs and the result."""
    first_seed: int = 100
    """Seed of the first room to fit on."""
    rooms: int = 30
    """Rooms to fit on, one pair of each range of turns."""
    first_held_out: int = 1000
    """Seed of the first room to judge on."""
    held_out: int = 15
    """Rooms to judge on."""
    subsets: int = 6
    """Of each clip; fewer than in use, so that more pairs fit into the time."""


def trial_of(folder: Path, seed: int, yaw: str, options: BridgeOptions = TRIAL_OPTIONS) -> BridgeTrial | None:
    """The trial of one room, from the folder or made; None where the room has no such pair."""
    path = folder / f"{seed}_{yaw}.json"
    if path.is_file():
        record = json.loads(path.read_text())
        return BridgeTrial.from_json(record) if record else None
    try:
        trial = run_trial(room_case(seed, yaw), options)
    except ValueError as error:
        _LOG.warning("room %s, turn %s: %s", seed, yaw, error)
        write_text(path, "{}")
        return None
    write_text(path, json.dumps(trial.to_json()))
    return trial


def trials_of(folder: Path, seeds: Sequence[int], options: BridgeOptions = TRIAL_OPTIONS) -> list[BridgeTrial]:
    """The trials of some rooms, all ranges of turns."""
    found = (trial_of(folder, seed, yaw, options) for seed in seeds for yaw in YAW_BINS)
    return [trial for trial in found if trial is not None]


def chosen_calibration_error(trials: Sequence[BridgeTrial], calibration: Calibration) -> tuple[float, float]:
    """Expected calibration errors: of the answers, one a pair, and of all hypotheses, each pair weighing the same."""
    probabilities, right = [], []
    for trial in trials:
        chance = calibration.probability(features(trial.hypotheses, trial.pair))
        best = best_hypothesis(trial.hypotheses, chance)
        if best is not None:
            probabilities.append(float(chance[best]))
            right.append(bool(trial.errors()[best, 0] <= 15.0))
    rows, all_right, _ = labelled_rows(trials)
    of_all = expected_calibration_error(calibration.probability(rows), all_right)
    return expected_calibration_error(np.array(probabilities), np.array(right), bins=5), of_all


def calibrate(options: CalibrationOptions) -> Calibration:
    """Bridge what is missing, fit, judge, write.

    Raises:
        ValueError: when no wrong or no right hypothesis came out.
    """
    settings = replace(TRIAL_OPTIONS, subsets=options.subsets)
    fit_on = trials_of(options.out, range(options.first_seed, options.first_seed + options.rooms), settings)
    held_out = range(options.first_held_out, options.first_held_out + options.held_out)
    judge_on = trials_of(options.out, held_out, settings)
    rows, right, weights = labelled_rows(fit_on)
    share = weights * len(weights) / weights.sum()
    calibration = fitted_calibration(rows, right, share, ridge=10.0)
    of_answers, of_all = chosen_calibration_error(judge_on, calibration)
    made = {
        "command": "python -m posesplat.evaluate.protocols.bridge_calibration",
        "fitted_on": f"{len(fit_on)} pairs of rooms {options.first_seed} to {options.first_seed + options.rooms - 1}",
        "judged_on": f"{len(judge_on)} pairs of rooms {options.first_held_out} to "
        f"{options.first_held_out + options.held_out - 1}",
        "subsets": options.subsets,
        "hypotheses": len(rows),
        "held_out_calibration_error_of_answers": round(of_answers, 4),
        "held_out_calibration_error_of_hypotheses": round(of_all, 4),
    }
    calibration = Calibration(calibration.mean, calibration.deviation, calibration.weights, calibration.bias, made)
    write_text(options.out / "consensus_calibration.json", json.dumps(calibration.to_json(), indent=1) + "\n")
    table = {name: asdict(score) for name, score in way_scores(judge_on, calibration).items()}
    write_text(options.out / "held_out_scores.json", json.dumps(table, indent=1) + "\n")
    return calibration


if __name__ == "__main__":
    import tyro

    calibrate(tyro.cli(CalibrationOptions))
