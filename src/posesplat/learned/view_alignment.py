"""The pose of a view against another one whose depth the network has predicted: matches, then the core of ``pair``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.align.calibration_error import calibration_covariance
from posesplat.align.degenerate_pairs import LEAST_PARALLAX, parallax, planar_solutions
from posesplat.align.match_alignment import MatchRefineOptions, adapted, match_spread, refine_matches
from posesplat.align.matched_depths import MatchedDepths, MatchNoise, depth_at, smooth_basis
from posesplat.align.pair_starts import PairStartOptions, length_by_depth, lengths_by_depth, triangulated_depths
from posesplat.geometry.cameras import Camera
from posesplat.geometry.depth_map import DepthMap, DepthMeaning
from posesplat.geometry.estimate import PoseEstimate, Scale, ScaleSource
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.geometry.poses import log, pose_errors, rescaled, rescaled_covariance
from posesplat.learned.network import Prediction
from posesplat.learned.predicted_matches import predicted_matches
from posesplat.learned.two_view import match_pixels, sharpened_matches
from posesplat.learned.working_views import depth_on, moved_pixels
from posesplat.methods.pair import PairEstimator, PairResult
from posesplat.methods.pair_options import PairOptions
from posesplat.providers.two_view.given import GivenMatches
from posesplat.providers.two_view.sift import SiftMatches

MatchSource = Literal["both", "network", "sift"]

_LEAST_TRUST = 0.15
_MOST_MATCHES = 700
_WINDOW_PX = 11
_DEPTH_SIGMA = 0.1
_FIELD_SIGMA = (2.0, 0.1, 0.1, 0.08, 0.08, 0.08)
_SAMPLE_SIGMA = 0.1
_SAME_POSE_DEG = 0.5
_TWO_POSES_DEG = 5.0
"""Poses nearer than this are one answer, only a less certain one."""
_EQUAL_COST = 1.05
"""Ratio of costs up to which two poses of a plane cannot be told apart."""
_SHARE_OF_GAP = 0.5
"""Part of the squared gap between the poses of two kinds of matches that the covariance grows by."""
_FEWEST_DIRECTIONS = 20
"""Matches of one kind from which the pose may be read off them alone."""
_MATCHED_PX = 0.8
"""Deviation of a matched place, as a share of the one that is assumed at first, when the pose is near."""
_FEWEST_SAMPLES, _MOST_SAMPLES = 20, 100.0
_NEAR = MatchRefineOptions(cutoffs=(9.0,))
"""Schedule from a pose that is near already."""


@dataclass(frozen=True, eq=False)
class PredictedView:
    """An image as it is worked on, and what the network says of its depth."""

    frame: Frame
    """Reduced to the size at which matches are made exact."""
    working: Frame
    """At the network's size."""
    depth: Float32[np.ndarray, "h w"] | None = None
    """Predicted depth on the grid of ``working``, in the world's unit; None before there is any."""

    def fine_depth(self) -> Float32[np.ndarray, "h w"]:
        """The depth on the grid of ``frame``; 0 where there is none."""
        camera = self.frame.camera
        if self.depth is None:
            return np.zeros((camera.height, camera.width), dtype=np.float32)
        return depth_on(self.depth, self.working.camera, camera)


@dataclass(frozen=True, eq=False)
class ViewFit:
    """The pose of one view against another, and what speaks for it."""

    estimate: PoseEstimate
    """b_from_a in the unit of the predicted depths, or a refusal."""
    matches: Matches
    """In the pixels of both reduced frames."""
    inliers: Bool[np.ndarray, " n"]
    """Which agree with the pose."""
    soft_inliers: float
    """How many, softly counted."""
    parallax: float = 0.0
    """Median displacement that a turn of the camera leaves unexplained, in standard deviations of a matched place."""


@dataclass(frozen=True)
class _PredictedDepth:
    """Depth of a view as pair takes it from a network."""

    maps: dict[int, DepthMap]
    name: str = "network"
    meaning: DepthMeaning = "metric"
    source: ScaleSource = "learned depth"

    def depth(self, frame: Frame) -> DepthMap:
        """See :class:`posesplat.providers.depth.provider.DepthProvider`."""
        return self.maps[id(frame)]


