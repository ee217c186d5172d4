"""One door for everything that holds frames: a video, a folder, a glob, a list, an RGB-D data set."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from posesplat.datasets.calibration import CameraSource, PixelCentre, ReadOptions
from posesplat.datasets.folder import open_folder, open_image_list
from posesplat.datasets.replica import is_replica, open_replica
from posesplat.datasets.sequences import FrameSequence
from posesplat.datasets.seven_scenes import is_seven_scenes, open_seven_scenes
from posesplat.datasets.tum import is_tum, open_tum
from posesplat.datasets.video import VIDEO_SUFFIXES, open_video
from posesplat.images import IMAGE_SUFFIXES, naturally_sorted

FrameSource = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A video file, an image file, a folder, a glob, or a list of image files."""


def open_frames(
    source: FrameSource,
    *,
    camera: CameraSource = None,
    pixel_centre: PixelCentre = "corner",
    depth_scale: float | None = None,
    plausible_depth_m: tuple[float, float] | None = (0.01, 50.0),
    undistort_depth: bool = True,
) -> FrameSequence:
    """Open frames without decoding them; they come undistorted, with true poses where the data has them.

    Folders are recognised by what is in them: TUM RGB-D, Replica (NICE-SLAM), 7-Scenes, ``rgb/`` + ``depth/``, images.

    Args:
        source: a video file, a folder, a glob (natural order), an image file, or a list of image files (kept in order).
        camera: a :class:`Camera`, a ``camera.json``, ``intrinsics.txt`` or COLMAP model folder, ``fx,fy,cx,cy``
            followed by 0, 4 or 5 distortion terms, ``exif``, or ``auto`` (a guess, with a warning). It wins over
            whatever lies beside the images; None takes that.
        pixel_centre: where the numbers typed in ``camera`` put the centre of the top-left pixel: ``corner``
            (0.5, 0.5) as this package does, ``integer`` (0, 0) as OpenCV does. Files say so themselves.
        depth_scale: stored depth / depth_scale = metres. None takes what the data set says: ``depth_scale`` in
            camera.json, 5000 for TUM, 6553.5 for Replica, otherwise 1000 (floating-point files hold metres).
        plausible_depth_m: a depth map whose median lies outside is an error (wrong unit); None accepts any.
        undistort_depth: False when the stored depth is already on the pinhole's pixel grid.

    Raises:
        FileNotFoundError: when the source does not exist or a glob matches nothing.
        ValueError: when it holds no frames, colour and depth do not pair up, or no camera is known.
    """
    options = ReadOptions(camera, pixel_centre, depth_scale, plausible_depth_m, undistort_depth)
    if not isinstance(source, (str, os.PathLike)):
        return open_image_list(_some([Path(path) for path in source], "the list of frames"), options)
    path = Path(source)
    if path.is_dir():
        return _open_directory(path, options)
    if path.is_file():
        return _open_file(path, options)
    if glob.has_magic(os.fspath(source)):
        return open_image_list(_matches(os.fspath(source)), options)
    raise FileNotFoundError(
        f"Expected a video, a folder, a glob or a list of images; there is nothing at {path}. Check the path."
    )


def _open_directory(folder: Path, options: ReadOptions) -> FrameSequence:
    if is_tum(folder):
        return open_tum(folder, options)
    if is_replica(folder):
        return open_replica(folder, options)
    if is_seven_scenes(folder):
        return open_seven_scenes(folder, options)
    return open_folder(folder, options)


def _open_file(path: Path, options: ReadOptions) -> FrameSequence:
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return open_video(path, options)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return open_image_list([path], options)
    raise ValueError(
        f"Expected a video ({' '.join(sorted(VIDEO_SUFFIXES))}) or an image ({' '.join(sorted(IMAGE_SUFFIXES))}); "
        f"got {path}. Convert it."
    )


def _matches(pattern: str) -> list[Path]:
    found = [Path(name) for name in glob.glob(str(Path(pattern).expanduser()), recursive=True)]  # noqa: PTH207
    images = naturally_sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not images:
        raise FileNotFoundError(
            f"Expected images that match {pattern!r}; it matches {len(found)} files and none is an image. "
            "Quote the pattern in a shell and check its folder."
        )
    return images


def _some(paths: list[Path], what: str) -> list[Path]:
    if not paths:
        raise ValueError(f"Expected at least one image in {what}; got none. Check how the list was made.")
    return paths
