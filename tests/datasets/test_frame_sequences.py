"""Laziness, subsets, sizes, and the lens: blobs that OpenCV projects through a lens land where our pinhole says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.open import open_frames
from posesplat.datasets.sequences import FrameSequence
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame

SIZE = (160, 120)
K_INTEGER = np.array([[130.0, 0, 78.0], [0, 131.0, 61.0], [0, 0, 1]])
LENS = (0.26, -0.95, -0.005, 0.003, 1.16)


def numbered(count: int, reads: list[int] | None = None) -> FrameSequence:
    def read(index: int) -> tuple[np.ndarray, None]:
        if reads is not None:
            reads.append(index)
        return np.full((4, 6, 3), index, np.uint8), None

    poses = [RigidTransform.from_translation([float(index), 0, 0]) for index in range(count)]
    camera = Camera(5, 5, 3, 2, 6, 4)
    return FrameSequence(
        camera, [f"f{i}" for i in range(count)], range(count), read, has_depth=False, cam_from_world=poses
    )


def test_frames_are_decoded_only_when_asked_for() -> None:
    reads: list[int] = []
    sequence = numbered(5, reads)
    assert len(sequence) == 5 and reads == []
    assert int(sequence[-1].image[0, 0, 0]) == 4 and reads == [4]
    kept = sequence.subset([3, 1])
    assert reads == [4]
    assert [int(frame.image[0, 0, 0]) for frame in kept] == [3, 1] and reads == [4, 3, 1]


def test_subsets_and_slices_keep_names_times_and_poses_together() -> None:
    kept = numbered(6)[1:6:2].subset([-1, 0])
    assert kept.names == ("f5", "f1")
    np.testing.assert_array_equal(kept.timestamps, [5, 1])
    assert [pose.translation[0] for pose in kept.cam_from_world] == [5, 1]
    assert (kept[0].name, kept[0].timestamp) == ("f5", 5.0)


@pytest.mark.parametrize("index", [5, -6])
def test_an_index_outside_is_an_error(index: int) -> None:
    with pytest.raises(IndexError):
        numbered(5)[index]
    with pytest.raises(IndexError):
        numbered(5).subset([index])


def test_counts_must_agree() -> None:
    with pytest.raises(ValueError, match="2 names, 1 timestamps"):
        FrameSequence(Camera(5, 5, 3, 2, 6, 4), ["a", "b"], [0.0], lambda i: (None, None), has_depth=False)


def test_frames_in_memory_make_a_sequence() -> None:
    camera = Camera(5, 5, 3, 2, 6, 4)
    frames = [
        Frame(camera, np.full((4, 6, 3), i, np.uint8), np.full((4, 6), 1 + i, np.float32), f"{i}") for i in (0, 1)
    ]
    sequence = FrameSequence.from_frames(frames)
    assert sequence.has_depth and sequence.cam_from_world is None
    np.testing.assert_array_equal(sequence[1].depth, frames[1].depth)
    with pytest.raises(ValueError, match="same camera"):
        FrameSequence.from_frames([])


def blobs_through_the_lens(points_in_cam: np.ndarray, k_integer: np.ndarray) -> np.ndarray:
    seen, _ = cv2.projectPoints(points_in_cam, np.zeros(3), np.zeros(3), k_integer, np.array(LENS))
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    image = np.zeros(SIZE[::-1])
    for u, v in seen[:, 0]:
        image += 250 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 1.5**2))
    return image.clip(0, 255).astype(np.uint8)


def centroid_near(image: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """Centroid, in corner-based pixels, of what lies within 6 px of ``pixel``."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    weight = image.astype(float) * (np.hypot(x - pixel[0], y - pixel[1]) < 6)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("pixel_centre", ["integer", "corner"])
def test_undistorted_blobs_lie_where_the_pinhole_projects_them(tmp_path: Path, pixel_centre: str) -> None:
    typed = K_INTEGER.copy()
    k_integer = typed.copy()
    if pixel_centre == "corner":
        k_integer[:2, 2] -= 0.5
    points = np.array([[x, y, 1.0] for x in (-0.45, -0.2, 0.05, 0.42) for y in (-0.33, 0.0, 0.3)])
    image = blobs_through_the_lens(points, k_integer)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    numbers = [typed[0, 0], typed[1, 1], typed[0, 2], typed[1, 2], *LENS]
    sequence = open_frames(tmp_path, camera=",".join(map(str, numbers)), pixel_centre=pixel_centre)
    frame = sequence[0]
    assert frame.camera.distortion == () and sequence.lens_camera.distortion == LENS
    undistorted = cv2.undistortPoints(
        cv2.projectPoints(points, np.zeros(3), np.zeros(3), k_integer, np.array(LENS))[0],
        k_integer, np.array(LENS), P=k_integer, criteria=(3, 100, 1e-12),
    )[:, 0]  # fmt: skip
    for point, in_opencv in zip(points, undistorted, strict=True):
        pixel = frame.camera.project(point)
        np.testing.assert_allclose(pixel, in_opencv + 0.5, atol=1e-3)
        np.testing.assert_allclose(centroid_near(frame.image[..., 0], pixel), pixel, atol=0.08)


def test_depth_is_undistorted_without_mixing_surfaces_and_can_be_left_alone(tmp_path: Path) -> None:
    points = np.array([[0.42, -0.33, 1.0], [-0.45, 0.3, 1.0]])
    seen = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K_INTEGER, np.array(LENS))[0][:, 0]
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    depth = np.full(SIZE[::-1], 2000, np.uint16)
    for u, v in seen:
        depth[np.hypot(x - u, y - v) < 3.2] = 1000
    for folder, image in (("rgb", np.zeros((*SIZE[::-1], 3), np.uint8)), ("depth", depth)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "0.png"), image)
    camera = Camera.from_opencv(130, 131, 78, 61, *SIZE, LENS)
    frame = open_frames(tmp_path, camera=camera)[0]
    assert set(np.unique(frame.depth)) <= {0.0, 1.0, 2.0}
    for point in points:
        pixel = frame.camera.project(point)
        assert np.linalg.norm(centroid_near(frame.depth == 1.0, pixel) - pixel) < 0.35
    left = open_frames(tmp_path, camera=camera, undistort_depth=False)[0]
    np.testing.assert_array_equal(left.depth, depth / np.float32(1000))
