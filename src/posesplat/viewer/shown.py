"""What the viewer shows of one result: the answer of a command in memory, or one read from its output folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.tracks import evenly_spread
from posesplat.files import load_json_object
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.geometry.cameras import Camera
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.archive import read_json
from posesplat.io.frame_poses import FramePoses
from posesplat.io.results import RESULT
from posesplat.io.seen_images import SmallImages, read_seen

_LOG = logging.getLogger(__name__)

SCENES = ("gaussians.ply", "map.ply")
"""Names under which commands leave a scene in their output folder."""


@dataclass(frozen=True)
class ShownResult:
    """One result as the viewer shows it."""

    label: str
    """Its name in the viewer; unlike that of any other result shown with it."""
    trajectory: Trajectory
    """The answer, refused frames included; empty for a map alone."""
    cameras: tuple[Camera, ...]
    """Pinhole of each frame."""
    gaussians: Gaussians | None = None
    """The scene, in the world of the trajectory."""
    true: FramePoses = ()
    """True cam_from_world of each frame in the same world, None where it is not known; empty without any truth."""
    seen: SmallImages = field(default_factory=dict)
    """What the camera saw, RGB, by the frame's index; usually of some frames only, and small."""
    views: tuple[MapView, ...] = ()
    """Where the map was seen from."""
    metric: bool = True
    """Whether the unit is the metre."""
    notes: tuple[str, ...] = ()
    """What is missing, for the reader."""

    def __post_init__(self) -> None:
        count = len(self.trajectory)
        if len(self.cameras) != count or len(self.true) not in (0, count):
            raise ValueError(
                f"A shown result needs one camera, and one truth or None, for each of its {count} frames; got "
                f"{len(self.cameras)} cameras and {len(self.true)} true poses."
            )

    @staticmethod
    def of_map(
        label: str,
        trajectory: Trajectory,
        camera: Camera,
        scene: SplatMap,
        true: FramePoses | None,
        seen: SmallImages,
    ) -> ShownResult:
        """Frames of one camera that were looked for in a map."""
        cameras = (camera,) * len(trajectory)
        return ShownResult(
            label, trajectory, cameras, scene.gaussians, tuple(true or ()), seen, scene.views, scene.metric
        )

    def drawn_frames(self, most: int) -> list[int]:
        """At most so many posed frames, spread evenly; those with an image where there are any."""
        posed = np.flatnonzero(self.trajectory.posed)
        with_image = [int(index) for index in posed if int(index) in self.seen]
        chosen = with_image or [int(index) for index in posed]
        return [chosen[place] for place in evenly_spread(len(chosen), most)] if chosen else []

    def posed_poses(self) -> list[RigidTransform]:
        """cam_from_world of the posed frames, in order."""
        return [estimate.cam_from_world for estimate in self.trajectory if estimate.cam_from_world is not None]

    def true_poses(self) -> list[RigidTransform]:
        """The true poses that are known, in order."""
        return [pose for pose in self.true if pose is not None]


def open_shown(paths: Sequence[Path], scene: Path | None = None) -> list[ShownResult]:
    """What lies at some paths: output folders of commands, folders of such folders as ``posesplat demo`` makes, maps.

    Args:
        paths: folders, or splat PLY files.
        scene: the splat PLY that all folders share, where they do not say themselves.

    Raises:
        FileNotFoundError: when there is nothing at a path.
        ValueError: for a folder without a result, or a file that is no splat PLY.
    """
    maps = _Maps()
    shown: list[ShownResult] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(
                f"{path} does not exist; expected an output folder of posesplat or a splat PLY. Check the path."
            )
        if path.is_dir():
            shown += _read_folder(path, maps, scene)
        else:
            shown.append(_map_alone(path, maps))
    return _with_own_labels(shown)


class _Maps:
    """Maps by file, each read once however many results lie in it."""

    def __init__(self) -> None:
        self._read: dict[Path, SplatMap] = {}

    def __getitem__(self, path: Path) -> SplatMap:
        key = path.resolve()
        if key not in self._read:
            self._read[key] = SplatMap.load(path, metric=False)
        return self._read[key]