def network_matches(prediction: Prediction, index: int, a: PredictedView, b: PredictedView) -> Matches:
    """Trusted matches of the first view of a prediction with another, sharpened in the reduced frames."""
    camera = a.working.camera
    if prediction.to_first is None:
        first, second, trust = predicted_matches(prediction, index, camera, b.working.camera)
    else:
        first, second, trust = match_pixels(prediction, index, camera.height, camera.width)
    chosen = np.flatnonzero(trust > _LEAST_TRUST)
    if not len(chosen):
        return Matches.none()
    chosen = chosen[:: -(-len(chosen) // _MOST_MATCHES)]
    enlarged = a.frame.camera.fx / camera.fx
    first = moved_pixels(first[chosen], a.working.camera, a.frame.camera)
    second = moved_pixels(second[chosen], b.working.camera, b.frame.camera)
    images = (np.asarray(a.frame.image), np.asarray(b.frame.image))
    first, second = sharpened_matches(images, first, second, max(1.0, enlarged))
    kept = _well_textured(images, first, second)
    return Matches(first[kept], second[kept], np.ones(int(kept.sum())))


def _well_textured(
    images: tuple[UInt8[np.ndarray, "_ _ 3"], UInt8[np.ndarray, "_ _ 3"]],
    first: Float[np.ndarray, "n 2"],
    second: Float[np.ndarray, "n 2"],
) -> Bool[np.ndarray, " n"]:
    """The half of the matches whose places the pictures hold best, by the smaller eigenvalue of their gradients."""
    import cv2

    if not len(first):
        return np.zeros(0, dtype=bool)
    strengths = []
    for image, places in zip(images, (first, second), strict=True):
        strength = cv2.cornerMinEigenVal(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), _WINDOW_PX)
        height, width = strength.shape
        columns, rows = np.floor(places).astype(np.intp).T
        strengths.append(strength[rows.clip(0, height - 1), columns.clip(0, width - 1)])
    weakest = np.minimum(*strengths)
    return np.asarray(weakest >= np.median(weakest))


def align_view(
    a: PredictedView,
    b: PredictedView,
    matches: Matches,
    source: MatchSource = "both",
    seed: int = 0,
    threads: int | None = None,
    *,
    corrected: bool = False,
) -> ViewFit:
    """The pose of view B against view A by :class:`posesplat.methods.pair.PairEstimator`, refusals included.

    The matches alone are asked first; predicted depth tells the length of their translation. Where they do not
    determine a pose, predicted depth may choose among those that they allow. Rotation and direction are then read off
    the matches again, those of SIFT or all, whichever determine them better: a network's depth is bent.

    Args:
        a: with predicted depth.
        b: with predicted depth, or none.
        matches: of the network.
        source: whether these matches count, those of SIFT, or both.
        seed: of the random samples.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
        corrected: A's depth was brought to triangulated depths: it takes part from the start, and is not bent further.
    """
    by_sift = Matches.none()
    if source != "network":
        by_sift = SiftMatches().matches(a.frame, b.frame)
        matches = by_sift if source == "sift" else _joined(matches, by_sift)
    noise = _noise(a.frame.camera, 0 if corrected else 6)
    options = PairOptions(
        measured=replace(noise, bias_terms=0),
        learned=noise,
        start=PairStartOptions(max_epipolar_px=noise.pixel_px, max_reprojection_px=5 * noise.pixel_px, seed=seed),
        free_length=not corrected,
        threads=threads,
    )
    given = GivenMatches(matches, {"both": "network and sift", "network": "network", "sift": "sift"}[source])
    alone: PairResult | None = None
    if not corrected:
        alone = PairEstimator(replace(options, depth="none"), given).estimate(a.frame, b.frame)
        if alone.estimate.success:
            return _fit(alone, _with_length(alone, a, b, noise), by_sift)
    maps = {id(view.frame): DepthMap.of(view.fine_depth(), "metric") for view in (a, b)}
    result = PairEstimator(options, given, _PredictedDepth(maps)).estimate(a.frame, b.frame)
    if alone is None:
        return _fit(result, result.estimate, None)
    return _fit(result, _allowed(alone, result.estimate), by_sift)


def _fit(result: PairResult, estimate: PoseEstimate, by_sift: Matches | None) -> ViewFit:
    """A result as this module tells it; with matches of SIFT, rotation and direction are read off the matches."""
    evidence, seen = result.evidence, 0.0
    estimate = estimate.replace(scale=Scale(False, "unknown"))
    if evidence.fit is not None and evidence.matched is not None and len(evidence.matches):
        finer = adapted(evidence.matched, evidence.fit)
        seen = parallax(finer, evidence.inliers, evidence.fit.state.b_from_a.rotation)
        if estimate.success and by_sift is not None:
            if seen >= LEAST_PARALLAX:
                estimate = _by_directions(evidence.matched, by_sift, estimate)
            estimate = _checked_on_a_plane(evidence.matched, estimate)
    return ViewFit(estimate, evidence.matches, evidence.inliers, evidence.soft_inliers, seen)


def _with_length(alone: PairResult, a: PredictedView, b: PredictedView, noise: MatchNoise) -> PoseEstimate:
    """A pose of matches alone, its translation as long as the predicted depths say."""
    estimate, inliers = alone.estimate, alone.evidence.inliers
    pose, covariance = estimate.cam_from_world, estimate.covariance
    assert pose is not None and covariance is not None
    cameras = (a.frame.camera, b.frame.camera)
    matched = MatchedDepths.of(alone.evidence.matches, *cameras, a.fine_depth(), b.fine_depth(), noise)
    length = length_by_depth(matched, pose, inliers) or 1.0
    direction = np.asarray(pose.translation)
    covariance = covariance.copy()
    covariance[3:, 3:] += noise.bias_sigma[0] ** 2 * np.outer(direction, direction)
    return estimate.replace(
        cam_from_world=rescaled(pose, length), covariance=rescaled_covariance(covariance, length), warnings=()
    )


def _allowed(alone: PairResult, estimate: PoseEstimate) -> PoseEstimate:
    """A pose that predicted depth chose, if it explains the matches as well as the best pose of theirs does."""
    matched, best, pose = alone.evidence.matched, alone.evidence.fit, estimate.cam_from_world
    if matched is None or best is None or pose is None:
        return estimate
    own = refine_matches(matched, pose, _NEAR)
    if own.cost <= _EQUAL_COST * best.cost:
        return estimate
    _, degrees = pose_errors(own.state.b_from_a, best.state.b_from_a)
    reason = (
        f"{alone.estimate.reason} Predicted depth does not help: it asks for a pose {degrees:.1f} deg from the best, "
        f"which explains the matches worse (costs {own.cost:.1f} and {best.cost:.1f})."
    )
    return PoseEstimate.failure(reason, scale=estimate.scale, source=estimate.source)


def _by_directions(matched: MatchedDepths, by_sift: Matches, estimate: PoseEstimate) -> PoseEstimate:
    """The estimate with rotation and direction from the matches alone, where they determine them.

    The length stays as depth tells it, with its variance.
    """
    pose, metric_covariance = estimate.cam_from_world, estimate.covariance
    assert pose is not None and metric_covariance is not None
    found: list[tuple[float, RigidTransform, Float[np.ndarray, "6 6"]]] = []
    for matches in (matched.matches, by_sift):
        if len(matches) < _FEWEST_DIRECTIONS:
            continue
        bare = _without_depth(matched, matches)
        fit = refine_matches(bare, pose, _NEAR)
        finer = adapted(bare, fit)
        fit = refine_matches(finer, fit.state.b_from_a, _NEAR)
        spread = match_spread(finer, fit)
        _, turned = pose_errors(fit.state.b_from_a, pose)
        if spread is not None and turned <= _TWO_POSES_DEG:
            covariance = spread.covariance + calibration_covariance(finer, fit, PairOptions().calibration_error)
            found.append((float(np.trace(spread.covariance[:3, :3])), fit.state.b_from_a, covariance))
    if not found:
        return estimate
    (_, unit_pose, covariance), *others = sorted(found, key=lambda one: one[0])
    for _, other, _ in others:
        # Two kinds of matches err each in their own way: their disagreement is part of what is not known.
        apart = log(other * unit_pose.inv())
        covariance = covariance + _SHARE_OF_GAP * np.outer(apart, apart)
    length = float(np.linalg.norm(pose.translation))
    along, direction = np.asarray(pose.translation) / length, np.asarray(unit_pose.translation)
    covariance = rescaled_covariance(covariance, length)
    covariance[3:, 3:] += float(along @ metric_covariance[3:, 3:] @ along) * np.outer(direction, direction)
    return estimate.replace(cam_from_world=rescaled(unit_pose, length), covariance=covariance)


def _without_depth(matched: MatchedDepths, matches: Matches) -> MatchedDepths:
    """Matches of the same two views by their places alone, at the noise of matches near a pose."""
    noise = replace(matched.noise, bias_terms=0, pixel_px=_MATCHED_PX * _noise(matched.a.camera).pixel_px)
    return MatchedDepths.of(matches, matched.a.camera, matched.b.camera, None, None, noise)


def _checked_on_a_plane(matched: MatchedDepths, estimate: PoseEstimate) -> PoseEstimate:
    """A refusal where another pose explains the matches as well, as that of a plane does.

    Where it lies near, the covariance grows to hold it. Predicted depth is no evidence here: it was predicted for one
    of the two.
    """
    pose, covariance = estimate.cam_from_world, estimate.covariance
    assert pose is not None and covariance is not None
    bare = _without_depth(matched, matched.matches)
    own = refine_matches(bare, pose, _NEAR)
    length = float(np.linalg.norm(pose.translation))
    for other in planar_solutions(bare, own):
        _, degrees = pose_errors(other.state.b_from_a, own.state.b_from_a)
        if degrees <= _SAME_POSE_DEG or other.cost > _EQUAL_COST * own.cost:
            continue
        if degrees > _TWO_POSES_DEG:
            reason = (
                f"The matches lie on a plane, which two poses {degrees:.0f} deg apart explain: costs {own.cost:.1f} "
                f"and {other.cost:.1f}. Add an image that shows more of the scene."
            )
            return PoseEstimate.failure(reason, scale=estimate.scale, source=estimate.source)
        apart = log(rescaled(other.state.b_from_a, length) * rescaled(own.state.b_from_a, length).inv())
        covariance = covariance + np.outer(apart, apart)
    return estimate.replace(covariance=covariance)


def length_factor(a: PredictedView, b: PredictedView, fit: ViewFit, b_from_a: RigidTransform) -> float | None:
    """By what a translation must grow to fit A's predicted depth; None where that cannot be told."""
    if fit.parallax < LEAST_PARALLAX:
        return None
    cameras = (a.frame.camera, b.frame.camera)
    matched = MatchedDepths.of(fit.matches, *cameras, a.fine_depth(), None, _noise(cameras[0]))
    return lengths_by_depth(matched, b_from_a, fit.inliers)[0]


@dataclass(frozen=True, eq=False)
class DepthSamples:
    """Triangulated depths of places of one view."""

    pixels: Float[np.ndarray, "n 2"]
    """In its reduced frame."""
    depths: Float[np.ndarray, " n"]
    """In the unit of the poses."""

    @staticmethod
    def joined(parts: Sequence[DepthSamples]) -> DepthSamples:
        """All of them; none for no parts."""
        if not parts:
            return DepthSamples(np.zeros((0, 2)), np.zeros(0))
        return DepthSamples(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("pixels", "depths")))

    @staticmethod
    def of(fit: ViewFit, cameras: tuple[Camera, Camera], b_from_a: RigidTransform) -> tuple[DepthSamples, DepthSamples]:
        """Those of both views of a pair, at the matches that agree and lie before both cameras."""
        matches = fit.matches.select(fit.inliers)
        rays_a, rays_b = cameras[0].rays_at(matches.pixels_a), cameras[1].rays_at(matches.pixels_b)
        of_a, of_b = triangulated_depths(rays_a, rays_b, b_from_a)
        usable = (of_a > 0) & (of_b > 0)
        return (
            DepthSamples(matches.pixels_a[usable], of_a[usable]),
            DepthSamples(matches.pixels_b[usable], of_b[usable]),
        )


