"""Map-free relocalisation: one reference photo a scene, and queries around it, metric poses.

Source: Arnold et al., Map-free visual relocalization, ECCV 2022. Calibrations count pixel centres as whole numbers.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.pairs import ImagePair
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.images import DepthUnits, naturally_sorted, read_colour, read_depth

_REFERENCE = "seq0"
_MILLIMETRES = DepthUnits(1000.0)


def mapfree_pairs(folder: Path, every: int = 5, depth: str | None = None) -> list[ImagePair]:
    """Reference and queries of every scene of a split, as the benchmark pairs them for validation and test.

    Layout of a scene: ``seq0/frame_00000.jpg`` (the reference), ``seq1/frame_XXXXX.jpg``, ``intrinsics.txt`` (rows
    ``image fx fy cx cy width height``) and ``poses.txt`` (rows ``image qw qx qy qz tx ty tz``, cam_from_world).

    Args:
        folder: one scene, or a split that holds scenes.
        every: take every such query; 5 is the benchmark's choice.
        depth: the ending of depth maps in millimetres beside the images, such as ``dptkitti`` for
            ``frame_00000.dptkitti.png``; None reads none.

    Raises:
        ValueError: when there is no scene, a file has another form, or an image has no calibration.
    """
    if every < 1:
        raise ValueError(f"every must be 1 or more queries; got {every}.")
    scenes = (
        [folder] if (folder / "poses.txt").is_file() else sorted(path.parent for path in folder.glob("*/poses.txt"))
    )
    if not scenes:
        raise ValueError(f"Expected poses.txt in {folder} or in its folders; found none. Pass a scene or a split.")
    return [pair for scene in scenes for pair in _of_scene(scene, every, depth)]


def _of_scene(scene: Path, every: int, depth: str | None) -> list[ImagePair]:
    cameras = {name: _camera(values, scene) for name, values in _rows(scene / "intrinsics.txt", 6).items()}
    poses = {name: _pose(values) for name, values in _rows(scene / "poses.txt", 7).items()}
    references = [name for name in poses if Path(name).parts[0] == _REFERENCE]
    if len(references) != 1:
        raise ValueError(
            f"{scene / 'poses.txt'} must name one reference image in {_REFERENCE}; got {len(references)}. Training "
            "scenes have more: list their pairs yourself."
        )
    lacking = [name for name in poses if name not in cameras]
    if lacking:
        raise ValueError(f"{scene / 'intrinsics.txt'} must have a row for {lacking[0]}; it has none. Add it.")
    reference = references[0]
    queries = [str(path) for path in naturally_sorted(Path(name) for name in poses if name != reference)]
    return [
        ImagePair(
            f"{scene.name} {query}",
            scene.name,
            poses[query] * poses[reference].inv(),
            True,
            partial(_both, scene, reference, query, cameras[reference], cameras[query], depth),
        )
        for query in queries[::every]
    ]


def _both(
    scene: Path, reference: str, query: str, camera_a: Camera, camera_b: Camera, depth: str | None
) -> tuple[Frame, Frame]:
    return _frame(scene / reference, camera_a, depth), _frame(scene / query, camera_b, depth)


def _frame(path: Path, camera: Camera, depth: str | None) -> Frame:
    metres = None if depth is None else read_depth(path.with_suffix(f".{depth}.png"), _MILLIMETRES)
    return Frame(camera, read_colour(path), metres, path.name)


def _rows(path: Path, count: int) -> dict[str, list[float]]:
    """Numbers by image name."""
    if not path.is_file():
        raise FileNotFoundError(f"Expected {path.name} of a Map-free scene at {path}; there is none. Copy it.")
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        columns = line.split()
        if not columns or columns[0].startswith("#"):
            continue
        try:
            values = [float(value) for value in columns[1:]]
        except ValueError:
            values = []
        if len(values) != count or not np.isfinite(values).all():
            raise ValueError(
                f"{path} line {number} must hold an image name and {count} numbers; got {line!r}. Copy the file again."
            )
        found[columns[0]] = values
    return found


def _camera(values: list[float], scene: Path) -> Camera:
    fx, fy, cx, cy, width, height = values
    if not (width.is_integer() and height.is_integer()):
        raise ValueError(f"{scene / 'intrinsics.txt'}: width and height must be whole pixels; got {width}, {height}.")
    return Camera.from_opencv(fx, fy, cx, cy, int(width), int(height))


def _pose(values: list[float]) -> RigidTransform:
    return RigidTransform.from_components(values[4:], Rotation.from_quat(values[:4], scalar_first=True))
