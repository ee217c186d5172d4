"""SmallGS as a whole on a tiny clip with exact depth, and what it says when it cannot."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.align.smallgs_options import SmallgsOptions
from posesplat.datasets.rooms import furnished_room, handheld_trajectory, render_sequence
from posesplat.geometry import poses
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.smallgs import NO_COVARIANCE, area_mean, chained, shrunk_depth, track_smallgs

CAMERA = Camera(56.0, 56.0, 32.0, 24.0, 64, 48)
QUICK = SmallgsOptions(fit_steps=60, pose_steps=200, smoothness=0.1)
BRIEF = SmallgsOptions(fit_steps=4, pose_steps=3, image_width=32)


@functools.cache
def clip() -> tuple[tuple[Frame, ...], RigidTransform]:
    """Four RGB-D frames of a camera that moves by 3 cm and 2 degrees, and the poses relative to the first."""
    room = furnished_room(1)
    true = handheld_trajectory(4, 4, room.default_view, 0.03, 2.0)
    frames = render_sequence(room, CAMERA, true, supersample=1)
    return tuple(replace(frame, name=f"{index}.png") for index, frame in enumerate(frames)), true * true[0].inv()


@functools.cache
def tracked() -> Trajectory:
    return track_smallgs(clip()[0], options=QUICK)


def without_depth(frame: Frame) -> Frame:
    return replace(frame, depth=None)


def test_a_tiny_clip_is_posed_better_than_by_a_still_camera() -> None:
    trajectory, (_, true) = tracked(), clip()
    assert trajectory.posed.all()
    assert trajectory.names == ("0.png", "1.png", "2.png", "3.png")
    np.testing.assert_allclose(trajectory.cam_from_world()[0].as_matrix(), np.eye(4), atol=1e-15)
    still = poses.pose_errors(RigidTransform.concatenate([RigidTransform.identity()] * 4), true)
    found = poses.pose_errors(trajectory.cam_from_world(), true)
    for error, error_of_still in zip(found, still, strict=True):
        assert error[1:].mean() < 0.5 * error_of_still[1:].mean()


def test_what_the_estimates_say() -> None:
    for estimate in tracked():
        assert estimate.covariance is None
        assert NO_COVARIANCE in estimate.warnings
        assert estimate.scale == Scale(True, "depth sensor")
        assert estimate.source == "smallgs"
    assert tracked()[3].iterations == 200
    assert 0 < tracked()[3].cost < 0.1


def test_the_unit_of_a_providers_depth_is_the_unit_of_the_path() -> None:
    """Depth of a thousandth of the metre gives the same turns and a thousand times the path, of unknown scale."""
    frames, options = clip()[0][:3], replace(BRIEF, pose_steps=10)
    metres = track_smallgs(frames, options=options)
    images = [without_depth(frame) for frame in frames]
    depths = {frame.name: frame.depth * np.float32(1000) for frame in frames if frame.depth is not None}
    millimetres = track_smallgs(images, depth=lambda frame: depths[frame.name], options=options)
    assert millimetres[1].scale == Scale(False, "unknown")
    expected, found = metres.cam_from_world(), millimetres.cam_from_world()
    np.testing.assert_allclose(found.translation, 1000 * expected.translation, rtol=0.05, atol=0.05)
    np.testing.assert_allclose(found.rotation.as_matrix(), expected.rotation.as_matrix(), atol=1e-4)
    assert np.abs(expected.translation).max() > 1e-3


def test_frames_are_told_segment_by_segment_and_an_interrupt_keeps_them() -> None:
    told: list[str] = []
    options = replace(BRIEF, segment_frames=1)
    trajectory = track_smallgs(iter(clip()[0]), options=options, on_estimate=lambda name, _: told.append(name))
    assert told == list(trajectory.names)

    def interrupt(segment: int, stage: str, step: int, loss: float) -> None:
        if (segment, stage, step) == (2, "fit", 1):
            raise KeyboardInterrupt

    kept: list[PoseEstimate] = []
    with pytest.raises(KeyboardInterrupt):
        track_smallgs(
            clip()[0], options=options, on_estimate=lambda _, estimate: kept.append(estimate), progress=interrupt
        )
    assert len(kept) == 3
    for estimate, expected in zip(kept, trajectory, strict=False):
        assert estimate.cam_from_world is not None
        assert expected.cam_from_world is not None
        np.testing.assert_array_equal(estimate.cam_from_world.as_matrix(), expected.cam_from_world.as_matrix())


def test_chaining_is_the_exact_composition() -> None:
    """Centres and axes of cameras one after another; the published order is off when the anchor has turned."""
    rng = np.random.default_rng(0)
    world_from_anchor, anchor_from_cam = (RigidTransform.from_exp_coords(rng.normal(size=6)) for _ in range(2))
    point_in_cam = rng.normal(size=3)
    expected = world_from_anchor.apply(anchor_from_cam.apply(point_in_cam))
    np.testing.assert_allclose(chained(world_from_anchor, anchor_from_cam).apply(point_in_cam), expected)
    wrong = chained(world_from_anchor, anchor_from_cam, published_faults=True).apply(point_in_cam)
    np.testing.assert_allclose(wrong, anchor_from_cam.apply(world_from_anchor.apply(point_in_cam)))
    assert np.linalg.norm(wrong - expected) > 0.1


def test_segments_are_chained_and_a_failed_one_keeps_the_anchor() -> None:
    """Blank frames are worse anywhere than at first; the one after them is posed from the first frame again."""
    frames, true = clip()
    blank = replace(frames[1], image=np.zeros_like(frames[1].image), name="blank")
    options = replace(QUICK, segment_frames=1, fit_steps=200, pose_steps=150)
    trajectory = track_smallgs([frames[0], frames[1], frames[2]], options=options)
    error, _ = poses.pose_errors(trajectory.cam_from_world(), true[:3])
    still, _ = poses.pose_errors(RigidTransform.concatenate([RigidTransform.identity()] * 3), true[:3])
    assert error[2] < 0.5 * still[2]

    def all_static_but_blank(frame: Frame) -> np.ndarray:
        if frame.name == "blank":
            return np.zeros((48, 64), bool)
        return np.ones((48, 64), bool)

    masked = track_smallgs([blank, *frames[1:3]], masks=all_static_but_blank, options=options)
    assert [estimate.success for estimate in masked] == [True, False, False]
    assert masked[1].reason == "the anchor has 0 static pixels with depth; 100 are needed"
    assert masked[1].scale.metric


def test_poses_that_fit_worse_than_a_still_camera_are_refused() -> None:
    frames, _ = clip()
    still = [frames[0], frames[0]]
    trajectory = track_smallgs(still, options=replace(BRIEF, pose_rate=0.5))
    assert trajectory[1].cam_from_world is None
    assert "fit worse" in trajectory[1].reason


class Inverted:
    """Features that are the inverted colours, and a constant."""

    name, channels = "inverted", 4

    def __init__(self) -> None:
        self.seen = 0

    def fit(self, images: Iterable[np.ndarray]) -> None:
        self.seen = len(list(images))

    def features(self, image: np.ndarray) -> np.ndarray:
        values = 1 - image.astype(np.float32) / 255
        return np.concatenate([values, np.full((*image.shape[:2], 1), 0.5, np.float32)], axis=2)


def test_features_stand_in_for_colours() -> None:
    frames, true = clip()[0][:3], clip()[1][:3]
    features = Inverted()
    options = replace(QUICK, fit_steps=100, pose_steps=150)
    trajectory = track_smallgs(frames, features=features, options=options)
    assert features.seen == 3
    error, _ = poses.pose_errors(trajectory.cam_from_world(), true)
    still, _ = poses.pose_errors(RigidTransform.concatenate([RigidTransform.identity()] * 3), true)
    assert error[1:].mean() < 0.6 * still[1:].mean()


def test_what_moves_is_masked() -> None:
    """A patch that flickers is as good as not there; later masks are wider, for the ground that it hid at first."""
    frames, true = clip()[0][:3], clip()[1][:3]
    pasted, masks = [], {}
    for index, frame in enumerate(frames):
        image = np.array(frame.image)
        image[16:32, 20:40] = 255 * (index % 2)
        pasted.append(replace(frame, image=image))
        masks[frame.name] = np.ones((48, 64), bool)
        border = 0 if index == 0 else 3
        masks[frame.name][16 - border : 32 + border, 20 - border : 40 + border] = False
    trajectory = track_smallgs(pasted, masks=lambda frame: masks[frame.name], options=replace(QUICK, pose_steps=150))
    error, _ = poses.pose_errors(trajectory.cam_from_world(), true)
    still, _ = poses.pose_errors(RigidTransform.concatenate([RigidTransform.identity()] * 3), true)
    assert error[1:].mean() < 0.6 * still[1:].mean()


def test_published_faults_run_and_are_not_metric() -> None:
    trajectory = track_smallgs(clip()[0][:3], options=replace(BRIEF, published_faults=True))
    assert trajectory[1].scale == Scale(False, "unknown")


def test_shrinking_keeps_planes_exact_and_edges_sharp() -> None:
    """Inverse depth of a plane is affine in the pixel, so its mean is that of the middle."""

    def plane(camera: Camera) -> np.ndarray:
        rays = camera.rays()
        return np.float32(1 / (0.5 + 0.2 * rays[..., 0] - 0.1 * rays[..., 1]))

    small = CAMERA.resized(32, 24)
    depth = plane(CAMERA)
    np.testing.assert_allclose(shrunk_depth(depth, small), plane(small), rtol=1e-5)
    depth[:, 31:] += 3  # the edge goes through the small image's column 15
    depth[10, 10] = 0
    found, expected = shrunk_depth(depth, small), plane(small)
    np.testing.assert_allclose(found[5, 5], depth[11, 11])
    np.testing.assert_allclose(found[6:, :15], expected[6:, :15], rtol=1e-5)
    np.testing.assert_allclose(found[:, 15], depth[1::2, 31])
    image = np.arange(24, dtype=np.float32).reshape(4, 6)
    expected = [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]
    np.testing.assert_allclose(area_mean(image, Camera(1.0, 1.0, 1.0, 1.0, 3, 2)), expected)


def test_wrong_input_is_refused_with_its_cure() -> None:
    frames, _ = clip()
    with pytest.raises(ValueError, match="at least one frame"):
        track_smallgs([])
    with pytest.raises(ValueError, match=r"needs the depth of frame '0.png'.*provider of depth as depth="):
        track_smallgs([without_depth(frame) for frame in frames])
    with pytest.raises(ValueError, match="has depth only"):
        track_smallgs([frames[0], replace(frames[1], image=None)], options=BRIEF)
    with pytest.raises(ValueError, match=r"depth of frame '0.png' must have the size \(48, 64\)"):
        track_smallgs(frames, depth=lambda frame: np.ones((24, 32), np.float32), options=BRIEF)
    with pytest.raises(ValueError, match="must be finite"):
        track_smallgs(frames, depth=lambda frame: np.full((48, 64), np.nan), options=BRIEF)
    with pytest.raises(ValueError, match="at least 100 pixels with depth; got 0"):
        track_smallgs(frames, depth=lambda frame: np.zeros((48, 64)), options=BRIEF)
    with pytest.raises(ValueError, match="masks of frame"):
        track_smallgs(frames, masks=lambda frame: np.ones((3, 3), bool), options=BRIEF)


def test_one_frame_is_its_own_world() -> None:
    trajectory = track_smallgs([without_depth(clip()[0][0])])
    assert len(trajectory) == 1
    assert trajectory.posed.all()
