"""Localisation on real RGB-D sequences: frame to frame, frame to map, and chained without ground truth."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.pose_files import read_pose_rows
from posesplat.datasets.samples import MissingData, real_sequence
from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.protocols import contenders
from posesplat.evaluate.protocols.chain import chain_table
from posesplat.evaluate.protocols.contenders import CLOSE, Registration, chosen
from posesplat.evaluate.protocols.reference import Reference
from posesplat.evaluate.protocols.report import skipped
from posesplat.evaluate.protocols.settings import Bench, Settings
from posesplat.evaluate.protocols.trials import Method, Query, ask

SEQUENCES = ("iclaug_livingroom1", "tum_fr1_desk9", "tum_fr1_rpy", "tum_fr1_xyz10")
EXACT = "iclaug_livingroom1, exact poses"
"""The first five frames of the rendered living room, whose true poses are known from its generator."""
_EXACT_POSES = "poses_gt_first5.txt"
KEYFRAME_STEP = 5
"""Every such frame enters the map of frame-to-map; the others are queries."""
LONG = 60
"""Sequences of more frames are strided."""


@dataclass(frozen=True)
class Clip:
    """Consecutive frames with true poses."""

    name: str
    frames: FrameSequence
    cam_from_world: tuple[RigidTransform, ...]
    stride: int
    """Of the steps, queries or chained frames that are used."""
    note: str


def run(bench: Bench) -> None:
    """All tables of the real suite; data sets that are not there become rows that say so."""
    missing: list[tuple[str, str]] = []
    for clip in _clips(bench.settings, missing):
        frame_to_frame(bench, clip, step_methods(bench.settings))
        if clip.name == EXACT:
            every_pair(bench, clip, step_methods(bench.settings))
        if len(clip.frames) > KEYFRAME_STEP:
            frame_to_map(bench, clip, map_methods(bench.settings))
            bench.add(chain_table(bench, clip, chain_methods(bench.settings)))
    if missing:
        bench.add([skipped("real/skipped", "Data sets that are missing", missing)])


def _clips(settings: Settings, missing: list[tuple[str, str]]) -> Iterator[Clip]:
    for name in SEQUENCES:
        if settings.sequences and not any(part in name for part in settings.sequences):
            continue
        try:
            sequence = real_sequence(name, settings.data)
        except MissingData as error:
            missing.append((name, str(error)))
            continue
        if name == SEQUENCES[0]:
            exact = exact_clip(sequence, settings)
            if exact is None:
                missing.append((EXACT, f"There is no {_EXACT_POSES} in the folder of {name}."))
            else:
                yield exact
        yield longest_run(name, sequence, settings.stride)


def longest_run(name: str, sequence: FrameSequence, stride: int) -> Clip:
    """The longest run of frames with poses and without gaps in time."""
    poses = sequence.cam_from_world
    if poses is None:
        raise ValueError(f"The data set {name} must have true poses; its folder has none. Add groundtruth.txt.")
    gaps = np.diff(sequence.timestamps)
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    runs: list[list[int]] = [[]]
    for index, pose in enumerate(poses):
        if pose is None or (runs[-1] and gaps[index - 1] > 1.5 * usual):
            runs.append([])
        if pose is not None:
            runs[-1].append(index)
    kept = max(runs, key=len)
    found = tuple(pose for index in kept if (pose := poses[index]) is not None)
    left_out = f"{len(kept)} consecutive frames of {len(sequence)}"
    used = stride if len(kept) > LONG else 1
    note = f"{left_out}; every {used}th used." if used > 1 else f"{left_out}."
    return Clip(name, sequence.subset(kept), found, used, note)


def exact_clip(sequence: FrameSequence, settings: Settings) -> Clip | None:
    """The first frames of the rendered living room with the poses of its generator; None without their file."""
    path = Path(settings.data or os.environ["POSESPLAT_DATA"]) / SEQUENCES[0] / _EXACT_POSES
    if not path.is_file():
        return None
    poses = read_pose_rows(path).world_from_cam.inv()
    frames = sequence.subset(range(len(poses)))
    return Clip(EXACT, frames, tuple(poses), 1, "The first 5 frames, in the world of their own poses.")


def step_methods(settings: Settings) -> list[Method]:
    """Everything, on single frames."""
    return _methods(settings, contenders.constant_velocity())


def map_methods(settings: Settings) -> list[Method]:
    """Everything, on maps of many frames; with images also without a start."""
    unstarted = contenders.ours("colour", contenders.UNSTARTED, settings.threads, start=False)
    return _methods(settings, contenders.constant_velocity(), unstarted)


def chain_methods(settings: Settings) -> list[Method]:
    """Ours with depth, and the rivals' best; the published one takes minutes for each frame and is left out."""
    threads = settings.threads
    methods = [
        contenders.ours("plane", contenders.PLANE, threads),
        contenders.ours("joint", contenders.JOINT, threads),
        contenders.identity(),
        contenders.registration(Registration("GICP", 0.03), threads),
        contenders.registration(Registration("GICP", 0.02, distances_m=CLOSE), threads),
        contenders.registration(Registration("ICP", 0.02, "planes", CLOSE), threads),
    ]
    return chosen(methods, settings.methods)


