"""The suites of the localisation benchmark on tiny rooms and clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms import box_room
from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.protocols import contenders, kernel, peak_memory, refusals, rooms, sequences, speed
from posesplat.evaluate.protocols.chain import chain_table
from posesplat.evaluate.protocols.coverage import run as run_coverage
from posesplat.evaluate.protocols.reference import Reference
from posesplat.evaluate.protocols.report import Report, Row, Table
from posesplat.evaluate.protocols.settings import Bench, Settings
from posesplat.evaluate.protocols.suites import run_suites
from posesplat.evaluate.protocols.trials import Locate, Method, Query
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.poses import exp

TINY = Settings(
    width=160, queries=1, supersample=1, gsplatloc_queries=0, threads=1, methods=(contenders.PLANE, contenders.IDENTITY)
)
STEP = np.array([0.004, -0.006, 0.003, 0.01, 0.004, -0.012])
"""Motion from frame to frame in the camera's own frame; always the same."""


def tables_of(bench: Bench) -> dict[str, Table]:
    return {table.name: table for table in bench.report.tables}


def row_of(table: Table, **values: object) -> Row:
    found = [row for row in table.rows if all(row[key] == value for key, value in values.items())]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def clip() -> sequences.Clip:
    """Seven frames of a room from a camera in constant motion."""
    room = box_room()
    poses = [exp(-STEP * k) * room.default_view for k in range(7)]
    frames = [replace(room.render(TINY.camera, pose, supersample=1), timestamp=0.1 * k) for k, pose in enumerate(poses)]
    return sequences.longest_run("tiny", FrameSequence.from_frames(frames, poses), stride=1)


def test_rooms_have_every_table_and_level_and_find_what_is_free_of_noise() -> None:
    bench = Bench(TINY, Report("localize", {}))
    rooms.run(bench)
    tables = tables_of(bench)
    for room in ("box_room", "curved_room"):
        for noise in ("clean", "noisy"):
            rows = tables[f"rooms/{room}/{noise}"].rows
            assert {(row["condition"], row["method"]) for row in rows} == {
                (level, method) for level in rooms.LEVELS for method in TINY.methods
            }
            assert f"rooms/{room}/{noise}/paired" in tables
    for level, (translation_m, rotation_deg) in rooms.LEVELS.items():
        standing = row_of(tables["rooms/box_room/clean"], condition=level, method=contenders.IDENTITY)
        assert standing["median_translation_mm"] == pytest.approx(1e3 * translation_m, rel=1e-6)
        assert standing["median_rotation_deg"] == pytest.approx(rotation_deg, rel=1e-6)
    near = row_of(tables["rooms/box_room/clean"], condition="1 cm, 0.5 deg", method=contenders.PLANE)
    assert near["median_translation_mm"] < 2.0
    assert {"rooms/textured_wall/clean", "rooms/textured_wall/noisy"} <= set(tables)
    standing = row_of(tables["rooms/textured_wall/clean"], method=contenders.IDENTITY)
    both = np.hypot(standing["median_along_mm"], standing["median_across_mm"])
    assert both == pytest.approx(50.0, rel=1e-6)
    assert {row["condition"] for row in tables["rooms/several_references"].rows} == {"1 frame", "3 frames", "8 frames"}
    assert {row["condition"] for row in tables["rooms/several_references/gain"].rows} == {"3 frames", "8 frames"}


def test_frame_to_frame_tells_the_motion_for_identity_and_nothing_for_constant_velocity(clip: sequences.Clip) -> None:
    bench = Bench(replace(TINY, methods=()), Report("localize", {}))
    methods = [contenders.identity(), contenders.constant_velocity(), contenders.ours("plane", contenders.PLANE, 1)]
    sequences.frame_to_frame(bench, clip, methods)
    table = tables_of(bench)["real/tiny/step"]
    centres = np.array([pose.inv().translation for pose in clip.cam_from_world])
    gaps_mm = 1e3 * np.linalg.norm(np.diff(centres, axis=0), axis=1)
    standing = row_of(table, method=contenders.IDENTITY)
    assert standing["median_translation_mm"] == pytest.approx(np.median(gaps_mm), rel=1e-6)
    assert standing["rms_translation_mm"] == pytest.approx(np.sqrt(np.mean(gaps_mm**2)), rel=1e-6)
    assert standing["rms_rotation_deg"] == pytest.approx(np.degrees(np.linalg.norm(STEP[:3])), rel=1e-6)
    moving = row_of(table, method=contenders.VELOCITY)
    assert (moving["queries"], moving["failed"]) == (6, 1)
    assert moving["median_translation_mm"] == pytest.approx(0.0, abs=1e-6)
    ours = row_of(table, method=contenders.PLANE)
    assert ours["failed"] == 0
    assert ours["median_translation_mm"] < 0.1 * standing["median_translation_mm"]


