"""Paid services against a server on loopback: what is sent, repeats, costs, keys, and never paying twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.methods.bridge_clips import TooExpensive, clips_between, planned_cost_usd
from posesplat.methods.bridge_options import BridgeOptions
from posesplat.providers.http_service import Retries, Service
from posesplat.providers.inbetween.cache import ClipCache
from posesplat.providers.inbetween.captions import prompts_for
from posesplat.providers.inbetween.open import open_inbetween
from posesplat.providers.inbetween.provider import FIXED_PROMPTS, ClipRequest, InbetweenProvider
from posesplat.providers.inbetween.services import LumaClips, Polling, RunwayClips, padded, unpadded
from providers.fake_services import FakeServices, encoded_video, served, shown

pytest.importorskip("httpx")

KEY = "key-that-nobody-may-see"
URLS = ("https://example.org/a.jpg", "https://example.org/b.jpg")


def picture(red: int) -> np.ndarray:
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 0], image[..., 1], image[8:24, 8:40, 2] = red, np.arange(64) * 3, 200
    return image


REQUEST = ClipRequest(picture(40), picture(200), prompt="A red room.", seed=7, count=5)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServices]:
    frames = [padded(picture(40 + 16 * k), (160, 96)) for k in range(11)]
    with served(FakeServices(encoded_video(tmp_path / "made.mp4", frames))) as running:
        monkeypatch.setenv("RUNWAYML_API_SECRET", KEY)
        monkeypatch.setenv("RUNWAYML_BASE_URL", running.url)
        monkeypatch.setenv("LUMAAI_API_KEY", KEY)
        monkeypatch.setenv("LUMAAI_BASE_URL", f"{running.url}/luma")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{running.url}/openai")
        yield running


def runway(waits: list[float], **options) -> RunwayClips:
    return RunwayClips(polling=Polling(5.0, 100.0), retries=Retries(sleep=waits.append), **options)


def luma(waits: list[float]) -> LumaClips:
    return LumaClips(URLS, polling=Polling(5.0, 100.0), retries=Retries(sleep=waits.append))


def test_runway_is_sent_both_ends_and_the_clip_comes_back(services: FakeServices, waits: list[float]) -> None:
    provider = runway(waits)
    assert isinstance(provider, InbetweenProvider)
    frames = provider.frames(REQUEST)
    (body,) = services.bodies("/v1/image_to_video")
    assert {key: body[key] for key in ("model", "promptText", "duration", "ratio", "seed")} == {
        "model": "gen3a_turbo",
        "promptText": "A red room.",
        "duration": 5,
        "ratio": "1280:768",
        "seed": 7,
    }
    assert [image["position"] for image in body["promptImage"]] == ["first", "last"]
    for image, sent in zip((REQUEST.first, REQUEST.last), body["promptImage"], strict=True):
        seen = shown(sent["uri"])
        assert seen.shape == (768, 1280, 3)
        assert np.abs(unpadded(seen, image).astype(int) - image).mean() < 4
    for method, path, headers, _ in services.requests:
        told = {name.lower(): value for name, value in headers.items()}
        if path == "/video.mp4":
            assert "authorization" not in told
        else:
            assert (method in ("GET", "POST")) and told["authorization"] == f"Bearer {KEY}"
            assert told["x-runway-version"] == "2024-11-06"
    assert waits == [5.0, 5.0]
    assert len(frames) == 5 and all(frame.shape == (48, 64, 3) for frame in frames)
    reds = [frame[..., 0].mean() for frame in frames]
    assert np.all(np.diff(reds) > 10) and reds[0] > 40 and reds[-1] < 200


def test_luma_is_sent_addresses_in_the_order_of_the_clip(services: FakeServices, waits: list[float]) -> None:
    provider = luma(waits)
    assert len(provider.frames(REQUEST)) == 5
    provider.frames(replace(REQUEST, first=REQUEST.last, last=REQUEST.first, backward=True))
    there, back = services.bodies("/luma/generations")
    assert there["keyframes"] == {
        "frame0": {"type": "image", "url": URLS[0]},
        "frame1": {"type": "image", "url": URLS[1]},
    }
    assert back["keyframes"]["frame0"]["url"] == URLS[1]
    assert (there["prompt"], there["model"], there["duration"], there["loop"]) == ("A red room.", "ray-2", "5s", False)
    with pytest.raises(ValueError, match="--image-urls"):
        open_inbetween("luma")


def test_a_busy_service_is_asked_again_as_late_as_it_says(services: FakeServices, waits: list[float]) -> None:
    services.looks_until_done = 0
    services.refusals = [(429, {"Retry-After": "7"}, "slow down"), (503, {}, "busy"), (502, {}, "busy")]
    runway(waits).frames(REQUEST)
    assert waits == [7.0, 14.0, 28.0]
    assert services.paid() == 1


@pytest.mark.parametrize("status", [400, 401, 402, 404])
def test_a_refusal_is_told_without_the_key(
    services: FakeServices, waits: list[float], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="posesplat")
    services.refusals = [(status, {}, f"not with {KEY}")]
    provider = runway(waits)
    with pytest.raises(OSError, match=f"Runway did not do POST .*status {status}: not with \\*\\*\\*") as refused:
        provider.frames(REQUEST)
    assert KEY not in str(refused.value) + repr(provider._service) + caplog.text
    assert waits == []


def test_a_service_that_stays_busy_or_away_is_given_up(
    services: FakeServices, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    services.refusals = [(503, {}, "busy")] * 9
    with pytest.raises(OSError, match="status 503"):
        runway(waits).frames(REQUEST)
    assert waits == [1.0, 2.0, 4.0, 8.0]
    monkeypatch.setenv("RUNWAYML_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="not reached"):
        runway(waits).frames(REQUEST)


def test_a_task_that_fails_is_an_error_and_is_paid_anew(
    services: FakeServices, waits: list[float], tmp_path: Path
) -> None:
    services.failure = "content moderation"
    for make in (runway, luma):
        with pytest.raises(OSError, match="content moderation"):
            make(waits).frames(replace(REQUEST, keep=tmp_path))
        assert not (tmp_path / "task.json").exists()


def test_a_run_that_dies_after_paying_goes_on_with_the_same_task(
    services: FakeServices, waits: list[float], tmp_path: Path
) -> None:
    services.looks_until_done = 30
    cache = ClipCache(tmp_path)
    with pytest.raises(OSError, match="not paid twice"):
        cache.frames(runway(waits), REQUEST)
    services.looks_until_done = 0
    first = cache.frames(runway(waits), REQUEST)
    assert services.paid() == 1
    asked = len(services.requests)
    again = cache.frames(runway(waits), REQUEST)
    assert len(services.requests) == asked
    assert np.array_equal(first, again)
    cache.frames(runway(waits), replace(REQUEST, seed=8))
    assert services.paid() == 2


def test_nothing_is_spent_beyond_what_is_allowed(services: FakeServices, waits: list[float], tmp_path: Path) -> None:
    camera = Camera.from_fov(60.0, 64, 48)
    a, b = Frame(camera, REQUEST.first, name="a"), Frame(camera, REQUEST.last, name="b")
    options = BridgeOptions(inbetween="runway", frames=5, cache=tmp_path)
    services.looks_until_done = 0
    provider = runway(waits)
    assert planned_cost_usd(a, b, provider, options) == (4, pytest.approx(1.0))
    with pytest.raises(TooExpensive, match=r"4 clips of runway cost about 1\.00 .* --max-cost-usd 1\.00"):
        clips_between(a, b, provider, options)
    assert services.requests == []
    clips = clips_between(a, b, provider, replace(options, max_cost_usd=1.0))
    assert [len(clip.frames) for clip in clips] == [5] * 4
    prompts = [body["promptText"] for body in services.bodies("/v1/image_to_video")]
    assert prompts == [FIXED_PROMPTS[0]] * 2 + [FIXED_PROMPTS[1]] * 2
    assert planned_cost_usd(a, b, provider, options) == (0, 0.0)
    assert len(clips_between(a, b, provider, options)) == 4


def test_keys_come_from_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNWAYML_API_SECRET", raising=False)
    with pytest.raises(ValueError, match="environment variable RUNWAYML_API_SECRET"):
        open_inbetween("runway")
    monkeypatch.setenv("SOME_KEY", KEY)
    assert KEY not in repr(Service("x", "http://127.0.0.1:9", "SOME_KEY"))


def test_captions_are_asked_with_both_images(services: FakeServices) -> None:
    prompts = prompts_for("openai:tiny", REQUEST.first, REQUEST.last, Retries(sleep=lambda _: None))
    bodies = services.bodies("/openai/chat/completions")
    assert len(prompts) == len(bodies) == 2
    assert all(prompt.startswith("A room with a window. The camera") for prompt in prompts)
    content = bodies[0]["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "image_url"]
    reds = [shown(part["image_url"]["url"])[..., 0].mean() for part in content[1:]]
    assert reds == pytest.approx([40, 200], abs=6)
    assert bodies[0]["model"] == "tiny"
    services.caption = ""
    with pytest.raises(OSError, match="answer with a sentence"):
        prompts_for("openai:tiny", REQUEST.first, REQUEST.last)
    assert prompts_for("", REQUEST.first, REQUEST.last) == FIXED_PROMPTS
    assert prompts_for("My desk.", REQUEST.first, REQUEST.last)[0] == "My desk."


def test_padding_keeps_shapes_and_is_undone() -> None:
    image = picture(90)
    for size in ((160, 96), (64, 200), (64, 48)):
        wide = padded(image, size)
        assert wide.shape == (size[1], size[0], 3)
        assert np.abs(unpadded(wide, image).astype(int) - image).mean() < 3
