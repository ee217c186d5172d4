"""The camera of a COLMAP model, read without COLMAP.

Source: https://colmap.github.io/format.html, ``cameras.txt`` and ``cameras.bin``.
"""

from __future__ import annotations

import struct
from pathlib import Path

from posesplat.geometry.cameras import Camera

_MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    6: ("FULL_OPENCV", 12),
}


def has_colmap_cameras(folder: Path) -> bool:
    """Whether ``folder`` holds the cameras of a COLMAP model."""
    return any((folder / name).is_file() for name in ("cameras.bin", "cameras.txt"))


def read_colmap_camera(folder: Path) -> Camera:
    """The one camera of the COLMAP model in ``folder``.

    Raises:
        ValueError: when the model is broken, or has several different cameras.
    """
    binary = folder / "cameras.bin"
    path = binary if binary.is_file() else folder / "cameras.txt"
    try:
        cameras = _from_binary(path.read_bytes()) if path == binary else _from_text(path.read_text())
    except (struct.error, IndexError) as error:
        raise ValueError(
            f"Expected COLMAP cameras in {path}; the file breaks off or is damaged ({error}). Export the model again."
        ) from error
    if len(set(cameras)) != 1:
        raise ValueError(
            f"Expected one camera shared by all images in {path}; got {len(set(cameras))} different ones. "
            "Pass the one that took these frames as camera.json."
        )
    return cameras[0]


def _from_text(text: str) -> list[Camera]:
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [Camera.from_colmap(row[1], [float(v) for v in row[4:]], int(row[2]), int(row[3])) for row in rows]


def _from_binary(data: bytes) -> list[Camera]:
    cameras, position = [], 8
    for _ in range(struct.unpack_from("<Q", data)[0]):
        _, model, width, height = struct.unpack_from("<iiQQ", data, position)
        name, length = _MODELS.get(model, (f"number {model}", 0))
        params = struct.unpack_from(f"<{length}d", data, position + 24)
        cameras.append(Camera.from_colmap(name, params, width, height))
        position += 24 + 8 * length
    return cameras
