from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.frame_errors import FrameErrors, standard_deviations
from posesplat.evaluate.reports import plots
from posesplat.evaluate.reports.localization import frame_table, localization_report
from posesplat.evaluate.reports.page import HtmlTable, Page, SceneView
from posesplat.evaluate.reports.pictures import Picture, compare_frame
from posesplat.evaluate.run_record import RunRecord
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import exp, looking_at
from posesplat.geometry.trajectory import Trajectory

CAMERA = Camera(60.0, 60.0, 32.0, 24.0, 64, 48)
GREY = 0.5
DISTANCE = 2.0


def grey_wall() -> Gaussians:
    """A flat wall at z = 2 m, larger than the camera sees."""
    x, y = np.meshgrid(np.arange(-1.6, 1.6, 0.025), np.arange(-1.3, 1.3, 0.025))
    means = np.stack([x, y, np.full_like(x, DISTANCE)], axis=-1).reshape(-1, 3).astype(np.float32)
    count = len(means)
    return Gaussians(
        means_in_world=means,
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        scales=np.tile(np.array([0.02, 0.02, 0.001], np.float32), (count, 1)),
        opacities=np.full(count, 0.99, np.float32),
        colors=np.full((count, 3), GREY, np.float32),
    )


def frame_of(depth_m: float, grey: int = 128, name: str = "a.png") -> Frame:
    image = np.full((48, 64, 3), grey, np.uint8)
    return Frame(CAMERA, image, np.full((48, 64), depth_m, np.float32), name)


class Links(HTMLParser):
    """Collects tags and everything that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "data", "poster", "srcset"} and value is not None:
                self.loads.append(value)


def parsed(html: str) -> Links:
    links = Links()
    links.feed(html)
    return links


@pytest.fixture(scope="module")
def report() -> str:
    pose = RigidTransform.identity()
    estimates = (
        PoseEstimate(True, "", pose, covariance=np.diag([1e-8] * 3 + [4e-6] * 3), scale=Scale(True, "map")),
        PoseEstimate.failure("The map covers 3 % of the frame; <15 %> are needed."),
    )
    trajectory = Trajectory(estimates, np.array([0.0, 1.0]), ("a.png", "b.png"))
    frames = FrameSequence.from_frames([frame_of(DISTANCE), frame_of(DISTANCE, name="b.png")])
    scene = SplatMap(grey_wall(), (MapView(CAMERA, pose, "view"),))
    run = RunRecord.begin("localize", {"start": "none"}, seed=0, threads=1)
    moved = RigidTransform.from_translation([0.003, 0.0, 0.0])
    return localization_report(replace(run, interrupted=True), scene, frames, trajectory, [moved, None], 1)


def test_a_report_loads_nothing(report: str) -> None:
    links = parsed(report)
    assert not {"script", "link", "iframe", "object"} & set(links.tags)
    assert all(link.startswith(("data:image/", "#")) for link in links.loads)
    assert "@import" not in report
    assert not re.search(r"url\((?!#)", report)


def test_a_report_says_what_was_found_and_what_was_not(report: str) -> None:
    assert "1 of 2 frames found" in report
    assert "&lt;15 %&gt; are needed" in report
    assert "<15 %>" not in report
    assert "interrupted" in report
    row = next(line for line in report.splitlines() if "a.png" in line and "<td" in line)
    # sigma: sqrt(3 x 4e-6) m; the truth is 3 mm away.
    assert "<td>3.46</td>" in row
    assert "<td>3</td>" in row


def test_the_pictures_of_a_report_can_be_decoded(report: str) -> None:
    images = re.findall(r"data:image/jpeg;base64,([^\"]+)", report)
    assert len(images) == 6
    for image in images:
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(image), np.uint8), cv2.IMREAD_COLOR)
        assert decoded.shape == (48, 64, 3)


def test_plots_take_the_colours_of_the_page(report: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", report, re.S)
    assert len(drawings) == 2
    for drawing in drawings:
        assert "currentColor" in drawing
        opening = drawing[: drawing.index(">")]
        assert "viewBox" in opening
        assert " width=" not in opening
        assert " height=" not in opening


def test_without_matplotlib_the_report_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    trajectory = Trajectory((PoseEstimate(True, "", RigidTransform.identity()),), np.array([0.0]), ("a.png",))
    frames = FrameSequence.from_frames([frame_of(DISTANCE)])
    html = localization_report(RunRecord.begin("localize", {}), SplatMap(grey_wall()), frames, trajectory)
    assert "posesplat[report]" in html
    assert "<svg" not in html
    assert "data:image/jpeg" in html


def test_pictures_show_the_difference_in_depth_and_brightness() -> None:
    near, same = (compare_frame(grey_wall(), frame_of(depth), RigidTransform.identity()) for depth in (1.99, DISTANCE))
    # The rendered wall lies 10 mm behind what was measured: the scale ends at 50 mm, and 1/5 of the way to red.
    caption = near.depth[2].caption
    assert "+50 mm" in caption
    assert "median 10 mm" in caption
    pixel = near.depth[2].rgb[24, 32].astype(int)
    assert pixel[0] > pixel[2] + 15
    np.testing.assert_array_equal(near.colour[1].rgb, np.full((48, 64, 3), 128))
    np.testing.assert_allclose(near.colour[0].rgb[24, 32], 255 * GREY, atol=1)
    # Inferno begins at black.
    assert same.colour[2].rgb[24, 32].max() < 20


def test_the_view_from_above_is_not_mirrored() -> None:
    """Right and ahead of the plot, crossed, must point against the cameras' down."""
    for down in np.concatenate([np.eye(3), -np.eye(3)]):
        ahead = np.roll(down, 1)
        pose = looking_at(np.zeros(3), ahead, down)
        (right_axis, right_sign), (ahead_axis, ahead_sign) = plots._seen_from_above(
            [plots.Track("", RigidTransform.concatenate([pose, pose]), plots.BLUE)]
        )
        towards_eye = np.cross(right_sign * np.eye(3)[right_axis], ahead_sign * np.eye(3)[ahead_axis])
        np.testing.assert_array_equal(towards_eye, -down)


