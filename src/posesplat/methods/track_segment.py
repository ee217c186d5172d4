"""One segment of a video: the frames that share a reference, solved together and judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.reference_noise import NoisyReference, covariances, with_noisy_reference
from posesplat.align.rolling_shutter import FrameClock
from posesplat.align.rolling_shutter_search import unrolled_motion
from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import SmallMotion, adjusted, robust_cost, robust_scale, rotation_only
from posesplat.align.small_motion_search import FoundMotion, SearchOptions, reversed_depth, searched_motion
from posesplat.align.small_motion_trust import Evidence, evidence, rotation_covariances
from posesplat.align.tracks import Tracks
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import log

Verdict = Literal["motion", "rotation", "broken"]
"""motion = rotation and translation, rotation = translation unobservable, broken = neither may be believed."""

UNOBSERVABLE_VARIANCE = 1e6
"""Variance that stands for "not known" in a translation's covariance, in squared units of the scene."""
_SEEN_SHARE = 0.5
_FEWEST_POINTS = 15
_FEW_FRAMES = 5
_ANOTHER_SHARE = 0.05
"""From this share of the image on that follows another motion, there may be one."""


@dataclass(frozen=True)
class TrustRule:
    """When a translation may be believed.

    Measured on synthetic clips of 30 frames: the halves' correlation was at most 0.52 without translation, and at
    least 0.94 with a motion of 1 mm at 1.8 m.
    """

    min_repeatability: float = 0.75
    """Correlation of the paths that two halves of the points give, below which there is no translation to believe."""
    min_cost_ratio: float = 1.5
    """For fewer than 5 frames: a pure rotation must fit worse than the full motion by this factor."""
    broken_cost_ratio: float = 3.0
    """Where halves disagree although pure rotation fits worse by this factor, the frames are refused."""
    broken_noise: float = 0.005
    """Points that miss the best motion by this much typically, as a share of the focal length, show no scene: it was
    0.0002 to 0.0023 in real clips, and 0.006 or more in random images."""
    min_parallax_px: float = 0.07
    """The largest translation must shift a point at the median depth by this much: trackers err alike below it."""
    weak_signal_to_noise: float = 5.0
    """Below this the translation is weak, and its covariance wider."""
    reliable: float = 0.98
    """Correlation from which on the covariance need not be wider."""
    inflation: float = 12.0
    """Factor on the variances, so that they hold the errors measured."""
    weak_inflation: float = 60.0
    """The same for weak or less reliable translations."""
    ruled_out: float = 100.0
    """A depth-reversed twin whose cost is higher by so many sightings that disagree wholly is not the answer."""
    two_motions: float = 0.45
    """From this share of the image on, things that move together by themselves may as well be the scene."""
    rotation_inflation: float = 40.0
    """The same for rotations without translation, whose covariance knows of independent errors only."""


@dataclass(frozen=True)
class SegmentMotion:
    """How the camera moved from a segment's reference, and what is known about its points."""

    cam_from_reference: RigidTransform
    """Poses of the frames that were solved, shape (solved,), in units of this segment's scene."""
    covariance: Float[np.ndarray, "solved 6 6"]
    """Of each pose's left perturbation; ``UNOBSERVABLE_VARIANCE`` for translations that cannot be told."""
    solved: Bool[np.ndarray, " frames"]
    """Which frames were solved; the others see too few of the points."""
    inlier_fraction: Float[np.ndarray, " solved"]
    """Share of the reference's points that each solved frame sees in agreement."""
    inverse_depths: Float[np.ndarray, " points"]
    """Of the reference's points in its camera; NaN for those left out, all NaN unless the verdict is ``motion``."""
    verdict: Verdict
    """What may be believed."""
    evidence: Evidence
    """What the judgement rests on."""
    warnings: tuple[str, ...]
    """What a user of these poses should know."""
    readout: float = 0.0
    """Time that a rolling shutter took from the first row to the last, as a share of the frame interval, negative from
    the bottom up; the poses are those at the middle of each frame. 0 for a global shutter."""


