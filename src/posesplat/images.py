"""Colour and depth images from files, decoded whole or refused, and to files; videos frame by frame."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8

from posesplat.files import whole_file

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
DEPTH_SUFFIXES = frozenset({".png", ".npy", ".tif", ".tiff", ".pgm"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv"})
_LONGEST_SKIP = 90
_SAME_TIME_S = 5e-4
_PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class DepthUnits:
    """How the values of a depth file become metres."""

    scale: float
    """Stored value / scale = metres."""
    scale_floats: bool = False
    """Also divide floating-point files, which otherwise hold metres already."""
    missing: tuple[int, ...] = ()
    """Stored values, besides 0, that mean that nothing was measured."""
    plausible_m: tuple[float, float] | None = (0.01, 50.0)
    """The median of a depth map in metres must lie here; None accepts any."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(
                f"depth_scale must be a positive number (stored value / depth_scale = metres); got {self.scale}. "
                "Use 1000 for millimetres, 5000 for the TUM benchmark."
            )


def read_colour(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """Read an image as 8-bit RGB; grey becomes RGB, alpha is dropped, EXIF orientation is applied.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is not an image or breaks off.
    """
    return decoded_colour(_whole_image_file(path), str(path))


def decoded_colour(data: UInt8[np.ndarray, " n"], source: str) -> UInt8[np.ndarray, "height width 3"]:
    """The bytes of an image file as 8-bit RGB; ``source`` is what an error calls them.

    Raises:
        ValueError: when they are no image.
    """
    import cv2

    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(
            f"Expected a whole image in {source} ({len(data)} bytes); it cannot be decoded or breaks off. "
            "Copy or export this file again."
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def write_colour(path: Path, image: UInt8[np.ndarray, "height width 3"]) -> None:
    """Write an RGB image in the format of the file's suffix, whole or not at all; JPEG with quality 95.

    Raises:
        ValueError: for a suffix that is no image format.
    """
    import cv2

    try:
        made, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        made, data = False, np.empty(0, np.uint8)
    if not made:
        raise ValueError(f"Expected the name of an image file ({' '.join(sorted(IMAGE_SUFFIXES))}); got {path}.")
    with whole_file(path) as temporary:
        data.tofile(temporary)


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


def read_depth(path: Path, units: DepthUnits) -> Float32[np.ndarray, "height width"]:
    """Read a depth map in metres, 0 where nothing was measured.

    16-bit images and integer arrays hold metres x scale; floating-point ``.npy`` and TIFF files hold metres. NaN,
    infinite and negative values become 0.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is broken, has 8 bits or several channels, or its values cannot be metres.
    """
    stored = stored_depth(path)
    is_float = np.issubdtype(stored.dtype, np.floating)
    depth = stored.astype(np.float32)
    if not is_float or units.scale_floats:
        depth /= np.float32(units.scale)
    if is_float:
        depth[~np.isfinite(depth)] = 0.0
    depth[depth < 0] = 0.0
    for value in units.missing:
        depth[stored == value] = 0.0
    _check_plausible(path, depth, units)
    return depth


def stored_depth(path: Path) -> Shaped[np.ndarray, "height width"]:
    """The numbers of a depth file as they are stored, without a unit.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is broken, or has 8 bits or several channels.
    """
    stored = _decoded_depth(path)
    is_float = np.issubdtype(stored.dtype, np.floating)
    if stored.ndim != 2 or not (is_float or stored.dtype.itemsize >= 2) or stored.dtype.kind not in "uif":
        raise ValueError(
            f"Depth map {path} must have one channel of 16-bit or floating-point values; got {stored.dtype} of shape "
            f"{stored.shape}. An 8-bit or colour file is a picture of depth: use the original depth file."
        )
    return stored


def reduced_image(image: UInt8[np.ndarray, "_ _ 3"], longest_px: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """An image whose longer side has at most so many pixels; the same one where it has no more already."""
    import cv2

    scale = longest_px / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def base_name(name: str) -> str:
    """The name of a frame or file without folder and without the suffix of an image, depth map or array."""
    path = PurePath(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES | DEPTH_SUFFIXES else path.name


def images_in(folder: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The image files of a folder, in natural order; hidden files are left out."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith("."))
    return naturally_sorted(path for path in found if path.is_file())


def naturally_sorted(paths: Iterable[Path]) -> list[Path]:
    """Paths in the order a person expects: ``frame2`` before ``frame10``, decimal times by value."""
    paths = list(paths)
    if paths and all(re.fullmatch(r"\d+\.\d+", path.stem) for path in paths):
        return sorted(paths, key=lambda path: (float(path.stem), str(path)))
    return sorted(paths, key=lambda path: (_natural_key(str(path)), str(path)))


def times_of(paths: list[Path]) -> list[float]:
    """Timestamps in seconds: file stems that are decimal seconds or 19-digit nanoseconds, otherwise frame numbers."""
    stems = [path.stem for path in paths]
    if all(re.fullmatch(r"\d+\.\d+", stem) for stem in stems):
        return [float(stem) for stem in stems]
    if all(re.fullmatch(r"\d{19}", stem) for stem in stems):
        return [int(stem) / 1e9 for stem in stems]
    return [float(index) for index in range(len(paths))]


def _natural_key(text: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", text)]


def _whole_image_file(path: Path) -> UInt8[np.ndarray, " n"]:
    if not path.is_file():
        found = "it is a folder: name a file in it" if path.is_dir() else "there is none. Check the path"
        raise FileNotFoundError(f"Expected an image file at {path}; {found}.")
    data = path.read_bytes()
    if not data or not _is_complete(data):
        raise _unreadable(path)
    return np.frombuffer(data, dtype=np.uint8)


def _unreadable(path: Path) -> ValueError:
    return ValueError(
        f"Expected a whole image in {path} ({path.stat().st_size} bytes); it cannot be decoded or breaks off. "
        "Copy or export this file again."
    )


def _is_complete(data: bytes) -> bool:
    """Whether a PNG or JPEG reaches its end marker: decoders fill what is missing with grey and say nothing."""
    if data.startswith(b"\x89PNG"):
        return _PNG_END in data[-4096:]
    if not data.startswith(b"\xff\xd8"):
        return True
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == 0xDA:
            return data.find(b"\xff\xd9", position) >= 0
        if data[position + 1] == 0xFF:
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False


def _decoded_depth(path: Path) -> np.ndarray:
    if path.suffix.lower() != ".npy":
        import cv2

        stored = cv2.imdecode(_whole_image_file(path), cv2.IMREAD_UNCHANGED)
        if stored is None:
            raise _unreadable(path)
        return np.asarray(stored)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a depth map at {path}; there is none. Check the path.")
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"Expected a NumPy array of depths in {path}; {_no_array(path, error)}. Save it again with numpy.save."
        ) from error


def _no_array(path: Path, error: Exception) -> str:
    """What is wrong with a .npy file; NumPy takes everything it does not know for a pickle."""
    with path.open("rb") as file:
        begins = file.read(6)
    return f"it cannot be read ({error})" if begins == b"\x93NUMPY" else "it does not begin as such a file does"


def _check_plausible(path: Path, depth: Float32[np.ndarray, "height width"], units: DepthUnits) -> None:
    if units.plausible_m is None:
        return
    valid = depth[depth > 0]
    median = float(np.median(valid[::7])) if valid.size else None
    low, high = units.plausible_m
    if median is not None and not low <= median <= high:
        guess = "it looks like millimetres read as metres" if median > high else "it looks divided by too much"
        raise ValueError(
            f"Depth map {path} must have a median between {low} and {high} m; got {median:.4g} m: {guess} "
            f"(depth_scale {units.scale:g}). Pass the depth_scale (--depth-scale) of these files, 1000 for "
            "millimetres, 5000 for TUM, or plausible_depth_m=None (--any-depth) if the scene really is that size."
        )
