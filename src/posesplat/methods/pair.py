"""What is the metric relative pose of these two images? docs/pair.md."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial.transform import RigidTransform

from posesplat.align.calibration_error import calibration_covariance
from posesplat.align.degenerate_pairs import planar_solutions, without_parallax
from posesplat.align.match_alignment import (
    MatchFit,
    MatchState,
    adapted,
    fit_at,
    match_spread,
    refine_matches,
)
from posesplat.align.matched_depths import MatchedDepths
from posesplat.align.pair_starts import STARTS
from posesplat.geometry.depth_map import DepthMap, not_metres
from posesplat.geometry.estimate import PoseEstimate, Scale, ScaleSource
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.geometry.poses import pose_errors
from posesplat.methods.pair_dense import DenseFit, fused, refined_both_ways, searched_by_rendering
from posesplat.methods.pair_options import PairOptions
from posesplat.methods.pair_refusals import BRIDGE, repeating, undetermined, unlike_depths
from posesplat.methods.pair_search import mixture_poses
from posesplat.providers.depth.open import open_depth
from posesplat.providers.depth.provider import DepthProvider
from posesplat.providers.two_view.open import open_two_view
from posesplat.providers.two_view.provider import TwoViewProvider

_FEWEST_MATCHES = 8
_FEWEST_WITH_DEPTH = 4
_FEW = 30
"""Matches below which starts from depth need no more than four that agree."""
_MOST_SEARCHED = 2
"""Starts of matches from which measured depths are aligned where the matches are too few."""
_BLANK = 2.0
"""Standard deviation of grey below which an image shows nothing."""
_RIVALS = 0.8
"""Share of the best soft inlier count from which another pose is a rival that is named."""
_UNCONFIRMED = 4.0
"""So many times the matches must agree where rendering confirms their pose one way at most."""
_HOPELESS = 0.3
"""Share of the best start's soft inlier count below which a start is not refined."""
_MOST_REFINED = 4
_SAME_BASIN = (0.5, 0.02)
"""Starts nearer to each other than this (degrees, and shares of the median depth) lead to one minimum."""
_KEPT_INLIERS = 0.8
"""Share of the matches' soft inliers that a dense refinement must keep."""
_EQUAL_COST = 1.05
"""Ratio of costs up to which two poses of a plane cannot be told apart."""
_SCALE_WARNING = "Without depth the translation has length 1: its direction alone was found."


@dataclass(frozen=True)
class PairHypothesis:
    """A start and where its refinement ended."""

    source: str
    """Which start."""
    start: RigidTransform
    """b_from_a before the refinement."""
    fit: MatchFit
    """After it."""


@dataclass(frozen=True)
class PairEvidence:
    """All that speaks for and against the answer."""

    matcher: str
    """What gave the matches."""
    matches: Matches
    """All of them."""
    matched: MatchedDepths | None = None
    """With the depths that were read for them."""
    hypotheses: tuple[PairHypothesis, ...] = ()
    """Refined starts, best first."""
    fit: MatchFit | None = None
    """The matches at the answer, or at the best pose of a refusal."""
    soft_inliers: float = 0.0
    """How many matches agree there, softly counted."""
    least_soft_inliers: float = 0.0
    """How many were needed."""
    dense: tuple[DenseFit, ...] = ()
    """What the dense refinement found and was kept."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each part."""

    @property
    def inliers(self) -> Bool[np.ndarray, " n"]:
        """Which matches agree."""
        return np.zeros(len(self.matches), dtype=bool) if self.fit is None else self.fit.inliers


@dataclass(frozen=True)
class PairResult:
    """The answer and the evidence."""

    estimate: PoseEstimate
    """``cam_from_world`` is b_from_a: the world is camera A."""
    evidence: PairEvidence


@dataclass(frozen=True)
class _Depths:
    """Depth of both images, where known, and who measured it."""

    a: Float32[np.ndarray, "ha wa"] | None
    b: Float32[np.ndarray, "hb wb"] | None
    source: ScaleSource