def solved_segment(
    tracks: Tracks,
    camera: Camera,
    search: SearchOptions = SearchOptions(),
    rule: TrustRule = TrustRule(),
    before: SegmentMotion | None = None,
    times: Float[np.ndarray, " frames"] | None = None,
) -> SegmentMotion | None:
    """The motion that a segment's tracks tell, judged; None when no frame sees enough points.

    Args:
        tracks: of the reference's points, the best points first.
        camera: pinhole of the images.
        search: how the motion is looked for.
        rule: when a translation is believed.
        before: the motion of the same points in the first of these frames; the search begins there.
        times: of the frames after the reference's, in frame intervals; 1, 2, 3, ... when left out.
    """
    solved = tracks.seen.sum(axis=1) >= _FEWEST_POINTS
    usable = tracks.frames(solved).seen.mean(axis=0) >= _SEEN_SHARE if solved.any() else np.zeros(0, dtype=bool)
    if not solved.any() or usable.sum() < _FEWEST_POINTS:
        return None
    solved &= tracks.seen[:, usable].sum(axis=1) >= _FEWEST_POINTS
    if not solved.any():
        return None
    start = None if before is None else _continued(before, usable, solved)
    sightings = Sightings.of(tracks.select(usable).frames(solved), camera)
    found = searched_motion(sightings, search, start)
    rolls = search.readout != 0
    bent = rolls and (found.unlike > search.unlike or found.other_share > _ANOTHER_SHARE)
    times = np.arange(1.0, len(solved) + 1.0) if times is None else times
    clock = FrameClock(times[solved], camera.height, camera.cy)
    # A rolling shutter makes parts of the image unlike each other, as a mover does: it is asked for all points first.
    together = searched_motion(sightings, replace(search, unlike=np.inf), start) if bent else found
    unrolled, readout, rolling = unrolled_motion(sightings, together, clock, search)
    found = unrolled if readout or not bent else found
    proof = evidence(found.motion, found.sightings)
    parallax_px = camera.fx * float(np.linalg.norm(found.motion.translations, axis=1).max())
    verdict, warnings = judged(proof, parallax_px, int(solved.sum()), rule)
    if proof.noise_px > rule.broken_noise * camera.fx:
        verdict, warnings = "broken", (f"no motion fits: points miss the best one by {proof.noise_px:.1f} px",)
    warnings += () if verdict == "broken" else _doubts(found, rule, search)
    inverse_depths = np.full(len(tracks.reference), np.nan)
    spread, refined = None, NoisyReference(found.motion, np.zeros((2, len(found.motion.inverse_depths))))
    if verdict == "motion":
        weak = proof.signal_to_noise < rule.weak_signal_to_noise or not proof.repeatability >= rule.reliable
        motion, twin = _either_way(found, rule) if weak else (found.motion, None)
        refined = with_noisy_reference(motion, found.sightings)
        spread = covariances(refined, found.sightings, rule.weak_inflation if weak else rule.inflation)
        if spread is not None and twin is not None:
            spread = spread + _half_squares(refined.motion, twin)
            warnings += ("near and far may be exchanged, and the translation opposite: that fits almost as well",)
        if spread is None:
            verdict, warnings = "broken", ("no motion fits: the points do not determine one",)
    if spread is None:
        poses, covariance = _turned(found.sightings, rule)
    else:
        poses, covariance = refined.motion.cam_from_reference(), spread
        inverse_depths[np.flatnonzero(usable)[found.kept]] = refined.motion.inverse_depths
    seen = found.sightings.seen.sum(axis=1) / len(tracks.reference)
    warnings += () if rolling is None else (rolling,)
    return SegmentMotion(poses, covariance, solved, seen, inverse_depths, verdict, proof, warnings, readout)


