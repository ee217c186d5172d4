"""Video files, decoded frame by frame with OpenCV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from posesplat.datasets.calibration import ReadOptions, find_calibration
from posesplat.datasets.sequences import FrameSequence

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv"})
_LONGEST_SKIP = 90
_SAME_TIME_S = 5e-4


class VideoReader:
    """Random access to the frames of a video file, cheapest in order; holds one open decoder and no frame.

    Opening decodes the whole file once to learn the exact number and times of its frames, which containers do not
    state reliably.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path`` and list its frames.

        Raises:
            ValueError: when no frame can be decoded.
        """
        import cv2

        self._cv2 = cv2
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        self._position = 0
        times = []
        while self._capture.isOpened() and self._capture.grab():
            times.append(1e-3 * self._capture.get(cv2.CAP_PROP_POS_MSEC))
        if not times:
            raise ValueError(
                f"Expected a video with at least one frame in {path}; nothing in it can be decoded. "
                "Convert it, for instance to H.264 in MP4, or pass a folder of images."
            )
        self._clocked = bool(np.all(np.diff(times) > 0))
        rate = self._capture.get(cv2.CAP_PROP_FPS) or 1.0
        self.times: Float[np.ndarray, " n"] = np.array(times) if self._clocked else np.arange(len(times)) / rate
        self._reopen()

    def read(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The frame at ``index`` as RGB, in the orientation that the container asks for."""
        self._go_to(index)
        grabbed, image = self._capture.read()
        if not grabbed:
            raise ValueError(
                f"Expected frame {index} of {len(self.times)} in {self._path}; it cannot be decoded. "
                "The file changed or is damaged: copy or convert it again."
            )
        self._position = index + 1
        return np.asarray(self._cv2.cvtColor(image, self._cv2.COLOR_BGR2RGB), np.uint8)

    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.read(0).shape[:2]
        return width, height

    def _go_to(self, index: int) -> None:
        if not self._position <= index <= self._position + _LONGEST_SKIP and not self._seek(index):
            self._reopen()
        while self._position < index and self._capture.grab():
            self._position += 1

    def _seek(self, index: int) -> bool:
        """Jump by the container's index; True when the time of the frame before ``index`` proves it right."""
        if index == 0 or not self._clocked:
            return False
        if not (self._capture.set(self._cv2.CAP_PROP_POS_FRAMES, index - 1) and self._capture.grab()):
            return False
        self._position = index
        time = 1e-3 * self._capture.get(self._cv2.CAP_PROP_POS_MSEC)
        return bool(abs(time - self.times[index - 1]) < _SAME_TIME_S)

    def _reopen(self) -> None:
        self._capture.release()
        self._capture = self._cv2.VideoCapture(str(self._path))
        self._position = 0


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
