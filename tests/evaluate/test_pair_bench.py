"""The suites of the benchmark of pairs on tiny images, and its tables on made-up scores."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.pair_rivals import Rated
from posesplat.evaluate.protocols import pair_suites
from posesplat.evaluate.protocols.pair_contenders import IDENTITY, OURS, PNP, Contender, Question
from posesplat.evaluate.protocols.pair_overlap import LEVELS, overlap
from posesplat.evaluate.protocols.pair_real import rgb_sources, rgbd_sources
from posesplat.evaluate.protocols.pair_rooms import MAKERS, camera_of, room_case, room_pairs, sources
from posesplat.evaluate.protocols.pair_scores import REFUSED, PairScore
from posesplat.evaluate.protocols.pair_settings import PairBench, PairSettings
from posesplat.evaluate.protocols.pair_suites import run_pair_suites
from posesplat.evaluate.protocols.pair_tables import ALL, PairTrial, trial_tables
from posesplat.evaluate.protocols.report import Report, Row, Table
from posesplat.evaluate.reports.pair_bench import pair_page
from posesplat.geometry.estimate import PoseEstimate
from posesplat.providers.two_view.sift import SiftMatches

RIVAL = "some rival"


def made(settings: PairSettings) -> PairBench:
    return PairBench(settings, Report("pair", {}))


def tables_of(bench: PairBench) -> dict[str, Table]:
    return {table.name: table for table in bench.report.tables}


def row_of(table: Table, **values: object) -> Row:
    (found,) = [row for row in table.rows if all(row[key] == value for key, value in values.items())]
    return found


def trial(
    number: int, error: float, method: str = OURS, level: str = "> 70 %", sureness: float = 10.0, accepted: bool = True
) -> PairTrial:
    good = error < 5.0
    score = PairScore(error, 2 * error, 3 * error, error, error, good, good) if np.isfinite(error) else REFUSED
    nees = 1.0 if method == OURS else math.nan
    scene = f"scene {number % 2}"
    return PairTrial(
        "sensor", "set", level, scene, f"pair {number}", method, method == OURS, score, sureness, accepted, 0.1, 0.2,
        0.05, 0.06, nees,
    )  # fmt: skip


def test_rooms_have_pairs_of_every_level_that_are_what_they_say() -> None:
    for kind in MAKERS:
        pairs = list(room_pairs(kind, 9000, 1))
        assert [pair.level for pair in pairs] == list(LEVELS)
        for pair in pairs:
            low, high = LEVELS[pair.level]
            room, camera = MAKERS[kind](9000), camera_of(160)
            depths = [
                room.cast(camera, pose, colour=False).depth
                for pose in (pair.a_from_world, pair.b_from_a * pair.a_from_world)
            ]
            # Measured again at another size: the share differs by a little.
            share = overlap(depths[0], camera, depths[1], camera, pair.b_from_a, step=4)
            assert low - 0.03 < share < high + 0.03
    again = next(room_pairs("box", 9000, 1))
    first = next(room_pairs("box", 9000, 1))
    assert np.array_equal(first.b_from_a.as_matrix(), again.b_from_a.as_matrix())


def test_a_room_case_has_noise_of_its_own_and_clean_depth_for_networks() -> None:
    pair = next(room_pairs("box", 9000, 1))
    case, other = room_case(pair, 80), room_case(pair, 80, draw=1)
    assert case.a.depth is not None and case.clean_depths is not None
    assert np.all(case.clean_depths[0] > 0) and np.any(case.a.depth == 0)
    assert not np.array_equal(case.a.image, other.a.image) and case.b_from_a is pair.b_from_a
    sensor, monocular, common = (case.frames(kind)[0].depth for kind in ("sensor", "monocular", "monocular-common"))
    assert sensor is case.a.depth and monocular is not None and common is not None
    ratio = monocular / common
    assert ratio.std() < 1e-5
    # Far from edges the blurred, bent depth is the true one to a few times 5 %.
    assert np.median(np.abs(np.log(common / case.clean_depths[0]))) < 0.1
    assert case.frames("none")[0].depth is None
    bare = replace(case, a=replace(case.a, depth=None))
    with pytest.raises(ValueError, match="must have depth for the condition 'sensor'"):
        bare.frames("sensor")


def test_matches_lie_on_the_same_points() -> None:
    pair = next(room_pairs("furnished", 9001, 1))
    case = room_case(pair, 320)
    assert case.clean_depths is not None
    matches = SiftMatches().matches(case.a, case.b)
    columns, rows = np.floor(matches.pixels_a).astype(int).T
    points = case.a.camera.rays_at(matches.pixels_a) * case.clean_depths[0][rows, columns][:, None]
    gaps = np.linalg.norm(case.b.camera.project(case.b_from_a.apply(points)) - matches.pixels_b, axis=1)
    assert len(matches) > 20 and np.median(gaps) < 1.0


def test_suites_agree_with_a_contender_that_knows_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bookkeeping of all suites: the true pose has no error, and standing still has the whole motion."""
    truth: dict[str, RigidTransform] = {}
    settings = PairSettings(
        rooms=1, hard_rooms=1, pairs=1, realisations=4, kinds=("sensor", "monocular"), width=80, threads=1
    )
    plain, hard = ("box", "curved"), ("flat wall", "repeated")
    monkeypatch.setattr(pair_suites, "PLAIN", plain)
    monkeypatch.setattr(pair_suites, "HARD", hard)
    for source in sources((*plain, *hard), 0, 1, 1, 80):
        case = source.open()
        truth[f"{case.a.image is not None} {np.asarray(case.a.image, dtype=int).sum()}"] = case.b_from_a

    def knows(question: Question) -> Rated:
        key = f"True {np.asarray(question.a.image, dtype=int).sum()}"
        covariance = 1e-4 * np.eye(6)
        pose = truth.get(key)
        if pose is None:
            return Rated(PoseEstimate.failure("never seen"), 0.0, False)
        return Rated(PoseEstimate(True, "", pose, covariance), 30.0, True, {"thinking": 0.001})

    still = Contender(IDENTITY, lambda _: Rated(PoseEstimate(True, "", RigidTransform.identity())), matched=False)
    monkeypatch.setattr(
        "posesplat.evaluate.protocols.pair_settings.contenders",
        lambda names: [Contender(OURS, knows, ours=True), still, Contender(RIVAL, knows)],
    )
    bench = made(settings)
    run_pair_suites(bench, ["rooms", "hard", "covariance"])
    tables = tables_of(bench)
    rooms = tables["rooms/sensor"]
    ours, standing = (row_of(rooms, level=ALL, method=name) for name in (OURS, IDENTITY))
    assert (ours["success_percent"], ours["auc_5"], ours["pairs"]) == (100.0, pytest.approx(100.0), 6)
    assert standing["success_percent"] < 50 and standing["baseline_percent"] == pytest.approx(100.0)
    assert {name.split("/")[1] for name in tables if name.startswith("hard/")} == set(hard)
    everything = row_of(tables["all/monocular"], level=ALL, method=OURS)
    assert everything["pairs"] == 12 and everything["success_percent"] == 100.0
    compared = row_of(tables["rooms/sensor/best"], level=ALL)
    assert (compared["first"], compared["second"], compared["auc_10"]) == (OURS, RIVAL, 0.0)
    assert row_of(tables["rooms/sensor/coverage"], level=ALL, method=OURS)["coverage_percent"] == 100.0
    assert "thinking 1" in row_of(tables["rooms/sensor/time"], method=OURS)["parts"]
    # The covariance suite has rooms and noise of its own, which the contender has not seen.
    assert "covariance" not in tables
    page = pair_page(bench.report)
    assert page.count("<table>") == len(bench.report.tables) and "Rooms, depth: sensor" in page
    json.dumps(bench.report.to_json(), allow_nan=False)


