from __future__ import annotations

from pathlib import Path

import pytest
from clips import write_clip
from scipy.spatial.transform import RigidTransform

from posesplat.cli.main import main
from posesplat.datasets.rooms import furnished_room, handheld_trajectory

FRAMES = 6


@pytest.fixture(scope="session")
def cam_from_world() -> RigidTransform:
    """The true poses of the clip."""
    return handheld_trajectory(
        3, FRAMES, furnished_room(1).default_view, translation_m=0.06, rotation_deg=3.0, rate_hz=4
    )


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory, cam_from_world: RigidTransform) -> Path:
    """A clip of a furnished room in the TUM layout, with ground truth."""
    return write_clip(tmp_path_factory.mktemp("clips") / "room", furnished_room(1), cam_from_world)


@pytest.fixture(scope="session")
def map_file(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """The map of every second frame of the clip."""
    path = tmp_path_factory.mktemp("maps") / "room.ply"
    assert main(["map", str(clip), "--every", "2", "--out", str(path), "--threads", "1"]) == 0
    return path