def test_frame_to_map_starts_at_the_nearest_map_frame(clip: sequences.Clip) -> None:
    bench = Bench(TINY, Report("localize", {}))
    sequences.frame_to_map(bench, clip, [contenders.identity()])
    row = row_of(tables_of(bench)["real/tiny/map"], method=contenders.IDENTITY)
    nearest = {1: 0, 2: 0, 3: 5, 4: 5, 6: 5}
    centres = np.array([pose.inv().translation for pose in clip.cam_from_world])
    gaps_mm = [1e3 * np.linalg.norm(centres[k] - centres[n]) for k, n in nearest.items()]
    assert row["queries"] == 5
    assert row["median_translation_mm"] == pytest.approx(np.median(gaps_mm), rel=1e-6)


def test_a_chain_adds_up_the_error_of_every_step(clip: sequences.Clip) -> None:
    """A method that is always 1 mm off, relative to its map, drifts by 1 mm a frame, or a keyframe."""
    true = dict(zip([round(t, 6) for t in clip.frames.timestamps], clip.cam_from_world, strict=True))
    error = RigidTransform.from_translation(np.array([0.001, 0.0, 0.0]))

    def prepare(reference: object) -> Locate:
        frame, estimated = reference.frames[0], reference.cam_from_world[0]

        def locate(query: Query) -> PoseEstimate:
            motion = query.true * true[round(frame.timestamp, 6)].inv()
            # The error is a shift of the world, so that turning cameras do not change its direction.
            return PoseEstimate(True, "", motion * estimated * error, runtime_s=0.0)

        return locate

    lost = Method("lost", lambda reference: lambda query: PoseEstimate.failure("lost"))
    bench = Bench(TINY, Report("localize", {}))
    (table,) = chain_table(bench, clip, [Method("drifting", prepare), lost])
    every, some = (row_of(table, map=name, method="drifting") for name in ("last frame", "keyframe every 5"))
    assert every["final_mm"] == pytest.approx(6.0, rel=1e-6)
    assert every["ate_rms_mm"] == pytest.approx(np.sqrt(np.mean(np.arange(7.0) ** 2)), rel=1e-6)
    assert some["final_mm"] == pytest.approx(2.0, rel=1e-6)
    standing = row_of(table, map="last frame", method="lost")
    distance = np.linalg.norm(clip.cam_from_world[-1].inv().translation - clip.cam_from_world[0].inv().translation)
    assert standing["failed"] == 6
    assert standing["final_mm"] == pytest.approx(1e3 * distance, rel=1e-6)


def test_every_ordered_pair_is_one_query(clip: sequences.Clip) -> None:
    asked: list[tuple[int, Query]] = []

    def prepare(reference: Reference) -> Locate:
        def locate(query: Query) -> PoseEstimate:
            asked.append((id(reference.frames[0]), query))
            return PoseEstimate(True, "", query.true)

        return locate

    first = replace(clip, frames=clip.frames.subset(range(3)), cam_from_world=clip.cam_from_world[:3])
    bench = Bench(TINY, Report("localize", {}))
    sequences.every_pair(bench, first, [Method("perfect", prepare)])
    starts = [[pose.as_matrix().tolist() for pose in (query.start, query.true)] for _, query in asked]
    known = [pose.as_matrix().tolist() for pose in first.cam_from_world]
    assert sorted(starts) == sorted([known[i], known[j]] for i in range(3) for j in range(3) if i != j)


