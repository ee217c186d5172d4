"""Every provider that comes with posesplat passes the suite of its kind; networks through their real loading path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from posesplat import testing
from posesplat.geometry.matches import Matches
from posesplat.providers.depth.measured import FolderDepth, SensorDepth, Stored
from posesplat.providers.depth.monocular import MonocularDepth
from posesplat.providers.features.dinov2 import DinoFeatures
from posesplat.providers.features.pixels import NormalisedFeatures, RgbFeatures
from posesplat.providers.http_service import Retries
from posesplat.providers.inbetween.clip_files import ClipFiles
from posesplat.providers.inbetween.diffusion import DiffusionClips, DiffusionOptions
from posesplat.providers.inbetween.flow import FlowMorph
from posesplat.providers.inbetween.provider import ClipRequest
from posesplat.providers.inbetween.services import LumaClips, Polling, RunwayClips, padded
from posesplat.providers.masks.provider import CombinedMasks, FolderMasks
from posesplat.providers.multi_view.da3 import Da3Options, Da3Poses
from posesplat.providers.multi_view.open import open_multi_view
from posesplat.providers.two_view.descriptor import DescriptorMatches
from posesplat.providers.two_view.file import FileMatches, IdentityMatches
from posesplat.providers.two_view.given import GivenMatches
from posesplat.providers.two_view.networks import LIGHTGLUE_KINDS, LOFTR_KINDS, NetworkMatches
from posesplat.providers.two_view.sift import SiftMatches
from providers import tiny_videos
from providers.fake_services import FakeServices, encoded_video, served


def slow(*values: object) -> object:
    """Values of a test that runs in `make test-all` only."""
    return pytest.param(*values, marks=pytest.mark.slow)


def test_the_frames_own_depth() -> None:
    testing.check_depth_provider(SensorDepth, tolerance=1e-6)


@pytest.mark.parametrize("stored", ["metric", "relative", "disparity", "affine"])
def test_depth_in_files(stored: Stored, tmp_path: Path) -> None:
    """Exact depth, and inverse depth up to a factor and a shift, are what they are said to be."""
    for frame in testing.sample_frames():
        assert frame.depth is not None
        metres = frame.depth.astype(np.float64)
        values = {"metric": metres, "relative": 3 * metres, "disparity": 3 / metres, "affine": 3 / metres - 0.2}
        np.save(tmp_path / Path(frame.name).with_suffix(".npy"), values[stored].astype(np.float32))
    testing.check_depth_provider(lambda: FolderDepth(tmp_path, stored), tolerance=1e-4)


@pytest.mark.parametrize("kind", ["relative", "metric", "zoedepth", slow("two_headed"), "depth_pro"])
def test_depth_by_networks(kind: str, checkpoints: dict[str, Path]) -> None:
    testing.check_depth_provider(lambda: MonocularDepth(str(checkpoints[kind])), testing.sample_frames(2, 48, 36))


@pytest.mark.parametrize("make", [RgbFeatures, NormalisedFeatures])
def test_features_of_pixels(make: Callable) -> None:
    testing.check_feature_provider(make)


@pytest.mark.parametrize(("kind", "published"), [("dinov2", False), slow("registers", False), ("dinov2", True)])
def test_features_of_networks(kind: str, published: bool, checkpoints: dict[str, Path]) -> None:
    testing.check_feature_provider(
        lambda: DinoFeatures(str(checkpoints[kind]), 4, published=published, pixels=70 * 70),
        testing.sample_frames(2, 48, 36),
    )


@pytest.mark.parametrize(
    ("make", "accuracy_px"),
    [(SiftMatches, 1.5), slow(DescriptorMatches, 4.0), (IdentityMatches, None)],
)
def test_matches(make: Callable, accuracy_px: float | None) -> None:
    testing.check_two_view_provider(make, accuracy_px=accuracy_px)


def test_matches_that_are_known(tmp_path: Path) -> None:
    found = SiftMatches().matches(testing.sample_pair().a, testing.sample_pair().b)
    np.savetxt(tmp_path / "matches.txt", np.column_stack([found.pixels_a, found.pixels_b, found.scores]))
    testing.check_two_view_provider(lambda: FileMatches(tmp_path / "matches.txt"), accuracy_px=None)
    testing.check_two_view_provider(lambda: GivenMatches(found, "given"), accuracy_px=None)
    testing.check_two_view_provider(lambda: GivenMatches(Matches.none(), "none"), accuracy_px=None)


@pytest.mark.parametrize(("kind", "kinds"), [("loftr", LOFTR_KINDS), ("lightglue", LIGHTGLUE_KINDS)])
def test_matches_by_networks(kind: str, kinds: tuple[str, ...], matchers: dict[str, Path]) -> None:
    testing.check_two_view_provider(lambda: NetworkMatches(str(matchers[kind]), kinds), accuracy_px=None)


def test_poses_by_tracks() -> None:
    testing.check_multi_view_provider(lambda: open_multi_view("tracks"))


@pytest.mark.slow
def test_poses_by_colmap() -> None:
    if find_spec("pycolmap") is None:
        pytest.skip("needs pycolmap: pip install posesplat[sfm]")
    testing.check_multi_view_provider(lambda: open_multi_view("sfm"), repeats_within_deg=0.5)


@pytest.mark.slow
def test_poses_by_our_network() -> None:
    """Trained on rooms, and good to some degrees."""
    loaded = open_multi_view("network")
    testing.check_multi_view_provider(lambda: loaded, tolerance_deg=5.0, tolerance=0.3)


@pytest.mark.slow
def test_poses_by_a_random_network(checkpoint: Path) -> None:
    """Depth Anything 3, whose random weights give poses that mean nothing."""
    loaded = Da3Poses(str(checkpoint), Da3Options(longest_px=70, device="cpu", min_consistent=0.0))
    testing.check_multi_view_provider(lambda: loaded, tolerance_deg=None)


def test_morphs() -> None:
    testing.check_inbetween_provider(FlowMorph)


def test_clips_in_files(tmp_path: Path) -> None:
    for index, frame in enumerate(testing.sample_frames(5)):
        (tmp_path / "clip").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "clip" / f"{index}.png"), cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    testing.check_inbetween_provider(lambda: ClipFiles(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(tiny_videos.SAVED))
def test_clips_by_networks(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="needs diffusers: pip install posesplat[inbetween]")
    tiny_videos.SAVED[kind](tmp_path)
    options = DiffusionOptions(width=32, steps=1, guidance=1.0, device="cpu")
    first, last = (frame.image for frame in testing.sample_frames(2, 32, 24))
    loaded = DiffusionClips(str(tmp_path), options)
    testing.check_inbetween_provider(lambda: loaded, ClipRequest(first, last, "a b", seed=3, count=4))


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServices]:
    frames = [padded(np.asarray(frame.image), (160, 96)) for frame in testing.sample_frames(7)]
    with served(FakeServices(encoded_video(tmp_path / "made.mp4", frames))) as running:
        monkeypatch.setenv("RUNWAYML_API_SECRET", "key")
        monkeypatch.setenv("RUNWAYML_BASE_URL", running.url)
        monkeypatch.setenv("LUMAAI_API_KEY", "key")
        monkeypatch.setenv("LUMAAI_BASE_URL", f"{running.url}/luma")
        yield running


@pytest.mark.parametrize("kind", ["runway", slow("luma")])
def test_clips_by_services(kind: str, services: FakeServices) -> None:
    pytest.importorskip("httpx", reason="needs httpx: pip install posesplat[inbetween]")
    services.looks_until_done = 0
    waits = {"polling": Polling(0.0, 1.0), "retries": Retries(sleep=lambda _: None)}
    urls = ("https://example.org/a.jpg", "https://example.org/b.jpg")
    testing.check_inbetween_provider(lambda: RunwayClips(**waits) if kind == "runway" else LumaClips(urls, **waits))


def test_masks_in_files(tmp_path: Path) -> None:
    usable = []
    for index, frame in enumerate(testing.sample_frames()):
        mask = np.full((frame.camera.height, frame.camera.width), 255, np.uint8)
        mask[:, : 40 + 10 * index] = 0
        cv2.imwrite(str(tmp_path / frame.name), mask)
        usable.append(mask > 0)
    testing.check_mask_provider(lambda: FolderMasks(tmp_path), usable=usable)
    testing.check_mask_provider(lambda: CombinedMasks([FolderMasks(tmp_path)] * 2), usable=usable)
