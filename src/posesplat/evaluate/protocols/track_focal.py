"""Focal lengths found from clips whose camera is guessed, and what they do to the trajectory."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from posesplat.evaluate.protocols.report import Column, Row, Table
from posesplat.evaluate.protocols.track_clips import TrackClip
from posesplat.evaluate.protocols.track_rooms import TREMOR
from posesplat.evaluate.protocols.track_scores import scored
from posesplat.evaluate.protocols.track_settings import TrackBench
from posesplat.methods.calibrate import calibrate
from posesplat.methods.track import track

GUESS = 1.2
"""Of the image's width; the true focal length is 0.82 of it."""
_CLIPS = 6

COLUMNS = (
    Column("motion", "motion"),
    Column("clips", "n"),
    Column("refused", "refused"),
    Column("error_percent", "median error %", ".2f"),
    Column("most_percent", "largest %", ".2f"),
    Column("half_width_percent", "95 % interval +- %", ".2f"),
    Column("covered", "holds the truth"),
    Column("ate_ratio", "ATE, times calibrated", ".3g"),
    Column("cpu_s", "CPU s", ".3g"),
)


@dataclass(frozen=True)
class _Trial:
    error: float
    half_width: float
    covered: bool
    ate_ratio: float
    cpu_s: float


def run(bench: TrackBench) -> None:
    """The table of focal lengths."""
    settings = bench.settings
    count = settings.clips or _CLIPS
    advance = bench.advancing("focal", count * len(TREMOR))
    rows: list[Row] = []
    try:
        for name, change in TREMOR.items():
            trials: list[_Trial | None] = []
            for spec in settings.specs(count, **change):
                trials.append(_tried(settings.open(spec)))
                advance()
            rows.append(_row(name, trials))
    finally:
        if rows:
            title = f"Focal length found from the clip, guessed as {GUESS} x the width at first"
            bench.add([Table("focal", title, COLUMNS, tuple(rows))])


def _tried(clip: TrackClip) -> _Trial | None:
    """The focal length of a clip against the true one; None when it is refused."""
    true = clip.frames[0].camera
    guess = replace(true, fx=GUESS * true.width, fy=GUESS * true.width)
    began = time.process_time()
    found = calibrate(replace(frame, camera=guess) for frame in clip.frames)
    spent = time.process_time() - began
    if found.camera is None:
        return None
    camera = found.camera.pinhole
    low, high = found.focal_interval_px
    free, known = (
        scored(track([replace(frame, camera=used) for frame in clip.frames]), clip.cam_from_world).ate_mm
        for used in (camera, true)
    )
    half_width = 0.5 * (high - low) / true.fx
    return _Trial(camera.fx / true.fx - 1.0, half_width, low <= true.fx <= high, free / known, spent)


def _row(name: str, trials: list[_Trial | None]) -> Row:
    done = [trial for trial in trials if trial is not None]
    errors = [100.0 * abs(trial.error) for trial in done]
    ratios = [trial.ate_ratio for trial in done if np.isfinite(trial.ate_ratio)]
    return {
        "motion": name,
        "clips": len(trials),
        "refused": len(trials) - len(done),
        "error_percent": float(np.median(errors)) if errors else None,
        "most_percent": max(errors, default=None),
        "half_width_percent": 100.0 * float(np.median([trial.half_width for trial in done])) if done else None,
        "covered": f"{sum(trial.covered for trial in done)} of {len(done)}",
        "ate_ratio": float(np.median(ratios)) if ratios else None,
        "cpu_s": float(np.mean([trial.cpu_s for trial in done])) if done else None,
    }
