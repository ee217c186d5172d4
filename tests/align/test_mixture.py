"""Alignment of two sets of Gaussians on rooms whose true pose is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from align.mixture_rooms import room_sets
from posesplat.align.mixture import MixtureOptions, MixturePair, MixtureState, align_mixtures
from posesplat.geometry.poses import perturbed, pose_errors, rescaled

AWAY = np.array([0.05, -0.06, 0.04, -0.1, 0.05, 0.08])
"""A start 5 degrees and 0.14 m away."""


def test_the_true_pose_is_found_from_a_start_and_from_none() -> None:
    a, b, true = room_sets()
    for start in (perturbed(true, AWAY), RigidTransform.identity()):
        result = align_mixtures(a, b, start, threads=1)
        assert result.b_from_a is not None and result.reason == ""
        distance, angle = pose_errors(result.b_from_a, true)
        assert distance < 2e-3 and angle < 0.05
        assert result.cost < 5 * result.start_cost < 0
        assert 0.6 < result.agreement <= 1 and 0.6 < result.in_view < 1


def test_without_colour_and_features_geometry_alone_still_aligns() -> None:
    a, b, true = room_sets()
    bare = [replace(side, lab=None, features=None, trust=None) for side in (a, b)]
    result = align_mixtures(*bare, perturbed(true, AWAY), threads=1)
    distance, angle = pose_errors(result.b_from_a, true)
    assert distance < 0.01 and angle < 0.2


def test_swapped_frames_give_the_inverse() -> None:
    a, b, true = room_sets()
    start = perturbed(true, AWAY)
    forth, back = align_mixtures(a, b, start, threads=1), align_mixtures(b, a, start.inv(), threads=1)
    distance, angle = pose_errors(back.b_from_a.inv(), forth.b_from_a)
    assert distance < 3e-3 and angle < 0.06


def test_another_unit_scales_the_translation() -> None:
    a, b, true = room_sets()
    start = perturbed(true, AWAY)
    one = align_mixtures(a, b, start, threads=1)
    for unit in (1e-3, 50.0):
        scaled = [
            replace(
                side,
                means_in_cam=unit * side.means_in_cam,
                spreads=unit * side.spreads,
                thicknesses=unit * side.thicknesses,
            )
            for side in (a, b)
        ]
        other = align_mixtures(*scaled, rescaled(start, unit), threads=1)
        distance, angle = pose_errors(rescaled(other.b_from_a, 1 / unit), one.b_from_a)
        assert distance < 3e-4 and angle < 0.01


def test_threads_change_no_bit() -> None:
    a, b, true = room_sets()
    start = perturbed(true, AWAY)
    one, two = (align_mixtures(a, b, start, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.b_from_a.as_matrix(), two.b_from_a.as_matrix())
    assert one.cost == two.cost


@pytest.mark.parametrize("terms", [1, 6])
def test_fields_take_up_what_the_depths_disagree_about(terms: int) -> None:
    a, b, true = room_sets()
    bent = np.array([0.06, 0.03, -0.02, 0.0, 0.02, 0.01])[:terms]
    options = MixtureOptions(field_terms=terms, least_agreement=0.0)
    result = align_mixtures(a.scaled(bent), b, true, options, threads=1)
    assert result.state is not None
    held = align_mixtures(a.scaled(bent), b, true, MixtureOptions(least_agreement=0.0), threads=1)
    assert result.cost < held.cost
    # Equal priors split the disagreement evenly: a shrinks by half of it, b grows by the other half.
    np.testing.assert_allclose(result.state.field_b[0] - result.state.field_a[0], bent[0], atol=0.015)
    np.testing.assert_allclose(result.state.field_a[0], -0.5 * bent[0], atol=0.015)
    # The baseline, with half of it too, comes out at the mean of the two units.
    length = np.linalg.norm(result.b_from_a.translation) / np.linalg.norm(true.translation)
    assert length == pytest.approx(np.exp(0.5 * bent[0]), abs=0.02)
    _, angle = pose_errors(result.b_from_a, true)
    assert angle < pose_errors(held.b_from_a, true)[1]


def test_known_fields_are_held() -> None:
    a, b, true = room_sets()
    bent = np.array([0.06, 0.03, -0.02, 0.0, 0.02, 0.01])
    state = MixtureState(perturbed(true, 0.5 * AWAY), field_a=-bent)
    result = align_mixtures(a.scaled(bent), b, state, threads=1)
    np.testing.assert_array_equal(result.state.field_a, -bent)
    distance, angle = pose_errors(result.b_from_a, true)
    assert distance < 3e-3 and angle < 0.05


@pytest.mark.parametrize("turning", [False, True])
def test_the_gradient_vanishes_where_the_search_ends(turning: bool) -> None:
    a, b, true = room_sets()
    options = MixtureOptions(sigmas=(0.04, 0.015), iterations=40, refresh=1, settled=1e-6, turning=turning)
    pair = MixturePair(a, b, options, threads=1)
    result = pair.aligned(true)
    sums, _ = pair.evaluated(result.state)
    away, _ = pair.evaluated(MixtureState(perturbed(result.b_from_a, np.full(6, 1e-3))))
    assert np.linalg.norm(sums.gradient) < 0.02 * np.linalg.norm(away.gradient)
    assert sums.cost < away.cost


def test_frames_that_do_not_meet_are_refused() -> None:
    a, b, true = room_sets()
    for tangent in ([0, 3.0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 9.0]):
        result = align_mixtures(a, b, perturbed(true, np.array(tangent)), threads=1)
        assert result.b_from_a is None and "hardly meet" in result.reason


def test_a_wrong_end_is_refused() -> None:
    a, b, true = room_sets()
    far = perturbed(true, np.array([0.2, 0.8, 0.3, 0.6, 0.1, 0.5]))
    result = align_mixtures(a, b, far, threads=1)
    assert result.b_from_a is None and result.agreement < 0.5 and "agrees by" in result.reason
    taken = align_mixtures(a, b, far, MixtureOptions(least_agreement=0.0), threads=1)
    distance, angle = pose_errors(taken.b_from_a, true)
    assert distance > 0.1 or angle > 5


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="positive sigmas"):
        MixtureOptions(sigmas=())
    with pytest.raises(ValueError, match="field_terms of 0, 1 or 6"):
        MixtureOptions(field_terms=3)
