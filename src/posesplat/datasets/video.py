"""Video files as sequences of frames."""

from __future__ import annotations

from pathlib import Path

from posesplat.datasets.calibration import ReadOptions, find_calibration
from posesplat.datasets.sequences import FrameSequence
from posesplat.images import VIDEO_SUFFIXES, VideoReader

__all__ = ["VIDEO_SUFFIXES", "open_video"]


def open_video(path: Path, options: ReadOptions | None = None) -> FrameSequence:
    """Open a video file; frame times are the container's, names are ``<stem>_000000``.

    The camera is the given one, else ``camera.json`` or ``intrinsics.txt`` beside the file.

    Raises:
        ValueError: when it has no frame that can be decoded, or no camera is known.
    """
    options = options or ReadOptions()
    reader = VideoReader(path)
    calibration = find_calibration(options, (path.parent,), reader.size())
    return FrameSequence(
        calibration.camera,
        [f"{path.stem}_{index:06d}" for index in range(len(reader.times))],
        reader.times,
        lambda index: (reader.read(index), None),
        has_depth=False,
    )