@dataclass(frozen=True)
class _Answer:
    """A pose on its way to be reported."""

    b_from_a: RigidTransform
    covariance: Float[np.ndarray, "6 6"]
    source: str
    overlap: float = float("nan")
    inflation: float = 1.0
    """By which the covariance was enlarged for having been estimated from few cells."""


class PairEstimator:
    """Finds the relative pose of pairs; opens matcher and depth once."""

    def __init__(
        self,
        options: PairOptions = PairOptions(),
        matcher: TwoViewProvider | None = None,
        depth: DepthProvider | None = None,
    ) -> None:
        """Open what the options name.

        Args:
            options: how to find poses.
            matcher: takes the place of ``options.matcher``.
            depth: takes the place of ``options.depth``.

        Raises:
            ImportError: when a network is asked for and torch or transformers is not installed.
            OSError: when a file or checkpoint is missing.
            ValueError: when an option means nothing, or depth is not in metres.
        """
        self.options = options
        self.matcher = open_two_view(options.matcher) if matcher is None else matcher
        self.depth = depth
        if depth is None and options.depth not in ("auto", "none"):
            self.depth = open_depth(options.depth)
        if self.depth is not None and self.depth.meaning != "metric":
            raise ValueError(
                f"pair needs depth in metres; {self.depth.name} gives {self.depth.meaning} inverse depth. Use a metric "
                "checkpoint (Depth Anything V2 Metric, ZoeDepth, DepthPro), or --depth none for the direction alone."
            )

    def estimate(self, a: Frame, b: Frame) -> PairResult:
        """The pose of one pair.

        Args:
            a: the first image; its camera is the world of the answer.
            b: the second image.

        Raises:
            ValueError: for frames without images, or without the depth that was asked for.
        """
        began = time.perf_counter()
        for frame in (a, b):
            if frame.image is None:
                raise ValueError(f"pair needs frames with images; {frame.name!r} has depth only. Pass RGB-D frames.")
        depths = self._depths(a, b)
        result = _Run(self, a, b, depths).result()
        elapsed = time.perf_counter() - began
        return replace(result, estimate=result.estimate.replace(runtime_s=elapsed))

    def _depths(self, a: Frame, b: Frame) -> _Depths:
        if self.depth is not None:
            return _Depths(_values(self.depth.depth(a)), _values(self.depth.depth(b)), self.depth.source)
        if self.options.depth == "none" or (a.depth is None and b.depth is None):
            return _Depths(None, None, "unknown")
        return _Depths(a.depth, b.depth, "depth sensor")


