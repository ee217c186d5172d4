"""What every format of trajectories must do; see :class:`posesplat.io.formats.TrajectoryFormat`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.poses import rescaled
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.formats import TrajectoryFormat
from posesplat.testing.check import Check, answer_or_refusal, demand, demand_close, run_checks, without_gpu
from posesplat.testing.material import sample_views

CAMERA = Camera.from_fov(65.0, 160, 120)
_FACTOR = 3.0


def sample_trajectory() -> Trajectory:
    """Five poses of a camera, with times and names."""
    _, poses = sample_views(5, 16, 12, 28.0, (0.4, 0.05, 0.1))
    return Trajectory.from_poses(poses, 100.0 + 0.25 * np.arange(5), [f"frame-{index}.png" for index in range(5)])


@dataclass(frozen=True)
class ExporterTrial:
    """A format on trial."""

    make: Callable[[], TrajectoryFormat]
    """Makes it; anything with summary, default_name, is_folder, write and read will do."""
    trajectory: Trajectory = field(default_factory=sample_trajectory)
    """What is written."""
    tolerance: float = 1e-6
    """Difference of rotation matrices and translations after writing and reading that rounding explains."""

    def write(self, folder: Path, trajectory: Trajectory) -> Path:
        """The path written in a folder."""
        exporter = self.make()
        path = folder / exporter.default_name
        exporter.write(path, trajectory, CAMERA)
        return path

    def again(self, trajectory: Trajectory) -> Trajectory:
        """A trajectory written and read."""
        with _folder() as folder:
            return self.make().read(self.write(Path(folder), trajectory))


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="posesplat-check-")


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _members(trial: ExporterTrial) -> None:
    exporter = trial.make()
    missing = [
        name for name in ("summary", "default_name", "is_folder", "write", "read") if not hasattr(exporter, name)
    ]
    demand(not missing, "the format", "summary, default_name, is_folder, write and read", f"no {', '.join(missing)}")
    name = Path(exporter.default_name)
    inside = bool(name.name) and not name.is_absolute() and ".." not in name.parts
    demand(inside, "default_name", "the name of a file or folder", repr(exporter.default_name))


def _says_direction(trial: ExporterTrial) -> None:
    summary = trial.make().summary
    directions = [word for word in ("cam_from_world", "world_from_cam") if word in summary]
    demand(len(directions) == 1, "summary", "cam_from_world or world_from_cam", repr(summary))
    axes = [word for word in ("OpenCV", "OpenGL") if word in summary]
    demand(len(axes) == 1, "summary", "the camera's axes, OpenCV or OpenGL", repr(summary))


def _writes_where_told(trial: ExporterTrial) -> None:
    with _folder() as folder:
        path = trial.write(Path(folder), trial.trajectory)
        beside = [
            name for name in _files(Path(folder)) if path not in (Path(folder) / name, *(Path(folder) / name).parents)
        ]
        demand(path.exists() and not beside, "what lies in the folder afterwards", path.name, beside or "not that")
        demand(path.is_dir() == trial.make().is_folder, path.name, f"is_folder={trial.make().is_folder}", path.is_dir())


def _inputs_unchanged(trial: ExporterTrial) -> None:
    before = [estimate.to_json() for estimate in trial.trajectory]
    times, names = trial.trajectory.timestamps.copy(), trial.trajectory.names
    trial.again(trial.trajectory)
    same = before == [estimate.to_json() for estimate in trial.trajectory] and names == trial.trajectory.names
    demand(same and np.array_equal(times, trial.trajectory.timestamps), "the trajectory", "left as given", "changed")


def _deterministic(trial: ExporterTrial) -> None:
    with _folder() as one, _folder() as other:
        trial.write(Path(one), trial.trajectory)
        trial.write(Path(other), trial.trajectory)
        first, again = _files(Path(one)), _files(Path(other))
    differing = [name for name in first if again.get(name) != first[name]]
    demand(
        not differing and set(first) == set(again), "files written again", "the same bytes", f"others in {differing}"
    )


def _demand_poses(trial: ExporterTrial, what: str, expected: RigidTransform, found: Trajectory) -> None:
    posed = found.successes()
    demand(len(posed) == len(expected), f"poses of {what}", len(expected), len(posed))
    matrices = np.asarray(posed.cam_from_world().as_matrix())
    near = trial.tolerance * max(1.0, float(np.abs(expected.translation).max()))
    demand_close(f"cam_from_world of {what}", np.asarray(expected.as_matrix()), matrices, absolute=near)


def _meaning_held(trial: ExporterTrial) -> None:
    _demand_poses(
        trial, "what was written, read again", trial.trajectory.cam_from_world(), trial.again(trial.trajectory)
    )


def _equivariant_to_length(trial: ExporterTrial) -> None:
    longer = RigidTransform.concatenate([rescaled(pose, _FACTOR) for pose in trial.trajectory.cam_from_world()])
    found = trial.again(Trajectory.from_poses(longer, trial.trajectory.timestamps, trial.trajectory.names))
    _demand_poses(trial, f"a trajectory {_FACTOR:g} times as long", longer, found)


def _degenerate_input(trial: ExporterTrial) -> None:
    """A refusal in the middle must not come back as a pose; a trajectory may have no pose at all."""
    whole = trial.trajectory
    estimates = list(whole)
    estimates[2] = PoseEstimate.failure("The image is blank.")
    some = Trajectory(tuple(estimates), whole.timestamps, whole.names)
    none = Trajectory(
        tuple(PoseEstimate.failure("The image is blank.") for _ in estimates), whole.timestamps, whole.names
    )
    for what, trajectory in (("a trajectory with a refusal", some), ("refusals alone", none)):
        with _folder() as folder:
            place = Path(folder)
            path = answer_or_refusal(
                f"writing {what}",
                lambda place=place, trajectory=trajectory: trial.write(place, trajectory),  # type: ignore[misc]
            )
            if path is None:
                left = list(_files(place))
                demand(not left, f"what lies in the folder after {what} was refused", "nothing", left)
                continue
            found = answer_or_refusal(f"reading {what}", lambda path=path: trial.make().read(path))  # type: ignore[misc]
        if found is not None and trajectory is some:
            _demand_poses(trial, what, some.cam_from_world(), found)
        elif found is not None:
            demand(not found.posed.any(), f"poses of {what}", 0, int(found.posed.sum()))


def _works_on_cpu(trial: ExporterTrial) -> None:
    with without_gpu():
        demand(len(trial.again(trial.trajectory)) > 0, "what was written without a GPU", "poses", "none")


EXPORTER_CHECKS: tuple[Check[ExporterTrial], ...] = (
    Check("members", "it is made without arguments and says what it writes", _members),
    Check("says_direction", "the summary names the direction of poses and the camera's axes", _says_direction),
    Check(
        "writes_where_told", "it writes the file or folder it is given and leaves nothing beside it", _writes_where_told
    ),
    Check("inputs_unchanged", "the trajectory stays as it was given", _inputs_unchanged),
    Check("deterministic", "equal trajectories give equal bytes", _deterministic),
    Check("equivariant_to_length", "longer trajectories come back longer", _equivariant_to_length),
    Check("degenerate_input", "refusals are kept, left out or refused, never written as poses", _degenerate_input),
    Check("works_on_cpu", "it works without a GPU", _works_on_cpu),
    Check("meaning_held", "what was written reads back as the same cam_from_world", _meaning_held),
)
"""By name; each is called with an :class:`ExporterTrial`."""


def check_exporter(make: Callable[[], TrajectoryFormat], tolerance: float = 1e-6) -> None:
    """Put all :data:`EXPORTER_CHECKS` to a format of trajectories.

    Args:
        make: makes it.
        tolerance: see :class:`ExporterTrial`.

    Raises:
        AssertionError: naming each check that failed, what was expected and what came.
    """
    run_checks("exporter", EXPORTER_CHECKS, ExporterTrial(make, tolerance=tolerance))
