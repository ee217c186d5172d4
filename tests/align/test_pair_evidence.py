"""What two images say of a pose: true poses against wrong ones on simulated matches, and closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.pair_evidence import EVIDENCE, PairView, pair_evidence, turned_overlap
from posesplat.geometry.cameras import Camera
from posesplat.geometry.matches import Matches

CAMERA = Camera.from_fov(60.0, 640, 480)
TRUE = RigidTransform.from_components([-0.6, 0.1, 0.2], Rotation.from_euler("y", 12.0, degrees=True))
WRONG = RigidTransform.from_components([0.1, 0.9, -0.2], Rotation.from_euler("y", -25.0, degrees=True))


def view(true_matches: int, wrong_matches: int, seed: int = 0, depth: bool = False) -> PairView:
    rng = np.random.default_rng(seed)
    points = rng.uniform([-4, -2, 3], [4, 2, 8], size=(4000, 3))
    in_b = TRUE.apply(points)
    places = np.stack([CAMERA.project(points), CAMERA.project(np.where(in_b[:, 2:] > 0, in_b, [0, 0, 1]))], axis=1)
    seen = (places > 3).all((1, 2)) & (places < [637, 477]).all((1, 2)) & (in_b[:, 2] > 0)
    chosen = places[seen][:true_matches] + rng.normal(0, 0.5, size=(true_matches, 2, 2))
    noise = rng.uniform(4, [636, 476], size=(wrong_matches, 2, 2))
    both = np.concatenate([chosen, noise])
    matches = Matches(both[:, 0], both[:, 1], np.ones(len(both)))
    if not depth:
        return PairView(matches, CAMERA, CAMERA)
    maps = []
    for side, cloud in ((0, points[seen][:true_matches]), (1, in_b[seen][:true_matches])):
        values = np.zeros((480, 640), np.float32)
        for (x, y), z in zip(chosen[:, side].astype(int), cloud[:, 2], strict=True):
            values[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4] = z
        maps.append(values)
    return PairView(matches, CAMERA, CAMERA, *maps)


def test_a_few_true_matches_among_many_wrong_ones_speak_for_the_true_pose() -> None:
    for seed in range(3):
        images = view(15, 60, seed)
        good, bad = pair_evidence(images, TRUE), pair_evidence(images, WRONG)
        assert good["epipolar"] > 2.0 > 1.5 > bad["epipolar"]
        assert good["unmet"] < bad["unmet"] or good["overlap"] > bad["overlap"]
        assert good["moved_deg"] < 4.0
        assert set(good) <= set(EVIDENCE)


def test_random_matches_say_nothing() -> None:
    terms = [pair_evidence(view(0, 80, seed), TRUE)["epipolar"] for seed in range(8)]
    assert abs(np.mean(terms)) < 0.8


def test_matches_before_both_cameras_are_counted() -> None:
    images = view(80, 0)
    behind = RigidTransform.from_components(-TRUE.translation, TRUE.rotation)
    assert pair_evidence(images, TRUE)["cheirality"] > 0.95
    assert pair_evidence(images, behind)["cheirality"] < 0.05


def test_a_pure_turn_is_judged_without_its_translation() -> None:
    rng = np.random.default_rng(1)
    turn = RigidTransform.from_rotation(Rotation.from_euler("y", 20.0, degrees=True))
    pixels_a = rng.uniform([10, 10], [400, 470], size=(60, 2))
    pixels_b = CAMERA.project(turn.apply(CAMERA.rays_at(pixels_a)))
    images = PairView(Matches(pixels_a, pixels_b, np.ones(60)), CAMERA, CAMERA)
    good = pair_evidence(images, turn)
    bad = pair_evidence(images, RigidTransform.identity(), translation_observed=False)
    assert good["reprojection"] > 10 > 1 > bad["reprojection"]
    assert "epipolar" not in good and "epipolar" not in bad
    assert good["unmet"] < 0.2 * bad["unmet"] and bad["unmet"] > 0.9


def test_depth_speaks_where_it_is_measured() -> None:
    images = view(60, 20, depth=True)
    assert pair_evidence(images, TRUE)["depth"] > 4.0
    assert pair_evidence(images, TRUE)["depth"] > 3 * abs(pair_evidence(images, WRONG)["depth"])


@pytest.mark.parametrize("turn_deg", [0.0, 30.0, 60.0, 180.0])
def test_overlap_of_a_turn_is_that_of_the_fields_of_view(turn_deg: float) -> None:
    wide = Camera.from_fov(60.0, 640, 32)
    images = PairView(Matches.none(), wide, wide)
    turn = RigidTransform.from_rotation(Rotation.from_euler("y", turn_deg, degrees=True))
    # Columns of A whose azimuth plus the turn stays within 30 degrees; half the width spans tan 30.
    limit = np.tan(np.radians(30.0 - turn_deg)) / np.tan(np.radians(30.0)) if turn_deg < 60 else -1.0
    assert turned_overlap(images, turn) == pytest.approx((1 + limit) / 2, abs=0.07)
    assert pair_evidence(images, turn) == {"overlap": turned_overlap(images, turn)} | {
        "unmet": turned_overlap(images, turn)
    }


def test_cameras_of_different_sizes_are_no_exception() -> None:
    images = view(40, 40)
    small = replace(
        images,
        camera_b=CAMERA.resized(320, 240),
        matches=Matches(images.matches.pixels_a, 0.5 * images.matches.pixels_b, images.matches.scores),
    )
    assert pair_evidence(small, TRUE)["epipolar"] == pytest.approx(pair_evidence(images, TRUE)["epipolar"], rel=0.35)