def _map_alone(path: Path, maps: _Maps) -> ShownResult:
    if path.suffix.lower() != ".ply":
        raise ValueError(
            f"{path} must be an output folder of posesplat or a splat PLY (.ply); got a file of another kind."
        )
    scene = maps[path]
    nothing = Trajectory((), np.zeros(0), ())
    return ShownResult(path.stem, nothing, (), scene.gaussians, views=scene.views, metric=scene.metric)


def _read_folder(folder: Path, maps: _Maps, scene: Path | None) -> list[ShownResult]:
    file = folder / RESULT
    if not file.is_file():
        raise ValueError(_no_result(folder))
    record = load_json_object(file)
    if "frames" not in record and isinstance(record.get("clips"), list):
        inner = [folder / str(clip.get("name")) for clip in record["clips"] if isinstance(clip, dict)]
        return [shown for path in inner for shown in _read_folder(path, maps, scene)]
    trajectory = read_json(file)
    found, notes = _scene_of(folder, record, maps, scene)
    return [
        ShownResult(
            folder.resolve().name,
            trajectory,
            _cameras(file, record, len(trajectory)),
            None if found is None else found.gaussians,
            _true_poses(file, record),
            read_seen(folder, len(trajectory)),
            () if found is None else found.views,
            all(estimate.scale.metric for estimate in trajectory.successes()),
            notes,
        )
    ]


def _no_result(folder: Path) -> str:
    inner = sorted(path.parent for path in folder.glob(f"*/{RESULT}"))
    maps = sorted(folder.glob("*.ply"))
    cure = "Pass the --out folder of localize, track, pair, bridge, reconstruct or demo."
    if inner:
        cure = f"Results lie in {', '.join(str(path) for path in inner[:4])}: pass those."
    elif maps:
        cure = f"To see a map alone, pass its file: {maps[0]}."
    return f"{folder} must hold {RESULT}, which every command writes into its --out folder; got none. {cure}"


def _scene_of(
    folder: Path, record: dict[str, Any], maps: _Maps, scene: Path | None
) -> tuple[SplatMap | None, tuple[str, ...]]:
    """The Gaussians of a result and its map's views, and what to say where they are not found."""
    told = record.get("map") or {}
    options = record.get("options") or {}
    places = [folder / name for name in SCENES]
    places += [Path(str(name)) for name in (told.get("file"), options.get("map")) if name]
    places = [scene] if scene is not None else places
    for place in places:
        if place.is_file():
            return maps[place], ()
    if len(places) == len(SCENES):
        return None, ()
    note = f"The map {places[-1]} was not found; --map FILE names it."
    _LOG.warning("%s: %s", folder, note)
    return None, (note,)


def _cameras(file: Path, record: dict[str, Any], count: int) -> tuple[Camera, ...]:
    """The camera of each frame: one for all, or one each where images differ."""
    told = record.get("cameras") or [record.get("camera")] * count
    try:
        cameras = tuple(Camera(**{name: each[name] for name in _PINHOLE}) for each in told)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file} must tell the camera of its frames; got {error!r}. Run the command again with this version."
        ) from error
    if len(cameras) != count:
        raise ValueError(f"{file} must tell one camera for each of {count} frames; got {len(cameras)}. Run it again.")
    return cameras


_PINHOLE = ("fx", "fy", "cx", "cy", "width", "height")


def _true_poses(file: Path, record: dict[str, Any]) -> FramePoses:
    told = [frame.get("true_cam_from_world") for frame in record["frames"]]
    if all(matrix is None for matrix in told):
        return ()
    try:
        return tuple(None if matrix is None else RigidTransform.from_matrix(np.asarray(matrix)) for matrix in told)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: true_cam_from_world must be 4x4 matrices or null; got {error}.") from error


def _with_own_labels(shown: list[ShownResult]) -> list[ShownResult]:
    """The same results with labels that differ."""
    labels: list[str] = []
    for result in shown:
        label, number = result.label, 2
        while label in labels:
            label, number = f"{result.label} {number}", number + 1
        labels.append(label)
    return [replace(result, label=label) for result, label in zip(shown, labels, strict=True)]
