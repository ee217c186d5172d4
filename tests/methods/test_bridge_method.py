"""bridge: true in-between views among faulty ones are found, refusals have their reasons, work is done once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.evaluate.protocols.bridge_rooms import BridgeCase, StoredClips, room_case
from posesplat.evaluate.protocols.bridge_trials import pose_error
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.methods.bridge import BridgeEstimator, BridgeResult, bridge
from posesplat.methods.bridge_clips import subsets_of
from posesplat.methods.bridge_options import BridgeOptions
from posesplat.providers.multi_view.provider import PosedSubset
from posesplat.providers.multi_view.tracks import TrackPoses

OPTIONS = BridgeOptions(subsets=2)


@pytest.fixture(scope="module")
def case() -> BridgeCase:
    """A turn of 78 degrees with one good clip, a pan to the wrong side and a morph."""
    return room_case(2, "65-180", width=224, frames=6, kinds=("mirror", "true", "morph"))


@pytest.fixture(scope="module")
def result(case: BridgeCase) -> BridgeResult:
    return BridgeEstimator(OPTIONS, StoredClips(case.clips)).estimate(case.a, case.b)


def test_the_true_clip_is_chosen_among_faulty_ones(case: BridgeCase, result: BridgeResult) -> None:
    estimate, evidence = result.estimate, result.evidence
    assert estimate.success, estimate.reason
    assert estimate.source.startswith("clip 1, frames")
    assert pose_error(estimate.cam_from_world, case.b_from_a)[0] < 12.0
    assert np.linalg.norm(estimate.cam_from_world.translation) == pytest.approx(1.0)
    assert not evidence.pair.estimate.success
    wrong = [
        float(chance)
        for one, chance in zip(evidence.hypotheses, evidence.probabilities, strict=True)
        if one.group == "clip 2" and one.b_from_a is not None
    ]
    assert wrong and max(wrong) < 0.5
    assert evidence.hypotheses[-1].source == "the pair alone"


class Given:
    """Poses of B that are settled beforehand; the frames between are posed too, or are not."""

    name = "given"

    def __init__(self, poses: list[RigidTransform | None], *, between: bool = True) -> None:
        self.poses, self.between = iter(poses), between

    def pose_subsets(self, frames, subsets, on_done=None):
        answers = []
        for subset in subsets:
            pose = next(self.poses)
            lost = PoseEstimate.failure("lost")
            ends = [lost, lost] if pose is None else [_posed_at(RigidTransform.identity()), _posed_at(pose)]
            rest = [_posed_at(RigidTransform.identity()) if self.between else lost] * (len(subset) - 2)
            answers.append(PosedSubset.of(frames, subset, [*ends, *rest], [pose is not None] * len(subset)))
        return answers


def _posed_at(pose: RigidTransform) -> PoseEstimate:
    return PoseEstimate(True, "", pose)


def test_the_published_score_is_kept_for_comparison(case: BridgeCase, result: BridgeResult) -> None:
    known = Given([one.b_from_a for one in result.evidence.hypotheses])
    options = replace(OPTIONS, score="published", min_probability=0.0)
    found = BridgeEstimator(options, StoredClips(case.clips), known).estimate(case.a, case.b)
    least = min(found.evidence.consensus, key=lambda one: one.total_deg)
    assert found.evidence.chosen == least.medoid
    assert found.estimate.source == found.evidence.hypotheses[least.medoid].source


def test_a_pose_without_any_frame_between_is_no_witness(case: BridgeCase) -> None:
    """Clips that show something else would all vote for the one pose of the two images alone."""
    alone = Given([case.b_from_a] * 6, between=False)
    found = BridgeEstimator(OPTIONS, StoredClips(case.clips), alone).estimate(case.a, case.b)
    assert not found.estimate.success and "without any frame between them" in found.estimate.reason
    assert all(one.b_from_a is None for one in found.evidence.hypotheses[:-1])


def test_a_pair_that_overlaps_needs_no_bridge() -> None:
    near = room_case(3, "0-50", width=256, frames=3, kinds=("mirror",))
    found = BridgeEstimator(replace(OPTIONS, subsets=1), StoredClips(near.clips)).estimate(near.a, near.b)
    assert found.estimate.success and found.estimate.source.startswith("the pair alone")
    assert pose_error(found.estimate.cam_from_world, near.b_from_a)[0] < 1.0


def test_identical_images_are_no_pair(case: BridgeCase) -> None:
    found = BridgeEstimator(OPTIONS, StoredClips(case.clips)).estimate(case.a, replace(case.a, name="again"))
    assert not found.estimate.success and "the same image" in found.estimate.reason
    assert found.evidence.clips == ()


def test_unrelated_images_are_refused(case: BridgeCase) -> None:
    other = room_case(5, "0-50", width=224, frames=1, kinds=("morph",)).b
    options = replace(OPTIONS, prompts=("one",), frames=3, subsets=1)
    found = BridgeEstimator(options).estimate(case.a, other)
    assert not found.estimate.success
    assert "do not agree" in found.estimate.reason or "could be posed" in found.estimate.reason


def test_clips_of_one_frame_are_told(case: BridgeCase) -> None:
    true, morph = ((case.clips[k][3],) for k in (1, 2))
    found = BridgeEstimator(replace(OPTIONS, min_probability=0.0), StoredClips((true,))).estimate(case.a, case.b)
    assert found.evidence.consensus == ()
    assert not found.estimate.success or any("gave no other pose" in one for one in found.estimate.warnings)
    noise = np.random.default_rng(0).integers(0, 255, size=morph[0].shape).astype(np.uint8)
    found = BridgeEstimator(OPTIONS, StoredClips(((noise,),))).estimate(case.a, case.b)
    assert not found.estimate.success and "more than one frame" in found.estimate.reason


def test_subsets_are_different_and_evenly_spaced_first() -> None:
    chosen = subsets_of(14, BridgeOptions(), seed=0)
    assert len(chosen) == len(set(chosen)) == 11
    assert chosen[0] == (4, 8, 11) and all(len(one) == 3 and min(one) >= 1 and max(one) <= 14 for one in chosen)
    assert chosen == subsets_of(14, BridgeOptions(), seed=0) != subsets_of(14, BridgeOptions(), seed=1)
    assert len(subsets_of(4, BridgeOptions(), seed=0)) == 4
    assert subsets_of(2, BridgeOptions(), seed=0) == [(1, 2)]
    assert subsets_of(0, BridgeOptions(), seed=0) == []


class Once(TrackPoses):
    """Counts its calls."""

    calls = 0

    def pose_subsets(self, frames, subsets, on_done=None):
        type(self).calls += 1
        return super().pose_subsets(frames, subsets, on_done)


def test_a_second_run_poses_nothing_again(case: BridgeCase, tmp_path: Path) -> None:
    options = replace(OPTIONS, cache=tmp_path, subsets=1)
    clips = StoredClips(case.clips[1:2])
    told: list[tuple[str, int, int]] = []
    first, second = (
        BridgeEstimator(options, clips, Once(), terms={"mine": lambda a, b, one: 1.5}).estimate(
            case.a, case.b, lambda *step: told.append(step)
        )
        for _ in range(2)
    )
    assert Once.calls == 1 and len(list((tmp_path / "poses").iterdir())) == 1
    for one, again in zip(first.evidence.hypotheses, second.evidence.hypotheses, strict=True):
        assert (one.source, one.reason) == (again.source, again.reason)
        if one.b_from_a is not None:
            assert np.allclose(one.b_from_a.as_matrix(), again.b_from_a.as_matrix(), atol=1e-12)
    assert first.evidence.hypotheses[0].evidence["mine"] == 1.5
    assert ("subsets", 1, 1) in told


def test_several_processes_give_the_same(case: BridgeCase) -> None:
    clips = StoredClips(tuple(clip[:3] for clip in case.clips[:2]))
    one, two = (
        BridgeEstimator(replace(OPTIONS, subsets=1, workers=workers), clips).estimate(case.a, case.b)
        for workers in (1, 2)
    )
    assert [h.to_json() for h in one.evidence.hypotheses] == [h.to_json() for h in two.evidence.hypotheses]


def test_frames_without_images_and_senseless_options_are_errors(case: BridgeCase) -> None:
    bare = Frame(Camera.from_fov(60.0, 8, 6), depth=np.ones((6, 8), np.float32), name="bare")
    with pytest.raises(ValueError, match="'bare' has depth only"):
        bridge(bare, case.b)
    for options in ({"images": 2}, {"prompts": ()}, {"min_probability": 1.0}):
        with pytest.raises(ValueError, match="BridgeOptions"):
            BridgeOptions(**options)