def test_rows_by_hand() -> None:
    trials = [trial(0, 1.0), trial(1, 4.0), trial(2, 8.0, accepted=False), trial(3, math.inf, accepted=False)]
    trials += [trial(number, 6.0, RIVAL) for number in range(4)]
    tables = {table.name: table for table in trial_tables("t", "Title", trials, 0)}
    row = row_of(tables["t"], method=OURS)
    assert (row["success_percent"], row["flagged"], row["pairs"]) == (50.0, 2, 4)
    assert row["success_error"] == pytest.approx(25.0)
    assert (row["rotation_deg"], row["translation_cm"], row["baseline_percent"]) == (4.0, 8.0, 12.0)
    assert row["cpu_ms"] == pytest.approx(100.0) and row["matching_ms"] == pytest.approx(50.0)
    best = row_of(tables["t/best"], level="> 70 %")
    # One level only: no row of all levels. AUC@10 of four errors of 6: recall 0 to 1 over a step of width 6 to 10.
    assert best["best_auc_10"] == f"{100 * (4 + 0.5 * 6 / 4) / 10:.1f} {RIVAL}"
    # Half of ours succeed and none of the rival's.
    assert best["success_percent"] == 50.0 and best["first"] == OURS
    reported = row_of(tables["t/flags"], method=OURS, rule="as reported")
    assert (reported["precision_percent"], reported["recall_percent"]) == (100.0, 100.0)
    assert tables["t/coverage"].rows[0]["pairs"] == 2