class _Run:
    """One pair on its way to an answer."""

    def __init__(self, parent: PairEstimator, a: Frame, b: Frame, depths: _Depths) -> None:
        self.options, self.matcher = parent.options, parent.matcher
        self.a, self.b, self.depths = a, b, depths
        self.metric = depths.source != "unknown"
        self.measured = depths.source == "depth sensor" and depths.a is not None and depths.b is not None
        self.scale = Scale(self.metric, depths.source)
        self.evidence = PairEvidence(self.matcher.name, Matches.none())
        self._clock = time.perf_counter()

    def result(self) -> PairResult:
        reason = self._unusable()
        if reason:
            return self._refused(reason)
        matches = self.matcher.matches(self.a, self.b)
        least = self.options.least_soft_inliers(self.matcher.name.split()[0], self.depths.source)
        self.evidence = replace(self.evidence, matches=matches, least_soft_inliers=least)
        self._lap("matches")
        fewest = _FEWEST_WITH_DEPTH if self.metric else _FEWEST_MATCHES
        if len(matches) < fewest:
            return self._searched(f"The images share {len(matches)} matches; {fewest} are needed. {BRIDGE}")
        noise = self.options.noise(self.depths.source)
        matched = MatchedDepths.of(matches, self.a.camera, self.b.camera, self.depths.a, self.depths.b, noise)
        starts = self._starts(matched)
        reason = unlike_depths(matched, starts)
        if reason:
            return self._refused(reason)
        hypotheses = self._hypotheses(matched, starts)
        self.evidence = replace(self.evidence, matched=matched, hypotheses=tuple(hypotheses))
        self._lap("starts")
        if not hypotheses:
            return self._searched(f"No pose fits any sample of the {len(matches)} matches. {BRIDGE}")
        best = hypotheses[0]
        finer = adapted(matched, best.fit)
        state = best.fit.state
        if finer is not matched:
            state = refine_matches(
                finer, state.b_from_a, replace(self.options.refinement, cutoffs=self.options.refinement.cutoffs[-1:])
            ).state
        fit = fit_at(matched, state, best.fit.cutoff)
        self.evidence = replace(self.evidence, fit=fit, soft_inliers=fit.soft_inliers)
        if fit.soft_inliers < least:
            return self._searched(
                f"Too few matches agree with one pose: {fit.soft_inliers:.1f} of {len(matched)}; {least:g} are needed. "
                + BRIDGE
            )
        warnings, reason = self._ambiguity(matched, finer, fit, hypotheses)
        if reason:
            return self._refused(reason)
        spread = match_spread(finer, fit_at(finer, state, best.fit.cutoff))
        self._lap("refinement")
        if spread is None:
            return self._refused("The pose is not determined: the matches lie too close together.")
        answer = _Answer(state.b_from_a, spread.covariance, best.source, inflation=spread.inflation)
        if self.options.dense and self.measured:
            answer = self._rendered(matched, state, answer)
            self._lap("dense")
            if len(self.evidence.dense) < 2 and fit.soft_inliers < _UNCONFIRMED * least:
                return self._refused(
                    f"Rendering confirms the pose of the matches {len(self.evidence.dense)} of 2 ways, and the "
                    f"{fit.soft_inliers:.1f} that agree do not by themselves: the scene may repeat itself. {BRIDGE}"
                )
        share = float(np.mean(self.evidence.inliers))
        reason = repeating(self.a, self.b, share, self.evidence.dense)
        spread_out = answer.covariance / answer.inflation if self.metric else answer.covariance
        depth = matched.median_depth if self.metric else None
        reason = reason or undetermined(answer.b_from_a, spread_out, depth, free_length=self.options.free_length)
        return self._refused(reason) if reason else self._answered(answer, warnings)

    def _rendered(self, matched: MatchedDepths, state: MatchState, answer: _Answer) -> _Answer:
        """The pose after the dense refinement, where it agrees with the matches as well as they do by themselves."""
        matches_fit = self.evidence.fit
        if matches_fit is None:
            return answer
        a, b = self._rgbd()
        kept, needed = [], _KEPT_INLIERS * self.evidence.soft_inliers
        for dense in refined_both_ways(a, b, answer.b_from_a, threads=self.options.threads):
            if dense is not None:
                fit = fit_at(matched, replace(state, b_from_a=dense.b_from_a), matches_fit.cutoff)
                if fit.soft_inliers >= needed:
                    kept.append(dense)
        self.evidence = replace(self.evidence, dense=tuple(kept))
        if not kept:
            return answer
        best = fused(kept)
        fit = fit_at(matched, replace(state, b_from_a=best.b_from_a), matches_fit.cutoff)
        self.evidence = replace(self.evidence, fit=fit)
        return _Answer(best.b_from_a, best.covariance, f"{answer.source}, rendering", best.overlap)

    def _answered(self, answer: _Answer, warnings: list[str]) -> PairResult:
        fit = self.evidence.fit
        if not self.metric:
            warnings = [*warnings, _SCALE_WARNING]
        covariance, matched = answer.covariance, self.evidence.matched
        if fit is not None and matched is not None:
            covariance = covariance + calibration_covariance(matched, fit, self.options.calibration_error)
        estimate = PoseEstimate(
            True,
            "",
            answer.b_from_a,
            covariance=covariance,
            scale=self.scale,
            inlier_fraction=float("nan") if fit is None else float(np.mean(fit.inliers)),
            overlap=answer.overlap,
            cost=float("nan") if fit is None else fit.cost,
            iterations=sum(hypothesis.fit.iterations for hypothesis in self.evidence.hypotheses),
            source=f"{self.matcher.name}, {answer.source}",
            warnings=tuple(warnings),
        )
        return PairResult(estimate, self.evidence)

    def _searched(self, refusal: str) -> PairResult:
        """Where matches are too few, a pose at which both measured depths and greys agree both ways, or the refusal."""
        if not self.measured or not self.options.dense:
            return self._refused(refusal)
        guesses = [hypothesis.fit.state.b_from_a for hypothesis in self.evidence.hypotheses[:_MOST_SEARCHED]]
        a, b = self._rgbd()
        overlapping = mixture_poses(a, b, [*guesses, RigidTransform.identity()], self.options.threads)
        found = searched_by_rendering(a, b, overlapping, self.options.threads)
        self._lap("dense")
        if found is None:
            return self._refused(refusal)
        best = fused(found)
        fit, matched = self.evidence.fit, self.evidence.matched
        if fit is not None and matched is not None:
            fit = fit_at(matched, replace(fit.state, b_from_a=best.b_from_a), fit.cutoff)
        self.evidence = replace(self.evidence, dense=found, fit=fit)
        depth = np.asarray(self.depths.a)
        reason = repeating(self.a, self.b, 0.0, found)
        reason = reason or undetermined(best.b_from_a, best.covariance, float(np.median(depth[depth > 0])))
        if reason:
            return self._refused(reason)
        answer = _Answer(best.b_from_a, best.covariance, "mixture overlap, rendering", best.overlap)
        return self._answered(answer, ["Found by depth and grey: too few matches agree to confirm it."])

    def _rgbd(self) -> tuple[Frame, Frame]:
        return replace(self.a, depth=self.depths.a), replace(self.b, depth=self.depths.b)

    def _starts(self, matched: MatchedDepths) -> dict[str, RigidTransform]:
        options = self.options.start
        if self.metric and len(matched) < _FEW:
            options = replace(options, min_inliers=min(options.min_inliers, _FEWEST_WITH_DEPTH))
        found = {name: STARTS[name](matched, options) for name in self.options.starts}
        return {name: pose for name, pose in found.items() if pose is not None}

    def _hypotheses(self, matched: MatchedDepths, starts: dict[str, RigidTransform]) -> list[PairHypothesis]:
        """Refined starts, best first; those that have little for them, or lie near a better one, are left out."""
        options = self.options.refinement
        found = []
        for name, pose in starts.items():
            found.append((fit_at(matched, MatchState.at(pose, matched.noise), options.cutoffs[0]), name, pose))
        found.sort(key=lambda entry: -entry[0].soft_inliers)
        refined: list[PairHypothesis] = []
        for fit, name, pose in found:
            if fit.soft_inliers < _HOPELESS * found[0][0].soft_inliers or len(refined) == _MOST_REFINED:
                break
            if not any(_same_basin(pose, other.start, matched) for other in refined):
                refined.append(PairHypothesis(name, pose, refine_matches(matched, pose, options)))
        return sorted(refined, key=lambda hypothesis: hypothesis.fit.cost)

    def _unusable(self) -> str:
        """Why nothing can be found; empty when something may be."""
        sides = (("A", self.a, self.depths.a), ("B", self.b, self.depths.b))
        for which, frame, depth in sides:
            image = np.asarray(frame.image)[1::4, 1::4]
            if float(image.std(axis=(0, 1)).max()) < _BLANK:
                return f"Image {which} is blank: its values hardly vary."
            if depth is not None and not_metres(depth):
                return f"Image {which}: {not_metres(depth)}"
        return ""

    def _ambiguity(
        self, matched: MatchedDepths, finer: MatchedDepths, fit: MatchFit, hypotheses: list[PairHypothesis]
    ) -> tuple[list[str], str]:
        """Other poses that fit as well: what to say of them, and why there is no answer (empty when there is)."""
        if not self.metric:
            reason = without_parallax(finer, fit)
            if reason:
                return [], reason
            return self._planar(matched, fit)
        pose = fit.state.b_from_a
        for other in hypotheses[1:]:
            metres, degrees = pose_errors(other.fit.state.b_from_a, pose)
            apart = degrees > 5.0 or metres > 0.2 + 0.2 * float(np.linalg.norm(pose.translation))
            if apart and other.fit.soft_inliers > _RIVALS * fit.soft_inliers:
                counts = f"{other.fit.soft_inliers:.0f} against {fit.soft_inliers:.0f} matches"
                place = f"{degrees:.0f} deg and {metres:.2f} m away"
                return [f"Another pose, {place}, fits almost as well ({counts}): the scene may repeat itself."], ""
        return [], ""

    def _planar(self, matched: MatchedDepths, fit: MatchFit) -> tuple[list[str], str]:
        solutions = planar_solutions(matched, fit, self.options.refinement)
        others = [found for found in solutions if _apart(found, fit)]
        if not others:
            return [], ""
        other = others[0]
        metres, degrees = pose_errors(other.state.b_from_a, fit.state.b_from_a)
        text = (
            f"The matches lie on a plane, which two poses explain: costs {fit.cost:.1f} and {other.cost:.1f}, "
            f"{degrees:.1f} deg and {metres:.2f} baselines apart."
        )
        if other.cost <= _EQUAL_COST * fit.cost:
            return [], f"{text} Without depth they cannot be told apart. Give depth, or a third view."
        return [text], ""

    def _refused(self, reason: str) -> PairResult:
        fit = self.evidence.fit
        fields = {} if fit is None else {"inlier_fraction": float(np.mean(fit.inliers)), "cost": fit.cost}
        estimate = PoseEstimate.failure(reason, scale=self.scale, source=self.matcher.name, **fields)
        return PairResult(estimate, self.evidence)

    def _lap(self, name: str) -> None:
        now = time.perf_counter()
        seconds = {**self.evidence.seconds, name: now - self._clock}
        self.evidence, self._clock = replace(self.evidence, seconds=seconds), now


