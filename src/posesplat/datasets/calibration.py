"""Which camera took the images: what the caller gives, or what lies beside them."""

from __future__ import annotations

import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from posesplat.datasets.colmap_cameras import has_colmap_cameras, read_colmap_camera
from posesplat.geometry.cameras import Camera
from posesplat.images import DepthUnits, read_colour

PixelCentre = Literal["corner", "integer"]
ImageOrSize = Path | tuple[int, int]
"""An image file, or (width, height) in pixels where frames are no files."""
CameraSource = Camera | str | os.PathLike[str] | None

_LOG = logging.getLogger(__name__)
_GUESSED_FOCAL = 1.2
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_HELP = (
    "Pass camera= (--camera): a camera.json, 'fx,fy,cx,cy[,k1,k2,p1,p2[,k3]]', a COLMAP model folder, 'exif' (the "
    "photo's own focal length) or 'auto' (a guess)"
)


@dataclass(frozen=True)
class ReadOptions:
    """How a source of frames is read."""

    camera: CameraSource = None
    """The camera of the stored images; wins over any calibration found beside them."""
    pixel_centre: PixelCentre = "corner"
    """Where ``camera='fx,fy,cx,cy,...'`` puts the top-left pixel's centre: (0.5, 0.5), or (0, 0) as OpenCV does."""
    depth_scale: float | None = None
    """Stored depth / depth_scale = metres, for every depth file; None: what the data set says."""
    plausible_depth_m: tuple[float, float] | None = (0.01, 50.0)
    """Median depth outside this range is an error (wrong unit); None accepts any."""
    undistort_depth: bool = True
    """False when the stored depth is already on the pinhole's pixel grid."""

    def __post_init__(self) -> None:
        if self.pixel_centre not in ("corner", "integer"):
            raise ValueError(
                f"pixel_centre must be 'corner' or 'integer'; got {self.pixel_centre!r}. "
                "OpenCV, ROS and TUM calibrations are 'integer', COLMAP and nerfstudio 'corner'."
            )

    def depth_units(self, found: float | None, missing: tuple[int, ...] = ()) -> DepthUnits:
        """The units of depth files whose data set names the scale ``found``; millimetres where nobody says."""
        scale = (found or 1000.0) if self.depth_scale is None else self.depth_scale
        return DepthUnits(scale, self.depth_scale is not None, missing, self.plausible_depth_m)


class UnknownCamera(ValueError):
    """Nothing says what camera took the images."""


@dataclass(frozen=True)
class Calibration:
    """A camera with its lens, and the depth scale that was noted with it."""

    camera: Camera
    """The camera of the stored images."""
    depth_scale: float | None = None
    """Stored depth / depth_scale = metres; None where unknown."""


def find_calibration(
    options: ReadOptions, folders: tuple[Path, ...], first: ImageOrSize, default: Calibration | None = None
) -> Calibration:
    """The calibration of images: the given camera, else a file in one of ``folders``, else ``default``.

    Args:
        options: holds the given camera, if any.
        folders: where ``camera.json`` or ``intrinsics.txt`` are looked for, first hit wins.
        first: the first image, or the images' size, for cameras typed as numbers, 'exif' and 'auto'.
        default: what the data set's layout implies.

    Raises:
        UnknownCamera: when no camera is known.
        ValueError: when the one given cannot be read.
    """
    found = _calibration_beside(folders) or default
    if options.camera is None:
        if found is None:
            places = " or ".join(str(folder) for folder in folders) or "the source"
            raise UnknownCamera(
                f"Expected a camera for these images; no camera was given and there is neither camera.json nor "
                f"intrinsics.txt in {places}. {_HELP}."
            )
        return found
    given = given_calibration(options.camera, options.pixel_centre, first)
    scale = given.depth_scale or (found.depth_scale if found else None)
    return Calibration(given.camera, scale)


