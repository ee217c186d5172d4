from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chromium import pixels_of
from scipy.spatial.transform import RigidTransform, Rotation
from shown_results import TURNED, WALL_RGB, moved, shown

from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import looking_at
from posesplat.viewer.drawing import FOUND, REFUSED
from posesplat.viewer.layout import Layout
from posesplat.viewer.page import PAGE_SPLATS, report_view, scene_page
from posesplat.viewer.poster import FOV_DEG, poster


def rgb(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    return colour[0] / 255, colour[1] / 255, colour[2] / 255


def many_gaussians(count: int) -> Gaussians:
    """Nothing about them repeats, so that nothing packs well."""
    rng = np.random.default_rng(0)
    return Gaussians(
        means_in_world=rng.uniform(-2, 2, (count, 3)).astype(np.float32),
        quats_wxyz=Rotation.random(count, random_state=1).as_quat(scalar_first=True).astype(np.float32),
        scales=rng.uniform(0.002, 0.05, (count, 3)).astype(np.float32),
        opacities=rng.uniform(0, 1, count).astype(np.float32),
        colors=rng.uniform(0, 1, (count, 3)).astype(np.float32),
    )


def test_a_page_stays_small_whatever_the_map_is() -> None:
    result = shown(gaussians=many_gaussians(3 * PAGE_SPLATS))
    assert len(scene_page([result], threads=1)) < 3.2e6
    assert len(scene_page([result, replace(result, label="again")], threads=1)) < 3.3e6
    assert len(scene_page([result], splats=1000, threads=1)) < 1.0e6


def test_a_page_needs_something_to_show() -> None:
    with pytest.raises(ValueError, match="nothing to view"):
        scene_page([])


def test_a_report_says_what_the_colours_mean() -> None:
    view = report_view([shown(refused=(1,))], threads=1)
    assert view.html is not None
    for words in ("Orange: the cameras found", "Green: the truth", "Red dots: refused frames"):
        assert words in view.note
    assert "Red dots" not in report_view([shown()], threads=1).note


def test_a_report_is_written_where_no_port_can_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_port(host: str, port: int) -> int:
        raise ValueError(f"Port {port} of {host} cannot be used (Operation not permitted).")

    monkeypatch.setattr("posesplat.viewer.server.free_port", no_port)
    view = report_view([shown()], threads=1)
    assert view.html is None
    assert "Operation not permitted" in view.note
    assert view.poster.rgb.std() > 0


def test_the_poster_shows_what_stands_where() -> None:
    picture = poster([shown(refused=(4,))], threads=1)
    layout = Layout.of(shown(refused=(4,)))
    height, width = picture.shape[:2]
    focal = 0.5 * height / np.tan(np.radians(0.5 * FOV_DEG))
    camera = Camera(focal, focal, width / 2, height / 2, width, height)
    cam_from_world = looking_at(layout.eye, layout.target, -layout.up)

    def share(point_in_world: list[float], colour: tuple[float, float, float]) -> float:
        """Of the pixels around a point, those of a colour."""
        x, y = camera.project(cam_from_world.apply([point_in_world]))[0]
        return pixels_of(picture[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3], colour, 20) / 25

    assert share([0.9, -0.6, 2.0], WALL_RGB) == 1
    assert share([-2.4, 0.0, 2.0], (1.0, 1.0, 1.0)) == 1, "beside the wall"
    assert share([0.2, 0.0, 0.0], rgb(REFUSED)) == 1, "where the path ends"
    assert share([0.0, 0.0, 0.0], rgb(REFUSED)) == 0
    assert pixels_of(picture, rgb(FOUND[0]), 40) > 200


def test_the_poster_does_not_depend_on_the_world() -> None:
    here, there = (poster([replace(r, true=(), seen={})], threads=1) for r in (shown(), moved(shown(), TURNED)))
    assert np.abs(here.astype(int) - there).mean() < 1.0


def test_two_results_share_a_poster() -> None:
    other = moved(shown(label="other"), RigidTransform.from_translation([0, 0, 50]))
    picture = poster([shown(), other], threads=1)
    half = picture.shape[1] // 2
    assert min(pixels_of(side, WALL_RGB, 20) for side in (picture[:, :half], picture[:, half:])) > 10_000
    assert pixels_of(picture[:, half:], rgb(FOUND[1]), 40) > 50
