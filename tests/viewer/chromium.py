"""A real headless Chromium, and pages of which everything is noted that they load, log and show."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_S = 150
"""A loaded machine without a GPU needs long for the first picture; else it takes some 2 s."""
OF_VISER = "THREE.BufferGeometry.computeBoundingSphere(): Computed radius is NaN"
"""What viser itself logs for any splats at all: its quad has two coordinates where three.js expects three."""


@contextmanager
def launched() -> Iterator[Any]:
    """A browser; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: make install")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("needs a real browser: no Chromium is installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


class WatchedPage:
    """A page; what it asked for and what it logged."""

    def __init__(self, browser: Any, width: int = 640, height: int = 400) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(1000 * WAIT_S)
        self.asked: list[str] = []
        self.errors: list[str] = []
        for event in ("request", "websocket"):
            self.page.on(event, lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self._note(message))

    def _note(self, message: Any) -> None:
        # viser revokes the address of a picture in memory when another takes its place, loaded or not.
        revoked = str(message.location.get("url", "")).startswith("blob:") and "ERR_FILE_NOT_FOUND" in message.text
        if message.type == "error" and not revoked and not message.text.startswith(OF_VISER):
            self.errors.append(message.text)

    def hosts(self) -> set[str]:
        """Hosts of all requests that leave the page itself."""
        places = [urlsplit(url) for url in self.asked]
        return {place.hostname or place.scheme for place in places if place.scheme not in ("data", "blob")}

    def picture(self) -> np.ndarray:
        """What is on the screen, RGB."""
        data = np.frombuffer(self.page.screenshot(), np.uint8)
        return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))

    def wait_for(self, shows: Callable[[np.ndarray], bool], what: str) -> np.ndarray:
        """The first picture that fulfils a condition."""
        end = time.monotonic() + WAIT_S
        while True:
            picture = self.picture()
            if shows(picture):
                return picture
            if time.monotonic() > end:
                pytest.fail(f"not on the screen after {WAIT_S} s: {what}; errors: {self.errors}")
            self.page.wait_for_timeout(100)


def pixels_of(picture: np.ndarray, rgb: tuple[float, float, float], within: int = 24) -> int:
    """Pixels of nearly that colour, 0 to 1 a channel."""
    return int((np.abs(picture.astype(int) - 255 * np.array(rgb)).max(axis=-1) <= within).sum())
