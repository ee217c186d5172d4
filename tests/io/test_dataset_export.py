"""Exports with images: what is beside transforms.json and sparse/0, and that other readers find it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.sequences import FrameSequence
from posesplat.evaluate.run_record import RunRecord
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.trajectory import Trajectory
from posesplat.io import dataset_export
from posesplat.io.dataset_export import image_file_names, write_dataset, write_images, write_points
from posesplat.io.formats import read_trajectory
from posesplat.io.frame_poses import read_frame_poses
from posesplat.io.results import output_folder, write_results

LENS = Camera(60.0, 60.0, 32.0, 24.0, 64, 48, (-0.2, 0.05, 0.0, 0.0))
NAMES = ("clip_000000", "photo.jpg", "clip_000002", "with blank.png")


@pytest.fixture
def frames() -> FrameSequence:
    """Frames of a camera with a lens, smooth enough for JPEG."""
    columns, rows = np.meshgrid(np.linspace(0, 200, 64), np.linspace(0, 50, 48))
    images = [np.stack([columns + 10 * index, rows, 255 - columns], axis=-1).astype(np.uint8) for index in range(4)]
    return FrameSequence(LENS, NAMES, np.arange(4.0), lambda index: (images[index], None), has_depth=False)


def a_trajectory() -> Trajectory:
    rng = np.random.default_rng(0)
    poses = RigidTransform.from_components(rng.normal(size=(4, 3)), Rotation.random(4, rng=rng))
    estimates = [PoseEstimate(True, "", pose) for pose in poses]
    estimates[2] = PoseEstimate.failure("blurred")
    return Trajectory(tuple(estimates), np.arange(4.0), NAMES)


def some_gaussians(count: int = 5) -> Gaussians:
    rng = np.random.default_rng(1)
    means, scales, opacities = rng.normal(size=(count, 3)), np.full((count, 3), 0.01), np.ones(count)
    quats, colours = np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)), np.linspace(0, 1, 3 * count).reshape(count, 3)
    means, quats, scales, opacities, colours = map(np.float32, (means, quats, scales, opacities, colours))
    return Gaussians(means, quats, scales, opacities, colors=colours)


def exported(out: Path, frames: FrameSequence, *exports: str) -> Path:
    record = RunRecord.begin("track", {"out": out}, seed=0, threads=1)
    with output_folder(out) as folder:
        write_results(
            folder, record, a_trajectory(), frames.camera, exports=exports, frames=frames, gaussians=some_gaussians()
        )
    return out


def test_nerfstudio_finds_its_images_beside_the_file(frames: FrameSequence, tmp_path: Path) -> None:
    """Its parser takes ``file_path`` from the folder of transforms.json, and opens exactly that."""
    out = exported(tmp_path / "out", frames, "nerfstudio")
    record = json.loads((out / "transforms.json").read_text())
    paths = [frame["file_path"] for frame in record["frames"]]
    assert paths == ["images/clip_000000.png", "images/photo.jpg", "images/with_blank.png"]
    assert sorted(path.name for path in (out / "images").iterdir()) == [Path(path).name for path in paths]
    assert (record["w"], record["h"]) == (64, 48) and "k1" not in record
    for index, path in zip((0, 1, 3), paths, strict=True):
        image = cv2.imread(str(out / path))
        assert image is not None
        allowed = 6 if path.endswith("jpg") else 0
        assert np.abs(image[..., ::-1].astype(int) - frames[index].image).max() <= allowed
    assert (out / record["ply_file_path"]).is_file()
    assert {"images/photo.jpg", "points.ply", "transforms.json"} <= set(
        json.loads((out / "result.json").read_text())["files"]
    )


def test_the_images_are_those_of_the_pinhole_that_is_exported(frames: FrameSequence, tmp_path: Path) -> None:
    """OpenCV undistorts the stored image with its own half-pixel rule to what lies in images/."""
    exported(tmp_path / "out", frames, "nerfstudio")
    stored, _ = frames._read(0)
    assert stored is not None
    matrix = LENS.opencv_matrix
    expected = cv2.undistort(stored, matrix, np.array(LENS.distortion), newCameraMatrix=matrix)
    written = cv2.imread(str(tmp_path / "out" / "images" / "clip_000000.png"))
    assert written is not None
    inner = (slice(8, -8), slice(8, -8))
    assert np.abs(written[..., ::-1].astype(int) - expected)[inner].max() <= 2
    assert np.abs(written[..., ::-1].astype(int) - stored)[inner].max() > 2


def test_pycolmap_opens_sparse_0_and_its_names_are_files(frames: FrameSequence, tmp_path: Path) -> None:
    out = exported(tmp_path / "out", frames, "colmap-binary", "nerfstudio")
    model = pycolmap.Reconstruction(out / "sparse" / "0")
    assert {image.name for image in model.images.values()} == {path.name for path in (out / "images").iterdir()}
    gaussians = some_gaussians()
    places = np.array([point.xyz for _, point in sorted(model.points3D.items())])
    np.testing.assert_allclose(places, gaussians.means_in_world, rtol=1e-6)
    colours = np.array([point.color for _, point in sorted(model.points3D.items())])
    np.testing.assert_allclose(colours, 255 * gaussians.rgb(), atol=0.51)


def test_exported_names_still_find_their_frames(frames: FrameSequence, tmp_path: Path) -> None:
    out = exported(tmp_path / "out", frames, "nerfstudio", "colmap-binary")
    for path in (out / "transforms.json", out / "sparse" / "0"):
        poses = read_frame_poses(path, frames)
        assert [pose is not None for pose in poses[:3]] == [True, True, False]
    # The folder itself is read by what keeps times and refusals, not by the model in it.
    assert read_trajectory(out).timestamps.tolist() == [0.0, 1.0, 3.0]


def test_points_are_what_a_point_cloud_reader_expects(tmp_path: Path) -> None:
    """By hand: header, then 12 bytes of float and 3 of colour a point."""
    write_points(tmp_path / "points.ply", some_gaussians(2))
    header, body = (tmp_path / "points.ply").read_bytes().split(b"end_header\n")
    assert header.decode().split("\n")[2:9] == [
        "element vertex 2",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
    ]
    assert len(body) == 2 * 15
    assert list(body[12:15]) == [0, 51, 102] and list(body[27:30]) == [153, 204, 255]
    np.testing.assert_array_equal(np.frombuffer(body[:12], "<f4"), some_gaussians(2).means_in_world[0])


def test_many_gaussians_are_thinned_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_export, "_MOST_POINTS", 4)
    write_dataset(tmp_path, "nerfstudio", a_trajectory(), LENS.pinhole, some_gaussians(10))
    header, body = (tmp_path / "points.ply").read_bytes().split(b"end_header\n")
    assert b"element vertex 4\n" in header
    first = [np.frombuffer(body[15 * index :][:4], "<f4")[0] for index in range(4)]
    np.testing.assert_array_equal(first, some_gaussians(10).means_in_world[[0, 3, 6, 9], 0])


def test_file_names() -> None:
    assert image_file_names(["a/b.PNG", "1305031452.79", "x y", ""]) == (
        "b.PNG",
        "1305031452.79.png",
        "x_y.png",
        "frame.png",
    )
    assert image_file_names(["left/1.png", "right/1.png"]) == ("000000_1.png", "000001_1.png")
    assert image_file_names(["a.png", "A.png"]) == ("000000_a.png", "000001_A.png")


def test_too_few_frames_are_refused(frames: FrameSequence, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a frame for each of 4 poses; got 2"):
        write_images(tmp_path, a_trajectory(), frames[:2])
    assert list(tmp_path.iterdir()) == []
