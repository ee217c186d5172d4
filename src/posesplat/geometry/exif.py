"""The focal length that a photo's EXIF block states.

Source: CIPA DC-008, Exif 2.32 (tags), section 4.7 (JPEG segment); Adobe, TIFF 6.0; W3C, PNG 3rd edition (eXIf chunk).
"""

from __future__ import annotations

import struct
from os import PathLike
from pathlib import Path

_ORIENTATION = 0x0112
_EXIF_DIRECTORY = 0x8769
_FOCAL_LENGTH_35MM = 0xA405
_INTEGER_FORMATS = {1: "B", 3: "H", 4: "I"}
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


def read_focal_35mm(path: str | PathLike[str]) -> tuple[float, int, int]:
    """Focal length as 35 mm film equivalent (mm), and width and height in pixels of the upright image (JPEG or PNG).

    Width and height are those after the EXIF orientation is applied, as image readers do by default.

    Raises:
        ValueError: when the file is neither JPEG nor PNG, is damaged, or states no 35 mm equivalent focal length.
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        if data[:2] == b"\xff\xd8":
            exif, width, height = _scan_jpeg(data)
        elif data[:8] == b"\x89PNG\r\n\x1a\n":
            exif, width, height = _scan_png(data)
        else:
            raise ValueError(f"{path} must be a JPEG or PNG photo to carry EXIF; got another format. Pass --camera.")
        tags = _tags(exif) if exif else {}
    except (struct.error, IndexError) as error:
        raise ValueError(
            f"{path} must be a whole image with valid EXIF; got a damaged one ({error}). "
            "Copy the photo again, or pass the camera's intrinsics."
        ) from error
    if width < 1 or height < 1:
        raise ValueError(f"{path} must state its image size; got {width} x {height}. Copy the photo again.")
    focal = tags.get(_FOCAL_LENGTH_35MM)
    if not focal:
        came = "no EXIF" if not exif else "EXIF without it" if focal is None else "0, which means unknown"
        raise ValueError(
            f"{path} must state FocalLengthIn35mmFilm (EXIF tag 41989); got {came}. "
            "Pass the camera's intrinsics instead."
        )
    if tags.get(_ORIENTATION, 1) in (5, 6, 7, 8):
        width, height = height, width
    return float(focal), width, height


def _scan_jpeg(data: bytes) -> tuple[bytes, int, int]:
    """The EXIF block (empty if none), stored width and height; reads segments up to the frame header."""
    exif, position = b"", 2
    while position < len(data):
        if data[position] != 0xFF:
            raise IndexError(f"no marker at byte {position}")
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _WITHOUT_LENGTH:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        body = position + 4
        if marker == 0xE1 and data[body : body + 6] == b"Exif\0\0" and not exif:
            exif = data[body + 6 : position + 2 + length]
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, body + 1)
            return exif, width, height
        position += 2 + length
    raise IndexError("no frame header")


def _scan_png(data: bytes) -> tuple[bytes, int, int]:
    """The EXIF block (empty if none), stored width and height."""
    width, height = struct.unpack_from(">II", data, 16)
    position = 8
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if data[position + 4 : position + 8] == b"eXIf":
            return data[position + 8 : position + 8 + length], width, height
        position += 12 + length
    return b"", width, height


def _tags(exif: bytes) -> dict[int, int]:
    """The integer tags of the first and of the EXIF directory of a TIFF block, by tag number."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or struct.unpack_from(order + "H", exif, 2)[0] != 42:
        raise IndexError("no TIFF header in the EXIF block")
    tags = _directory(exif, order, struct.unpack_from(order + "I", exif, 4)[0])
    if _EXIF_DIRECTORY in tags:
        tags.update(_directory(exif, order, tags[_EXIF_DIRECTORY]))
    return tags


def _directory(exif: bytes, order: str, offset: int) -> dict[int, int]:
    """Tag numbers and values of one directory; only single integers, which fit into the entry itself."""
    (count,) = struct.unpack_from(order + "H", exif, offset)
    values = {}
    for index in range(count):
        start = offset + 2 + 12 * index
        tag, kind, length = struct.unpack_from(order + "HHI", exif, start)
        if kind in _INTEGER_FORMATS and length == 1:
            (values[tag],) = struct.unpack_from(order + _INTEGER_FORMATS[kind], exif, start + 8)
    return values
