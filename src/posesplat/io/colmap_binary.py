"""The binary files of a COLMAP sparse model, little endian."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.io.colmap_records import MODELS, CameraRecord, ImageRecord, PointTable

_MODEL_NAMES = {number: name for name, (number, _) in MODELS.items()}
_BYTES_PER_KEYPOINT = 24
_POINT = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track_length", "<u8")])


def encode_cameras(cameras: Sequence[CameraRecord]) -> bytes:
    """The content of cameras.bin."""
    parts = [struct.pack("<Q", len(cameras))]
    for camera in cameras:
        number, count = MODELS[camera.model]
        parts.append(struct.pack("<IiQQ", camera.camera_id, number, camera.width, camera.height))
        parts.append(struct.pack(f"<{count}d", *camera.params))
    return b"".join(parts)


def encode_images(images: Sequence[ImageRecord]) -> bytes:
    """The content of images.bin, without keypoints."""
    parts = [struct.pack("<Q", len(images))]
    for image in images:
        quat_wxyz = image.cam_from_world.rotation.as_quat(canonical=True, scalar_first=True)
        numbers = (*quat_wxyz, *image.cam_from_world.translation)
        parts.append(struct.pack("<I7dI", image.image_id, *numbers, image.camera_id))
        parts.append(image.name.encode() + b"\0" + struct.pack("<Q", 0))
    return b"".join(parts)


def encode_points(points: PointTable | None) -> bytes:
    """The content of points3D.bin, without tracks; the error is 0, as none was measured."""
    table = np.zeros(0 if points is None else len(points.xyz), dtype=_POINT)
    if points is not None:
        table["id"] = np.arange(1, len(table) + 1)
        table["xyz"], table["rgb"] = points.xyz, points.rgb
    return struct.pack("<Q", len(table)) + table.tobytes()


def decode_cameras(path: Path) -> list[CameraRecord]:
    """Read cameras.bin.

    Raises:
        ValueError: when the file is cut short or holds an unknown camera model.
    """
    cursor = _Cursor(path)
    cameras = []
    for _ in range(cursor.count()):
        camera_id, number, width, height = cursor.take("<IiQQ")
        if number not in _MODEL_NAMES:
            raise ValueError(
                f"{path}, byte {cursor.position}: expected a camera model 0 .. {max(_MODEL_NAMES)}; got {number}. "
                "Export the model as text and check it."
            )
        model = _MODEL_NAMES[number]
        params = cursor.take(f"<{MODELS[model][1]}d")
        cameras.append(CameraRecord(camera_id, model, width, height, params))
    return cameras


def decode_images(path: Path) -> list[ImageRecord]:
    """Read images.bin; keypoints are passed over.

    Raises:
        ValueError: when the file is cut short or a pose is not finite.
    """
    cursor = _Cursor(path)
    images = []
    for _ in range(cursor.count()):
        start = cursor.position
        image_id, *numbers, camera_id = cursor.take("<I7dI")
        name = cursor.text()
        cursor.skip(cursor.count() * _BYTES_PER_KEYPOINT)
        length = math.hypot(*numbers[:4])
        if not all(map(math.isfinite, numbers)) or abs(length - 1) > 0.01:
            raise ValueError(
                f"{path}, byte {start}: expected a finite pose with a unit quaternion; got {numbers} for {name}. "
                "Export the model again."
            )
        rotation = Rotation.from_quat(numbers[:4], scalar_first=True)
        images.append(ImageRecord(image_id, RigidTransform.from_components(numbers[4:], rotation), camera_id, name))
    return images


class _Cursor:
    """Reads a binary file from its start, with errors that name the file and the byte."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.position = path, path.read_bytes(), 0

    def take(self, layout: str) -> tuple:
        """The next numbers in struct's notation."""
        start = self.position
        self.skip(struct.calcsize(layout))
        return struct.unpack_from(layout, self.data, start)

    def count(self) -> int:
        """The next 64-bit count."""
        return int(self.take("<Q")[0])

    def text(self) -> str:
        """The next zero-terminated string."""
        end = self.data.find(b"\0", self.position)
        if end < 0:
            raise self._cut_short(len(self.data) + 1)
        start, self.position = self.position, end + 1
        return self.data[start:end].decode("utf-8", errors="replace")

    def skip(self, size: int) -> None:
        """Pass over some bytes."""
        if self.position + size > len(self.data):
            raise self._cut_short(self.position + size)
        self.position += size

    def _cut_short(self, needed: int) -> ValueError:
        return ValueError(
            f"{self.path}, byte {self.position}: expected at least {needed} bytes; got {len(self.data)}. "
            "The file is cut short or not a COLMAP model: copy it again."
        )
