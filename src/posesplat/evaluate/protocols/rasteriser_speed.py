"""The rasteriser of training, forward and backward, against a tile rasteriser in plain torch: time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

from posesplat.evaluate.protocols import rasteriser_process
from posesplat.evaluate.protocols.report import Column, Report, Row, Table

_NAMES = {"kernels": "posesplat kernels", "tiles": "plain torch, tiles of 16 x 16"}
_COLUMNS = (
    Column("method", "rasteriser"),
    Column("forward_ms", "forward ms", ".0f"),
    Column("backward_ms", "backward ms", ".0f"),
    Column("total_ms", "both ms", ".0f"),
    Column("times_ours", "x ours", ".1f"),
    Column("loaded_mb", "scene loaded MB", ".0f"),
    Column("peak_mb", "peak MB", ".0f"),
    Column("mean_gradient", "mean gradient", ".3e"),
)
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POSESPLAT_THREADS")


def run_rasterisers(side: int, repeats: int, report: Report, on_progress: Callable[[str, int, int], None]) -> None:
    """Two Gaussians for every pixel of a square image, drawn and differentiated by each, a process and a thread each.

    Args:
        side: of the image, pixels.
        repeats: runs of each; the median counts.
        report: gets the table.
        on_progress: told of each.

    Raises:
        ValueError: when a process fails.
    """
    rows: list[Row] = []
    for index, contender in enumerate(rasteriser_process.CONTENDERS):
        command = [sys.executable, "-m", rasteriser_process.__name__, contender, str(side), str(repeats)]
        environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            raise ValueError(f"The rasteriser {contender} failed: {done.stderr.strip().splitlines()[-1:]}")
        row = json.loads(done.stdout)
        rows.append({"method": _NAMES[contender], **row, "total_ms": row["forward_ms"] + row["backward_ms"]})
        on_progress("rasterisers", index + 1, len(rasteriser_process.CONTENDERS))
    for row in rows:
        row["times_ours"] = row["total_ms"] / rows[0]["total_ms"]
    title = f"{rows[0]['gaussians']} Gaussians drawn at {side} x {side} and differentiated, one thread, processor time"
    note = "Both get the same scene and give the same image and gradients; each runs in a process of its own."
    report.tables.append(Table("rasterisers", title, _COLUMNS, tuple(rows), (note,)))
