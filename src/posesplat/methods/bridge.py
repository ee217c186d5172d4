"""How do these two images that hardly overlap lie to each other? In-between frames and consensus. docs/bridge.md.

Source: Cai et al., Can generative video models help pose estimation?, CVPR 2025 (InterPose).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.align.consensus import PAIR_GROUP, GroupConsensus, Hypothesis, group_consensus
from posesplat.align.consensus_score import Calibration, best_hypothesis, features, shipped_calibration
from posesplat.align.pair_evidence import PairView, pair_evidence
from posesplat.files import write_text
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import rescaled
from posesplat.methods.bridge_clips import Clip, clips_between, poses_file, poses_key, subsets_of
from posesplat.methods.bridge_options import BridgeOptions
from posesplat.methods.pair import PairEstimator, PairResult
from posesplat.providers.inbetween.open import open_inbetween
from posesplat.providers.inbetween.provider import InbetweenProvider
from posesplat.providers.multi_view.open import open_multi_view
from posesplat.providers.multi_view.provider import MultiViewProvider, PosedSubset
from posesplat.providers.two_view.provider import TwoViewProvider

_SAME_IMAGE = 1.0
"""Mean difference in grey levels up to which two images are one."""
_NO_WITNESS = "A and B were posed without any frame between them: that is the pair alone, which is asked by itself."
EvidenceTerm = Callable[[Frame, Frame, Hypothesis], float]
"""A term of one's own: how well the real images agree with a hypothesis, such as by rendering."""


@dataclass(frozen=True)
class BridgeEvidence:
    """All that speaks for and against the answer."""

    clips: tuple[Clip, ...]
    """What was put between."""
    hypotheses: tuple[Hypothesis, ...]
    """One a subset, failures among them; the last one is the pair's own."""
    probabilities: Float[np.ndarray, " n"]
    """For each hypothesis, that its rotation is within 15 degrees of the truth; NaN for failures."""
    consensus: tuple[GroupConsensus, ...]
    """Of each clip with at least two poses, least D_total first."""
    chosen: int | None
    """Which hypothesis is the answer, or would be best if it were believed; None without any pose."""
    pair: PairResult
    """The two images alone."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each part."""

    def spread_deg(self) -> float:
        """Mean distance of the other poses of the chosen one's clip; NaN where there are none."""
        if self.chosen is None:
            return float("nan")
        group = self.hypotheses[self.chosen].group
        return next((one.spread_deg for one in self.consensus if one.group == group), float("nan"))


@dataclass(frozen=True)
class BridgeResult:
    """The answer and the evidence."""

    estimate: PoseEstimate
    """``cam_from_world`` is b_from_a: the world is camera A. The translation has length 1, or 0 where unobserved."""
    evidence: BridgeEvidence


