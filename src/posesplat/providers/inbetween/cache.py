"""Clips that were made once: kept by a hash of all that decides what is made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from posesplat.images import images_in, read_colour
from posesplat.providers.inbetween.provider import ClipRequest, Image, InbetweenProvider


def clip_key(provider: InbetweenProvider, request: ClipRequest) -> str:
    """The SHA-256 of the provider's identity, both images, prompt, seed, count and number."""
    digest = hashlib.sha256()
    facts = [provider.identity(), request.prompt, request.seed, request.count, request.number, request.first.shape]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    digest.update(request.first.tobytes())
    digest.update(request.last.tobytes())
    return digest.hexdigest()


class ClipCache:
    """A folder with one folder a clip, each of which appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, provider: InbetweenProvider, request: ClipRequest) -> bool:
        """Whether the clip needs neither work nor money."""
        return (self._place(provider, request) / "clip.json").is_file()

    def frames(self, provider: InbetweenProvider, request: ClipRequest) -> list[Image]:
        """The clip: read, or made and kept.

        What a provider writes into ``request.keep`` stays until the clip is whole, so that a run that dies after
        spending finds it.

        Raises:
            OSError, ValueError: see :class:`posesplat.providers.inbetween.provider.InbetweenProvider`.
        """
        import cv2

        place = self._place(provider, request)
        if not (place / "clip.json").is_file():
            keep = place.with_name(place.name + ".unfinished")
            keep.mkdir(parents=True, exist_ok=True)
            made = provider.frames(_kept(request, keep))
            work = Path(tempfile.mkdtemp(prefix=f".{place.name[:16]}.", dir=self.folder))
            try:
                for index, frame in enumerate(made):
                    cv2.imwrite(str(work / f"{index:04d}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
                facts = {"provider": provider.identity(), "prompt": request.prompt, "seed": request.seed}
                (work / "clip.json").write_text(json.dumps({**facts, "frames": len(made)}, indent=1) + "\n")
                if place.exists():
                    shutil.rmtree(place)
                os.replace(work, place)  # noqa: PTH105
            finally:
                shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(keep, ignore_errors=True)
        return [read_colour(path) for path in images_in(place)]

    def _place(self, provider: InbetweenProvider, request: ClipRequest) -> Path:
        return self.folder / clip_key(provider, request)


def _kept(request: ClipRequest, keep: Path) -> ClipRequest:
    from dataclasses import replace

    return replace(request, keep=keep)
