"""Following a clip without ground truth: every pose rests on those before it, and the error adds up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.protocols.reference import Reference
from posesplat.evaluate.protocols.report import Column, Row, Table
from posesplat.evaluate.protocols.settings import Bench
from posesplat.evaluate.protocols.trials import Locate, Method, Query
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.poses import pose_errors

if TYPE_CHECKING:
    from posesplat.evaluate.protocols.sequences import Clip

KEYFRAME_STEPS = (1, 5)
"""The map is the last frame, or the last frame whose number is divisible by five."""
LONGEST_STRIDE = 4
"""More frames in one step would be another, faster camera."""
COLUMNS = (
    Column("map", "map"),
    Column("method", "method"),
    Column("frames", "frames"),
    Column("failed", "failed"),
    Column("path_m", "path m", ".3f"),
    Column("final_mm", "final mm", ".4g"),
    Column("final_deg", "final deg", ".3g"),
    Column("ate_rms_mm", "ATE RMS mm", ".4g"),
    Column("ate_rms_deg", "RMS deg", ".3g"),
    Column("drift_percent", "final / path %", ".3g"),
    Column("median_ms", "ms", ".3g"),
)
NOTE = (
    "The first frame stands at its true pose and no other truth is used; each start is the pose before. A frame that "
    "fails keeps its start as its pose."
)


def chain_table(bench: Bench, clip: Clip, methods: Sequence[Method]) -> list[Table]:
    """Drift of every method over a clip."""
    chosen = range(0, len(clip.frames), min(clip.stride, LONGEST_STRIDE))
    name = f"real/{clip.name}/chain"
    rows: list[Row] = []
    advance = bench.advancing(name, len(KEYFRAME_STEPS) * len(methods))
    table = None
    try:
        for keyframe_step in KEYFRAME_STEPS:
            for method in methods:
                rows.append(_followed(bench, clip, chosen, method, keyframe_step))
                advance()
    finally:
        if rows:
            table = Table(name, f"{clip.name}: chained without ground truth", COLUMNS, tuple(rows), (NOTE, clip.note))
            if len(rows) < len(KEYFRAME_STEPS) * len(methods):
                bench.add([table])
    return [] if table is None else [table]


def _followed(bench: Bench, clip: Clip, chosen: Sequence[int], method: Method, keyframe_step: int) -> Row:
    true = [clip.cam_from_world[index] for index in chosen]
    estimated, estimates = [true[0]], []
    locate: Locate | None = None
    for number in range(1, len(chosen)):
        query = Query(clip.frames[chosen[number]], estimated[-1], true[number])
        try:
            if locate is None or (number - 1) % keyframe_step == 0:
                frame = clip.frames[chosen[number - 1]]
                locate = method.prepare(Reference((frame,), (estimated[-1],), bench.settings.threads))
            estimate = locate(query)
        except ValueError as error:
            estimate = PoseEstimate.failure(f"{type(error).__name__}: {error}")
        estimates.append(estimate)
        estimated.append(estimated[-1] if estimate.cam_from_world is None else estimate.cam_from_world)
    translation, rotation = pose_errors(RigidTransform.concatenate(estimated), RigidTransform.concatenate(true))
    centres = RigidTransform.concatenate(true).inv().translation
    path = float(np.linalg.norm(np.diff(centres, axis=0), axis=1).sum())
    times = [1e3 * estimate.runtime_s for estimate in estimates]
    return {
        "map": "last frame" if keyframe_step == 1 else f"keyframe every {keyframe_step}",
        "method": method.name,
        "frames": len(chosen),
        "failed": sum(not estimate.success for estimate in estimates),
        "path_m": path,
        "final_mm": 1e3 * float(translation[-1]),
        "final_deg": float(rotation[-1]),
        "ate_rms_mm": 1e3 * float(np.sqrt(np.mean(translation**2))),
        "ate_rms_deg": float(np.sqrt(np.mean(rotation**2))),
        "drift_percent": 100 * float(translation[-1]) / path,
        "median_ms": float(np.median(times)),
        "reasons": sorted({estimate.reason for estimate in estimates if not estimate.success}),
    }
