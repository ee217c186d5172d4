"""In-between frames that run here: morphs, clips of files, and the cache of all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from posesplat.providers.inbetween.cache import ClipCache, clip_key
from posesplat.providers.inbetween.clip_files import ClipFiles
from posesplat.providers.inbetween.flow import WARPS, FlowMorph
from posesplat.providers.inbetween.open import open_inbetween
from posesplat.providers.inbetween.provider import ClipRequest, InbetweenProvider
from providers.fake_services import encoded_video


def textured(shift: int, seed: int = 0) -> np.ndarray:
    """A window of a smooth random texture, moved to the left by some pixels."""
    rng = np.random.default_rng(seed)
    wide = cv2.GaussianBlur(rng.integers(0, 255, size=(96, 400, 3)).astype(np.float32), (0, 0), 3)
    wide = 127 + 6 * (wide - wide.mean())
    return np.clip(wide[:, 40 + shift : 168 + shift], 0, 255).astype(np.uint8)


REQUEST = ClipRequest(textured(0), textured(8), count=3)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    inner = (slice(12, -12), slice(20, -20))
    return float(np.abs(first[inner].astype(int) - second[inner].astype(int)).mean())


@pytest.mark.parametrize("kind", ["dense", "affine", "halves"])
def test_a_morph_moves_along_the_flow(kind: str) -> None:
    frames = FlowMorph().frames(replace(REQUEST, seed=WARPS.index(kind)))
    blend = [(REQUEST.first * (1 - t) + REQUEST.last * t).astype(np.uint8) for t in (0.25, 0.5, 0.75)]
    for frame, true, faded in zip(frames, (textured(2), textured(4), textured(6)), blend, strict=True):
        assert difference(frame, true) < 3
        assert difference(faded, true) > 9


def test_a_pan_slides_over_both_images() -> None:
    frames = FlowMorph().frames(replace(REQUEST, seed=WARPS.index("pan"), count=95))
    # A quarter of 128 columns overlaps: 96 columns lie between the images, one a frame.
    assert np.array_equal(frames[9][:, :80], REQUEST.first[:, 10:90])
    assert np.array_equal(frames[89][:, 60:], REQUEST.last[:, 54:122])


def test_every_seed_gives_its_own_clip_again() -> None:
    clips = [FlowMorph().frames(replace(REQUEST, seed=seed)) for seed in range(4)]
    assert all(np.array_equal(clip, FlowMorph().frames(replace(REQUEST, seed=k))) for k, clip in enumerate(clips))
    assert len({np.array(clip).tobytes() for clip in clips}) == 4


def test_clips_of_files_run_from_a_to_b_without_the_ends(tmp_path: Path) -> None:
    shown = [textured(k) for k in (0, 2, 4, 6, 8)]
    for name, frames in (("clip2", shown), ("clip10_ba", shown[::-1])):
        (tmp_path / name).mkdir()
        for index, frame in enumerate(frames):
            cv2.imwrite(str(tmp_path / name / f"{index}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    encoded_video(tmp_path / "clip11.mp4", shown[1:-1])
    (tmp_path / "notes.txt").write_text("nothing")
    provider = open_inbetween(str(tmp_path))
    assert isinstance(provider, ClipFiles) and provider.stored_clips == 3
    assert [clip.name for clip in provider.clips] == ["clip2", "clip10_ba", "clip11.mp4"]
    for number in range(3):
        frames = provider.frames(replace(REQUEST, number=number))
        assert len(frames) == 3
        for frame, true in zip(frames, shown[1:-1], strict=True):
            assert np.abs(frame.astype(int) - true).mean() < (6 if number == 2 else 0.1)
    with pytest.raises(ValueError, match="3 clips, from 0 on; got number 3"):
        provider.frames(replace(REQUEST, number=3))


def test_clips_take_the_size_of_the_images(tmp_path: Path) -> None:
    big = cv2.resize(textured(4), (256, 192), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "0.png"), cv2.cvtColor(big, cv2.COLOR_RGB2BGR))
    (frame,) = ClipFiles(tmp_path).frames(REQUEST)
    assert frame.shape == REQUEST.first.shape and difference(frame, textured(4)) < 3


def test_a_clip_of_nothing_but_its_ends_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), cv2.cvtColor(REQUEST.first, cv2.COLOR_RGB2BGR))
    with pytest.raises(ValueError, match="got none besides them"):
        ClipFiles(tmp_path).frames(REQUEST)
    with pytest.raises(ValueError, match="must hold clips"):
        (tmp_path / "empty").mkdir()
        ClipFiles(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="there is none"):
        ClipFiles(tmp_path / "nowhere")


class Counting(FlowMorph):
    """Counts its work, and can die in the midst of it."""

    made = 0
    dies = False

    def frames(self, request: ClipRequest) -> list[np.ndarray]:
        assert request.keep is not None and request.keep.is_dir()
        (request.keep / "paid").write_text("yes")
        if self.dies:
            raise OSError("gone")
        self.made += 1
        return super().frames(request)


def test_the_cache_makes_each_clip_once(tmp_path: Path) -> None:
    cache, provider = ClipCache(tmp_path), Counting()
    provider.dies = True
    with pytest.raises(OSError, match="gone"):
        cache.frames(provider, REQUEST)
    assert not cache.has(provider, REQUEST)
    assert [path.read_text() for path in tmp_path.rglob("paid")] == ["yes"]
    provider.dies = False
    first = cache.frames(provider, REQUEST)
    assert cache.has(provider, REQUEST) and not list(tmp_path.rglob("paid"))
    assert np.array_equal(first, cache.frames(provider, REQUEST)) and provider.made == 1
    assert np.array_equal(first, FlowMorph().frames(REQUEST))


def test_whatever_decides_a_clip_is_in_its_key() -> None:
    provider = FlowMorph()
    others = [
        replace(REQUEST, prompt="other"),
        replace(REQUEST, seed=1),
        replace(REQUEST, count=4),
        replace(REQUEST, first=REQUEST.last, last=REQUEST.first),
        replace(REQUEST, last=textured(9)),
    ]
    keys = {clip_key(provider, request) for request in (REQUEST, *others)}
    assert len(keys) == 6
    assert clip_key(provider, replace(REQUEST, keep=Path("x"))) in keys


def test_words_that_mean_nothing_are_refused() -> None:
    assert isinstance(open_inbetween("flow"), InbetweenProvider)
    with pytest.raises(ValueError, match="Did you mean flow"):
        open_inbetween("flaw")
    with pytest.raises(ValueError, match="two images of one size"):
        ClipRequest(textured(0), textured(0)[:50])
