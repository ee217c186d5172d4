"""COLMAP in a process of its own, which cannot take ours down, writes nothing to our terminal, and is timed apart.

It needs pycolmap (``pip install posesplat[sfm]``).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.providers.multi_view import colmap_process

_POLL_S = 0.1


@dataclass(frozen=True)
class ColmapOptions:
    """What is the same for all mappers and subsets."""

    threads: int = 1
    """Of COLMAP."""
    max_features: int = 2000
    """SIFT features of an image."""
    seed: int = 0
    """Of its RANSACs and mappers."""
    timeout_s: float = 1800.0
    """Wall time after which the images are given up."""
    refine_focal: bool = False
    """Whether incremental mappers estimate the focal length of each camera; the given one is the start."""


def check_pycolmap() -> None:
    """Raise a ValueError where pycolmap is not installed."""
    if find_spec("pycolmap") is None:
        raise ValueError("Structure from motion needs pycolmap; it is not installed. pip install 'posesplat[sfm]'")


def run_colmap(
    frames: Sequence[Frame],
    settings: Sequence[str],
    subsets: Sequence[Sequence[int] | None] = (None,),
    options: ColmapOptions = ColmapOptions(),
    on_done: Callable[[], None] | None = None,
) -> tuple[dict[tuple[str, int], dict[str, Any]], str]:
    """Answers of mappers on subsets of frames that share their features and matches, and the last words of a failure.

    Args:
        frames: of one camera or of several; those of one share what is estimated of it.
        settings: keys of :data:`posesplat.providers.multi_view.colmap_process.MAPPERS`.
        subsets: numbers of frames; None is all of them.
        options: threads, features, seed.
        on_done: called after each answer.

    Returns:
        By setting and number of the subset, those that came: ``poses`` (cam_from_world by :func:`image_name`, as
        quaternion xyzw and translation), ``cpu_s``, ``fault``, ``points``, ``residual_px`` and ``tracks``.

    Raises:
        ValueError: for a frame without an image, or when pycolmap is not installed.
    """
    import cv2

    check_pycolmap()
    with tempfile.TemporaryDirectory(prefix="posesplat-colmap-") as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for index, frame in enumerate(frames):
            if frame.image is None:
                raise ValueError(f"Structure from motion needs images; frame {frame.name!r} has none.")
            cv2.imwrite(str(folder / "images" / image_name(index)), cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        seen_by: dict[Camera, list[str]] = {}
        for index, frame in enumerate(frames):
            seen_by.setdefault(frame.camera, []).append(image_name(index))
        job = {
            "cameras": [
                {"parameters": [camera.fx, camera.fy, camera.cx, camera.cy], "images": names}
                for camera, names in seen_by.items()
            ],
            "threads": options.threads,
            "max_features": options.max_features,
            "seed": options.seed,
            "refine_focal": options.refine_focal,
            "settings": list(settings),
            "subsets": [None if subset is None else [image_name(index) for index in subset] for subset in subsets],
        }
        (folder / "job.json").write_text(json.dumps(job))
        expected = {
            (setting, number): folder / colmap_process.answer_name(setting, number)
            for setting in settings
            for number in range(len(subsets))
        }
        fault = _waited(folder, list(expected.values()), options.timeout_s, on_done)
        answers = {key: json.loads(path.read_text()) for key, path in expected.items() if path.is_file()}
    return answers, fault


def image_name(index: int) -> str:
    """The name of a frame's image in answers."""
    return f"{index:06d}.png"


def _waited(folder: Path, expected: list[Path], timeout_s: float, on_done: Callable[[], None] | None) -> str:
    """Run the process, tell of answers as they come; the reason if it failed."""
    command = [sys.executable, "-m", colmap_process.__name__, str(folder)]
    began, told = time.monotonic(), 0
    with (folder / "stderr.txt").open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            while True:
                try:
                    process.wait(_POLL_S)
                except subprocess.TimeoutExpired:
                    if time.monotonic() - began > timeout_s:
                        return f"not done in {timeout_s:g} s"
                written = sum(path.is_file() for path in expected)
                for _ in range(written - told if on_done is not None else 0):
                    on_done()  # type: ignore[misc]
                told = written
                if process.returncode is not None:
                    break
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    words = (folder / "stderr.txt").read_text(errors="replace")
    return "" if process.returncode == 0 else " ".join(words.split())[-200:]
