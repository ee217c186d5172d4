"""Folders of images: colour alone, or ``rgb/`` and ``depth/`` with equal stems; and lists of image files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from scipy.spatial.transform import RigidTransform

from posesplat.datasets.calibration import ReadOptions, find_calibration
from posesplat.datasets.paths import file_sequence
from posesplat.datasets.pose_files import poses_by_name, read_pose_rows
from posesplat.datasets.sequences import FrameSequence
from posesplat.images import DEPTH_SUFFIXES, VIDEO_SUFFIXES, images_in, times_of

_COLOUR_FOLDERS = ("rgb", "color", "colour", "image", "images", "cam0")


def colour_folder(folder: Path) -> Path | None:
    """The subfolder that holds the colour images, if any."""
    return next((folder / name for name in _COLOUR_FOLDERS if (folder / name).is_dir()), None)


def open_folder(folder: Path, options: ReadOptions | None = None) -> FrameSequence:
    """Open a folder of images, or one with ``rgb/`` (``color/``, ``image/``, ``images/``) and perhaps ``depth/``.

    Optional beside them: ``camera.json`` or ``intrinsics.txt``, and ``poses.txt`` (TUM rows, world_from_cam, whose ids
    are image names or that are as many as the images). Images come in natural order.

    Raises:
        ValueError: when there are no images, or a colour image has no depth map.
    """
    options = options or ReadOptions()
    colours = colour_folder(folder)
    depth_folder = folder / "depth" if colours and (folder / "depth").is_dir() else None
    images = images_in(colours or folder)
    if not images:
        inner = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "no folder"
        raise ValueError(
            f"Expected images in the folder {colours or folder}; found none, and {inner} inside {folder}. "
            "Pass the folder that holds the images."
        )
    depths = None if depth_folder is None else _depth_partners(images, depth_folder)
    return _opened(images, depths, (folder,) if colours else _calibration_folders(folder), options, by_order=True)


def open_image_list(
    images: Sequence[Path], options: ReadOptions | None = None, depths: Sequence[Path] | None = None
) -> FrameSequence:
    """Open image files in the order given; calibration and poses are looked for beside them when they share a folder.

    Args:
        images: the files.
        options: how they are read.
        depths: one depth map an image, if there are any.

    Raises:
        FileNotFoundError: when one of them does not exist.
    """
    images = list(images)
    check_image_files((*images, *(depths or ())))
    folders = {path.parent for path in images}
    places = _calibration_folders(folders.pop()) if len(folders) == 1 else ()
    given = None if depths is None else list(depths)
    return _opened(images, given, places, options or ReadOptions(), by_order=False)


def check_image_files(paths: Iterable[Path]) -> None:
    """Refuse files that are not there, and videos.

    Raises:
        FileNotFoundError: naming the first that does not exist.
        ValueError: naming the first video.
    """
    for path in paths:
        if not path.is_file():
            found = "it is a folder: name a file in it" if path.is_dir() else "there is none. Check the path"
            raise FileNotFoundError(f"Expected an image file at {path}; {found}.")
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise ValueError(f"Expected an image file; {path} is a video. Export the frames you mean as images.")


def _opened(
    images: list[Path], depths: list[Path] | None, places: tuple[Path, ...], options: ReadOptions, *, by_order: bool
) -> FrameSequence:
    calibration = find_calibration(options, places, images[0])
    poses = _true_poses(images, places, by_order=by_order)
    return file_sequence(images, depths, times_of(images), calibration, options, cam_from_world=poses)


def _calibration_folders(folder: Path) -> tuple[Path, ...]:
    """The images' folder, and the one above when the images lie in a subfolder made for them."""
    return (folder, folder.parent) if folder.name in _COLOUR_FOLDERS else (folder,)


def _true_poses(
    images: list[Path], places: tuple[Path, ...], *, by_order: bool
) -> tuple[RigidTransform | None, ...] | None:
    path = next((place / "poses.txt" for place in places if (place / "poses.txt").is_file()), None)
    return None if path is None else poses_by_name(read_pose_rows(path), images, path, by_order=by_order)


def _depth_partners(images: list[Path], depth_folder: Path) -> list[Path]:
    depth_of = {path.stem: path for path in images_in(depth_folder, DEPTH_SUFFIXES)}
    lacking = [path.name for path in images if path.stem not in depth_of]
    if lacking:
        raise ValueError(
            f"Each colour image must have a depth map of the same stem in {depth_folder}; {len(lacking)} of "
            f"{len(images)} have none, the first is {lacking[0]}. Add the depth maps, or remove these "
            "images; times that differ need rgb.txt and depth.txt (TUM layout)."
        )
    return [depth_of[path.stem] for path in images]