class BridgeEstimator:
    """Bridges pairs; opens its providers once."""

    def __init__(
        self,
        options: BridgeOptions = BridgeOptions(),
        inbetween: InbetweenProvider | None = None,
        estimator: MultiViewProvider | None = None,
        *,
        matcher: TwoViewProvider | None = None,
        calibration: Calibration | None = None,
        terms: Mapping[str, EvidenceTerm] | None = None,
    ) -> None:
        """Open what the options name.

        Args:
            options: how to bridge.
            inbetween: takes the place of ``options.inbetween``.
            estimator: takes the place of ``options.estimator``; with several workers it must be picklable.
            matcher: takes the place of ``options.pair.matcher``, for the two images alone.
            calibration: takes the place of the one that comes with the package.
            terms: more evidence, by name; it is reported and, unless the calibration knows it, not weighed.

        Raises:
            ImportError: when something is asked for that is not installed.
            OSError: when a folder or checkpoint is missing.
            ValueError: when an option means nothing.
        """
        self.options = options
        self.inbetween = open_inbetween(options.inbetween) if inbetween is None else inbetween
        self.estimator = open_multi_view(options.estimator, options.seed) if estimator is None else estimator
        self.calibration = calibration
        self.terms = dict(terms or {})
        self._pair = PairEstimator(options.pair, matcher)

    def estimate(self, a: Frame, b: Frame, on_step: Callable[[str, int, int], None] | None = None) -> BridgeResult:
        """The pose of one pair.

        Args:
            a: the first image; its camera frame is the world of the answer.
            b: the second image; its camera and size may differ.
            on_step: told what is done, how much of it is, and how much there is to do.

        Raises:
            OSError: when a checkpoint or service fails.
            ValueError: for frames without images, or clips that cost more than allowed.
        """
        began = time.perf_counter()
        for frame in (a, b):
            if frame.image is None:
                raise ValueError(f"bridge needs frames with images; {frame.name!r} has depth only. Pass colour frames.")
        tell = on_step or (lambda what, done, total: None)
        seconds: dict[str, float] = {}
        clock = began

        def lap(name: str) -> None:
            nonlocal clock
            now = time.perf_counter()
            seconds[name], clock = now - clock, now

        tell("pair alone", 0, 1)
        pair = self._pair.estimate(a, b)
        lap("pair")
        clips: tuple[Clip, ...] = ()
        hypotheses: list[Hypothesis] = []
        if not _same(a, b):
            done = 0

            def made() -> None:
                nonlocal done
                done += 1
                tell("clips", done, 0)

            clips = tuple(clips_between(a, b, self.inbetween, self.options, made))
            lap("clips")
            hypotheses = self._hypotheses(a, b, clips, tell)
            lap("poses")
        own = _pair_hypothesis(pair)
        view = PairView(pair.evidence.matches, a.camera, b.camera, a.depth, b.depth)
        hypotheses = [self._with_evidence(a, b, view, one) for one in (*hypotheses, own)]
        lap("evidence")
        result = self._answered(a, b, clips, hypotheses, pair, seconds)
        elapsed = time.perf_counter() - began
        return replace(result, estimate=result.estimate.replace(runtime_s=elapsed))

    def _hypotheses(
        self, a: Frame, b: Frame, clips: Sequence[Clip], tell: Callable[[str, int, int], None]
    ) -> list[Hypothesis]:
        """One for each subset of each clip, read from the cache where they were found before."""
        options = self.options
        subsets = [subsets_of(len(clip.frames), options, options.seed + number) for number, clip in enumerate(clips)]
        total, done = sum(map(len, subsets)), 0
        found: dict[int, list[Hypothesis]] = {}
        files = {}
        for number, clip in enumerate(clips):
            if options.cache is None:
                continue
            key = poses_key(a, b, clip, subsets[number], self.estimator.name, options.seed)
            files[number] = poses_file(options.cache, key)
            if files[number].is_file():
                found[number] = [Hypothesis.from_json(record) for record in json.loads(files[number].read_text())]
                done += len(subsets[number])
        tell("subsets", done, total)

        def keep(number: int, posed: list[PosedSubset]) -> None:
            found[number] = [
                _hypothesis(clips[number].name, subset, one) for subset, one in zip(subsets[number], posed, strict=True)
            ]
            if number in files:
                write_text(files[number], json.dumps([one.to_json() for one in found[number]]))

        left = [number for number in range(len(clips)) if number not in found and subsets[number]]
        if options.workers > 1 and len(left) > 1:
            with ProcessPoolExecutor(min(options.workers, len(left)), get_context("spawn")) as pool:
                jobs = {pool.submit(_posed, self.estimator, a, b, clips[k], subsets[k]): k for k in left}
                for job in as_completed(jobs):
                    keep(jobs[job], job.result())
                    done += len(subsets[jobs[job]])
                    tell("subsets", done, total)
        else:
            for number in left:

                def one_done() -> None:
                    nonlocal done
                    done += 1
                    tell("subsets", done, total)

                keep(number, _posed(self.estimator, a, b, clips[number], subsets[number], one_done))
        return [one for number in range(len(clips)) for one in found.get(number, [])]

    def _with_evidence(self, a: Frame, b: Frame, view: PairView, one: Hypothesis) -> Hypothesis:
        if one.b_from_a is None:
            return one
        terms = pair_evidence(view, one.b_from_a, translation_observed=one.translation_observed)
        own = {name: float(term(a, b, one)) for name, term in self.terms.items()}
        return replace(one, evidence={**one.evidence, **terms, **own})

    def _answered(
        self,
        a: Frame,
        b: Frame,
        clips: tuple[Clip, ...],
        hypotheses: list[Hypothesis],
        pair: PairResult,
        seconds: dict[str, float],
    ) -> BridgeResult:
        own = hypotheses[-1]
        calibration = self.calibration or shipped_calibration()
        probabilities = calibration.probability(features(hypotheses, own))
        consensus = tuple(group_consensus(hypotheses[:-1], own))
        chosen = self._chosen(hypotheses, probabilities, consensus)
        evidence = BridgeEvidence(clips, tuple(hypotheses), probabilities, consensus, chosen, pair, seconds)
        if _same(a, b):
            return BridgeResult(
                PoseEstimate.failure("A and B are the same image: there is no pose between them to be found."), evidence
            )
        if chosen is None:
            return BridgeResult(PoseEstimate.failure(_why_none(clips, hypotheses)), evidence)
        probability = float(probabilities[chosen])
        if probability < self.options.min_probability:
            posed = sum(one.b_from_a is not None for one in hypotheses)
            reason = (
                f"The hypotheses do not agree: the best of {posed} is right "
                f"within 15 deg with probability {probability:.2f}; {self.options.min_probability:g} is needed. Give "
                "other in-between frames, or lower --min-probability."
            )
            return BridgeResult(PoseEstimate.failure(reason, cost=evidence.spread_deg()), evidence)
        return BridgeResult(_estimate(hypotheses[chosen], pair, probability, evidence), evidence)

    def _chosen(
        self,
        hypotheses: list[Hypothesis],
        probabilities: Float[np.ndarray, " n"],
        consensus: tuple[GroupConsensus, ...],
    ) -> int | None:
        if self.options.score == "published":
            if consensus:
                return consensus[0].medoid
            return len(hypotheses) - 1 if hypotheses[-1].b_from_a is not None else None
        return best_hypothesis(hypotheses, probabilities)


