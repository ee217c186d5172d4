"""Makes docs/images/viewer.png: what ``posesplat view`` shows of the demo, in a headless Chromium.

make demo
.venv/bin/python docs/images/viewer.py demo-report/icl_livingroom1
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "viewer"))

from chromium import WatchedPage, launched

from posesplat.viewer.controls import Controls
from posesplat.viewer.drawing import Amount
from posesplat.viewer.server import viser_server
from posesplat.viewer.shown import open_shown
from posesplat.viewer.stage import Stage

SETTLED = 0.02
"""Mean change of grey values between two pictures of a scene that has come to rest."""


def main(folders: list[Path], file: Path) -> None:
    """Write the picture of some results."""
    with viser_server(label="posesplat view") as server, launched() as browser:
        Controls.add(Stage.set(server, open_shown(folders), Amount())).go_to(1)
        watched = WatchedPage(browser, 1280, 760)
        watched.page.goto(f"http://127.0.0.1:{server.get_port()}")
        watched.page.wait_for_timeout(15_000)
        for button in watched.page.locator(".mantine-Notification-closeButton").all():
            button.click()
        before = np.zeros((1, 1, 3))

        def at_rest(picture: np.ndarray) -> bool:
            nonlocal before
            still = before.shape == picture.shape and bool(np.abs(picture - before.astype(float)).mean() < SETTLED)
            before = picture
            return still

        picture = watched.wait_for(at_rest, "a scene at rest")
        Image.fromarray(picture).quantize(256).save(file, optimize=True)


if __name__ == "__main__":
    main(
        [Path(name) for name in sys.argv[1:]] or [Path("demo-report/icl_livingroom1")],
        Path(__file__).with_suffix(".png"),
    )
