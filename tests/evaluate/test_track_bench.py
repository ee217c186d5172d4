"""The suites of the tracking benchmark on tiny clips, and its tables on made-up scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.protocols import track_real, track_rooms, track_settings, track_speed
from posesplat.evaluate.protocols.report import Report, Row, Table
from posesplat.evaluate.protocols.thread_limits import blas_threads, limited_threads
from posesplat.evaluate.protocols.track_clips import ClipSpec, open_clip
from posesplat.evaluate.protocols.track_contenders import (
    LINE,
    OURS,
    POINTS,
    STATIC,
    TWO_VIEW,
    WITH_DEPTH,
    Answer,
    Contender,
    answer,
)
from posesplat.evaluate.protocols.track_scores import Score
from posesplat.evaluate.protocols.track_settings import TrackBench, TrackSettings
from posesplat.evaluate.protocols.track_suites import run_track_suites
from posesplat.evaluate.protocols.track_tables import (
    BEST_PYCOLMAP,
    Trial,
    best_of_each_clip,
    error_row,
    paired_row,
    trial_tables,
)

NAN = float("nan")
US = Contender(OURS, lambda clip: Answer(clip.trajectory, 1.0), ours=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TrackSettings:
    return TrackSettings(clips=1, slow_clips=0, frames=6, width=160, cache=tmp_path_factory.mktemp("clips"), threads=1)


def made(settings: TrackSettings) -> TrackBench:
    return TrackBench(settings, Report("track", {}))


def tables_of(bench: TrackBench) -> dict[str, Table]:
    return {table.name: table for table in bench.report.tables}


def rows_of(table: Table, **values: object) -> list[Row]:
    return [row for row in table.rows if all(row[key] == value for key, value in values.items())]


def trial(number: int, ate_mm: float, method: str = OURS, posed: int = 10, cpu_s: float = 1.0) -> Trial:
    contender = US if method == OURS else Contender(method, US.solve)
    verdict = "refused" if posed < 5 else "motion"
    score = Score(10, posed, verdict, ate_mm, NAN, ate_mm, 0.1 * ate_mm, ate_mm, ate_mm)
    return Trial("plain", number, f"clip {number}", contender, score, cpu_s)


@pytest.fixture
def truth_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bookkeeping of suites without the time of tracking: the contender called ours gives the true poses."""
    monkeypatch.setattr(track_settings, "contenders", lambda *_: [US])


