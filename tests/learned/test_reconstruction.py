"""Reconstruction of exact synthetic rooms, and what it says of images that make no scene."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.align.degenerate_pairs import LEAST_PARALLAX
from posesplat.datasets.rooms.clips import RoomClip, room_clip
from posesplat.datasets.samples import sample_sequence
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.geometry.poses import pose_errors, rescaled
from posesplat.learned.network import SplatNetwork
from posesplat.learned.reconstruction import Reconstruction, reconstruct
from posesplat.learned.two_view import folded_errors_deg
from posesplat.learned.unposed_images import as_frame
from posesplat.learned.view_alignment import PredictedView, align_view
from posesplat.learned.weights import load_network
from posesplat.render.cpu import CpuRenderer

SIDE = 128
ORIENTATION_6 = bytes.fromhex(
    "ffe10022457869660000" + "4d4d002a00000008" + "0001" + "011200030000000100060000" + "00000000"
)
"""An EXIF segment that says: turn me by 90 degrees clockwise to be upright."""


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


def test_more_views_are_posed_whatever_the_order_of_those_after_the_first() -> None:
    """Four to six views; poses are relative to the first, so that only its own place in the list matters."""
    walk = room_clip(5_000_031, 6, SIDE, SIDE)
    frames = [Frame(walk.camera, walk.images[index], None, f"{index}.png") for index in range(6)]
    answers = {}
    for order in ((0, 5, 3, 4, 2, 1), (0, 2, 5, 3)):
        scene = reconstruct([frames[index] for index in order], network=network())
        assert scene.success and scene.trajectory.posed.all()
        for index, estimate in zip(order[1:], list(scene.trajectory)[1:], strict=True):
            pose, true = estimate.cam_from_world, walk.cam_from_world[index] * walk.cam_from_world[0].inv()
            assert pose is not None and max(folded_errors_deg(pose, true)) < 10.0
            answers.setdefault(index, []).append(pose)
    for poses in answers.values():
        for other in poses[1:]:
            assert np.degrees((other.rotation * poses[0].rotation.inv()).magnitude()) < 1.0


def test_the_answer_does_not_know_where_the_world_was() -> None:
    """Poses are those of the first camera's frame: a frame has no pose to give away, and the same pictures of a world
    that was moved are the same pictures. What moves the answer is another first view, and it moves it rigidly.
    """
    ahead = reconstruct([frame(0), frame(3)], network=network()).trajectory[1].cam_from_world
    back = reconstruct([frame(3), frame(0)], network=network()).trajectory[1].cam_from_world
    assert ahead is not None and back is not None
    assert max(folded_errors_deg(back.inv(), ahead)) < 3.0
    assert not hasattr(frame(0), "cam_from_world")
    again = reconstruct([frame(0), frame(3)], network=network()).trajectory[1].cam_from_world
    assert again is not None
    np.testing.assert_array_equal(again.as_matrix(), ahead.as_matrix())


def test_a_photo_that_its_exif_turns_is_as_good_as_an_upright_one(tmp_path: Path) -> None:
    """The sensor's rows are stored, and a tag tells that they are to be turned; the scene is that of upright files."""
    camera = clip().camera
    upright, turned = [], []
    for index in (0, 3):
        image = cv2.cvtColor(clip().images[index], cv2.COLOR_RGB2BGR)
        upright.append(tmp_path / f"{index}.png")
        cv2.imwrite(str(upright[-1]), image)
        turned.append(tmp_path / f"{index}.jpg")
        sensor = cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)
        coded = cv2.imencode(".jpg", sensor, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
        turned[-1].write_bytes(coded[:2] + ORIENTATION_6 + coded[2:])
    for files in (upright, turned):
        pose = reconstruct(files, camera, network=network()).trajectory[1].cam_from_world
        assert pose is not None and max(folded_errors_deg(pose, relative(3))) < 3.0


def test_images_of_two_sizes_make_one_scene() -> None:
    large = clip().camera.resized(2 * SIDE, 2 * SIDE)
    image = cv2.resize(clip().images[3], (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)
    # A part of the second photo: another size, another ratio of the sides, another principal point.
    part = Camera(large.fx, large.fy, large.cx - 20, large.cy - 16, 216, 224)
    frames = [frame(0), Frame(part, np.ascontiguousarray(image[16:240, 20:236]), None, "part")]
    answer = reconstruct(frames, network=network())
    assert answer.success and answer.cameras == (clip().camera, part)
    pose = answer.trajectory[1].cam_from_world
    assert pose is not None and max(folded_errors_deg(pose, relative(3))) < 4.0


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
    pair = [Frame(wall.camera, wall.images[index], None, str(index)) for index in (0, 3)]
    answer = reconstruct(pair, network=network())
    assert not answer.success and "lie on a plane" in answer.reason


def test_real_pairs_of_small_parallax_are_posed_as_their_matches_say() -> None:
    """The network has never seen a photograph, and its depth asks for turns that are off by degrees there."""
    frames = sample_sequence("icl_livingroom1")
    for first, second in ((0, 8), (0, 15), (4, 12)):
        pair = [replace(frames[index], depth=None) for index in (first, second)]
        pose = reconstruct(pair, network=network()).trajectory[1].cam_from_world
        assert pose is not None
        true = frames.cam_from_world[second] * frames.cam_from_world[first].inv()
        assert folded_errors_deg(pose, true)[0] < 0.7


def test_predicted_depth_that_contradicts_the_matches_is_not_believed() -> None:
    """Flat depth, and depth that grows to one side: the matches determine the pose, and only its length moves."""
    frames = [frame(0), frame(3)]
    views = [PredictedView(each, each, np.full((SIDE, SIDE), 2.0, np.float32)) for each in frames]
    bent = np.linspace(1.0, 4.0, SIDE, dtype=np.float32)[None].repeat(SIDE, 0)
    poses = []
    for first in (views[0], replace(views[0], depth=bent)):
        fit = align_view(first, views[1], Matches.none(), "sift")
        assert fit.estimate.cam_from_world is not None and fit.parallax > LEAST_PARALLAX
        poses.append(fit.estimate.cam_from_world)
        assert max(folded_errors_deg(poses[-1], relative(3))) < 3.0
    assert max(folded_errors_deg(poses[0], poses[1])) < 1e-6
