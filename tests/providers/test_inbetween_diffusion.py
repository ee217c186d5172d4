"""Video diffusion through its real loading path: tiny random pipelines, saved and loaded, conditioned on both ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posesplat.providers.inbetween.diffusion import DiffusionClips, DiffusionOptions
from posesplat.providers.inbetween.open import open_inbetween
from posesplat.providers.inbetween.provider import ClipRequest, InbetweenProvider
from providers import tiny_videos

pytest.importorskip("diffusers")

OPTIONS = DiffusionOptions(width=32, steps=2, guidance=1.0, device="cpu")


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, size=(24, 32, 3)).astype(np.uint8)


REQUEST = ClipRequest(picture(0), picture(1), prompt="a b", seed=3, count=4)


@pytest.fixture(scope="module", params=["wan", "ltx"])
def clips(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DiffusionClips:
    folder = tmp_path_factory.mktemp(request.param)
    tiny_videos.SAVED[request.param](folder)
    return DiffusionClips(str(folder), OPTIONS)


def test_frames_follow_both_ends_the_seed_and_nothing_else(clips: DiffusionClips) -> None:
    assert isinstance(clips, InbetweenProvider)
    made = np.array(clips.frames(REQUEST))
    assert made.shape[1:] == (24, 32, 3) and made.dtype == np.uint8 and len(made) >= 3
    assert np.array_equal(made, clips.frames(REQUEST))
    for change in ({"first": picture(2)}, {"last": picture(2)}, {"seed": 4}):
        assert not np.array_equal(made, clips.frames(replace(REQUEST, **change))), change


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    tiny_videos.save_text_to_video(tmp_path)
    with pytest.raises(ValueError, match="first and a last frame; got WanPipeline"):
        open_inbetween(f"diffusers:{tmp_path}").frames(REQUEST)


def test_without_diffusers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posesplat.providers.inbetween.diffusion.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"pip install 'posesplat\[inbetween,learned\]'"):
        DiffusionClips("anything")
