"""The viewer in a real browser: what must be on the screen is, and nothing is asked of any other host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from chromium import WatchedPage, pixels_of
from shown_results import WALL_RGB, shown

from posesplat.evaluate.reports.page import Page
from posesplat.viewer.controls import Controls
from posesplat.viewer.drawing import FOUND, REFUSED, Amount
from posesplat.viewer.page import report_view
from posesplat.viewer.server import viser_server
from posesplat.viewer.stage import Stage

PICTURE_RGB = (30 / 255, 180 / 255, 60 / 255)
"""Of what the cameras saw."""


def wall_pixels(picture: np.ndarray) -> int:
    return pixels_of(picture, WALL_RGB, 40)


def camera_pixels(picture: np.ndarray) -> int:
    """Pictures on frustums, of the colour that was seen."""
    return pixels_of(picture, PICTURE_RGB, 30)


def red_pixels(picture: np.ndarray) -> int:
    colour = REFUSED[0] / 255, REFUSED[1] / 255, REFUSED[2] / 255
    return pixels_of(picture, colour, 60)


def test_splats_cameras_and_refusals_are_on_the_screen(browser: Any) -> None:
    with viser_server(label="wall") as server:
        controls = Controls.add(Stage.set(server, [shown(refused=(1,))], Amount(threads=1)))
        drawn = controls.stage.drawn[0]
        drawn.now.visible = False
        watched = WatchedPage(browser, 760, 300)
        watched.page.goto(f"http://127.0.0.1:{server.get_port()}")
        whole = watched.wait_for(lambda picture: wall_pixels(picture) > 10_000, "the blue wall of splats")
        assert camera_pixels(whole) > 100
        assert red_pixels(whole) > 3
        for part, pixels in (("Gaussians", wall_pixels), ("refused", red_pixels), ("cameras seen", camera_pixels)):
            drawn.parts[part].visible = False
            before = pixels(whole)
            watched.wait_for(lambda picture: pixels(picture) < 0.3 * before, f"{part} gone")  # noqa: B023
        assert watched.page.get_by_text("Look through this camera").is_visible()
        assert watched.page.get_by_text("4 of 5 frames posed").is_visible()
        controls.go_to(1)
        watched.page.get_by_text("refused. Too little of the map is seen").wait_for()
        assert watched.hosts() == {"127.0.0.1"}
        assert watched.errors == []
        watched.page.close()


def test_a_report_holds_the_scene_and_opens_offline(browser: Any, tmp_path: Path) -> None:
    page = Page("A report")
    page.add_view(report_view([shown(refused=(1,))], threads=1))
    file = tmp_path / "report.html"
    file.write_text(page.html())
    watched = WatchedPage(browser, 480, 520)
    watched.page.context.set_offline(True)
    watched.page.goto(file.as_uri())
    assert watched.page.locator("iframe").count() == 1
    assert wall_pixels(watched.picture()) > 10_000, "the poster"
    assert not watched.page.locator("iframe").is_visible()
    assert [frame for frame in watched.page.frames if frame.query_selector("canvas")] == [], "nothing runs yet"
    watched.page.get_by_text("Open in three dimensions").click()
    watched.page.frame_locator("iframe").locator("canvas").first.wait_for()
    watched.wait_for(lambda picture: wall_pixels(picture) > 10_000 and camera_pixels(picture) > 50, "the scene")
    assert watched.hosts() == {"file"}
    assert watched.errors == []
    watched.page.close()


def test_colours_of_the_test_are_apart() -> None:
    # Nothing that the viewer draws by itself may pass for the wall or for what was seen.
    for colour in (*FOUND, REFUSED, (255, 255, 255), (0, 0, 0)):
        patch = np.array(colour, np.uint8)[None, None]
        assert wall_pixels(patch) + camera_pixels(patch) == 0
