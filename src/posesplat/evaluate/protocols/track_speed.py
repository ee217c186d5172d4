"""Time and memory of tracking one clip, in processes of their own, with one and with two threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from posesplat.evaluate.protocols import track_process
from posesplat.evaluate.protocols.report import Column, Row, Table
from posesplat.evaluate.protocols.track_contenders import OURS
from posesplat.evaluate.protocols.track_rooms import CONDITIONS, PLAIN
from posesplat.evaluate.protocols.track_settings import TrackBench

THREADS = (1, 2)
CLIPS = (PLAIN, "20 % moves")
"""Conditions of the clips."""
_RUNS = 3

COLUMNS = (
    Column("clip", "clip"),
    Column("threads", "threads"),
    Column("runs", "runs"),
    Column("wall_s", "wall s", ".3g"),
    Column("least_wall_s", "least", ".3g"),
    Column("cpu_s", "CPU s", ".3g"),
    Column("loaded_mb", "clip loaded MB", ".0f"),
    Column("peak_mb", "peak MB", ".0f"),
    Column("posed", "posed"),
)


def run(bench: TrackBench) -> None:
    """The table of times and memory; medians over the runs of a process after a first that is not counted."""
    settings = bench.settings
    if not any(one.name == OURS for one in settings.contenders()):
        return
    runs = settings.clips or _RUNS
    rows: list[Row] = []
    advance = bench.advancing("speed", len(CLIPS) * len(THREADS))
    try:
        for condition in CLIPS:
            clip = settings.open(settings.specs(1, **CONDITIONS[condition])[0])
            images = np.stack([np.asarray(frame.image) for frame in clip.frames])
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                np.savez(folder / "clip.npz", images=images)
                (folder / "camera.json").write_text(json.dumps(clip.frames[0].camera.to_json()))
                for threads in THREADS:
                    rows.append({"clip": condition, "threads": threads, **_measured(folder, threads, runs)})
                    advance()
    finally:
        if rows:
            title = f"{OURS}: time and memory of a clip of {settings.frames} frames, {settings.width} pixels wide"
            bench.add([Table("speed", title, COLUMNS, tuple(rows))])


def _measured(folder: Path, threads: int, runs: int) -> Row:
    command = [sys.executable, "-m", track_process.__name__, str(folder / "clip.npz"), str(folder / "camera.json")]
    environment = {**os.environ, "POSESPLAT_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    arguments = [*command, str(threads), str(runs + 1)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise ValueError(f"Measuring time failed: {done.stderr.strip().splitlines()[-1:]}")
    record = json.loads(done.stdout)
    wall, cpu = record.pop("wall_s")[1:], record.pop("cpu_s")[1:]
    return {
        **record,
        "runs": runs,
        "wall_s": float(np.median(wall)),
        "least_wall_s": min(wall),
        "cpu_s": float(np.median(cpu)),
    }
