"""Reconstruction of exact synthetic rooms, and what it says of images that make no scene."""

from __future__ import annotations

import functools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms.clips import RoomClip, room_clip
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import pose_errors, rescaled
from posesplat.learned.network import SplatNetwork
from posesplat.learned.reconstruction import Reconstruction, reconstruct
from posesplat.learned.two_view import folded_errors_deg
from posesplat.learned.unposed_images import as_frame
from posesplat.learned.weights import load_network
from posesplat.render.cpu import CpuRenderer

SIDE = 128


@functools.cache
def clip() -> RoomClip:
    return room_clip(5_000_031, 5, SIDE, SIDE)


@functools.cache
def network() -> SplatNetwork:
    return load_network("tiny")


def frame(index: int) -> Frame:
    return Frame(clip().camera, clip().images[index], None, f"{index}.png")


def relative(index: int) -> RigidTransform:
    """True cam_from_first."""
    return clip().cam_from_world[index] * clip().cam_from_world[0].inv()


@functools.cache
def found() -> Reconstruction:
    return reconstruct([frame(0), frame(3), frame(2)], network=network())


def in_unit_of_truth(pose: RigidTransform) -> RigidTransform:
    """A pose of :func:`found` in metres, by the true distance of the second camera."""
    second = found().trajectory[1].cam_from_world
    assert second is not None
    return rescaled(pose, float(np.linalg.norm(relative(3).translation) / np.linalg.norm(second.translation)))


def test_poses_agree_with_the_truth_and_their_covariance() -> None:
    assert found().success and found().trajectory.posed.all()
    for place, index in enumerate((3, 2), start=1):
        estimate = found().trajectory[place]
        assert estimate.cam_from_world is not None and estimate.covariance is not None
        assert max(folded_errors_deg(estimate.cam_from_world, relative(index))) < 3.0
        turn = (estimate.cam_from_world.rotation * relative(index).rotation.inv()).as_rotvec()
        assert turn @ np.linalg.solve(estimate.covariance[:3, :3], turn) < 20.0
        assert not estimate.scale.metric
    third = found().trajectory[2].cam_from_world
    assert third is not None
    metres, _ = pose_errors(in_unit_of_truth(third), relative(2))
    assert metres < 0.1 * np.linalg.norm(relative(3).translation)


def test_the_scene_looks_like_what_a_camera_in_between_saw() -> None:
    scene = found().scene
    assert scene is not None and len(scene.gaussians) == 3 * SIDE * SIDE
    estimate = found().locate(frame(1))
    assert estimate.cam_from_world is not None
    metres, degrees = pose_errors(in_unit_of_truth(estimate.cam_from_world), relative(1))
    assert degrees < 1.0 and metres < 0.1 * np.linalg.norm(relative(3).translation)
    view = CpuRenderer(scene.gaussians, "rgb", np.zeros(3)).planes(clip().camera, estimate.cam_from_world)
    assert view.channels is not None
    drawn = view.channels * view.alpha[..., None]

    def error(image: np.ndarray) -> float:
        return float(np.mean((image - clip().images[1] / 255.0) ** 2))

    assert error(drawn) < 0.25 * error(clip().images[0] / 255.0)


def test_locating_an_image_changes_nothing() -> None:
    scene = found().scene
    assert scene is not None
    before = scene.gaussians.means_in_world.copy(), found().trajectory.cam_from_world().as_matrix()
    other = room_clip(5_000_023, 1, SIDE, SIDE)
    estimate = found().locate(Frame(other.camera, other.images[0], None, "elsewhere"))
    assert not estimate.success and estimate.reason
    np.testing.assert_array_equal(before[0], scene.gaussians.means_in_world)
    np.testing.assert_array_equal(before[1], found().trajectory.cam_from_world().as_matrix())


def test_the_order_of_other_views_and_large_images_do_not_matter() -> None:
    doubled = clip().camera.resized(2 * SIDE, 2 * SIDE)
    frames = []
    for index in (0, 2, 3):
        image = cv2.resize(clip().images[index], (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)
        frames.append(Frame(doubled, image, None, f"{index}.png"))
    other = reconstruct(frames, network=network())
    assert other.success and other.cameras == (doubled,) * 3
    for place, index in enumerate((2, 3), start=1):
        pose = other.trajectory[place].cam_from_world
        assert pose is not None and max(folded_errors_deg(pose, relative(index))) < 3.0


def test_the_same_image_twice_has_no_parallax() -> None:
    twice = reconstruct([frame(0), replace(frame(0), name="copy.png")], network=network())
    assert not twice.success and "No parallax" in twice.reason
    assert twice.trajectory.posed.tolist() == [True, False]
    assert not twice.locate(frame(1)).success


def test_blank_and_unrelated_images_are_refused() -> None:
    blank = Frame(clip().camera, np.full((SIDE, SIDE, 3), 90, np.uint8), None, "blank")
    answer = reconstruct([frame(0), blank], network=network())
    assert not answer.success and "blank" in answer.reason
    other = room_clip(5_000_023, 1, SIDE, SIDE)
    answer = reconstruct([frame(0), Frame(other.camera, other.images[0], None, "b")], network=network())
    assert not answer.success and answer.scene is None


def test_grey_images_are_posed() -> None:
    frames = []
    for index in (0, 2):
        grey = cv2.cvtColor(clip().images[index], cv2.COLOR_RGB2GRAY)
        frames.append(Frame(clip().camera, np.repeat(grey[..., None], 3, axis=2), None, str(index)))
    pose = reconstruct(frames, network=network()).trajectory[1].cam_from_world
    assert pose is not None and max(folded_errors_deg(pose, relative(2))) < 4.0


def test_wrong_numbers_of_images_and_cameras_are_errors() -> None:
    with pytest.raises(ValueError, match="2 to 10 images"):
        reconstruct([frame(0)])
    with pytest.raises(ValueError, match="got 11 images"):
        reconstruct([frame(0)] * 11)
    with pytest.raises(ValueError, match="one camera, or one for each"):
        reconstruct([frame(0), frame(1)], [clip().camera])
    with pytest.raises(ValueError, match="must be of 128 x 128 pixels"):
        reconstruct([clip().images[0], clip().images[1]], Camera.from_fov(60.0, 64, 32))


def test_a_camera_turns_with_an_upright_photo() -> None:
    sensor = Camera(500.0, 510.0, 320.0, 240.0, 640, 480)
    upright, guessed = as_frame(np.zeros((640, 480, 3), np.uint8), sensor, "photo")
    assert not guessed
    assert upright.camera == Camera(510.0, 500.0, 240.0, 320.0, 480, 640)


def test_a_wall_that_two_poses_explain_is_refused() -> None:
    wall = room_clip(5_000_011, 5, SIDE, SIDE)
    pair = [Frame(wall.camera, wall.images[index], None, str(index)) for index in (0, 4)]
    answer = reconstruct(pair, network=network())
    assert not answer.success and "lie on a plane" in answer.reason
