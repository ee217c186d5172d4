"""Localisation in synthetic rooms: exact truth, with and without the noise of a Kinect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms import (
    KinectNoise,
    Room,
    box_room,
    colour_noise,
    curved_room,
    kinect_noise,
    random_perturbation,
    textured_wall,
)
from posesplat.evaluate.protocols import contenders
from posesplat.evaluate.protocols.contenders import ARRIVAL, CLOSE, Registration, chosen
from posesplat.evaluate.protocols.reference import Reference
from posesplat.evaluate.protocols.report import Column, Row, Table
from posesplat.evaluate.protocols.settings import Bench, Settings
from posesplat.evaluate.protocols.trials import FALLBACK, Answer, Method, Query, ask, grouped, paired_row
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import perturbed

LEVELS = {"1 cm, 0.5 deg": (0.01, 0.5), "5 cm, 3 deg": (0.05, 3.0), "20 cm, 10 deg": (0.2, 10.0)}
"""Distance and angle between the reference, which is the start, and the query."""
KEYFRAME_COUNTS = (1, 3, 8)
"""Sizes of the maps of several reference frames."""
_KEYFRAME_SPREAD = (0.15, 6.0)
_MAP_NOISE, _QUERY_NOISE = 1, 1000
_COLOUR_SIGMA = 2.0
_SENSOR_WIDTH = 640
_EXPOSURE = 0.1
_FEW = 6
"""Raw noisy clouds never settle, and the finest voxels are slow: these configurations get few queries."""


class Renderings:
    """Noise-free frames of rooms, rendered once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._frames: dict[tuple[str, bytes], Frame] = {}

    def __call__(self, room: Room, cam_from_world: RigidTransform) -> Frame:
        """The frame of a room seen from a pose."""
        key = (room.name, cam_from_world.as_matrix().tobytes())
        if key not in self._frames:
            settings = self.settings
            self._frames[key] = room.render(settings.camera, cam_from_world, supersample=settings.supersample)
        return self._frames[key]


def noisy(frame: Frame, seed: int) -> Frame:
    """The frame through a Kinect-like sensor, with an exposure of its own.

    Its disparity is quantised as that of the 640 pixel wide sensor whatever the size of the frame, so that the depth
    steps are the same in metres.
    """
    rng = np.random.default_rng(seed)
    sensor = KinectNoise(disparity_step_px=KinectNoise.disparity_step_px * frame.camera.width / _SENSOR_WIDTH)
    gain, offset = 1 + rng.uniform(-_EXPOSURE, _EXPOSURE), 255 * _EXPOSURE * rng.uniform(-0.5, 0.5)
    return colour_noise(kinect_noise(frame, seed, sensor), seed, _COLOUR_SIGMA, gain, offset)


def run(bench: Bench) -> None:
    """All tables of the rooms suite."""
    renderings = Renderings(bench.settings)
    for make_room in (box_room, curved_room):
        room = make_room(bench.settings.seed)
        for noise in (False, True):
            _single_reference(bench, renderings, room, noise)
    for noise in (False, True):
        _wall(bench, renderings, noise)
    _several_references(bench, renderings)


def clean_methods(settings: Settings) -> list[Method]:
    """Ours and the rivals on noise-free depth, which needs no denoising."""
    rivals = [
        Registration("GICP", 0.03),
        Registration("GICP", 0.02),
        Registration("GICP", 0.01),
        Registration("GICP", 0.01, distances_m=CLOSE),
        Registration("ICP", 0.02),
        Registration("ICP", 0.01),
        Registration("ICP", 0.01, distances_m=CLOSE),
    ]
    return _methods(settings, rivals)


def noisy_methods(settings: Settings) -> list[Method]:
    """Ours and the rivals on raw and on denoised depth."""
    rivals = [
        Registration("GICP", 0.03, most_queries=_FEW),
        Registration("GICP", 0.02, most_queries=_FEW),
        Registration("GICP", 0.03, "smoothed"),
        Registration("GICP", 0.03, "planes"),
        Registration("GICP", 0.01, "planes", most_queries=_FEW),
        Registration("ICP", 0.03, most_queries=_FEW),
        Registration("ICP", 0.03, "smoothed"),
        Registration("ICP", 0.03, "planes"),
        Registration("ICP", 0.01, "planes", most_queries=_FEW),
        Registration("ICP", 0.02, "planes", ARRIVAL, fitted_normals=True),
    ]
    return _methods(settings, rivals)


