"""Time and memory of one query, ours and the others' in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from posesplat.align.gsplatloc import GsplatlocOptions
from posesplat.datasets.rooms import box_room, random_perturbation
from posesplat.evaluate.protocols import contenders, peak_memory
from posesplat.evaluate.protocols.contenders import Registration, chosen
from posesplat.evaluate.protocols.reference import Reference
from posesplat.evaluate.protocols.report import Column, Row, Table
from posesplat.evaluate.protocols.rooms import Renderings, noisy
from posesplat.evaluate.protocols.settings import Bench, Settings
from posesplat.evaluate.protocols.trials import Answer, Method, Query, ask
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import perturbed

FEWEST_ITERATIONS = 300
"""The published method renders at least 100 times and then waits 200 times for a better loss."""
_TIMED_ITERATIONS = 12
_THREADS = (1, 2)

COLUMNS = (
    Column("method", "method"),
    Column("threads", "threads"),
    Column("gaussians", "Gaussians"),
    Column("runs", "runs"),
    Column("median_ms", "ms a query", ".4g"),
    Column("least_ms", "least ms", ".4g"),
    Column("translation_mm", "median mm", ".3g"),
    Column("times_joint", "times joint", ".3g"),
    Column("note", "note"),
)


def run(bench: Bench) -> None:
    """The table of times and the table of memory."""
    settings = bench.settings
    room = box_room(settings.seed)
    renderings = Renderings(settings)
    reference_frame = noisy(renderings(room, room.default_view), 1)
    rng = np.random.default_rng([settings.seed, 9])
    count = min(settings.queries, 9)
    queries = []
    for number in range(count):
        true = perturbed(room.default_view, random_perturbation(rng, 0.05, 3.0))
        queries.append((number, Query(noisy(renderings(room, true), 1000 + number), room.default_view, true)))
    rows: list[Row] = []
    advance = bench.advancing("speed", len(_THREADS) * len(_methods(settings, 1)) + 3)
    size = f"{settings.camera.width} x {settings.camera.height}"
    try:
        for threads in _THREADS:
            reference = Reference((reference_frame,), (room.default_view,), threads)
            gaussians = len(reference.scene.gaussians)
            for method in _methods(settings, threads):
                rows.append({**_timed(method, reference, queries), "threads": threads, "gaussians": gaussians})
                advance()
            _compare(rows, threads)
        if settings.gsplatloc_queries:
            rows += _published(settings, reference_frame, queries[0])
            _compare(rows, 1)
        advance()
    finally:
        if rows:
            note = f"Published minimum: time of an iteration x {FEWEST_ITERATIONS}. Maps are prepared before the clock."
            title = f"Time of a query, {size}, 5 cm, 3 deg, Kinect-like noise"
            bench.add([Table("speed/time", title, COLUMNS, tuple(rows), (note,))])
    bench.add([_memory(bench, reference_frame, queries[0][1])])
    advance()


def _methods(settings: Settings, threads: int) -> list[Method]:
    methods = [
        contenders.ours("plane", contenders.PLANE, threads),
        contenders.ours("joint", contenders.JOINT, threads),
        contenders.ours("colour", contenders.COLOUR, threads),
        contenders.registration(Registration("GICP", 0.03, default_stop=True), threads),
        contenders.registration(Registration("GICP", 0.03, "smoothed", default_stop=True), threads),
        contenders.registration(Registration("GICP", 0.03), threads),
        contenders.registration(Registration("GICP", 0.03, "smoothed"), threads),
        contenders.registration(Registration("ICP", 0.03), threads),
        contenders.registration(Registration("ICP", 0.03, "smoothed"), threads),
    ]
    return chosen(methods, settings.methods)


def _timed(method: Method, reference: Reference, queries: list[tuple[int, Query]]) -> Row:
    """Median time over the queries; the first is asked twice, so that what is prepared once is prepared."""
    answers: list[Answer] = []
    ask([method], reference, [queries[0], *queries], answers)
    times = [1e3 * answer.estimate.runtime_s for answer in answers[1:]]
    return {
        "method": method.name,
        "runs": len(times),
        "median_ms": float(np.median(times)),
        "least_ms": float(np.min(times)),
        "translation_mm": float(np.median([answer.errors[0] for answer in answers[1:]])),
        "note": "",
    }


def _compare(rows: list[Row], threads: int) -> None:
    """How many times as long as ours each method takes."""
    own = [row for row in rows if row["threads"] == threads and row["method"] == contenders.JOINT]
    if own:
        for row in rows:
            if row["threads"] == threads:
                row["times_joint"] = row["median_ms"] / own[0]["median_ms"]


def _published(settings: Settings, frame: Frame, query: tuple[int, Query]) -> list[Row]:
    """The published method at full size on about as many Gaussians as ours: every second pixel of the depth."""
    assert frame.depth is not None
    thinned = np.zeros_like(frame.depth)
    thinned[::2, ::2] = frame.depth[::2, ::2]
    reference = Reference((replace(frame, depth=thinned),), (query[1].start,), 1)
    short = GsplatlocOptions(max_steps=_TIMED_ITERATIONS, min_steps=_TIMED_ITERATIONS - 1)
    rows = []
    for options, note in ((short, f"an iteration x {FEWEST_ITERATIONS}"), (GsplatlocOptions(), "a whole run")):
        method = contenders.gsplatloc(1, settings.width, options, threads=1)
        answers: list[Answer] = []
        ask([method], reference, [query], answers)
        estimate = answers[0].estimate
        milliseconds = 1e3 * estimate.runtime_s
        if options is short:
            milliseconds *= FEWEST_ITERATIONS / max(estimate.iterations, 1)
        rows.append(
            {
                "method": method.name,
                "threads": 1,
                "gaussians": int((thinned > 0).sum()),
                "runs": 1,
                "median_ms": milliseconds,
                "least_ms": milliseconds,
                "translation_mm": float("nan") if options is short else answers[0].errors[0],
                "note": note if options is short else f"{note}, {estimate.iterations} iterations",
            }
        )
    return rows


MEMORY_COLUMNS = (
    Column("objective", "objective"),
    Column("imported_mb", "after import MB", ".0f"),
    Column("loaded_mb", "map and frame loaded MB", ".0f"),
    Column("peak_mb", "peak MB", ".0f"),
    Column("success", "posed"),
)


def _memory(bench: Bench, frame: Frame, query: Query) -> Table:
    """Peak resident memory of a process that loads a map and localises one frame."""
    settings = bench.settings
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        reference = Reference((frame,), (query.start,), settings.threads)
        map_path, query_path, camera_path = (Path(folder) / name for name in ("map.ply", "query.npz", "camera.json"))
        camera_path.write_text(json.dumps(query.frame.camera.to_json()))
        reference.scene.save(map_path)
        assert query.frame.depth is not None and query.frame.image is not None
        np.savez(query_path, depth=query.frame.depth, image=query.frame.image, start=query.start.as_matrix())
        for objective in ("plane", "joint"):
            paths = [str(path) for path in (map_path, query_path, camera_path)]
            command = [sys.executable, "-m", peak_memory.__name__, *paths, objective]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ValueError(f"Measuring memory failed: {done.stderr.strip().splitlines()[-1:]}")
            rows.append({"objective": objective, **json.loads(done.stdout)})
    title = f"Memory of a process that localises one {settings.camera.width} x {settings.camera.height} frame"
    return Table("speed/memory", title, MEMORY_COLUMNS, tuple(rows))