def test_rooms_have_their_conditions_and_a_true_baseline(tiny: TrackSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (track_rooms.TREMOR, track_rooms.CONDITIONS):
        for name in list(table):
            if name not in ("rotation only, 1 deg", "30 mm, 3 deg", track_rooms.PLAIN, "30 % moves"):
                monkeypatch.delitem(table, name)  # type: ignore[attr-defined]
    bench = made(replace(tiny, methods=("posesplat", "static", "line", "two-view")))
    track_rooms.run_rooms(bench)
    tables = tables_of(bench)
    tremor, conditions = tables["rooms/tremor"], tables["rooms/conditions"]
    assert {row["condition"] for row in tremor.rows} == set(track_rooms.TREMOR)
    assert {row["condition"] for row in conditions.rows} == set(track_rooms.CONDITIONS)
    assert {row["method"] for row in tremor.rows} == {OURS, POINTS, WITH_DEPTH, STATIC, LINE, TWO_VIEW}
    # A camera that only turns has no translation error, and the static camera's largest angle is that of the motion.
    (turning,) = rows_of(tremor, condition="rotation only, 1 deg", method=STATIC)
    assert turning["first_deg"] == pytest.approx(1.0, rel=1e-6) and np.isnan(turning["ate_mm"])
    (moving,) = rows_of(tremor, condition="30 mm, 3 deg", method=STATIC)
    (own,) = rows_of(tremor, condition="30 mm, 3 deg", method=OURS)
    assert 5 < moving["ate_mm"] < 30
    assert own["ate_mm"] < 0.2 * moving["ate_mm"]
    assert own["posed_percent"] == 100.0
    assert {row["rival"] for row in tables["rooms/tremor/paired"].rows} == {TWO_VIEW}
    spoilt = rows_of(tables["rooms/degradation"], method=OURS)
    assert {row["condition"] for row in spoilt} == {"30 % moves"}


@pytest.mark.usefixtures("truth_for_ours")
def test_movers_are_compared_with_the_same_clip_without_them(tiny: TrackSettings) -> None:
    bench = made(replace(tiny, width=80, frames=3))
    track_rooms.run_movers(bench)
    table = tables_of(bench)["movers"]
    assert len(table.rows) == len(track_rooms.MOVER_SHARES) * (len(track_rooms.MOVERS) + 1) + 1
    everything = table.rows[-1]
    assert (everything["share"], everything["path"], everything["clips"]) == ("all", "all", 18)
    assert everything["failed"] == everything["suffered"] == 0
    assert everything["most_ate_mm"] < 1e-6


def test_mover_failures_are_counted_by_hand() -> None:
    spec = ClipSpec(mover_share=0.1)
    answers = [(0, 0.1, 10), (1, 0.4, 10), (2, 0.6, 10), (3, NAN, 0)]
    moved = [
        (replace(spec, seed=seed), replace(trial(seed, ate, posed=posed), condition="10 %, drifts"))
        for seed, ate, posed in answers
    ]
    row = track_rooms.mover_table(moved, {0: 0.1, 1: 0.1, 2: 0.5, 3: 0.1}).rows[-1]
    assert (row["failed"], row["suffered"], row["clips"]) == (2, 1, 4)
    assert row["most_ratio"] == pytest.approx(4.0)
    assert row["verdicts"] == "1 refused"


def test_still_clips_are_told_apart(tiny: TrackSettings) -> None:
    bench = made(replace(tiny, width=320))
    track_rooms.run_still(bench)
    rows = {row["motion"]: row for row in tables_of(bench)["still"].rows}
    assert set(rows) == {"no motion", "rotation only", "1 mm"}
    assert rows["no motion"]["unobservable"] == rows["no motion"]["clips"] == 1
    assert np.isnan(rows["no motion"]["ate_mm"])
    assert rows["no motion"]["clips_wrong"] == []


def test_speed_is_measured_in_processes_of_their_own(tiny: TrackSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track_speed, "CLIPS", (track_rooms.PLAIN,))
    bench = made(tiny)
    track_speed.run(bench)
    rows = tables_of(bench)["speed"].rows
    assert [row["threads"] for row in rows] == [1, 2]
    for row in rows:
        assert row["posed"] == 6
        assert 0 < row["loaded_mb"] <= row["peak_mb"] < 2000
        assert 0 < row["least_wall_s"] <= row["wall_s"]


def test_real_windows_have_their_truth_and_the_rest_is_told(tiny: TrackSettings, tmp_path: Path) -> None:
    bench = made(replace(tiny, data=tmp_path, sequences=("desk9", "static")))
    run_track_suites(bench, ["real"])
    table = tables_of(bench)["real/skipped"]
    assert {row["skipped"] for row in table.rows} == {"tum_fr1_desk9", "still windows"}
    clip = open_clip(ClipSpec(room="curved", width=80, frames=5))
    poses = [*list(clip.cam_from_world)[:4], None]
    found = track_real.window_clip("four", FrameSequence.from_frames(clip.frames, poses))
    assert len(found.frames) == 4
    assert np.allclose(found.cam_from_world.as_matrix(), clip.cam_from_world[:4].as_matrix(), atol=1e-12)
    assert found.rate_hz == pytest.approx(30.0)
    with pytest.raises(ValueError, match="at least 3 frames with true poses"):
        track_real.window_clip("none", FrameSequence.from_frames(clip.frames))


def test_sparse_parts_of_a_sequence_are_left_out_and_units_are_metres() -> None:
    assert track_real.longest_dense_run(np.array([0.0, 0.4, 0.8, 1.2, 1.23, 1.26, 1.3, 1.33, 1.4, 1.43])) == range(3, 8)
    assert track_real.longest_dense_run(np.arange(5.0)) == range(5)
    assert track_real.longest_dense_run(np.zeros(1)) == range(1)
    clip = open_clip(ClipSpec(room="curved", width=80, frames=3))
    frames = FrameSequence.from_frames(clip.frames, list(clip.cam_from_world))
    found = track_real.window_clip("in centimetres", frames, True, 0.01)
    centres, half = (poses.inv().translation for poses in (clip.cam_from_world, found.cam_from_world))
    assert np.allclose(half, 0.01 * centres, atol=1e-12)
    assert found.exact


def test_what_a_contender_cannot_take_it_refuses() -> None:
    def picky(_: object) -> Answer:
        raise ValueError("not this one")

    clip = open_clip(ClipSpec(room="curved", width=80, frames=4))
    found = answer(Contender("picky", picky), clip)
    assert not found.trajectory.posed.any() and len(found.trajectory) == 4
    assert "not this one" in found.remark


def test_means_leave_out_what_is_not_defined_and_count_what_is_not_posed() -> None:
    row = error_row([trial(0, 0.2), trial(1, 0.4), trial(2, NAN, posed=0, cpu_s=4.0)])
    assert row["ate_mm"] == pytest.approx(0.3) and row["most_ate_mm"] == pytest.approx(0.4)
    assert row["posed_percent"] == pytest.approx(100 * 20 / 30)
    assert row["cpu_s"] == pytest.approx(2.0)
    assert row["verdicts"] == "1 refused"
    assert [one["ate_mm"] for one in row["trials"]] == [0.2, 0.4, None]


def test_pairs_are_clips_that_both_answered_and_a_better_rival_is_named() -> None:
    ours = [trial(0, 0.1), trial(1, 0.2), trial(2, 0.3), trial(3, 0.3)]
    rival = [trial(0, 1.0, "colmap", cpu_s=20.0), trial(1, 2.0, "colmap", cpu_s=20.0), trial(2, NAN, "colmap", 0, 40.0)]
    row = paired_row(ours, rival, "colmap", 0)
    assert row["clips"] == 2
    assert row["ate_ratio"] == pytest.approx(1.5 / 0.15)
    assert row["cpu_ratio"] == pytest.approx(80.0 / 3.0)
    assert row["posed_percent"] == pytest.approx(100 * 20 / 30)
    assert "too few" in row["verdict"]
    worse = [trial(number, 1.0) for number in range(8)]
    better = [trial(number, 0.1, "colmap") for number in range(8)]
    assert paired_row(worse, better, "colmap", 0)["verdict"] == "RIVAL"
    assert paired_row(better, worse, "x", 0)["verdict"] == "ours"
    nothing = paired_row(ours, [trial(0, NAN, "colmap", 0)], "colmap", 0)
    assert nothing["verdict"] == "no ATE to compare" and "ate_ratio" not in nothing


def test_the_best_setting_is_chosen_for_each_clip() -> None:
    first = [trial(0, 0.5, "pycolmap a"), trial(1, 0.2, "pycolmap a", posed=3), trial(2, NAN, "pycolmap a", 0)]
    second = [trial(0, 0.4, "pycolmap b"), trial(1, 0.9, "pycolmap b"), trial(2, NAN, "pycolmap b", 1)]
    best = best_of_each_clip([*first, *second])
    # Three frames of ten are no answer to a clip.
    assert [one.score.ate_mm for one in best[:2]] == [0.4, 0.9]
    assert best[2].score.posed == 1
    tables = trial_tables("t", "T", [trial(0, 0.1), *first, *second], 0)
    assert [row["rival"] for row in tables[1].rows] == ["pycolmap a", "pycolmap b", BEST_PYCOLMAP]


def test_an_interrupted_suite_keeps_its_trials(tiny: TrackSettings) -> None:
    calls = []

    def solve(clip: object) -> Answer:
        calls.append(clip)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return Answer(clip.trajectory, 1.0)  # type: ignore[attr-defined]

    bench = made(tiny)
    clip = open_clip(ClipSpec(room="curved", width=80, frames=4))
    with pytest.raises(KeyboardInterrupt), bench.trials("half", "Half") as trials:
        bench.put([("a", lambda: clip), ("b", lambda: clip)], [Contender("x", solve)], trials, lambda: None)
    assert [row["condition"] for row in tables_of(bench)["half"].rows] == ["a"]


def test_slow_contenders_answer_the_first_clips_of_each_condition(tiny: TrackSettings) -> None:
    clip = open_clip(ClipSpec(room="curved", width=80, frames=4))
    slow = Contender("slow", lambda one: Answer(one.trajectory, 1.0), slow=True)
    bench = made(replace(tiny, slow_clips=2))
    trials: list[Trial] = []
    bench.put([(name, lambda: clip) for name in "aaabbb"], [US, slow], trials, lambda: None)
    asked = [(one.condition, one.number, one.method.name) for one in trials if one.method.slow]
    assert asked == [("a", 0, "slow"), ("a", 1, "slow"), ("b", 0, "slow"), ("b", 1, "slow")]
    assert len(trials) == 10


def test_linear_algebra_keeps_to_its_threads_and_gets_them_back() -> None:
    before = blas_threads()
    assert before, "the wheels of NumPy and SciPy bring OpenBLAS"
    with limited_threads(1):
        assert blas_threads() == [1] * len(before)
        np.linalg.inv(np.eye(200))
    assert blas_threads() == before
    with limited_threads(None):
        assert blas_threads() == before


def test_settings_and_names_that_make_no_sense_are_refused(tiny: TrackSettings) -> None:
    with pytest.raises(ValueError, match="clips of at least 1"):
        TrackSettings(clips=0)
    with pytest.raises(ValueError, match="Suites must be among"):
        run_track_suites(made(tiny), ["kitchens"])
    with pytest.raises(ValueError, match="Nothing was measured"):
        run_track_suites(made(replace(tiny, methods=("nobody",))), ["still"])


def test_poses_of_the_told_are_never_ours() -> None:
    clip = open_clip(ClipSpec(room="curved", width=80, frames=4))
    assert isinstance(clip.cam_from_world, RigidTransform)
    told = [one for one in TrackSettings().contenders() if one.told]
    assert {one.name for one in told} >= {STATIC, LINE} and not any(one.ours for one in told)
    assert all("told" in one.name for one in told if one.name != STATIC)
