from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from shown_results import CAMERA, REASON, WALL_RGB, moving_camera, shown

from posesplat.geometry.trajectory import Trajectory
from posesplat.viewer.controls import Controls, frame_words, result_words
from posesplat.viewer.drawing import Amount
from posesplat.viewer.rendered import frame_pictures
from posesplat.viewer.server import viser_server
from posesplat.viewer.stage import Stage


@pytest.fixture
def controls() -> Iterator[Controls]:
    """Two results beside each other; the second is shorter and has its third frame refused."""
    short = shown(refused=(2,), label="short")
    first_four = short.trajectory.select(np.arange(4))
    short = replace(short, trajectory=first_four, cameras=short.cameras[:4], true=short.true[:4])
    with viser_server() as server:
        yield Controls.add(Stage.set(server, [shown(), short], Amount(threads=1)))


TIMES = 1e9 + np.array([0.0, 0.1, 0.2, 0.45, 0.6])


def place_of(handle: Any, name: str) -> np.ndarray:
    return np.asarray(getattr(handle, name), dtype=float)


def test_the_marked_camera_goes_where_the_frame_is(controls: Controls) -> None:
    long, short = controls.stage.drawn
    for step, place in enumerate(moving_camera()):
        controls.go_to(step)
        assert place_of(long.now, "position") == pytest.approx(place.inv().translation)
        assert place_of(long.now, "wxyz") == pytest.approx([1, 0, 0, 0])
        assert long.now.visible
        assert short.now.visible is (step != 2), "a refused frame has no place"
    assert place_of(short.now, "position") == pytest.approx(moving_camera()[3].inv().translation), "its last frame"


def test_playback_begins_again_after_the_last_frame(controls: Controls) -> None:
    seen = []
    for _ in range(7):
        seen.append(controls.step)
        controls.play_on()
    assert seen == [0, 1, 2, 3, 4, 0, 1]
    controls.go_to(99)
    assert controls.step == 4


def test_playback_runs_while_it_is_on(controls: Controls) -> None:
    stop = threading.Event()
    controls.playing = True
    controls._handles["speed"].value = "30 frames/s"
    thread = threading.Thread(target=controls.run, args=(stop,))
    thread.start()
    end = time.monotonic() + 20
    while controls.step == 0 and time.monotonic() < end:
        time.sleep(0.01)
    stop.set()
    thread.join(20)
    assert controls.step > 0
    assert not thread.is_alive()


def test_cameras_carry_what_was_seen_or_what_is_rendered(controls: Controls) -> None:
    drawn = controls.stage.drawn[0]
    assert "cameras rendered" not in drawn.parts, "nothing is rendered before it is asked for"
    controls.show_on_cameras("rendered")
    assert (drawn.parts["cameras seen"].visible, drawn.parts["cameras rendered"].visible) == (False, True)
    controls.show_on_cameras("no cameras")
    assert (drawn.parts["cameras seen"].visible, drawn.parts["cameras rendered"].visible) == (False, False)


def test_pictures_of_a_frame() -> None:
    pictures = frame_pictures(shown(), 2, 64, threads=1)
    assert sorted(pictures) == ["difference", "rendered", "seen"]
    assert pictures["seen"] is shown().seen[2] or np.array_equal(pictures["seen"], shown().seen[2])
    assert np.abs(pictures["rendered"][10:-10, 10:-10] / 255 - np.array(WALL_RGB)).max() < 0.03
    refused = frame_pictures(shown(refused=(2,)), 2, 64, threads=1)
    assert sorted(refused) == ["seen"]
    unseen = frame_pictures(replace(shown(), seen={}), 2, 32, threads=1)
    assert sorted(unseen) == ["rendered"]
    assert unseen["rendered"].shape == (24, 32, 3)


def test_frames_without_colour_show_their_depth() -> None:
    result = shown()
    assert result.gaussians is not None
    pictures = frame_pictures(replace(result, gaussians=replace(result.gaussians, colors=None)), 2, 64, threads=1)
    assert sorted(pictures) == ["rendered", "seen"]


def test_ellipsoids_grow_by_the_factor_that_is_told(controls: Controls) -> None:
    drawn = controls.stage.drawn[0]
    assert drawn.regions is not None
    for factor in (1, 50):
        controls.magnify(factor)
        scales = np.asarray(drawn.parts["covariance"].batched_scales)
        assert scales == pytest.approx(factor * drawn.regions.radii, rel=1e-5)
        assert ("50 x" in drawn.parts["covariance"].name) is (factor == 50)


def test_words_say_what_was_refused_and_why(controls: Controls) -> None:
    result = shown(refused=(1,))
    assert frame_words(result, 1) == f"**01.png**, 2 of 5: refused. {REASON}"
    assert frame_words(result, 0).startswith("**00.png**, 1 of 5: posed, sigma 37.4 mm, 0.0992 deg")
    clocked = replace(result, trajectory=Trajectory(result.trajectory.estimates, TIMES, result.trajectory.names))
    assert frame_words(clocked, 3).startswith("**03.png**, 4 of 5, 0.45 s: posed")
    words = result_words(controls.stage.drawn[1], "blue")
    assert "3 of 4 frames posed; blue" in words
    assert f"refused, 1 frames from 02.png: {REASON}" in words
    assert "unit: metre" in words


def test_names_cannot_become_markup() -> None:
    result = shown()
    names = ("<img src=x>*", *result.trajectory.names[1:])
    trajectory = type(result.trajectory)(result.trajectory.estimates, result.trajectory.timestamps, names)
    assert r"\<img src=x\>\*" in frame_words(replace(result, trajectory=trajectory), 0)


def test_looking_through_a_camera_takes_the_browser_there(controls: Controls) -> None:
    class Browser:
        def __init__(self) -> None:
            self.camera = type("Camera", (), {})()

        def atomic(self) -> threading.Lock:
            return threading.Lock()

    browser = Browser()
    controls.go_to(4)
    controls.look_through(browser)
    assert browser.camera.position == pytest.approx([0.4, 0, 0], abs=0.01)
    assert browser.camera.look_at[2] > 1
    assert browser.camera.up_direction == pytest.approx([0, -1, 0])
    assert browser.camera.fov == pytest.approx(2 * np.arctan(0.5 * CAMERA.height / CAMERA.fy))