def test_errors_of_frames() -> None:
    random = np.random.default_rng(0)
    true = RigidTransform.from_components(random.normal(size=(3, 3)), Rotation.random(3, rng=random))
    # A left perturbation by a translation of length 5 moves the centre by 5, whatever the rotation.
    found = [exp(np.array([0.0, 0.0, 0.0, 3.0, 0.0, 4.0])) * true[0], exp(np.array([0.0, 0.1, 0, 0, 0, 0])) * true[1]]
    estimates = (*(PoseEstimate(True, "", pose) for pose in found), PoseEstimate.failure("no"))
    trajectory = Trajectory(estimates, np.arange(3.0), ("a", "b", "c"))
    errors = FrameErrors.of(trajectory, list(true))
    np.testing.assert_allclose(errors.translation, [5.0, 0.0, np.nan], atol=1e-9)
    np.testing.assert_allclose(errors.rotation_deg, [0.0, np.degrees(0.1), np.nan], atol=1e-6)
    assert errors.known.tolist() == [True, True, False]
    statistics = errors.statistics()
    assert statistics is not None
    assert statistics[0].median == pytest.approx(2.5)
    assert FrameErrors.of(trajectory, [None] * 3).statistics() is None


def test_sigma_is_the_expected_length_of_the_error() -> None:
    covariance = np.diag([1e-4, 4e-4, 4e-4, 0.04, 0.04, 0.01])
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(6), covariance, 200_000)
    sigma, sigma_deg = standard_deviations(PoseEstimate(True, "", RigidTransform.identity(), covariance=covariance))
    assert sigma == pytest.approx(np.sqrt(np.mean(np.sum(draws[:, 3:] ** 2, axis=1))), rel=0.01)
    assert sigma_deg == pytest.approx(np.degrees(np.sqrt(np.mean(np.sum(draws[:, :3] ** 2, axis=1)))), rel=0.01)
    assert np.isnan(standard_deviations(PoseEstimate.failure("no"))).all()


def test_maps_without_scale_are_not_given_millimetres() -> None:
    trajectory = Trajectory((PoseEstimate(True, "", RigidTransform.identity()),), np.array([0.0]), ("a",))
    assert "sigma mm" in frame_table(trajectory, None, metric=True).headings
    assert "sigma units" in frame_table(trajectory, None, metric=False).headings


def test_text_is_escaped_everywhere() -> None:
    page = Page("<b>title", "<b>lead")
    page.add_heading("<b>heading")
    page.add_text("<b>text")
    page.add_warning("<b>warning")
    page.add_facts({"<b>name": "<b>value"})
    page.add_table(HtmlTable(("<b>head",), (("<b>cell",),)))
    page.add_code("<b>code")
    assert "b" not in parsed(page.html()).tags
    assert page.html().count("&lt;b&gt;") == 11


def test_options_are_told_as_a_person_writes_them() -> None:
    page = Page("a")
    options = {"every": 1, "json": False, "resume": True, "frames": ["x", "y"], "export": "", "rule": {"limit": None}}
    page.add_options(replace(RunRecord.begin("localize", {}), options=options))
    told = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page.html()))
    assert told == {
        "every": "1",
        "json": "no",
        "resume": "yes",
        "frames": "x, y",
        "export": "none",
        "rule.limit": "none",
    }


def test_an_inner_page_is_held_whole_and_loads_nothing_by_itself() -> None:
    inner = "<!doctype html><script>const a = \"x\" && 'y';</script><img src='data:,'>"
    page = Page("a")
    page.add_view(SceneView(inner, "what it is", Picture(np.zeros((4, 4, 3), np.uint8), "first view")))
    held: list[str] = []

    class Frames(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "iframe":
                held.append(dict(attrs)["data-page"] or "")
                assert not {"src", "srcdoc"} & dict(attrs).keys()

    Frames().feed(page.html())
    assert held == [inner]
    assert all(link.startswith("data:image/jpeg") for link in parsed(page.html()).loads)
    page = Page("b")
    page.add_view(SceneView(None, "how to get it", Picture(np.zeros((4, 4, 3), np.uint8), "first view")))
    assert "iframe" not in parsed(page.html()).tags
    assert "how to get it" in page.html()
