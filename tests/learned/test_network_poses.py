"""The network of reconstruct as a source of poses for subsets: exact rooms, turns, and what shows nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation
from small_networks import SMALL, network

from posesplat.datasets.rooms.clips import room_clip
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.geometry.trajectory import Trajectory
from posesplat.learned import network_poses, reconstruction
from posesplat.learned.network_poses import NetworkPoses
from posesplat.learned.reconstruction import Reconstruction, ReconstructOptions
from posesplat.learned.view_alignment import PredictedView, ViewFit
from posesplat.providers.multi_view.open import open_multi_view
from posesplat.providers.multi_view.provider import MultiViewProvider

SIDE = 128


@pytest.fixture(scope="module")
def clip():
    return room_clip(5_000_031, 5, SIDE, SIDE)


@pytest.fixture(scope="module")
def frames(clip) -> list[Frame]:
    noise = np.random.default_rng(0).integers(0, 255, size=(SIDE, SIDE, 3)).astype(np.uint8)
    images = [*clip.images, noise]
    return [Frame(clip.camera, np.asarray(image), None, f"f{k}") for k, image in enumerate(images)]


def test_a_subset_is_posed_and_an_image_of_nothing_is_refused(clip, frames: list[Frame]) -> None:
    provider = open_multi_view("network")
    assert isinstance(provider, NetworkPoses) and isinstance(provider, MultiViewProvider)
    told: list[int] = []
    (posed,) = provider.pose_subsets(frames, [(0, 3, 5)], lambda: told.append(1))
    assert told == [1] and posed.trajectory.names == ("f0", "f3", "f5")
    estimate, true = posed.trajectory[1], clip.cam_from_world[3] * clip.cam_from_world[0].inv()
    assert estimate.success and estimate.source == "network"
    assert np.degrees((estimate.cam_from_world.rotation * true.rotation.inv()).magnitude()) < 1.5
    assert posed.translation_observed[1] and posed.evidence["shared_points"] > 10
    refused = posed.trajectory[2]
    assert not refused.success and refused.reason and not posed.translation_observed[2]


def fitted(success: bool, degrees: float) -> ViewFit:
    pose = RigidTransform.from_components([0.3, 0.0, 0.0], Rotation.from_euler("y", degrees, degrees=True))
    estimate = PoseEstimate(True, "", pose, 1e-4 * np.eye(6)) if success else PoseEstimate.failure("no matches")
    return ViewFit(estimate, Matches.none(), np.zeros(0, dtype=bool), 0.0)


def test_a_turn_is_told_without_a_translation(frames: list[Frame]) -> None:
    """Without parallax there is no scene, but a turn that was found is one."""
    origin = PoseEstimate(True, "", RigidTransform.identity(), np.zeros((6, 6)))
    lost = PoseEstimate.failure("No parallax.")
    path = Trajectory((origin, lost, lost), np.arange(3.0), ("a", "b", "c"))
    cameras = tuple(frame.camera for frame in frames[:3])
    found = Reconstruction(path, cameras, None, "No parallax.", fits=(None, fitted(True, 20.0), fitted(False, 0.0)))
    posed = network_poses._posed_subset(frames, (0, 1, 2), found)
    turn = posed.trajectory[1].cam_from_world
    assert np.degrees(turn.rotation.magnitude()) == pytest.approx(20.0)
    assert not turn.translation.any() and not any(posed.translation_observed)
    assert posed.trajectory[2].reason == "No parallax."


def test_views_that_do_not_see_what_the_first_sees_are_chained(
    frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second hop: the third camera is told by the second one alone, in the unit of the first two."""
    poses = [RigidTransform.from_translation([0.1 * k, 0.0, 0.0]) for k in range(5)]

    def best_of(network, posed, view, options):
        own = int(view.frame.name[1:])
        for estimate, known in posed:
            other = int(known.frame.name[1:])
            if abs(other - own) == 1:
                return PoseEstimate(True, "", poses[own] * poses[other].inv() * estimate.cam_from_world), view
        return PoseEstimate.failure("too far"), view

    monkeypatch.setattr(reconstruction, "_best_of", best_of)
    model = network(SMALL)

    def chained(numbers: tuple[int, ...]) -> list[PoseEstimate]:
        known = [PoseEstimate(True, "", poses[k]) for k in numbers[:2]]
        estimates = [*known, *(PoseEstimate.failure("too far") for _ in numbers[2:])]
        views = [PredictedView(frames[k], frames[k]) for k in numbers]
        reconstruction._chain(model, estimates, views, [1], ReconstructOptions())
        return estimates

    for estimate, pose in zip(chained((0, 1, 3, 2)), (poses[0], poses[1], poses[3], poses[2]), strict=True):
        assert np.allclose(estimate.cam_from_world.as_matrix(), pose.as_matrix())
    assert not chained((0, 1, 3))[2].success


def test_bad_input_is_told(frames: list[Frame]) -> None:
    with pytest.raises(ValueError, match="at most 10 images; got 11"):
        NetworkPoses().pose_subsets([frames[0]] * 11, [tuple(range(11))])
    bare = Frame(frames[0].camera, depth=np.ones((SIDE, SIDE), np.float32), name="bare")
    with pytest.raises(ValueError, match="'bare' has depth only"):
        NetworkPoses().pose_subsets([frames[0], bare], [(0, 1)])
    with pytest.raises(ValueError, match="Weights must be one of"):
        open_multi_view("network:magic").pose_subsets(frames, [(0, 1)])
