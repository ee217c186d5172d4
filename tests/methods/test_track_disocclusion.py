"""Gaussians for what a reference does not see, behind a board whose place is known exactly."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms import Quad, Room, colour_noise, placed, procedural_texture, textured_wall
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.methods.mapping import single_frame_map
from posesplat.methods.track_disocclusion import DisocclusionOptions, extended_scene
from posesplat.render.cpu import CpuRenderer

CAMERA = Camera.from_fov(62.7, 200, 150)
WALL_Z = 2.5
PATH = RigidTransform.from_translation(np.array([[-shift, 0.0, 0.0] for shift in (0.05, 0.1, 0.2, 0.25, 0.28, 0.3)]))
"""The camera moves right, so that wall appears behind the board, and beyond the picture's right edge."""


def room() -> Room:
    wall = textured_wall(1)
    board = placed(Quad(0.5, 0.7), procedural_texture("patches", np.random.default_rng(2), 0.2), (0.0, 0.0, 1.2))
    return replace(wall, surfaces=(*wall.surfaces, board))


@functools.cache
def clip() -> tuple[Frame, list[Frame], Gaussians]:
    scene = room()
    first = scene.render(CAMERA, RigidTransform.identity())
    later = [scene.render(CAMERA, pose) for pose in PATH]
    return first, later, single_frame_map(first, RigidTransform.identity())


def uncovered(gaussians: Gaussians, pose: RigidTransform) -> np.ndarray:
    return CpuRenderer(gaussians, threads=1).planes(CAMERA, pose).alpha < 0.5


@pytest.mark.parametrize("use_depth", [True, False])
def test_wall_behind_the_board_is_filled_in_at_its_true_distance(use_depth: bool) -> None:
    first, later, gaussians = clip()
    frames = later if use_depth else [replace(frame, depth=None) for frame in later]
    found = extended_scene(gaussians, first, frames, PATH, use_depth=use_depth, threads=1)
    assert found.keyframes == (5,)
    before, after = uncovered(gaussians, PATH[5]), uncovered(found.gaussians, PATH[5])
    # 0.3 m to the right uncovers 0.3 (1 / 1.2 - 1 / 2.5) of wall at unit depth, beside a board 0.7 m high.
    beside_board = 0.3 * (1 / 1.2 - 1 / WALL_Z) * CAMERA.fx * (0.7 / 1.2 * CAMERA.fy)
    beside_edge = 0.3 / WALL_Z * CAMERA.fx * CAMERA.height
    assert before.sum() == pytest.approx(beside_board + beside_edge, rel=0.15)
    assert after.mean() < (0.1 if use_depth else 0.65) * before.mean()
    added = found.gaussians.means_in_world[len(gaussians) :]
    assert np.median(np.abs(added[:, 2] - WALL_Z)) < (1e-3 if use_depth else 0.02 * WALL_Z)
    np.testing.assert_array_equal(found.gaussians.means_in_world[: len(gaussians)], gaussians.means_in_world)


def test_colours_are_told_in_the_exposure_of_the_reference() -> None:
    first, later, gaussians = clip()
    plain = extended_scene(gaussians, first, later, PATH, use_depth=True, threads=1).gaussians
    brighter = [colour_noise(frame, 0, 0.0, 1.15) for frame in later]
    exposures = np.tile([1.15, 0.0], (6, 1))
    found = extended_scene(gaussians, first, brighter, PATH, exposures, use_depth=True, threads=1).gaussians
    assert plain.colors is not None and found.colors is not None and len(plain) == len(found)
    new = slice(len(gaussians), None)
    unsaturated = plain.colors[new].max(axis=1) < 0.8
    assert unsaturated.sum() > 100
    np.testing.assert_allclose(found.colors[new][unsaturated], plain.colors[new][unsaturated], atol=0.015)


def test_masked_parts_of_a_keyframe_add_nothing() -> None:
    first, later, gaussians = clip()
    mask = np.ones((CAMERA.height, CAMERA.width), dtype=bool)
    mask[:, 150:] = False
    found = extended_scene(gaussians, first, later, PATH, use_depth=True, masks=[mask] * 6, threads=1).gaussians
    added = PATH[5].apply(found.means_in_world[len(gaussians) :].astype(float))
    assert len(added) > 100
    assert CAMERA.project(added)[:, 0].max() < 151


def test_it_can_be_switched_off_and_leaves_alone_what_is_covered() -> None:
    first, later, gaussians = clip()
    off = extended_scene(gaussians, first, later, PATH, options=DisocclusionOptions(keyframes=0), threads=1)
    assert off.gaussians is gaussians and off.keyframes == ()
    still = RigidTransform.identity(2)
    same = extended_scene(gaussians, first, [first, first], still, use_depth=True, threads=1)
    assert same.gaussians is gaussians and same.keyframes == ()


def test_wrong_input_is_told_apart() -> None:
    first, later, gaussians = clip()
    with pytest.raises(ValueError, match="one pose for each frame"):
        extended_scene(gaussians, first, later[:2], PATH)
    with pytest.raises(ValueError, match="images"):
        extended_scene(gaussians, first, [replace(frame, image=None) for frame in later], PATH)
    with pytest.raises(ValueError, match="DisocclusionOptions"):
        DisocclusionOptions(stride=0)
