"""NPZ and JSON archives keep every field of every frame; read here also with nothing but numpy and json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.archive import read_json, read_npz, write_json, write_npz

CAMERA = Camera(500.0, 510.0, 320.0, 240.0, 640, 480)
ROLLED = [[1, 0, 0, 1], [0, 0, -1, 2], [0, 1, 0, 3], [0, 0, 0, 1]]
READERS = {"t.json": read_json, "t.npz": read_npz}
WRITERS = {"t.json": write_json, "t.npz": write_npz}


def trajectory() -> Trajectory:
    pose = RigidTransform.from_components([1.0, 2.0, 3.0], Rotation.from_euler("x", 90, degrees=True))
    full = PoseEstimate(
        True,
        "",
        pose,
        covariance=np.diag([1.0, 2, 3, 4, 5, 6]) * 1e-6,
        scale=Scale(True, "depth sensor"),
        inlier_fraction=0.75,
        overlap=0.5,
        cost=1.25,
        iterations=17,
        runtime_s=0.125,
        source="previous frame",
        warnings=("dark", "blurred"),
    )
    bare = PoseEstimate(True, "", RigidTransform.identity())
    failed = PoseEstimate.failure("the frame is blank", overlap=0.0)
    return Trajectory((full, failed, bare), np.array([0.1, 1305031102.160407, 2.0]), ("a.png", "b", "é"))


@pytest.mark.parametrize("name", ["t.json", "t.npz"])
def test_round_trip_keeps_everything(tmp_path: Path, name: str) -> None:
    before = trajectory()
    WRITERS[name](tmp_path / name, before, CAMERA)
    after = READERS[name](tmp_path / name)
    assert after.names == before.names
    np.testing.assert_array_equal(after.timestamps, before.timestamps)
    for left, right in zip(after, before, strict=True):
        left_record, right_record = left.to_json(), right.to_json()
        for key in ("cam_from_world", "covariance"):
            assert (left_record[key] is None) == (right_record[key] is None)
            if right_record[key] is not None:
                np.testing.assert_allclose(left_record.pop(key), right_record.pop(key), atol=1e-15)
        assert left_record == right_record


def test_json_is_plain_and_states_its_conventions(tmp_path: Path) -> None:
    write_json(tmp_path / "t.json", trajectory(), CAMERA)
    record = json.loads((tmp_path / "t.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert "cam_from_world" in record["conventions"] and "OpenCV" in record["conventions"]
    assert record["camera"]["fx"] == 500 and record["camera"]["pixel_centre"] == "corner"
    first, second, _ = record["frames"]
    np.testing.assert_allclose(first["cam_from_world"], ROLLED, atol=1e-12)
    assert second["cam_from_world"] is None and second["reason"] == "the frame is blank" and second["cost"] is None


def test_npz_is_plain_numpy(tmp_path: Path) -> None:
    write_npz(tmp_path / "t.npz", trajectory(), CAMERA)
    with np.load(tmp_path / "t.npz", allow_pickle=False) as archive:
        assert archive["success"].tolist() == [True, False, True]
        assert archive["cam_from_world"].shape == (3, 4, 4) and np.isnan(archive["cam_from_world"][1]).all()
        np.testing.assert_allclose(archive["covariance"][0], np.diag([1, 2, 3, 4, 5, 6]) * 1e-6)
        assert np.isnan(archive["covariance"][2]).all()
        assert archive["reason"][1] == "the frame is blank" and "OpenCV" in str(archive["conventions"])


@pytest.mark.parametrize("name", ["t.json", "t.npz"])
def test_no_frames(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, Trajectory((), np.empty(0), ()))
    assert len(READERS[name](tmp_path / name)) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be a JSON object; got: .*line 1"),
        ('{"frames": []}', "format 'posesplat trajectory'.*got format None"),
        ('{"format": "posesplat trajectory", "frames": [{"name": "a"}]}', "frame 0: expected name, timestamp"),
        (
            '{"format": "posesplat trajectory", "frames": [{"name": "a", "timestamp": 0, "success": true, '
            '"cam_from_world": null}]}',
            "frame 0: .*hold a pose exactly when it succeeds",
        ),
    ],
)
def test_malformed_json(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)t\.json.*{message}"):
        read_json(tmp_path / "t.json")


def test_malformed_npz(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    np.savez(path, names=np.array(["a"]))
    with pytest.raises(ValueError, match=r"t\.npz must be an NPZ trajectory"):
        read_npz(path)
    write_npz(path, trajectory())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"t\.npz must be an NPZ trajectory"):
        read_npz(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"t\.npz must be an NPZ trajectory"):
        read_npz(path)