def _values(depth: DepthMap) -> Float32[np.ndarray, "h w"]:
    return np.where(depth.known, depth.values, np.float32(0))


def _same_basin(first: RigidTransform, second: RigidTransform, matched: MatchedDepths) -> bool:
    metres, degrees = pose_errors(first, second)
    return bool(degrees < _SAME_BASIN[0] and metres < _SAME_BASIN[1] * matched.median_depth)


def _apart(first: MatchFit, second: MatchFit) -> bool:
    metres, degrees = pose_errors(first.state.b_from_a, second.state.b_from_a)
    return bool(degrees > 1.0 or metres > 0.1)


def pair(a: Frame, b: Frame, options: PairOptions = PairOptions()) -> PoseEstimate:
    """The relative pose of two images; for many pairs keep a :class:`PairEstimator`.

    Args:
        a: image A with its camera, and depth where it was measured.
        b: image B likewise; its camera and size may differ.
        options: where matches and depth come from, and how the pose is found.

    Returns:
        ``cam_from_world`` is b_from_a, x_in_b = b_from_a.apply(x_in_a), in metres where depth is known and of length 1
        where not; or a refusal with its reason.

    Raises:
        ValueError: for frames without images.

    Example:
        >>> estimate = pair(frame_a, frame_b)
        >>> estimate.cam_from_world.translation if estimate.success else estimate.reason
    """
    return PairEstimator(options).estimate(a, b).estimate


def pair_with_evidence(a: Frame, b: Frame, options: PairOptions = PairOptions()) -> PairResult:
    """As :func:`pair`, with the matches, hypotheses and times behind the answer, for reports and benches."""
    return PairEstimator(options).estimate(a, b)
