"""The pose of a view against another one whose depth the network has predicted: matches, then the core of ``pair``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial.transform import RigidTransform

from posesplat.align.degenerate_pairs import parallax, planar_solutions
from posesplat.align.match_alignment import adapted, refine_matches
from posesplat.align.matched_depths import MatchedDepths, MatchNoise, depth_at, smooth_basis
from posesplat.align.pair_starts import PairStartOptions, lengths_by_depth, triangulated_depths
from posesplat.geometry.cameras import Camera
from posesplat.geometry.depth_map import DepthMap, DepthMeaning
from posesplat.geometry.estimate import PoseEstimate, Scale, ScaleSource
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.geometry.poses import pose_errors
from posesplat.learned.network import Prediction
from posesplat.learned.two_view import match_pixels, sharpened_matches
from posesplat.learned.working_views import depth_on, moved_pixels
from posesplat.methods.pair import PairEstimator
from posesplat.methods.pair_options import PairOptions
from posesplat.providers.two_view.given import GivenMatches
from posesplat.providers.two_view.sift import SiftMatches

MatchSource = Literal["both", "network", "sift"]

_LEAST_TRUST = 0.15
_MOST_MATCHES = 700
_DEPTH_SIGMA = 0.1
_FIELD_SIGMA = (2.0, 0.1, 0.1, 0.08, 0.08, 0.08)
_SAMPLE_SIGMA = 0.1
_SAME_POSE_DEG = 1.0
_EQUAL_COST = 1.1
"""Ratio of costs up to which two poses of a plane cannot be told apart."""
_FEWEST_SAMPLES, _MOST_SAMPLES = 20, 100.0
LEAST_PARALLAX = 3.0
"""Median parallax, in standard deviations of a matched place, from which two views tell depth."""


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
    return Matches(first, second, np.ones(len(first)))


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

    Args:
        a: with predicted depth.
        b: with predicted depth, or none.
        matches: of the network.
        source: whether these matches count, those of SIFT, or both.
        seed: of the random samples.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
        corrected: A's depth was brought to triangulated depths, so that it may not be bent further.
    """
    if source != "network":
        by_sift = SiftMatches().matches(a.frame, b.frame)
        matches = by_sift if source == "sift" else _joined(matches, by_sift)
    noise = _noise(a.frame.camera, 0 if corrected else 6)
    options = PairOptions(
        learned=noise,
        start=PairStartOptions(max_epipolar_px=noise.pixel_px, max_reprojection_px=5 * noise.pixel_px, seed=seed),
        threads=threads,
    )
    maps = {id(view.frame): DepthMap.of(view.fine_depth(), "metric") for view in (a, b)}
    name = {"both": "network and sift", "network": "network", "sift": "sift"}[source]
    result = PairEstimator(options, GivenMatches(matches, name), _PredictedDepth(maps)).estimate(a.frame, b.frame)
    evidence = result.evidence
    seen = 0.0
    if evidence.fit is not None and evidence.matched is not None and len(evidence.matches):
        seen = parallax(evidence.matched, evidence.inliers, evidence.fit.state.b_from_a.rotation)
    estimate = result.estimate.replace(scale=Scale(False, "unknown"))
    if evidence.matched is not None and estimate.cam_from_world is not None and not corrected:
        reason = _two_poses(evidence.matched, estimate.cam_from_world)
        if reason:
            estimate = PoseEstimate.failure(reason, scale=estimate.scale, source=estimate.source)
    return ViewFit(estimate, evidence.matches, evidence.inliers, evidence.soft_inliers, seen)


def _two_poses(matched: MatchedDepths, b_from_a: RigidTransform) -> str:
    """Why another pose explains the matches as well, as that of a plane does; empty when none does.

    Predicted depth is no evidence here: it was predicted for one of the two.
    """
    cameras = (matched.a.camera, matched.b.camera)
    bare = MatchedDepths.of(matched.matches, *cameras, None, None, replace(matched.noise, bias_terms=0))
    own = refine_matches(bare, b_from_a)
    bare = adapted(bare, own)
    own = refine_matches(bare, own.state.b_from_a)
    for other in planar_solutions(bare, own):
        _, degrees = pose_errors(other.state.b_from_a, own.state.b_from_a)
        if degrees > _SAME_POSE_DEG and other.cost <= _EQUAL_COST * own.cost:
            return (
                f"The matches lie on a plane, which two poses {degrees:.0f} deg apart explain: costs {own.cost:.1f} "
                f"and {other.cost:.1f}. Add an image that shows more of the scene."
            )
    return ""


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
    """Half a pixel at 128 pixels, 1.5 at 640 as in ``pair``."""
    pixel = float(np.clip(0.25 + max(camera.width, camera.height) / 512.0, 0.4, 1.5))
    return MatchNoise(pixel, _DEPTH_SIGMA, 0.0, bias_terms=bias_terms)


def _joined(first: Matches, second: Matches) -> Matches:
    parts: list[Float[np.ndarray, "..."]] = []
    for name in ("pixels_a", "pixels_b", "scores"):
        parts.append(np.concatenate([getattr(first, name), getattr(second, name)]))
    return Matches(*parts)