def bridge(a: Frame, b: Frame, options: BridgeOptions = BridgeOptions()) -> PoseEstimate:
    """The relative pose of two images that hardly overlap, up to the length of its translation.

    Args:
        a: image A with its camera.
        b: image B likewise.
        options: where in-between frames come from, and how the answer is chosen.

    Returns:
        ``cam_from_world`` is b_from_a, with a translation of length 1 (0 where it is not observable, which a warning
        says; metres where the pair alone was found with depth), or a refusal with its reason.

    Raises:
        OSError: when a folder, checkpoint or service is missing.
        ValueError: for frames without images, or clips that cost more than allowed.

    Example:
        >>> estimate = bridge(frame_a, frame_b, BridgeOptions(inbetween="clips/"))
        >>> estimate.cam_from_world.rotation if estimate.success else estimate.reason
    """
    return BridgeEstimator(options).estimate(a, b).estimate


def _same(a: Frame, b: Frame) -> bool:
    assert a.image is not None and b.image is not None
    if a.image.shape != b.image.shape:
        return False
    return float(np.abs(a.image.astype(np.float32) - b.image.astype(np.float32)).mean()) <= _SAME_IMAGE


def _posed(
    estimator: MultiViewProvider,
    a: Frame,
    b: Frame,
    clip: Clip,
    subsets: Sequence[Sequence[int]],
    on_done: Callable[[], None] | None = None,
) -> list[PosedSubset]:
    """The subsets of one clip, A and B first in each."""
    between = [
        Frame(clip.camera, image, name=f"{clip.name}, frame {number}") for number, image in enumerate(clip.frames, 1)
    ]
    frames = [replace(a, depth=None), *between, replace(b, depth=None)]
    last = len(frames) - 1
    return estimator.pose_subsets(frames, [(0, last, *subset) for subset in subsets], on_done)


def _hypothesis(clip: str, subset: Sequence[int], posed: PosedSubset) -> Hypothesis:
    source = f"{clip}, frames {' '.join(map(str, subset))}"
    first, second = posed.trajectory[0], posed.trajectory[1]
    if not (first.success and second.success):
        reason = (first if not first.success else second).reason
        return Hypothesis(None, source, clip, False, posed.evidence, reason)
    if len(subset) and not any(one.success for one in list(posed.trajectory)[2:]):
        # Every subset of every clip would say the same, and be counted as that many witnesses.
        return Hypothesis(None, source, clip, False, posed.evidence, _NO_WITNESS)
    assert first.cam_from_world is not None and second.cam_from_world is not None
    pose = second.cam_from_world * first.cam_from_world.inv()
    return Hypothesis(pose, source, clip, posed.translation_observed[1], posed.evidence)


def _pair_hypothesis(pair: PairResult) -> Hypothesis:
    estimate = pair.estimate
    return Hypothesis(estimate.cam_from_world, "the pair alone", PAIR_GROUP, estimate.success, {}, estimate.reason)


def _estimate(one: Hypothesis, pair: PairResult, probability: float, evidence: BridgeEvidence) -> PoseEstimate:
    assert one.b_from_a is not None
    warnings = [f"The rotation is right within 15 deg with probability {probability:.2f}."]
    if one.group == PAIR_GROUP:
        return pair.estimate.replace(source=f"the pair alone: {pair.estimate.source}")
    if np.isnan(evidence.spread_deg()):
        warnings.append("Its clip gave no other pose: nothing tells how far this one may be off.")
    length = float(np.linalg.norm(one.b_from_a.translation))
    if one.translation_observed and length > 0:
        pose = rescaled(one.b_from_a, 1.0 / length)
        warnings.append("The translation has length 1: its direction alone was found.")
    else:
        pose = RigidTransform.from_rotation(one.b_from_a.rotation)
        warnings.append("No parallax: the translation is not observable and was set to 0; the rotation is the answer.")
    return PoseEstimate(True, "", pose, cost=evidence.spread_deg(), source=one.source, warnings=tuple(warnings))


def _why_none(clips: Sequence[Clip], hypotheses: Sequence[Hypothesis]) -> str:
    faults = [f"{clip.name}: {clip.reason}" for clip in clips if clip.reason]
    if clips and len(faults) == len(clips):
        return f"No in-between frames: {faults[0]}"
    tried = [one for one in hypotheses if one.group != PAIR_GROUP]
    short = [clip for clip in clips if len(clip.frames) == 1]
    if short and len(short) == len(clips):
        return "No clip has more than one frame between A and B, and none of these poses them. Give longer clips."
    common = max({one.reason for one in tried}, key=[one.reason for one in tried].count) if tried else "no clips"
    return f"None of {len(tried)} subsets of in-between frames could be posed, mostly because: {common}"
