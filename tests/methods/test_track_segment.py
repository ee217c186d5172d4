from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from align.small_motions import CAMERA, scene
from posesplat.align.small_motion_trust import Evidence
from posesplat.align.tracks import Tracks
from posesplat.geometry.poses import pose_errors
from posesplat.methods.track_segment import TrustRule, Verdict, judged, solved_segment


def test_a_segment_gives_the_true_motion_and_depths() -> None:
    clip = scene(1, points=400, noise_px=0.05)
    found = solved_segment(clip.tracks, CAMERA)
    assert found is not None
    assert found.verdict == "motion"
    gap, angle = pose_errors(found.cam_from_reference, clip.cam_from_reference)
    assert gap.max() < 1e-3
    assert angle.max() < 0.05
    known = np.isfinite(found.inverse_depths)
    assert known.mean() > 0.9
    assert np.median(np.abs(found.inverse_depths / clip.inverse_depths - 1)[known]) < 0.05


def test_a_turn_without_translation_gives_rotations_and_no_depths() -> None:
    clip = scene(2, points=400, shift=0.0, noise_px=0.05)
    found = solved_segment(clip.tracks, CAMERA)
    assert found is not None
    assert found.verdict == "rotation"
    assert np.isnan(found.inverse_depths).all()
    _, angle = pose_errors(found.cam_from_reference, clip.cam_from_reference)
    assert angle.max() < 0.005


def test_frames_that_see_too_little_are_left_out() -> None:
    clip = scene(3, points=300, noise_px=0.05)
    seen = clip.tracks.seen.copy()
    seen[4, 10:] = False
    found = solved_segment(Tracks(clip.tracks.reference, clip.tracks.pixels, seen), CAMERA)
    assert found is not None
    assert np.flatnonzero(~found.solved).tolist() == [4]
    assert found.cam_from_reference.shape == (11,)
    assert found.inlier_fraction.shape == (11,)


def test_nothing_seen_is_no_motion() -> None:
    clip = scene(4, points=30)
    assert solved_segment(replace(clip.tracks, seen=np.zeros_like(clip.tracks.seen)), CAMERA) is None


@pytest.mark.parametrize(
    ("cost_ratio", "repeatability", "parallax_px", "signal", "frames", "verdict", "word"),
    [
        (6.0, 0.999, 5.0, 20.0, 29, "motion", ""),
        (1.6, 0.95, 0.3, 2.0, 29, "motion", "weak"),
        (1.3, 0.3, 0.3, 1.5, 29, "rotation", "unobservable"),
        (1.3, 0.95, 0.05, 1.5, 29, "rotation", "unobservable"),
        (5.0, 0.3, 9.0, 50.0, 29, "broken", "no motion fits"),
        (5.0, float("nan"), 9.0, 50.0, 1, "motion", ""),
        (1.1, float("nan"), 9.0, 50.0, 1, "rotation", "unobservable"),
        (5.0, float("nan"), 9.0, 50.0, 29, "broken", "no motion fits"),
    ],
)
def test_verdicts(
    cost_ratio: float,
    repeatability: float,
    parallax_px: float,
    signal: float,
    frames: int,
    verdict: Verdict,
    word: str,
) -> None:
    proof = Evidence(cost_ratio, repeatability, 0.05, signal)
    found, warnings = judged(proof, parallax_px, frames, TrustRule())
    assert found == verdict
    assert (word in warnings[0]) if word else not warnings
