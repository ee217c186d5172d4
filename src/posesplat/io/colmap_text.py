"""The text files of a COLMAP sparse model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.io.colmap_records import MODELS, CameraRecord, ImageRecord, PointTable
from posesplat.io.rows import finite_numbers, malformed, unit_quaternion

_CAMERA_COLUMNS = "CAMERA_ID MODEL WIDTH HEIGHT PARAMS..."
_IMAGE_COLUMNS = "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"


def encode_cameras(cameras: Sequence[CameraRecord]) -> bytes:
    """The content of cameras.txt."""
    lines = ["# Camera list with one line of data per camera:", f"#   {_CAMERA_COLUMNS}"]
    lines.append("#   pixel coordinates: the centre of the top-left pixel is (0.5, 0.5)")
    for camera in cameras:
        numbers = " ".join(f"{value:.17g}" for value in camera.params)
        lines.append(f"{camera.camera_id} {camera.model} {camera.width} {camera.height} {numbers}")
    return _encoded(lines)


def encode_images(images: Sequence[ImageRecord]) -> bytes:
    """The content of images.txt, without keypoints.

    Raises:
        ValueError: for a name with blanks, which COLMAP would cut off when it reads the file.
    """
    lines = [
        "# Image list with two lines of data per image:",
        f"#   {_IMAGE_COLUMNS}",
        "#   POINTS2D[] as (X, Y, POINT3D_ID)",
        "#   pose: cam_from_world, OpenCV camera axes (x right, y down, z forward)",
    ]
    for image in images:
        if len(image.name.split()) != 1:
            raise ValueError(
                f"Image names in a COLMAP text model must have no blanks; got {image.name!r}. Write a binary model."
            )
        quat_wxyz = image.cam_from_world.rotation.as_quat(canonical=True, scalar_first=True)
        numbers = " ".join(f"{value:.17g}" for value in (*quat_wxyz, *image.cam_from_world.translation))
        lines += [f"{image.image_id} {numbers} {image.camera_id} {image.name}", ""]
    return _encoded(lines)


def encode_points(points: PointTable | None) -> bytes:
    """The content of points3D.txt, without tracks; the error column is 0, as none was measured."""
    lines = [
        "# 3D point list with one line of data per point:",
        "#   POINT3D_ID X Y Z R G B ERROR TRACK[] as (IMAGE_ID, POINT2D_IDX)",
    ]
    if points is not None:
        rows = zip(points.xyz.tolist(), points.rgb.tolist(), strict=True)
        for number, ((x, y, z), (red, green, blue)) in enumerate(rows, start=1):
            lines.append(f"{number} {x:.9g} {y:.9g} {z:.9g} {red} {green} {blue} 0")
    return _encoded(lines)


def decode_cameras(path: Path) -> list[CameraRecord]:
    """Read cameras.txt.

    Raises:
        ValueError: for a malformed line (file, line, what was expected, what came).
    """
    cameras = []
    for number, line in _lines(path):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 4 or words[1] not in MODELS or len(words) != 4 + MODELS[words[1]][1]:
            raise malformed(path, number, f"{_CAMERA_COLUMNS} of a known model", repr(line.strip()[:80]))
        camera_id, width, height = _integers(path, number, (words[0], words[2], words[3]), _CAMERA_COLUMNS)
        params = tuple(finite_numbers(path, number, words[4:], _CAMERA_COLUMNS))
        cameras.append(CameraRecord(camera_id, words[1], width, height, params))
    return cameras


def decode_images(path: Path) -> list[ImageRecord]:
    """Read images.txt; the keypoint lines are passed over.

    Raises:
        ValueError: for a malformed line (file, line, what was expected, what came).
    """
    images = []
    lines = _lines(path)
    for number, line in lines:
        words = line.split(maxsplit=9)
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 10:
            raise malformed(path, number, _IMAGE_COLUMNS, f"{len(words)} values: {line.strip()[:80]!r}")
        image_id, camera_id = _integers(path, number, (words[0], words[8]), _IMAGE_COLUMNS)
        numbers = finite_numbers(path, number, words[1:8], _IMAGE_COLUMNS)
        quat_wxyz = unit_quaternion(path, number, numbers[:4], f"{_IMAGE_COLUMNS} with a unit quaternion")
        pose = RigidTransform.from_components(numbers[4:], Rotation.from_quat(quat_wxyz, scalar_first=True))
        images.append(ImageRecord(image_id, pose, camera_id, words[9].strip()))
        next(lines, None)
    return images


def _encoded(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from enumerate(file, start=1)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a text file; got binary data. Rename it to .bin if it is binary.") from error


def _integers(path: Path, number: int, words: Sequence[str], expected: str) -> list[int]:
    try:
        return [int(word) for word in words]
    except ValueError as error:
        raise malformed(path, number, f"whole numbers in {expected}", repr(" ".join(words))) from error
