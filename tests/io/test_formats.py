"""The door to all formats: default names, guesses, and every format against the same trajectory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.cameras import Camera
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.formats import FORMATS, read_trajectory, write_trajectory

CAMERA = Camera(500.0, 510.0, 320.0, 240.0, 640, 480)


def trajectory() -> Trajectory:
    rng = np.random.default_rng(0)
    poses = RigidTransform.from_components(rng.normal(size=(5, 3)), Rotation.random(5, rng=rng))
    return Trajectory.from_poses(poses, names=[f"{i}.png" for i in range(5)])


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_comes_back_by_name_and_by_guess(tmp_path: Path, name: str) -> None:
    before = trajectory()
    target = tmp_path / "model" if FORMATS[name].is_folder else tmp_path
    path = write_trajectory(target, before, CAMERA, name)
    assert path == (target if FORMATS[name].is_folder else tmp_path / FORMATS[name].default_name)
    for after in (read_trajectory(path, name), read_trajectory(path), read_trajectory(target)):
        np.testing.assert_allclose(
            after.cam_from_world().as_matrix(), before.cam_from_world().as_matrix(), rtol=0, atol=1e-10
        )


@pytest.mark.parametrize("name", ["tum", "kitti", "json", "npz", "nerfstudio"])
def test_a_file_name_of_ones_own(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out" / f"mine{Path(FORMATS[name].default_name).suffix}"
    assert write_trajectory(path, trajectory(), CAMERA, name) == path
    assert len(read_trajectory(path)) == 5


def test_a_colmap_project_folder(tmp_path: Path) -> None:
    write_trajectory(tmp_path / "sparse" / "0", trajectory(), CAMERA, "colmap-binary")
    assert read_trajectory(tmp_path).names == trajectory().names


@pytest.mark.parametrize("name", ["colmap", "colmap-binary", "nerfstudio"])
def test_formats_that_need_a_camera(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"Format {name} needs the camera"):
        write_trajectory(tmp_path / "new", trajectory(), None, name)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be one of tum, kitti"):
        write_trajectory(tmp_path, trajectory(), format="glb")
    with pytest.raises(ValueError, match="must hold a trajectory"):
        read_trajectory(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_trajectory(tmp_path / "nothing.txt")
    (tmp_path / "t.txt").write_text("# x\n1 2 3\n")
    with pytest.raises(ValueError, match="got rows of 3 values"):
        read_trajectory(tmp_path / "t.txt")
    (tmp_path / "t.bin").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="got no rows of text"):
        read_trajectory(tmp_path / "t.bin")


@pytest.mark.parametrize(
    ("name", "rows"), [("KITTI_00_gt.txt", 4541), ("freiburg1_xyz-groundtruth.txt", 3000), ("fr2_desk_ORB.txt", 2965)]
)
def test_real_files_are_recognised(data_root: Path, name: str, rows: int) -> None:
    path = data_root / "evo_reference_trajectories" / name
    assert len(read_trajectory(path)) == sum(
        1 for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")
    )