def _either_way(found: FoundMotion, rule: TrustRule) -> tuple[SmallMotion, SmallMotion | None]:
    """The motion or its depth-reversed twin, whichever fits better, and the other one where it is not ruled out."""
    motion, sightings = found.motion, found.sightings
    twin = adjusted(sightings, reversed_depth(motion), "geman-mcclure", max_iterations=40)
    lengths = [one.lengths(sightings) for one in (motion, twin)]
    scale = robust_scale(lengths[0], sightings.seen)
    costs = [robust_cost(one, "geman-mcclure", scale) / scale**2 for one in lengths]
    better, other = (motion, twin) if costs[0] <= costs[1] else (twin, motion)
    return better, other if abs(costs[1] - costs[0]) < rule.ruled_out else None


def _half_squares(motion: SmallMotion, other: SmallMotion) -> Float[np.ndarray, "frames 6 6"]:
    """What a chance of one half for other poses adds to the covariance of these."""
    apart = np.array([log(pose) for pose in other.cam_from_reference() * motion.cam_from_reference().inv()])
    return 0.5 * apart[:, :, None] * apart[:, None, :]


def _continued(
    before: SegmentMotion, usable: Bool[np.ndarray, " points"], solved: Bool[np.ndarray, " frames"]
) -> SmallMotion | None:
    """The motion so far for more frames, each like the last one before it; None when it tells no translation."""
    if before.verdict != "motion":
        return None
    known = np.cumsum(before.solved) - 1
    source = np.maximum(known[np.minimum(np.flatnonzero(solved), len(known) - 1)], 0)
    inverse_depths = np.nan_to_num(before.inverse_depths[usable], nan=1.0)
    poses = before.cam_from_reference
    return SmallMotion(poses.rotation.as_matrix()[source], poses.translation[source], inverse_depths)


def judged(proof: Evidence, parallax_px: float, frames: int, rule: TrustRule) -> tuple[Verdict, tuple[str, ...]]:
    """What may be believed of a motion, and the warnings that belong to the answer.

    Args:
        proof: what speaks for its translation.
        parallax_px: shift of a point at the median depth by the largest translation.
        frames: how many were solved, the reference not counted.
        rule: the thresholds.
    """
    halves = f"two halves of the points give paths that correlate by {proof.repeatability:.2f}"
    fit = f"without translation the frames fit {proof.cost_ratio:.2f} times as badly"
    short = frames < _FEW_FRAMES
    repeats = proof.repeatability >= rule.min_repeatability or (short and np.isnan(proof.repeatability))
    if not repeats and not short and proof.cost_ratio >= rule.broken_cost_ratio:
        return "broken", (f"no motion fits: {halves}, though {fit}",)
    if not repeats or parallax_px < rule.min_parallax_px or (short and proof.cost_ratio < rule.min_cost_ratio):
        told = f"{halves}, {fit}, parallax is {parallax_px:.2f} px"
        return "rotation", (f"translation unobservable: {told}; only the rotation is an answer",)
    if proof.signal_to_noise < rule.weak_signal_to_noise:
        return "motion", (f"weak translation: its signal is {proof.signal_to_noise:.1f} times the noise",)
    if proof.repeatability < rule.reliable:
        return "motion", (f"weak translation: {halves}",)
    return "motion", ()


def _doubts(found: FoundMotion, rule: TrustRule, search: SearchOptions) -> tuple[str, ...]:
    """Warnings about parts of the image that move by themselves."""
    if found.other_share >= rule.two_motions:
        return (f"two motions: {100 * found.other_share:.0f} % of the image follows another one",)
    if found.unlike > search.unlike:
        told = f"a part of the image fits {found.unlike:.2f} times better by itself"
        return (f"not one rigid motion: {told}; a rolling shutter, or something moves",)
    return ()


def _turned(sightings: Sightings, rule: TrustRule) -> tuple[RigidTransform, Float[np.ndarray, "solved 6 6"]]:
    """Rotations alone, with covariances that say that nothing is known about translation."""
    turned = rotation_only(sightings)
    covariance = np.zeros((len(sightings.seen), 6, 6))
    covariance[:, :3, :3] = rotation_covariances(turned, sightings, rule.rotation_inflation)
    covariance[:, 3:, 3:] = UNOBSERVABLE_VARIANCE * np.eye(3)
    return turned.cam_from_reference(), covariance
