"""COLMAP sparse models: cameras, images and points3D, as text or binary; poses are cam_from_world, OpenCV axes.

Pixels are corner-based, as ours. The optional rigs and frames files of newer versions are neither needed nor written.
Source: https://colmap.github.io/format.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from posesplat.files import whole_file
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.trajectory import Trajectory
from posesplat.io import colmap_binary, colmap_text
from posesplat.io.camera_lists import camera_of_each_frame
from posesplat.io.colmap_records import CameraRecord, ImageRecord, PointTable

_PARTS = ("cameras", "images", "points3D")


@dataclass(frozen=True)
class ColmapModel:
    """Cameras and poses of a sparse model, in the order of its image ids."""

    trajectory: Trajectory
    """Poses and image names; timestamps are frame numbers."""
    cameras: tuple[Camera, ...]
    """One camera an image."""


def is_colmap_model(directory: str | PathLike[str]) -> bool:
    """True when a directory holds cameras and images files of a sparse model."""
    directory = Path(directory)
    return any(
        (directory / f"cameras{ending}").is_file() and (directory / f"images{ending}").is_file()
        for ending in (".bin", ".txt")
    )


def write_colmap(
    directory: str | PathLike[str],
    trajectory: Trajectory,
    camera: Camera | Sequence[Camera],
    points: Gaussians | None = None,
    binary: bool = False,
) -> None:
    """Write a sparse model; frames without a pose are left out, image ids are frame number + 1.

    Args:
        directory: the model's folder, made if needed.
        trajectory: poses and image names.
        camera: the camera of all frames, or one for each frame of the trajectory.
        points: Gaussians whose means and colours become points3D (grey without colour); none for an empty list.
        binary: ``.bin`` files instead of ``.txt``.

    Raises:
        ValueError: when the folder holds files of another model that COLMAP would mix with this one, or a name in a
            text model has blanks.
    """
    directory = Path(directory)
    ending, other = (".bin", ".txt") if binary else (".txt", ".bin")
    stale = [part + other for part in _PARTS] + [part + end for part in ("rigs", "frames") for end in (".bin", ".txt")]
    found = [name for name in stale if (directory / name).exists()]
    if found:
        raise ValueError(
            f"{directory} must not hold parts of another COLMAP model; got {', '.join(found)}. Pass an empty folder."
        )
    cameras = camera_of_each_frame(trajectory, camera)
    used = [own for own, posed in zip(cameras, trajectory.posed, strict=True) if posed]
    ids = {own: number for number, own in enumerate(dict.fromkeys(used), start=1)}
    images = [
        ImageRecord(index + 1, estimate.cam_from_world, ids[own], name)
        for index, (estimate, own, name) in enumerate(zip(trajectory, cameras, trajectory.names, strict=True))
        if estimate.cam_from_world is not None
    ]
    records = [CameraRecord.of(number, own) for own, number in ids.items()]
    table = None if points is None else _points(points)
    module = colmap_binary if binary else colmap_text
    contents = (module.encode_cameras(records), module.encode_images(images), module.encode_points(table))
    for part, content in zip(_PARTS, contents, strict=True):
        with whole_file(directory / (part + ending)) as temporary:
            temporary.write_bytes(content)


def read_colmap(directory: str | PathLike[str]) -> ColmapModel:
    """Read cameras and poses of a sparse model; binary wins where both kinds lie, as in COLMAP.

    Raises:
        ValueError: when files are missing, malformed or cut short, or a lens has no OpenCV pinhole equivalent.
    """
    directory = Path(directory)
    if not is_colmap_model(directory):
        raise ValueError(
            f"{directory} must be a COLMAP model with cameras and images (.bin or .txt); got neither pair. "
            "Pass the folder that holds them, often sparse/0."
        )
    binary = (directory / "cameras.bin").is_file() and (directory / "images.bin").is_file()
    module, ending = (colmap_binary, ".bin") if binary else (colmap_text, ".txt")
    cameras_file = directory / f"cameras{ending}"
    records = module.decode_cameras(cameras_file)
    try:
        cameras = {record.camera_id: record.camera() for record in records}
    except ValueError as error:
        raise ValueError(f"{cameras_file}: {error}") from error
    images = sorted(module.decode_images(directory / f"images{ending}"), key=lambda image: image.image_id)
    for image in images:
        if image.camera_id not in cameras:
            raise ValueError(
                f"{cameras_file} must hold the camera of image {image.name}; got cameras {sorted(cameras)}, not "
                f"{image.camera_id}. Export the model again."
            )
    trajectory = Trajectory.from_poses(
        [image.cam_from_world for image in images], names=[image.name for image in images]
    )
    return ColmapModel(trajectory, tuple(cameras[image.camera_id] for image in images))


def _points(gaussians: Gaussians) -> PointTable:
    rgb = gaussians.rgb() if gaussians.has_color else np.full((len(gaussians), 3), 0.5)
    return PointTable(gaussians.means_in_world.astype(np.float64), np.rint(255 * rgb).clip(0, 255).astype(np.uint8))
