"""Files of a folder that belong to frames by their base names."""

from __future__ import annotations

from pathlib import Path

from posesplat.geometry.frame import Frame
from posesplat.images import base_name, images_in


class NamedFiles:
    """A folder in which each frame has one file of its base name: ``00012.jpg`` has ``00012.png``."""

    def __init__(self, folder: Path, suffixes: frozenset[str], what: str) -> None:
        """List the folder.

        Args:
            folder: where the files lie.
            suffixes: lower-case suffixes of the files that count.
            what: what a file is, for messages: "depth map".

        Raises:
            FileNotFoundError: when there is no such folder.
            ValueError: when it has no such file, or two of one base name.
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"Expected a folder of {what}s at {folder}; there is none. Check the path.")
        self._folder, self._suffixes, self._what = folder, suffixes, what
        self._files: dict[str, Path] = {}
        for path in images_in(folder, suffixes):
            other = self._files.setdefault(base_name(path.name), path)
            if other != path:
                raise ValueError(
                    f"Each frame must have one {what} in {folder}; got {other.name} and {path.name}. Remove one."
                )
        if not self._files:
            raise ValueError(
                f"Expected {what}s ({self._accepted()}) in the folder {folder}; found none. Check the path."
            )

    def of(self, frame: Frame) -> Path:
        """The frame's file.

        Raises:
            FileNotFoundError: when the frame has none.
        """
        name = base_name(frame.name)
        if name not in self._files:
            raise FileNotFoundError(
                f"Expected a {self._what} of frame {frame.name!r} at {self._folder / name} ({self._accepted()}); there "
                f"is none among {len(self._files)} files, the first is {next(iter(self._files.values())).name}. Files "
                "must have the base names of the frames."
            )
        return self._files[name]

    def _accepted(self) -> str:
        return ", ".join(sorted(self._suffixes))


def check_size(path: Path, shape: tuple[int, ...], frame: Frame) -> None:
    """Refuse a file that does not have the frame's size."""
    size = (frame.camera.height, frame.camera.width)
    if shape[:2] != size:
        raise ValueError(
            f"{path} must be {size[1]} x {size[0]} pixels as frame {frame.name!r} is; got {shape[1]} x {shape[0]}. "
            "It must lie on the frame's own pixel grid: make it from the undistorted image, at its size."
        )