def _methods(settings: Settings, rivals: Sequence[Registration]) -> list[Method]:
    threads = settings.threads
    methods = [
        contenders.ours("plane", contenders.PLANE, threads),
        contenders.ours("joint", contenders.JOINT, threads),
        contenders.ours("colour", contenders.COLOUR, threads),
        contenders.identity(),
        *(contenders.registration(configuration, threads) for configuration in rivals),
    ]
    if settings.gsplatloc_queries:
        width = min(320, settings.width)
        methods.append(contenders.gsplatloc(settings.gsplatloc_queries, width, threads=threads))
    return chosen(methods, settings.methods)


def _queries(
    bench: Bench, renderings: Renderings, room: Room, levels: dict[str, tuple[float, float]], noise: bool
) -> list[tuple[int, Query]]:
    """Numbered queries around the default view, the same ones with and without noise."""
    rng = np.random.default_rng([bench.settings.seed, 7])
    count = bench.settings.queries
    advance = bench.advancing(f"rendering {room.name}", count * len(levels))
    queries: list[tuple[int, Query]] = []
    for level, (translation_m, rotation_deg) in levels.items():
        for _ in range(count):
            number = len(queries)
            true = perturbed(room.default_view, random_perturbation(rng, translation_m, rotation_deg))
            frame = renderings(room, true)
            if noise:
                frame = noisy(frame, _QUERY_NOISE + number)
            queries.append((number, Query(frame, room.default_view, true, condition=level)))
            advance()
    return queries


def _reference(
    renderings: Renderings, room: Room, views: Sequence[RigidTransform], noise: bool, draw: int = 0
) -> Reference:
    """What the map is built from; ``draw`` numbers independent draws of its noise."""
    frames = [renderings(room, view) for view in views]
    if noise:
        frames = [noisy(frame, _MAP_NOISE + 10_000 * draw + index) for index, frame in enumerate(frames)]
    return Reference(tuple(frames), tuple(views), renderings.settings.threads)


def _single_reference(bench: Bench, renderings: Renderings, room: Room, noise: bool) -> None:
    label = "Kinect-like noise" if noise else "noise-free"
    queries = _queries(bench, renderings, room, LEVELS, noise)
    methods = (noisy_methods if noise else clean_methods)(bench.settings)
    name = f"rooms/{room.name}/{'noisy' if noise else 'clean'}"
    advance = bench.advancing(name, len(queries))
    with bench.answers(name, f"{room.name}, {label}, map of one frame", methods) as answers:
        if not noise:
            ask(methods, _reference(renderings, room, [room.default_view], noise), queries, answers, advance)
            return
        # The error that a map's noise makes is common to all queries in it: every query has a map of its own.
        for number, query in queries:
            reference = _reference(renderings, room, [room.default_view], noise, draw=number + 1)
            ask(methods, reference, [(number, query)], answers, advance)


WALL_COLUMNS = (
    Column("method", "method"),
    Column("queries", "n"),
    Column("failed", "failed"),
    Column("median_along_mm", "median along wall mm", ".4g"),
    Column("p90_along_mm", "p90", ".4g"),
    Column("median_across_mm", "median across mm", ".4g"),
    Column("median_rotation_deg", "median deg", ".3g"),
    Column("median_ms", "ms", ".3g"),
    Column("times_joint", "along, times joint", ".3g"),
)


def _wall(bench: Bench, renderings: Renderings, noise: bool) -> None:
    """A flat wall, along which geometry says nothing."""
    room = textured_wall(bench.settings.seed)
    label = "Kinect-like noise" if noise else "noise-free"
    queries = _queries(bench, renderings, room, {"5 cm, 3 deg": LEVELS["5 cm, 3 deg"]}, noise)
    reference = _reference(renderings, room, [room.default_view], noise)
    methods = (noisy_methods if noise else clean_methods)(replace(bench.settings, gsplatloc_queries=0))
    name = f"rooms/textured_wall/{'noisy' if noise else 'clean'}"
    answers: list[Answer] = []
    try:
        ask(methods, reference, queries, answers, bench.advancing(name, len(queries)))
    finally:
        if answers:
            bench.add([_wall_table(name, f"Flat textured wall, {label}, 5 cm, 3 deg", answers)])


