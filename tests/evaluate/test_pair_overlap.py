from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate.protocols.pair_depths import MonocularModel, monocular_like
from posesplat.evaluate.protocols.pair_overlap import LEVELS, level_of, overlap
from posesplat.geometry.cameras import Camera

CAMERA = Camera(100.0, 100.0, 80.0, 60.0, 160, 120)
WALL = np.full((120, 160), 2.0)


def moved(x: float, yaw_deg: float = 0.0) -> RigidTransform:
    """b_from_a of a camera moved to the right and turned."""
    a_from_b = RigidTransform.from_components([x, 0.0, 0.0], Rotation.from_euler("y", yaw_deg, degrees=True))
    return a_from_b.inv()


def test_a_wall_seen_from_the_side_step() -> None:
    # 0.8 m at 2 m is 40 of 160 pixels: three quarters of A remain in view.
    assert overlap(WALL, CAMERA, WALL, CAMERA, moved(0.8), step=1) == pytest.approx(0.75, abs=1e-9)
    assert overlap(WALL, CAMERA, WALL, CAMERA, RigidTransform.identity()) == 1.0
    assert overlap(WALL, CAMERA, WALL, CAMERA, moved(0.0, 180.0)) == 0.0


def test_what_is_hidden_is_not_seen() -> None:
    board = WALL.copy()
    board[:, :80] = 1.0
    assert overlap(WALL, CAMERA, board, CAMERA, RigidTransform.identity(), step=1) == 0.5
    # A surface slightly in front is noise, one behind is seen.
    assert overlap(WALL, CAMERA, 0.97 * WALL, CAMERA, RigidTransform.identity()) == 1.0
    assert overlap(WALL, CAMERA, 2 * WALL, CAMERA, RigidTransform.identity()) == 1.0


def test_unknown_depth_counts_for_neither_side() -> None:
    holed = WALL.copy()
    holed[:, :80] = 0.0
    assert overlap(holed, CAMERA, WALL, CAMERA, RigidTransform.identity(), step=1) == 1.0
    assert overlap(WALL, CAMERA, holed, CAMERA, RigidTransform.identity(), step=1) == 1.0
    # Of the 80 columns that A knows on the right, 40 leave the image on no side, 40 fall on B's known or unknown half.
    assert overlap(holed, CAMERA, WALL, CAMERA, moved(-0.8), step=1) == pytest.approx(0.5)
    assert np.isnan(overlap(0 * WALL, CAMERA, WALL, CAMERA, RigidTransform.identity()))


def test_levels_meet_without_gaps() -> None:
    assert [level_of(share) for share in (0.1, 0.15, 0.4, 0.7, 1.0)] == [None, *reversed(LEVELS), "> 70 %"]
    assert level_of(float("nan")) is None


def test_monocular_scale_and_bias_have_their_sizes() -> None:
    flat = np.full((60, 80), 2.0, dtype=np.float32)
    plain = MonocularModel(bias=0.0)
    factors = np.log([monocular_like(flat, seed, model=plain)[30, 40] / 2.0 for seed in range(200)])
    assert factors.std() == pytest.approx(0.08, rel=0.15) and abs(factors.mean()) < 0.02
    bent = [np.log(monocular_like(flat, seed, common_scale=True) / 2.0) for seed in range(60)]
    # The field's grid has 3 x 4 points; between them the cubic keeps about its size, and neighbours hardly differ.
    assert 0.03 < np.std([field[30, 40] for field in bent]) < 0.06
    assert max(float(np.abs(np.diff(field, axis=1)).max()) for field in bent) < 0.03
    assert np.std([field.std() for field in bent]) > 0


def test_one_seed_has_one_field_and_holes_stay() -> None:
    depth = np.full((60, 80), 3.0, dtype=np.float32)
    depth[10:20, 10:20] = 0.0
    scaled, common = monocular_like(depth, 7), monocular_like(depth, 7, common_scale=True)
    np.testing.assert_array_equal(scaled == 0, depth == 0)
    known = depth > 0
    ratio = scaled[known] / common[known]
    assert ratio.std() < 1e-5 and ratio.mean() != pytest.approx(1.0, abs=1e-3)
    assert not np.array_equal(monocular_like(depth, 8), scaled)


def test_edges_are_blurred_in_inverse_depth() -> None:
    step = np.full((40, 80), 1.0, dtype=np.float32)
    step[:, 40:] = 4.0
    exact = MonocularModel(scale=0.0, bias=0.0, blur_px=3.0)
    inverse = 1.0 / monocular_like(step, 0, model=exact)[20]
    # Half way between 1 and 1/4 at the edge, by symmetry.
    assert 0.5 * (inverse[39] + inverse[40]) == pytest.approx(0.625, abs=1e-5)
    assert inverse[5] == pytest.approx(1.0, abs=1e-5) and inverse[75] == pytest.approx(0.25, abs=1e-5)
