"""The bundled sequences: two depth maps agree through their poses, and only in the direction that is documented."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.samples import (
    SAMPLE_NAMES,
    MissingData,
    real_sequence,
    sample_folder,
    sample_sequence,
)
from posesplat.datasets.sequences import FrameSequence
from posesplat.geometry.poses import pose_errors


def depth_gap_m(sequence: FrameSequence, first: int, second: int, second_from_first: RigidTransform) -> float:
    """Median difference between the depth seen in ``second`` and the points of ``first`` moved there."""
    a, b = sequence[first], sequence[second]
    y, x = np.mgrid[2 : a.camera.height : 5, 2 : a.camera.width : 5]
    z = a.depth[y, x].ravel()
    rays = np.stack([(x.ravel() + 0.5 - a.camera.cx) / a.camera.fx, (y.ravel() + 0.5 - a.camera.cy) / a.camera.fy], 1)
    points = second_from_first.apply(np.c_[rays * z[:, None], z][z > 0])
    u = np.floor(a.camera.fx * points[:, 0] / points[:, 2] + a.camera.cx).astype(int)
    v = np.floor(a.camera.fy * points[:, 1] / points[:, 2] + a.camera.cy).astype(int)
    inside = (u >= 0) & (v >= 0) & (u < a.camera.width) & (v < a.camera.height)
    seen = b.depth[v[inside], u[inside]]
    return float(np.median(np.abs(seen - points[inside, 2])[seen > 0]))


@pytest.mark.parametrize(("name", "count", "limit_m"), [("tum_fr1_desk", 9, 0.012), ("icl_livingroom1", 16, 0.002)])
def test_depth_maps_agree_through_their_poses(name: str, count: int, limit_m: float) -> None:
    sequence = sample_sequence(name)
    assert len(sequence) == count and sequence.has_depth
    last_from_first = sequence.cam_from_world[-1] * sequence.cam_from_world[0].inv()
    right = depth_gap_m(sequence, 0, count - 1, last_from_first)
    assert right < limit_m
    for wrong in (last_from_first.inv(), RigidTransform.identity()):
        assert depth_gap_m(sequence, 0, count - 1, wrong) > 3 * right


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_samples_are_small_and_carry_their_licence(name: str) -> None:
    folder = sample_folder(name)
    text = (folder / "ATTRIBUTION.md").read_text()
    assert "creativecommons.org/licenses/by/" in text and "Changes:" in text
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 3e6


def test_an_unknown_sample_is_an_error() -> None:
    with pytest.raises(Exception, match="tum_fr1_desk"):
        sample_sequence("kitchen")


def test_missing_data_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("POSESPLAT_DATA", raising=False)
    with pytest.raises(MissingData, match="Set POSESPLAT_DATA"):
        real_sequence("tum_fr1_rpy")
    with pytest.raises(MissingData, match="no such folder"):
        real_sequence("tum_fr1_rpy", tmp_path)


@pytest.mark.parametrize("name", ["tum_fr1_desk9", "tum_fr1_rpy"])
def test_real_tum_poses_equal_those_prepared_elsewhere(data_root: Path, name: str) -> None:
    sequence = real_sequence(name, data_root)
    rows = np.loadtxt(data_root / name / "poses.txt")
    prepared = RigidTransform.from_components(rows[:, 1:4], Rotation.from_quat(rows[:, 4:])).inv()
    assert len(sequence) == len(rows)
    np.testing.assert_allclose(sequence.timestamps, rows[:, 0], atol=1e-6)
    distances, angles = pose_errors(RigidTransform.concatenate(list(sequence.cam_from_world)), prepared)
    assert distances.max() < 1e-6 and angles.max() < 1e-5


def test_the_bundled_lists_pair_the_images_that_the_benchmark_pairs(data_root: Path) -> None:
    rows = [line.split() for line in (data_root / "tum_fr1_desk9/associations.txt").read_text().splitlines()]
    sample, whole = sample_sequence("tum_fr1_desk"), real_sequence("tum_fr1_desk9", data_root)
    assert [Path(name).stem for name in sample.names] == [Path(row[1]).stem for row in rows]
    for index in (0, 8):
        np.testing.assert_array_equal(sample[index].depth, whole[index].depth)
        assert np.abs(sample[index].image.astype(int) - whole[index].image).mean() < 3


@pytest.mark.parametrize(
    ("name", "count", "posed"),
    [("iclaug_livingroom1", 211, 211), ("tum_fr1_xyz10", 10, 10), ("fox50", 17, 17), ("lund_door12", 12, 12)],
)
def test_real_folders_open(data_root: Path, name: str, count: int, posed: int) -> None:
    sequence = real_sequence(name, data_root)
    assert len(sequence) == count
    assert sum(pose is not None for pose in sequence.cam_from_world) == posed
    assert sequence[-1].image.shape == (sequence.camera.height, sequence.camera.width, 3)
