"""In-between frames of paid services: Runway and Luma, through their published web interfaces.

A task's number is kept as soon as the service has named it, so that a run that dies goes on with the task that is paid.
Sources: docs.dev.runwayml.com (image_to_video, tasks; version 2024-11-06); docs.lumalabs.ai (generations, keyframes).
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posesplat.align.tracks import evenly_spread
from posesplat.files import write_text
from posesplat.providers.http_service import Retries, Service, data_uri
from posesplat.providers.inbetween.clip_files import read_clip
from posesplat.providers.inbetween.provider import ClipRequest, Image

_LOG = logging.getLogger(__name__)
_TASK = "task.json"
_LONGEST_PROMPT = 1000
_LARGEST_SEED = 4294967295


@dataclass(frozen=True)
class Polling:
    """How a task is watched."""

    every_s: float = 5.0
    """Wait between two looks; services ask for 5 or more."""
    longest_s: float = 1800.0
    """A task that takes longer is given up; the next run looks at it again."""


@dataclass(frozen=True)
class _State:
    """What a service says of a task."""

    video: str = ""
    """Address of the video when it is made."""
    fault: str = ""
    """Why it never will be."""


class _ServiceClips(ABC):
    """Creates a task, watches it, downloads its video."""

    name: str
    stored_clips: int | None = None
    usd_per_clip: float
    _size: tuple[int, int]

    def __init__(self, service: Service, polling: Polling, retries: Retries) -> None:
        self._service, self._polling, self._retries = service, polling, retries

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """See :class:`posesplat.providers.inbetween.provider.InbetweenProvider`."""

    @abstractmethod
    def _created(self, request: ClipRequest) -> str:
        """Ask for a clip, which costs money; the task's number."""

    @abstractmethod
    def _state(self, task: str) -> _State:
        """How far a task is."""

    def frames(self, request: ClipRequest) -> list[Image]:
        """See :class:`posesplat.providers.inbetween.provider.InbetweenProvider`.

        Raises:
            OSError: when the service refuses, fails or takes too long.
        """
        note = None if request.keep is None else request.keep / _TASK
        task = json.loads(note.read_text())["task"] if note is not None and note.is_file() else ""
        if not task:
            task = self._created(request)
            if note is not None:
                write_text(note, json.dumps({"provider": self.name, "task": task}))
        waited = 0.0
        while True:
            state = self._state(task)
            if state.fault:
                if note is not None:
                    note.unlink(missing_ok=True)
                raise OSError(f"{self.name} did not make the clip: {state.fault}")
            if state.video:
                break
            if waited >= self._polling.longest_s:
                raise OSError(
                    f"{self.name} has not made task {task} in {waited:g} s. Run the command again to look at it again; "
                    "it is not paid twice."
                )
            self._retries.sleep(self._polling.every_s)
            waited += self._polling.every_s
        return self._between(request, self._service.download(state.video))

    def _between(self, request: ClipRequest, video: bytes) -> list[Image]:
        with tempfile.TemporaryDirectory(prefix="posesplat-clip-") as folder:
            path = Path(folder) / "clip.mp4"
            path.write_bytes(video)
            frames = read_clip(path)
        if len(frames) < 3:
            raise OSError(f"{self.name} must make a clip of 3 frames or more; got {len(frames)}.")
        chosen = evenly_spread(len(frames), request.count + 2)[1:-1]
        return [unpadded(frames[index], request.first) for index in chosen]


class RunwayClips(_ServiceClips):
    """Runway's image_to_video with a first and a last image; the key is in ``RUNWAYML_API_SECRET``."""

    name = "runway"

    def __init__(
        self,
        model: str = "gen3a_turbo",
        seconds: int = 5,
        usd_per_second: float = 0.05,
        size: tuple[int, int] = (1280, 768),
        polling: Polling = Polling(),
        retries: Retries = Retries(),
    ) -> None:
        """Read the key; nothing is spent yet.

        Args:
            model: one that takes a last image.
            seconds: length of a clip.
            usd_per_second: price, for the estimate: 5 credits of 0.01 dollars for gen3a_turbo.
            size: width and height of clips; images are padded to it.
            polling: how a task is watched.
            retries: for a busy service.

        Raises:
            ImportError: when httpx is not installed.
            ValueError: when the key is missing.
        """
        base = os.environ.get("RUNWAYML_BASE_URL", "").strip() or "https://api.dev.runwayml.com"
        version = {"X-Runway-Version": "2024-11-06"}
        super().__init__(Service("Runway", base, "RUNWAYML_API_SECRET", version, retries), polling, retries)
        self.model, self.seconds, self._size = model, seconds, size
        self.usd_per_clip = seconds * usd_per_second

    def identity(self) -> dict[str, Any]:
        """See :class:`posesplat.providers.inbetween.provider.InbetweenProvider`."""
        return {"provider": "runway", "model": self.model, "seconds": self.seconds, "size": list(self._size)}

    def _created(self, request: ClipRequest) -> str:
        first, last = (padded(image, self._size) for image in (request.first, request.last))
        body = {
            "model": self.model,
            "promptImage": [
                {"uri": data_uri(first), "position": "first"},
                {"uri": data_uri(last), "position": "last"},
            ],
            "promptText": request.prompt[:_LONGEST_PROMPT],
            "duration": self.seconds,
            "ratio": f"{self._size[0]}:{self._size[1]}",
            "seed": request.seed % _LARGEST_SEED,
        }
        return _named(self.name, self._service.post("/v1/image_to_video", body))

    def _state(self, task: str) -> _State:
        answer = self._service.get(f"/v1/tasks/{task}")
        status = answer.get("status")
        if status in ("FAILED", "CANCELLED", "CANCELED"):
            return _State(fault=str(answer.get("failure") or answer.get("failureCode") or status))
        if status == "SUCCEEDED":
            output = answer.get("output") or []
            return _State(video=str(output[0])) if output else _State(fault="it names no video")
        return _State()


