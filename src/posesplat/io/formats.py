"""One door to all trajectory formats: write by name, read by name or by a look at the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from posesplat.datasets.nerfstudio import read_nerfstudio
from posesplat.files import load_json_object
from posesplat.geometry.cameras import Camera
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.archive import FORMAT, read_json, read_npz, write_json, write_npz
from posesplat.io.colmap import is_colmap_model, read_colmap, write_colmap
from posesplat.io.kitti import read_kitti, write_kitti
from posesplat.io.nerfstudio import write_nerfstudio
from posesplat.io.tum import read_tum, write_tum


@dataclass(frozen=True)
class TrajectoryFormat:
    """A way to store a trajectory."""

    summary: str
    """One line: what the file holds, in which direction and axes."""
    default_name: str
    """File (or folder) name inside an output folder."""
    write: Callable[[Path, Trajectory, Camera | None], None]
    """Writes to a path."""
    read: Callable[[Path], Trajectory]
    """Reads from a path."""
    is_folder: bool = False
    """True when the format is a folder of files."""


def _needed(camera: Camera | None, name: str) -> Camera:
    if camera is None:
        raise ValueError(f"Format {name} needs the camera's intrinsics; got None. Pass camera.")
    return camera


FORMATS: dict[str, TrajectoryFormat] = {
    "tum": TrajectoryFormat(
        "text rows 'timestamp tx ty tz qx qy qz qw', world_from_cam, OpenCV axes, failures left out",
        "trajectory.txt",
        lambda path, trajectory, camera: write_tum(path, trajectory),
        read_tum,
    ),
    "kitti": TrajectoryFormat(
        "text rows of a 3x4 world_from_cam matrix, OpenCV axes, every frame posed",
        "trajectory_kitti.txt",
        lambda path, trajectory, camera: write_kitti(path, trajectory),
        read_kitti,
    ),
    "colmap": TrajectoryFormat(
        "COLMAP sparse model as text, cam_from_world, OpenCV axes, failures left out",
        "colmap",
        lambda path, trajectory, camera: write_colmap(path, trajectory, _needed(camera, "colmap")),
        lambda path: read_colmap(path).trajectory,
        is_folder=True,
    ),
    "colmap-binary": TrajectoryFormat(
        "COLMAP sparse model as binary, cam_from_world, OpenCV axes, failures left out",
        "sparse/0",
        lambda path, trajectory, camera: write_colmap(path, trajectory, _needed(camera, "colmap-binary"), binary=True),
        lambda path: read_colmap(path).trajectory,
        is_folder=True,
    ),
    "nerfstudio": TrajectoryFormat(
        "transforms.json, world_from_cam, OpenGL axes, failures left out",
        "transforms.json",
        lambda path, trajectory, camera: write_nerfstudio(path, trajectory, _needed(camera, "nerfstudio")),
        lambda path: read_nerfstudio(path).trajectory,
    ),
    "npz": TrajectoryFormat(
        "NumPy archive, cam_from_world with covariance, success and reason of every frame, OpenCV axes",
        "trajectory.npz",
        write_npz,
        read_npz,
    ),
    "json": TrajectoryFormat(
        "JSON, cam_from_world with covariance, success and reason of every frame, OpenCV axes",
        "trajectory.json",
        write_json,
        read_json,
    ),
}
"""Every trajectory format by name."""


def write_trajectory(
    path: str | PathLike[str], trajectory: Trajectory, camera: Camera | None = None, format: str = "tum"
) -> Path:
    """Write a trajectory in one of :data:`FORMATS`; returns the path written.

    Args:
        path: the file, or an existing folder in which the format's default name is used; for COLMAP the model's folder.
        trajectory: poses, times and names.
        camera: intrinsics of all frames; COLMAP and nerfstudio need them.
        format: a key of :data:`FORMATS`.

    Raises:
        ValueError: for an unknown format, a missing camera, or poses that the format cannot hold.
    """
    chosen = _format(format)
    path = Path(path)
    if path.is_dir() and not chosen.is_folder:
        path = path / chosen.default_name
    chosen.write(path, trajectory, camera)
    return path


def read_trajectory(path: str | PathLike[str], format: str | None = None) -> Trajectory:
    """Read a trajectory; without ``format`` the kind is guessed from the name and the content.

    Args:
        path: a file, a COLMAP model's folder, or an output folder with transforms.json or trajectory.* in it.
        format: a key of :data:`FORMATS`, or None to guess.

    Raises:
        ValueError: when the kind cannot be told, or the file is malformed.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Trajectory {path} does not exist. Check the path.")
    if format is None:
        path, format = _guessed(path)
    chosen = _format(format)
    if path.is_dir() and not chosen.is_folder:
        path = path / chosen.default_name
    return chosen.read(path)


def _format(name: str) -> TrajectoryFormat:
    if name not in FORMATS:
        raise ValueError(f"Trajectory format must be one of {', '.join(FORMATS)}; got {name!r}. Pass one of these.")
    return FORMATS[name]


def _guessed(path: Path) -> tuple[Path, str]:
    """The file to read and its format."""
    if path.is_dir():
        if is_colmap_model(path):
            return path, "colmap"
        # What posesplat wrote comes first: it holds times and, but for TUM, refusals, which a model beside it lacks.
        for name in ("json", "npz", "tum", "nerfstudio", "kitti"):
            if (path / FORMATS[name].default_name).is_file():
                return path / FORMATS[name].default_name, name
        for model in (path / "sparse" / "0", path / "sparse"):
            if is_colmap_model(model):
                return model, "colmap"
        raise ValueError(
            f"{path} must hold a trajectory ({', '.join(entry.default_name for entry in FORMATS.values())}); got none. "
            "Pass the file itself."
        )
    if path.suffix.lower() == ".npz":
        return path, "npz"
    if path.suffix.lower() == ".json":
        return path, "json" if load_json_object(path).get("format") == FORMAT else "nerfstudio"
    words = _first_row(path)
    if len(words) in (8, 12):
        return path, "tum" if len(words) == 8 else "kitti"
    raise ValueError(
        f"{path} must be a trajectory (rows of 8 numbers for TUM, 12 for KITTI, .json, .npz or a COLMAP folder); "
        f"got {f'rows of {len(words)} values' if words else 'no rows of text'}. Pass a file of one of these kinds."
    )


def _first_row(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            rows = (line.split() for line in file)
            return next((words for words in rows if words and not words[0].startswith("#")), [])
    except UnicodeDecodeError:
        return []
