from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posesplat.datasets import rooms
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import perturbed
from posesplat.providers.two_view.file import FileMatches, IdentityMatches
from posesplat.providers.two_view.networks import LIGHTGLUE_KINDS, NetworkMatches
from posesplat.providers.two_view.open import TWO_VIEW_SPECS, open_two_view
from posesplat.providers.two_view.provider import TwoViewProvider
from posesplat.providers.two_view.sift import SiftMatches, SiftOptions

CAMERA = Camera(262.5, 262.5, 160.0, 120.0, 320, 240)
LARGE = CAMERA.resized(640, 480)
MOTION = np.array([0.0, 0.05, 0.0, -0.1, 0.0, 0.0])


@pytest.fixture(scope="module")
def pictures() -> tuple[Frame, Frame]:
    room = rooms.box_room(2)
    return (
        room.render(CAMERA, room.default_view, supersample=1),
        room.render(LARGE, perturbed(room.default_view, MOTION), supersample=1),
    )


def true_places(a: Frame, b: Frame, pixels_a: np.ndarray) -> np.ndarray:
    """Where B shows what A shows at some places, by A's exact depth."""
    assert a.depth is not None
    columns, rows = np.floor(pixels_a).astype(int).T
    points = a.camera.rays_at(pixels_a) * a.depth[rows, columns, None]
    return b.camera.project(perturbed(_STILL, MOTION).apply(points))


_STILL = perturbed(rooms.box_room(2).default_view, np.zeros(6)) * rooms.box_room(2).default_view.inv()


@pytest.mark.parametrize("max_width", [1024, 320])
def test_sift_matches_lie_where_the_depth_says(pictures: tuple[Frame, Frame], max_width: int) -> None:
    a, b = pictures
    found = SiftMatches(SiftOptions(max_width=max_width)).matches(a, b)
    distance = np.linalg.norm(true_places(a, b, found.pixels_a) - found.pixels_b, axis=1)
    assert len(found) > 100
    assert np.median(distance) < 0.5
    assert np.mean(distance < 3.0) > 0.85
    # Unbiased: half a pixel of convention would show in the median.
    offset = np.median(true_places(a, b, found.pixels_a) - found.pixels_b, axis=0)
    assert np.abs(offset).max() < 0.15


def test_sift_finds_nothing_in_blank_images(pictures: tuple[Frame, Frame]) -> None:
    blank = Frame(CAMERA, np.full((240, 320, 3), 90, np.uint8))
    assert len(SiftMatches().matches(pictures[0], blank)) == 0


def test_identity_matches_each_place_with_itself(pictures: tuple[Frame, Frame]) -> None:
    found = IdentityMatches().matches(*pictures)
    assert np.array_equal(2.0 * found.pixels_a, found.pixels_b)
    assert found.pixels_a.min() > 0


def test_files_are_read_back(pictures: tuple[Frame, Frame], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels_a, pixels_b = rng.uniform(0, 240, (7, 2)), rng.uniform(0, 480, (7, 2))
    scores = rng.random(7)
    np.savez(tmp_path / "m.npz", pixels_a=pixels_a, pixels_b=pixels_b, scores=scores)
    np.savetxt(tmp_path / "m.txt", np.column_stack([pixels_a, pixels_b, scores]))
    np.savetxt(tmp_path / "four.txt", np.column_stack([pixels_a, pixels_b]))
    for name, expected in (("m.npz", scores), ("m.txt", scores), ("four.txt", np.ones(7))):
        found = FileMatches(tmp_path / name).matches(*pictures)
        assert found.pixels_a == pytest.approx(pixels_a)
        assert found.pixels_b == pytest.approx(pixels_b)
        assert found.scores == pytest.approx(expected)


def test_files_that_are_wrong_say_what_was_expected(pictures: tuple[Frame, Frame], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Expected matches at"):
        FileMatches(tmp_path / "none.npz")
    np.savetxt(tmp_path / "three.txt", np.ones((2, 3)))
    with pytest.raises(ValueError, match="x_a y_a x_b y_b"):
        FileMatches(tmp_path / "three.txt").matches(*pictures)
    np.savez(tmp_path / "names.npz", left=np.ones((2, 2)))
    with pytest.raises(ValueError, match="pixels_a"):
        FileMatches(tmp_path / "names.npz").matches(*pictures)
    np.savetxt(tmp_path / "far.txt", np.array([[10.0, 10.0, 700.0, 10.0]]))
    with pytest.raises(ValueError, match="image B must lie within its 640 x 480"):
        FileMatches(tmp_path / "far.txt").matches(*pictures)


def test_loftr_checkpoint_gives_matches_in_the_frames_pixels(
    pictures: tuple[Frame, Frame], matchers: dict[str, Path]
) -> None:
    network = NetworkMatches(str(matchers["loftr"]), min_score=0.0)
    a, b = pictures
    found = network.matches(a, a)
    assert network.name.startswith("efficientloftr ")
    # Of random weights nothing is asked but this: an image matched with itself finds itself.
    assert len(found) > 5
    assert np.median(np.linalg.norm(found.pixels_a - found.pixels_b, axis=1)) < 6.0
    other = network.matches(a, b)
    assert (other.pixels_b <= [640, 480]).all()
    assert (other.pixels_a <= [320, 240]).all()


def test_lightglue_checkpoint_gives_matches_in_the_frames_pixels(
    pictures: tuple[Frame, Frame], matchers: dict[str, Path]
) -> None:
    network = NetworkMatches(str(matchers["lightglue"]), LIGHTGLUE_KINDS, min_score=0.0)
    found = network.matches(pictures[0], pictures[0])
    assert network.name.startswith("lightglue ")
    assert (found.pixels_a > 0).all()
    assert (found.pixels_b <= [320, 240]).all()


def test_network_needs_images_and_the_right_kind(pictures: tuple[Frame, Frame], matchers: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="lightglue"):
        NetworkMatches(str(matchers["loftr"]), LIGHTGLUE_KINDS)
    network = NetworkMatches(str(matchers["loftr"]))
    with pytest.raises(ValueError, match="Matches need frames with an image"):
        network.matches(pictures[0], Frame(CAMERA, None, pictures[0].depth))


def test_words_open_what_they_say(tmp_path: Path, matchers: dict[str, Path]) -> None:
    np.savetxt(tmp_path / "m.txt", np.ones((2, 4)))
    words = ("sift", "identity", "descriptor", f"file:{tmp_path / 'm.txt'}", f"loftr:{matchers['loftr']}")
    for word in words:
        opened = open_two_view(word)
        assert isinstance(opened, TwoViewProvider)
    assert {word.partition(":")[0] for word in words} | {"lightglue"} == {
        word.partition(":")[0] for word in TWO_VIEW_SPECS
    }


@pytest.mark.parametrize("word", ["siift", "loftr:", "orb", "file"])
def test_unknown_words_list_the_known_ones(word: str) -> None:
    with pytest.raises(ValueError, match="--matcher must be one of: sift"):
        open_two_view(word)