class LumaClips(_ServiceClips):
    """Luma's generations with two keyframes, which it takes by address only; the key is in ``LUMAAI_API_KEY``."""

    name = "luma"

    def __init__(
        self,
        image_urls: tuple[str, str] | None,
        model: str = "ray-2",
        resolution: str = "720p",
        usd_per_clip: float = 0.71,
        polling: Polling = Polling(),
        retries: Retries = Retries(),
    ) -> None:
        """Read the key; nothing is spent yet.

        Args:
            image_urls: where A and B can be fetched: the service takes no image data.
            model: one with keyframes.
            resolution: of clips.
            usd_per_clip: price of five seconds, for the estimate.
            polling: how a task is watched.
            retries: for a busy service.

        Raises:
            ImportError: when httpx is not installed.
            ValueError: when the key or the addresses are missing.
        """
        if image_urls is None:
            raise ValueError(
                "luma takes images by address only: pass --image-urls URL_OF_A URL_OF_B, two public addresses of the "
                "same images."
            )
        base = os.environ.get("LUMAAI_BASE_URL", "").strip() or "https://api.lumalabs.ai/dream-machine/v1"
        super().__init__(Service("Luma", base, "LUMAAI_API_KEY", retries=retries), polling, retries)
        self.image_urls, self.model, self.resolution, self.usd_per_clip = image_urls, model, resolution, usd_per_clip

    def identity(self) -> dict[str, Any]:
        """See :class:`posesplat.providers.inbetween.provider.InbetweenProvider`."""
        return {"provider": "luma", "model": self.model, "resolution": self.resolution, "urls": list(self.image_urls)}

    def _created(self, request: ClipRequest) -> str:
        first, last = reversed(self.image_urls) if request.backward else self.image_urls
        body = {
            "prompt": request.prompt,
            "model": self.model,
            "resolution": self.resolution,
            "duration": "5s",
            "loop": False,
            "keyframes": {"frame0": {"type": "image", "url": first}, "frame1": {"type": "image", "url": last}},
        }
        return _named(self.name, self._service.post("/generations", body))

    def _state(self, task: str) -> _State:
        answer = self._service.get(f"/generations/{task}")
        state = answer.get("state")
        if state == "failed":
            return _State(fault=str(answer.get("failure_reason") or "failed"))
        if state == "completed":
            video = (answer.get("assets") or {}).get("video")
            return _State(video=str(video)) if video else _State(fault="it names no video")
        return _State()


def padded(image: Image, size: tuple[int, int]) -> Image:
    """The image fitted into (width, height) without distortion, its edges repeated where nothing is left."""
    import cv2

    height, width = image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    inner = (max(round(width * scale), 1), max(round(height * scale), 1))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    right, bottom = size[0] - inner[0] - left, size[1] - inner[1] - top
    fitted = cv2.resize(image, inner, interpolation=method)
    return np.asarray(cv2.copyMakeBorder(fitted, top, bottom, left, right, cv2.BORDER_REPLICATE), np.uint8)


def unpadded(image: Image, like: Image) -> Image:
    """The part of a padded image that shows the original, at the original's size."""
    import cv2

    height, width = like.shape[:2]
    scale = min(image.shape[1] / width, image.shape[0] / height)
    inner = (max(round(width * scale), 1), max(round(height * scale), 1))
    left, top = (image.shape[1] - inner[0]) // 2, (image.shape[0] - inner[1]) // 2
    part = image[top : top + inner[1], left : left + inner[0]]
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (width, height), interpolation=method), np.uint8)


def _named(name: str, answer: dict[str, Any]) -> str:
    task = answer.get("id")
    if not isinstance(task, str) or not task:
        raise OSError(f"{name} must name its task; it did not. Look into your account before you try again.")
    _LOG.info("%s: task %s", name, task)
    return task