def given_calibration(
    camera: Camera | str | os.PathLike[str], pixel_centre: PixelCentre, first: ImageOrSize
) -> Calibration:
    """The calibration that a caller names: a Camera, a file, a COLMAP model, numbers, 'exif' or 'auto'."""
    if isinstance(camera, Camera):
        return Calibration(camera)
    text = os.fspath(camera)
    if text == "exif":
        if not isinstance(first, Path):
            raise ValueError("camera='exif' needs photo files; this source has none. Pass a camera.json, or 'auto'.")
        return Calibration(Camera.from_exif(first))
    if text == "auto":
        return Calibration(_guessed(*_size_of(first)))
    path = Path(text)
    if path.is_dir():
        if has_colmap_cameras(path):
            return Calibration(read_colmap_camera(path))
        found = _calibration_beside((path,))
        if found is not None:
            return found
        raise ValueError(
            f"Expected a COLMAP model, camera.json or intrinsics.txt in the folder {path}; found none. {_HELP}."
        )
    if path.is_file():
        return _calibration_file(path)
    numbers = _numbers_of(text)
    if numbers is None:
        raise ValueError(f"Expected a camera; {text!r} is neither a file nor a folder nor 4, 8 or 9 numbers. {_HELP}.")
    width, height = _size_of(first)
    fx, fy, cx, cy, *lens = numbers
    if 0 < fx < 4 and 0 < fy < 4 and 0 <= cx <= 1 and 0 <= cy <= 1 and min(width, height) > 8:
        raise ValueError(
            f"Camera numbers must be pixels; got {text!r} for {width} x {height} images, which look normalised. Pass "
            f"fx and cx times {width}, fy and cy times {height}."
        )
    make = Camera.from_opencv if pixel_centre == "integer" else Camera
    return Calibration(make(fx, fy, cx, cy, width, height, tuple(lens)))


def read_intrinsics(path: Path) -> Calibration:
    """Read ``intrinsics.txt``: ``fx fy cx cy width height`` with integer pixel centres, the lens in a comment line.

    Comments may say ``distortion ...: k1 k2 p1 p2 [k3]`` and ``depth scale N``; a ``COLMAP camera line: ID MODEL WIDTH
    HEIGHT PARAMS`` replaces the numbers (and has corner-based pixel centres).
    """
    lines = path.read_text().splitlines()
    comments = "\n".join(line for line in lines if line.startswith("#"))
    values = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    scale = re.search(rf"depth scale\s*:?\s*({_NUMBER})", comments)
    depth_scale = float(scale[1]) if scale else None
    colmap = re.search(r"COLMAP camera line:\s*\S+\s+([A-Z_]+)\s+(\d+)\s+(\d+)\s+(.+)", comments)
    try:
        if colmap:
            params = [float(value) for value in colmap[4].split()]
            return Calibration(Camera.from_colmap(colmap[1], params, int(colmap[2]), int(colmap[3])), depth_scale)
        fx, fy, cx, cy, width, height = (float(value) for value in values[0])
    except (ValueError, IndexError) as error:
        got = " ".join(values[0]) if values else "nothing"
        raise ValueError(
            f"{path} must hold one line 'fx fy cx cy width height'; got {got!r} ({error}). Or write a camera.json."
        ) from error
    lens = re.search(rf"(?:distortion|radtan)[^:;\n\d]*(?:[kp]\d[,\s]*)*:?\s*((?:{_NUMBER}[,\s]*){{4,8}})", comments)
    terms = tuple(float(value) for value in re.findall(_NUMBER, lens[1])) if lens else ()
    return Calibration(Camera.from_opencv(fx, fy, cx, cy, int(width), int(height), terms), depth_scale)


def _calibration_beside(folders: tuple[Path, ...]) -> Calibration | None:
    for folder in folders:
        for name in ("camera.json", "intrinsics.txt"):
            if (folder / name).is_file():
                return _calibration_file(folder / name)
    return None


def _calibration_file(path: Path) -> Calibration:
    if path.suffix.lower() == ".json":
        camera = Camera.from_json(path)
        scale = json.loads(path.read_text()).get("depth_scale")
        if scale is not None and not (isinstance(scale, (int, float)) and 0 < scale < float("inf")):
            raise ValueError(
                f"{path}: depth_scale must be a positive number (stored value / depth_scale = metres); got {scale!r}. "
                "Write 1000 for millimetres, 5000 for the TUM benchmark."
            )
        return Calibration(camera, None if scale is None else float(scale))
    if path.stem == "cameras":
        return Calibration(read_colmap_camera(path.parent))
    return read_intrinsics(path)


def _numbers_of(text: str) -> list[float] | None:
    try:
        numbers = [float(value) for value in text.split(",")]
    except ValueError:
        return None
    return numbers if len(numbers) in (4, 8, 9) else None


def _size_of(first: ImageOrSize) -> tuple[int, int]:
    if isinstance(first, tuple):
        return first
    height, width = read_colour(first).shape[:2]
    return width, height


def _guessed(width: int, height: int) -> Camera:
    focal = _GUESSED_FOCAL * max(width, height)
    _LOG.warning(
        "camera 'auto': the focal length is a guess, %.0f px = %.1f x the longer side of %d x %d; scale and angles of "
        "the answer depend on it",
        focal,
        _GUESSED_FOCAL,
        width,
        height,
    )
    return Camera(focal, focal, 0.5 * width, 0.5 * height, width, height)