def test_levels_are_told_apart_and_together() -> None:
    trials = [trial(0, 1.0), trial(1, 9.0, level="15-40 %"), trial(0, 2.0, RIVAL), trial(1, 2.0, RIVAL, "15-40 %")]
    tables = {table.name: table for table in trial_tables("t", "Title", trials, 0)}
    assert [row["level"] for row in tables["t"].rows] == ["> 70 %"] * 2 + ["15-40 %"] * 2 + [ALL] * 2
    assert row_of(tables["t"], level=ALL, method=OURS)["success_percent"] == 50.0
    assert trial_tables("t", "Title", [], 0) == []


def test_missing_data_become_rows(tmp_path: Path) -> None:
    bench = made(PairSettings(data=tmp_path, methods=("identity",), threads=1))
    run_pair_suites(bench, ["real", "photos", "lists"])
    skipped = {row["skipped"] for table in bench.report.tables for row in table.rows}
    assert {"tum_fr1_rpy", "fox50", "scannet_test_1500", "re10k_test", "mapfree_test"} <= skipped
    with pytest.raises(ValueError, match="Suites must be among"):
        run_pair_suites(bench, ["everything"])
    with pytest.raises(ValueError, match="Kinds of depth"):
        PairSettings(kinds=("none",))


@pytest.mark.data
def test_real_pairs_are_what_their_level_says(data_root: Path) -> None:
    found = rgbd_sources("tum_fr1_rpy", data_root, 2, 0)
    assert {source.level for source in found} == set(LEVELS)
    for source in found:
        case = source.open()
        assert case.a.depth is not None and case.b.depth is not None and case.baseline > 0.02
        share = overlap(case.a.depth, case.a.camera, case.b.depth, case.b.camera, case.b_from_a, step=4)
        low, high = LEVELS[source.level]  # type: ignore[index]
        assert low - 0.05 < share < high + 0.05
    photos = rgb_sources("lund_door12", False, data_root, 1, 0)
    case = photos[0].open()
    assert not case.metric and max(case.a.camera.width, case.a.camera.height) <= 1280


def test_the_suites_of_the_command_are_those_of_the_protocol() -> None:
    from typing import get_args

    from posesplat.cli.bench import PairSuite

    assert get_args(PairSuite) == tuple(pair_suites.SUITES)
    assert PNP in {one.name for one in PairSettings(methods=("pnp",)).contenders()}