def _methods(settings: Settings, *more: Method) -> list[Method]:
    threads = settings.threads
    methods = [
        contenders.ours("plane", contenders.PLANE, threads),
        contenders.ours("joint", contenders.JOINT, threads),
        contenders.ours("colour", contenders.COLOUR, threads),
        *more,
        contenders.identity(),
        *(
            contenders.registration(configuration, threads)
            for configuration in (
                Registration("GICP", 0.03),
                Registration("GICP", 0.02),
                Registration("GICP", 0.02, distances_m=CLOSE),
                Registration("GICP", 0.02, "planes", CLOSE),
                Registration("ICP", 0.02),
                Registration("ICP", 0.02, distances_m=CLOSE),
                Registration("ICP", 0.02, "planes", CLOSE),
            )
        ),
    ]
    if settings.gsplatloc_queries:
        methods.append(contenders.gsplatloc(settings.gsplatloc_queries, threads=threads))
    return chosen(methods, settings.methods)


def frame_to_frame(bench: Bench, clip: Clip, methods: Sequence[Method]) -> None:
    """The published protocol: the map is frame i at its true pose, the query is frame i + 1."""
    name, poses = f"real/{clip.name}/step", clip.cam_from_world
    steps = range(0, len(poses) - 1, clip.stride)
    advance = bench.advancing(name, len(steps))
    with bench.answers(name, f"{clip.name}: frame i + 1 in the map of frame i", methods, (clip.note,)) as answers:
        for number, index in enumerate(steps):
            history = (poses[index - 1], poses[index]) if index else None
            reference = Reference((clip.frames[index],), (poses[index],), bench.settings.threads)
            query = Query(clip.frames[index + 1], poses[index], poses[index + 1], history, "step")
            ask(methods, reference, [(number, query)], answers, advance)


def every_pair(bench: Bench, clip: Clip, methods: Sequence[Method]) -> None:
    """Each frame in the map of each other one, forwards and backwards: more queries of a short clip."""
    name, poses = f"real/{clip.name}/pairs", clip.cam_from_world
    others = len(poses) - 1
    advance = bench.advancing(name, len(poses) * others)
    with bench.answers(name, f"{clip.name}: each frame in the map of each other one", methods, (clip.note,)) as answers:
        for mapped in range(len(poses)):
            reference = Reference((clip.frames[mapped],), (poses[mapped],), bench.settings.threads)
            queries = [
                (mapped * others + number, Query(clip.frames[index], poses[mapped], poses[index], None, "pair"))
                for number, index in enumerate(index for index in range(len(poses)) if index != mapped)
            ]
            ask(methods, reference, queries, answers, advance)


def frame_to_map(bench: Bench, clip: Clip, methods: Sequence[Method]) -> None:
    """The map is every fifth frame at its true pose, the queries are the others, from the nearest map frame in time."""
    name, poses = f"real/{clip.name}/map", clip.cam_from_world
    keyframes = range(0, len(poses), KEYFRAME_STEP)
    others = [index for index in range(len(poses)) if index % KEYFRAME_STEP][:: clip.stride]
    bench.on_progress(f"{name}: mapping", 0, 1)
    reference = Reference(
        tuple(clip.frames[index] for index in keyframes),
        tuple(poses[index] for index in keyframes),
        bench.settings.threads,
    )

    def queries() -> Iterable[tuple[int, Query]]:
        for number, index in enumerate(others):
            nearest = min(round(index / KEYFRAME_STEP), len(keyframes) - 1) * KEYFRAME_STEP
            history = (poses[index - 2], poses[index - 1]) if index > 1 else None
            yield number, Query(clip.frames[index], poses[nearest], poses[index], history, "frame to map")

    title = f"{clip.name}: frames in the map of every {KEYFRAME_STEP}th frame"
    with bench.answers(name, title, methods, (clip.note,)) as answers:
        ask(methods, reference, queries(), answers, bench.advancing(name, len(others)))