def _wall_table(name: str, title: str, answers: Sequence[Answer]) -> Table:
    """Errors of the camera centre along and across the wall, which is a plane of constant z."""
    rows: list[Row] = []
    for method, group in next(iter(grouped(answers).values())).items():
        gaps = np.array(
            [(a.cam_from_world.inv().translation - a.query.true.inv().translation) * 1e3 for a in group], dtype=float
        )
        along, across = np.hypot(gaps[:, 0], gaps[:, 1]), np.abs(gaps[:, 2])
        times = [1e3 * answer.estimate.runtime_s for answer in group]
        rows.append(
            {
                "method": method,
                "queries": len(group),
                "failed": sum(not answer.estimate.success for answer in group),
                "median_along_mm": float(np.median(along)),
                "p90_along_mm": float(np.quantile(along, 0.9)),
                "median_across_mm": float(np.median(across)),
                "median_rotation_deg": float(np.median([answer.errors[1] for answer in group])),
                "median_ms": float(np.median(times)),
            }
        )
    joint = next((row["median_along_mm"] for row in rows if row["method"] == contenders.JOINT), None)
    if joint:
        for row in rows:
            row["times_joint"] = row["median_along_mm"] / joint
    note = "Refusing is the right answer of a method that sees depth only: it can not know where along the wall it is."
    return Table(name, title, WALL_COLUMNS, tuple(rows), (FALLBACK, note))


def _several_references(bench: Bench, renderings: Renderings) -> None:
    """Noisy maps of one and of several frames, asked the same queries."""
    settings = bench.settings
    room = box_room(settings.seed)
    rng = np.random.default_rng([settings.seed, 8])
    extra = [
        perturbed(room.default_view, random_perturbation(rng, *_KEYFRAME_SPREAD)) for _ in range(KEYFRAME_COUNTS[-1])
    ]
    views = [room.default_view, *extra]
    level = {"5 cm, 3 deg": LEVELS["5 cm, 3 deg"]}
    queries = _queries(bench, renderings, room, level, noise=True)
    rivals = [Registration("GICP", 0.03, "planes"), Registration("ICP", 0.03, "planes")]
    methods = _methods(replace(settings, gsplatloc_queries=0), rivals)
    name = "rooms/several_references"
    title = "box_room, Kinect-like noise, 5 cm, 3 deg: maps of several frames"
    with bench.answers(name, title, methods) as answers:
        for count in KEYFRAME_COUNTS:
            reference = _reference(renderings, room, views[:count], noise=True)
            condition = f"{count} frame{'s' if count > 1 else ''}"
            asked = [(number, replace(query, condition=condition)) for number, query in queries]
            ask(methods, reference, asked, answers, bench.advancing(f"{name}, {condition}", len(asked)))
    if answers:
        bench.add([_several_against_one(answers, settings.seed)])


COUNT_COLUMNS = (
    Column("method", "method"),
    Column("condition", "map"),
    Column("queries", "n"),
    Column("translation_mm", "minus one frame, mm", "+.3g"),
    Column("translation_interval", "95 %"),
    Column("rotation_deg", "minus one frame, deg", "+.3g"),
    Column("rotation_interval", "95 %"),
)


def _several_against_one(answers: Sequence[Answer], seed: int) -> Table:
    """Paired differences between maps of several frames and of one."""
    groups = grouped(answers)
    one = next(iter(groups.values()))
    rows = []
    for condition, by_method in list(groups.items())[1:]:
        for method, group in by_method.items():
            rows.append({**paired_row(group, one[method], seed), "method": method, "condition": condition})
    return Table("rooms/several_references/gain", "Several reference frames against one", COUNT_COLUMNS, tuple(rows))
