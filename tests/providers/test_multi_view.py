"""Sources of poses for subsets: one suite for all, against exact poses of a synthetic room."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms import furnished_room
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import interpolated
from posesplat.providers.multi_view import colmap_run, sfm
from posesplat.providers.multi_view import open as module
from posesplat.providers.multi_view.open import open_multi_view
from posesplat.providers.multi_view.provider import MultiViewProvider
from posesplat.providers.multi_view.sfm import SfmPoses
from posesplat.providers.multi_view.tracks import TrackPoses

CAMERA = Camera.from_fov(65.0, 256, 192)
SUBSETS = [(0, 4, 1, 2, 3), (0, 4, 2)]


def path_of(turn_deg: float, shift_m: tuple[float, float, float]) -> list[RigidTransform]:
    """Five poses of a camera that turns and moves."""
    first = furnished_room(3).default_view
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("y", turn_deg, degrees=True)
    last = RigidTransform.from_components(np.array(shift_m), turn) * first
    return [interpolated(first, last, t) for t in np.linspace(0, 1, 5)]


def seen(poses: list[RigidTransform]) -> list[Frame]:
    room = furnished_room(3)
    frames = [room.render(CAMERA, pose, supersample=1) for pose in poses]
    return [replace(frame, depth=None, name=f"f{k}") for k, frame in enumerate(frames)]


@pytest.fixture(scope="module")
def poses() -> list[RigidTransform]:
    return path_of(28.0, (0.4, 0.05, 0.1))


@pytest.fixture(scope="module")
def frames(poses: list[RigidTransform]) -> list[Frame]:
    return seen(poses)


@pytest.fixture(scope="module", params=["tracks", "sfm"])
def provider(request: pytest.FixtureRequest) -> MultiViewProvider:
    if request.param == "sfm" and find_spec("pycolmap") is None:
        pytest.skip("needs pycolmap: pip install posesplat[sfm]")
    return open_multi_view(request.param)


def test_subsets_are_posed_and_what_shows_nothing_else_is_refused(
    provider: MultiViewProvider, frames: list[Frame], poses: list[RigidTransform]
) -> None:
    assert isinstance(provider, MultiViewProvider)
    noise = np.random.default_rng(0).integers(0, 255, size=(192, 256, 3)).astype(np.uint8)
    told: list[int] = []
    found = provider.pose_subsets(
        [*frames, Frame(CAMERA, noise, name="noise")], [*SUBSETS, (0, 5, 1)], lambda: told.append(1)
    )
    assert len(told) == len(found) == 3
    for subset, posed in zip(SUBSETS, found, strict=False):
        assert posed.trajectory.names == tuple(f"f{k}" for k in subset)
        for image, estimate, observed in zip(subset, posed.trajectory, posed.translation_observed, strict=True):
            assert estimate.success, estimate.reason
            pose, true = estimate.cam_from_world, poses[image] * poses[0].inv()
            assert np.degrees((pose.rotation * true.rotation.inv()).magnitude()) < 0.4
            if image:
                assert observed
                cosine = pose.translation @ true.translation
                cosine /= np.linalg.norm(pose.translation) * np.linalg.norm(true.translation)
                assert np.degrees(np.arccos(min(cosine, 1.0))) < 4.0
        assert posed.evidence["points"] > 50 and posed.evidence["residual_px"] < 1.0
        assert posed.evidence["shared_points"] > 10
    refused = found[2].trajectory[1]
    assert not refused.success and refused.reason and not found[2].translation_observed[1]


def test_the_answer_is_the_same_again(provider: MultiViewProvider, frames: list[Frame]) -> None:
    if provider.name == "sfm":
        pytest.skip("COLMAP's threads end in any order")
    first, second = (provider.pose_subsets(frames, SUBSETS[1:])[0].trajectory[1].cam_from_world for _ in range(2))
    assert np.array_equal(first.as_matrix(), second.as_matrix())


def test_a_camera_that_only_turns_has_no_observed_translation() -> None:
    poses = path_of(25.0, (0.0, 0.0, 0.0))
    (posed,) = open_multi_view("tracks").pose_subsets(seen(poses), SUBSETS[1:])
    estimate, true = posed.trajectory[1], poses[4] * poses[0].inv()
    assert estimate.success
    assert np.degrees((estimate.cam_from_world.rotation * true.rotation.inv()).magnitude()) < 0.2
    assert not any(posed.translation_observed)


def test_a_frame_without_an_image_is_an_error(frames: list[Frame]) -> None:
    bare = Frame(CAMERA, depth=np.ones((192, 256), np.float32), name="bare")
    with pytest.raises(ValueError, match="'bare' has depth only"):
        open_multi_view("tracks").pose_subsets([*frames[:2], bare], [(0, 1, 2)])
    with pytest.raises(ValueError, match="two different images"):
        open_multi_view("tracks").pose_subsets(frames, [(0, 0)])
    with pytest.raises(ValueError, match="Did you mean tracks"):
        open_multi_view("track")


def test_each_image_has_its_own_camera(provider: MultiViewProvider, poses: list[RigidTransform]) -> None:
    room, narrow = furnished_room(3), Camera.from_fov(50.0, 300, 240)
    cameras = [CAMERA, CAMERA, narrow]
    frames = [
        replace(room.render(camera, poses[place], supersample=1), depth=None, name=f"f{place}")
        for camera, place in zip(cameras, (0, 2, 4), strict=True)
    ]
    (posed,) = provider.pose_subsets(frames, [(0, 2, 1)])
    estimate, true = posed.trajectory[1], poses[4] * poses[0].inv()
    assert estimate.success, estimate.reason
    assert np.degrees((estimate.cam_from_world.rotation * true.rotation.inv()).magnitude()) < 0.6


def test_sfm_needs_pycolmap_and_tells_how_it_stopped(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colmap_run, "find_spec", lambda _: object())
    monkeypatch.setattr(sfm, "run_colmap", lambda *_: ({}, "killed"))
    (posed,) = SfmPoses().pose_subsets(frames, [(0, 4, 2)])
    assert not posed.trajectory.posed.any() and "killed" in posed.trajectory[0].reason
    monkeypatch.setattr(colmap_run, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'posesplat\[sfm\]'"):
        open_multi_view("sfm")


def test_another_package_may_add_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Entry:
        @staticmethod
        def load():
            return lambda place, seed: asked.append((place, seed)) or TrackPoses()

    monkeypatch.setattr(module, "entry_points", lambda **which: asked.append(which) or [Entry()])
    assert isinstance(open_multi_view("mine:there", 7), TrackPoses)
    assert asked == [{"group": "posesplat.multi_view", "name": "mine"}, ("there", 7)]
