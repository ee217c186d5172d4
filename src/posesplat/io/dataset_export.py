"""Exports that other software trains from: cameras, the images that belong to them, and points to begin with.

A model without its images is of little use, and images with a lens in them do not fit the pinhole cameras that were
solved for. So ``images/`` holds the undistorted frames, ``transforms.json`` (nerfstudio) and ``sparse/0`` or ``colmap``
(COLMAP, Inria's 3DGS, gsplat) name them, and the Gaussians go along as coloured points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from posesplat.datasets.sequences import FrameSequence
from posesplat.files import whole_file
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.trajectory import Trajectory
from posesplat.images import IMAGE_SUFFIXES, write_colour
from posesplat.io.colmap import write_colmap
from posesplat.io.formats import FORMATS
from posesplat.io.nerfstudio import write_nerfstudio

DATASETS = ("colmap", "colmap-binary", "nerfstudio")
"""Formats that go with images."""
IMAGES = "images"
POINTS = "points.ply"
_MOST_POINTS = 200_000


def image_file_names(names: Sequence[str]) -> tuple[str, ...]:
    """File names for frames: their own where they have an image's suffix, ``.png`` after them otherwise.

    Folders in front are left out and blanks become ``_``, which COLMAP's text files need; where two would then be
    equal, all get their frame number in front.
    """
    files = ["_".join(Path(name).name.split()) or "frame" for name in names]
    files = [file if Path(file).suffix.lower() in IMAGE_SUFFIXES else f"{file}.png" for file in files]
    if len({file.lower() for file in files}) < len(files):
        files = [f"{index:06d}_{file}" for index, file in enumerate(files)]
    return tuple(files)


def write_dataset(
    folder: Path,
    format: str,
    trajectory: Trajectory,
    camera: Camera | Sequence[Camera],
    gaussians: Gaussians | None = None,
    *,
    images: bool = False,
) -> None:
    """Write one of :data:`DATASETS` into an output folder, with at most 200,000 Gaussians as coloured points.

    Args:
        folder: the output folder; the format's default name is used in it.
        format: ``colmap``, ``colmap-binary`` or ``nerfstudio``.
        trajectory: poses and names.
        camera: the camera of all frames, or one for each frame of the trajectory.
        gaussians: the scene in the trajectory's world.
        images: whether ``images/`` of :func:`write_images` lies in the folder; names are those of its files then.

    Raises:
        ValueError: for a lens or a name that the format cannot hold.
    """
    points = None if gaussians is None or not len(gaussians) else _thinned(gaussians)
    if images:
        prefix = f"{IMAGES}/" if format == "nerfstudio" else ""
        trajectory = replace(trajectory, names=tuple(prefix + name for name in image_file_names(trajectory.names)))
    target = folder / FORMATS[format].default_name
    if format != "nerfstudio":
        write_colmap(target, trajectory, camera, points, binary=format == "colmap-binary")
        return
    write_nerfstudio(target, trajectory, camera, None if points is None else POINTS)
    if points is not None:
        write_points(folder / POINTS, points)


def write_images(folder: Path, trajectory: Trajectory, frames: FrameSequence | Sequence[Frame]) -> bool:
    """Write the undistorted images of the posed frames into ``images/``; False when the frames have none.

    Args:
        folder: the output folder.
        trajectory: poses and names.
        frames: one frame for each frame of the trajectory, in its order; only posed ones are read.

    Raises:
        ValueError: when there are fewer frames than poses.
    """
    if len(frames) < len(trajectory):
        raise ValueError(
            f"Images need a frame for each of {len(trajectory)} poses; got {len(frames)}. Pass the frames tracked."
        )
    wrote = False
    for index, file in enumerate(image_file_names(trajectory.names)):
        image = frames[index].image if trajectory[index].success else None
        if image is not None:
            write_colour(folder / IMAGES / file, image)
            wrote = True
    return wrote


def write_points(path: Path, gaussians: Gaussians) -> None:
    """Write centres and colours of Gaussians as a binary PLY with x y z (float) and red green blue (8 bit).

    It is what nerfstudio reads as ``ply_file_path`` and any point cloud viewer opens; grey where there is no colour.
    """
    rgb = gaussians.rgb() if gaussians.has_color else np.full((len(gaussians), 3), 0.5)
    names = ("red", "green", "blue")
    table = np.empty(len(gaussians), [*((axis, "<f4") for axis in "xyz"), *((name, "u1") for name in names)])
    for column, axis in enumerate("xyz"):
        table[axis] = gaussians.means_in_world[:, column]
    for column, name in enumerate(names):
        table[name] = np.rint(255 * rgb[:, column]).clip(0, 255)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    header += [*(f"property float {axis}" for axis in "xyz"), *(f"property uchar {name}" for name in names)]
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(("\n".join([*header, "end_header"]) + "\n").encode())
        table.tofile(file)


def _thinned(gaussians: Gaussians) -> Gaussians:
    """At most :data:`_MOST_POINTS` of them, evenly spaced in their order."""
    if len(gaussians) <= _MOST_POINTS:
        return gaussians
    return gaussians.select(np.linspace(0, len(gaussians) - 1, _MOST_POINTS).astype(np.int64))