def test_a_run_ends_at_a_gap_in_time_and_at_a_missing_pose(clip: sequences.Clip) -> None:
    frames = [replace(clip.frames[k], timestamp=t) for k, t in enumerate((0.0, 0.1, 0.2, 0.9, 1.0, 1.1, 1.2))]
    poses: list[RigidTransform | None] = list(clip.cam_from_world)
    assert sequences.longest_run("gap", FrameSequence.from_frames(frames, poses), 1).frames.timestamps[0] == 0.9
    poses[5] = None
    kept = sequences.longest_run("missing", FrameSequence.from_frames(frames, poses), 1)
    np.testing.assert_array_equal(kept.frames.timestamps, [0.0, 0.1, 0.2])
    np.testing.assert_allclose(kept.cam_from_world[2].as_matrix(), clip.cam_from_world[2].as_matrix())


def test_missing_data_become_rows_that_say_so(tmp_path: Path) -> None:
    bench = Bench(replace(TINY, data=tmp_path), Report("localize", {}))
    run_suites(bench, ["real"])
    table = tables_of(bench)["real/skipped"]
    assert {row["skipped"] for row in table.rows} == set(sequences.SEQUENCES)
    assert all(str(tmp_path) in row["reason"] for row in table.rows)
    assert bench.report.complete


def test_nothing_measured_is_an_error() -> None:
    bench = Bench(replace(TINY, methods=("no such method",)), Report("localize", {}))
    with pytest.raises(ValueError, match="no such method"):
        run_suites(bench, ["covariance"])
    with pytest.raises(ValueError, match="rooms, real"):
        run_suites(bench, ["romos"])


def test_coverage_counts_every_realisation() -> None:
    bench = Bench(replace(TINY, realisations=10, methods=(contenders.PLANE,)), Report("localize", {}))
    run_coverage(bench)
    table = tables_of(bench)["covariance"]
    whole = row_of(table, condition="all")
    assert whole["queries"] == 10
    assert sum(row["queries"] for row in table.rows if row["condition"] != "all") == 10
    assert 0 <= whole["coverage_low"] <= whole["coverage_percent"] <= whole["coverage_high"] <= 100


def test_input_without_an_answer_gets_none() -> None:
    bench = Bench(TINY, Report("localize", {}))
    refusals.run(bench)
    rows = tables_of(bench)["failures"].rows
    assert [row for row in rows if row["expected"] == "ValueError" and row["came"] != "ValueError"] == []
    for case, word in (("blank depth", "blank"), ("depth in millimetres", "metres"), ("black image", "blank")):
        reasons = [row["message"] for row in rows if row["case"] == case]
        assert reasons
        assert all(word in reason for reason in reasons)
    assert all(row["message"] for row in rows if row["came"] != "pose")


def test_speed_compares_with_ours_and_measures_memory() -> None:
    bench = Bench(replace(TINY, methods=("joint", "default stop")), Report("localize", {}))
    speed.run(bench)
    rows = tables_of(bench)["speed/time"].rows
    for threads in (1, 2):
        own = next(row for row in rows if row["threads"] == threads and row["method"] == contenders.JOINT)
        for row in rows:
            if row["threads"] == threads:
                assert row["times_joint"] == pytest.approx(row["median_ms"] / own["median_ms"])
    for row in tables_of(bench)["speed/memory"].rows:
        assert 20 < row["imported_mb"] <= row["loaded_mb"] <= row["peak_mb"] < 1000


def test_peak_memory_sees_an_allocation() -> None:
    before = peak_memory.peak_mb()
    block = np.ones(8_000_000 + int(before * 1e6) // 8)
    assert peak_memory.peak_mb() > 1e-6 * block.nbytes


def test_every_kernel_is_timed() -> None:
    report = Report("kernel", {})
    kernel.run(kernel.KernelSettings(runs=1, widths=(160,), strides=(8,)), report, lambda what, done, total: None)
    rows = report.tables[0].rows
    assert len(rows) == 4 * 2
    for row in rows:
        assert row["times_baseline"] == pytest.approx(row["baseline_ms"] / row["median_ms"])
        assert row["gaussians"] == pytest.approx(640 * 480 / 64, rel=0.05)
    with pytest.raises(ValueError, match="widths among"):
        kernel.KernelSettings(widths=(100,))
