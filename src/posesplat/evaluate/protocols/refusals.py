"""Input that has no answer, and what localisation says to it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.open import open_frames
from posesplat.datasets.rooms import box_room, textured_wall
from posesplat.evaluate.protocols.report import Column, Table
from posesplat.evaluate.protocols.rooms import Renderings
from posesplat.evaluate.protocols.settings import Bench
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.splat_map import SplatMap
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import pose_errors
from posesplat.methods.localize import LocalizeOptions, Localizer, ObjectiveName, localize
from posesplat.methods.mapping import single_frame_map

COLUMNS = (
    Column("case", "input"),
    Column("objective", "objective"),
    Column("start", "start"),
    Column("expected", "expected"),
    Column("came", "came"),
    Column("as_expected", "ok"),
    Column("message", "message"),
)


@dataclass(frozen=True)
class Case:
    """One question that has no answer."""

    name: str
    ask: Callable[[], PoseEstimate]
    objective: str
    start: str
    expected: str = "refusal"
    """``refusal`` (success is False), or the type of an error."""


def run(bench: Bench) -> None:
    """The table of failures."""
    cases = _cases(bench)
    advance = bench.advancing("failures", len(cases))
    rows = []
    for case in cases:
        try:
            estimate = case.ask()
            came, message = ("pose", "") if estimate.success else ("refusal", estimate.reason)
        except (ValueError, OSError) as error:
            came, message = type(error).__name__, str(error)
        rows.append(
            {
                "case": case.name,
                "objective": case.objective,
                "start": case.start,
                "expected": case.expected,
                "came": came,
                "as_expected": "yes" if came == case.expected else "NO",
                "message": message,
            }
        )
        advance()
    bench.add([Table("failures", "Input without an answer", COLUMNS, tuple(rows))])


def _cases(bench: Bench) -> list[Case]:
    settings = bench.settings
    renderings = Renderings(settings)
    room, wall = box_room(settings.seed), textured_wall(settings.seed)
    here = room.default_view
    away = RigidTransform.from_rotation(Rotation.from_euler("y", 180, degrees=True)) * here
    seen, behind = renderings(room, here), renderings(room, away)
    facing = renderings(wall, wall.default_view)
    aside = RigidTransform.from_translation(np.array([0.03, 0.02, 0.0])) * wall.default_view
    maps = {
        "room": single_frame_map(seen, here),
        "wall": single_frame_map(facing, wall.default_view),
    }
    assert seen.depth is not None and seen.image is not None
    blank = replace(seen, depth=np.zeros_like(seen.depth))
    black = Frame(seen.camera, image=np.zeros_like(seen.image))
    millimetres = replace(seen, depth=seen.depth * 1000)
    with_nan = seen.depth.copy()
    with_nan[::7, ::5] = np.nan
    wide = Camera.from_fov(100.0, seen.camera.width, seen.camera.height)

    def asks(
        name: str,
        frame: Callable[[], Frame],
        objective: ObjectiveName,
        start: RigidTransform | None,
        scene: str = "room",
        expected: str = "refusal",
    ) -> Case:
        def ask() -> PoseEstimate:
            options = LocalizeOptions(objective=objective, threads=settings.threads)
            return Localizer(maps[scene], options).localize(frame(), start)

        return Case(name, ask, objective, "none" if start is None else "given", expected)

    camera_of_half = seen.camera.pyramid(2)[1]
    lateral = replace(facing, image=None)
    return [
        *(asks("looks away from the map", lambda: behind, objective, here) for objective in ("plane", "joint")),
        asks("looks away from the map", lambda: behind, "joint", None),
        asks("looks away, image only", lambda: replace(behind, depth=None), "colour", here),
        asks("looks away, image only", lambda: replace(behind, depth=None), "colour", None),
        asks("blank depth", lambda: blank, "plane", here),
        asks("blank depth, no image", lambda: replace(blank, image=None), "auto", here),
        asks("black image", lambda: black, "colour", here),
        asks("depth in millimetres", lambda: millimetres, "plane", here),
        asks("depth in millimetres", lambda: millimetres, "joint", None),
        asks("K of a wide lens", lambda: replace(seen, camera=wide), "plane", here),
        asks("K of a wide lens", lambda: replace(seen, camera=wide), "joint", here),
        asks("K of half the size", lambda: replace(seen, camera=camera_of_half), "plane", here, expected="ValueError"),
        asks("NaN in the depth", lambda: replace(seen, depth=with_nan), "plane", here, expected="ValueError"),
        asks("flat wall, depth only", lambda: lateral, "plane", aside, scene="wall"),
        Case("truncated map file", lambda: _from_truncated(maps["room"], seen, here), "plane", "given", "ValueError"),
        Case("empty folder of frames", _from_empty_folder, "plane", "given", "ValueError"),
        asks("image only for plane", lambda: replace(seen, depth=None), "plane", here, expected="ValueError"),
        Case(
            "start 3 m off",
            lambda: _never_far(
                Localizer(maps["room"], LocalizeOptions(objective="plane", threads=settings.threads)).localize(
                    seen, RigidTransform.from_translation(np.array([3.0, 0.0, 0.0])) * here
                ),
                here,
            ),
            "plane",
            "wrong",
        ),
    ]


def _from_truncated(scene: Gaussians, frame: Frame, start: RigidTransform) -> PoseEstimate:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.ply"
        SplatMap(scene).save(path)
        path.write_bytes(path.read_bytes()[:-1000])
        return localize(SplatMap.load(path), frame, start)


def _from_empty_folder() -> PoseEstimate:
    with tempfile.TemporaryDirectory() as folder:
        return PoseEstimate(True, "", RigidTransform.identity(), source=str(len(open_frames(folder))))


def _never_far(estimate: PoseEstimate, true: RigidTransform) -> PoseEstimate:
    """A right answer despite a wrong start is as good as a refusal; only a wrong pose is not."""
    if estimate.cam_from_world is None:
        return estimate
    translation, rotation = pose_errors(estimate.cam_from_world, true)
    if translation < 0.02 and rotation < 0.5:
        return PoseEstimate.failure("Found the true pose all the same.")
    return estimate