def depth_correction(view: PredictedView, samples: DepthSamples) -> Float32[np.ndarray, "h w"]:
    """The smooth factor that brings a predicted depth to triangulated ones, on the grid of ``working``.

    Its logarithm is a quadratic over the image, fitted robustly with a prior that a network's depth errs little and
    smoothly.
    """
    camera = view.working.camera
    if len(samples.pixels) < _FEWEST_SAMPLES:
        return np.ones((camera.height, camera.width), dtype=np.float32)
    predicted, _ = depth_at(view.fine_depth(), samples.pixels)
    usable = predicted > 0
    if usable.sum() < _FEWEST_SAMPLES:
        return np.ones((camera.height, camera.width), dtype=np.float32)
    places = moved_pixels(samples.pixels[usable], view.frame.camera, camera)
    logs = np.log(samples.depths[usable] / predicted[usable])
    design = smooth_basis(places, camera, len(_FIELD_SIGMA))
    prior = np.diag((_SAMPLE_SIGMA / np.array(_FIELD_SIGMA)) ** 2)
    field = np.zeros(len(_FIELD_SIGMA))
    field[0] = np.median(logs)
    for _ in range(10):
        gaps = (logs - design @ field) / _SAMPLE_SIGMA
        weights = (1.0 + gaps**2) ** -2.0
        # Matches of one neighbourhood err alike: all together count as so many.
        weights *= min(1.0, _MOST_SAMPLES / max(float(weights.sum()), 1e-9))
        field = np.linalg.solve((design.T * weights) @ design + prior, (design.T * weights) @ logs)
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    everywhere = smooth_basis(np.stack([columns.ravel(), rows.ravel()], axis=1), camera, len(_FIELD_SIGMA))
    return np.exp(everywhere @ field).reshape(camera.height, camera.width).astype(np.float32)


def _noise(camera: Camera, bias_terms: int = 6) -> MatchNoise:
    """A quarter of a pixel at 128 pixels, 1.5 at 640 as in ``pair``: small images are sharp."""
    longest = max(camera.width, camera.height)
    pixel = float(np.clip(0.25 + 1.25 * (longest - 128) / 512, 0.25, 1.5))
    return MatchNoise(pixel, _DEPTH_SIGMA, 0.0, bias_terms=bias_terms, least_pixel_px=min(0.3, 0.4 * pixel))


def _joined(first: Matches, second: Matches) -> Matches:
    parts: list[Float[np.ndarray, "..."]] = []
    for name in ("pixels_a", "pixels_b", "scores"):
        parts.append(np.concatenate([getattr(first, name), getattr(second, name)]))
    return Matches(*parts)
