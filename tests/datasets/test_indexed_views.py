"""Frames of evaluation indices of RealEstate10K, ACID and DL3DV, written here in their layout."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.re10k_pairs import indexed_views
from posesplat.evaluate.protocols.reconstruct_lists import LISTS, listed_cases

POSES = [
    RigidTransform.from_components([0.1 * n, -0.02 * n, 0.05 * n], Rotation.from_rotvec([0.0, -0.03 * n, 0.01 * n]))
    * RigidTransform.from_components([1.0, 2.0, -0.5], Rotation.from_rotvec([-0.2, 0.3, 0.7]))
    for n in range(6)
]


def chunk(folder: Path, scene: str = "abc", width: int = 640, height: int = 360) -> None:
    """A chunk as pixelSplat stores it: every picture is of the grey 10 times its number, with a white middle."""
    folder.mkdir(parents=True, exist_ok=True)
    images, cameras = [], []
    for number, pose in enumerate(POSES):
        image = np.full((height, width, 3), 10 * number, np.uint8)
        image[height // 2 - 40 : height // 2 + 40, width // 2 - 40 : width // 2 + 40] = 255
        images.append(torch.from_numpy(cv2.imencode(".png", image)[1].copy()))
        cameras.append([0.5, 0.9, 0.5, 0.5, 0.0, 0.0, *pose.as_matrix()[:3].ravel().tolist()])
    example = {"key": scene, "url": "", "timestamps": torch.arange(6), "cameras": torch.tensor(cameras)}
    torch.save([{**example, "images": images}], folder / "000000.torch")
    (folder / "index.json").write_text(json.dumps({scene: "000000.torch"}))


def entry(**more: object) -> dict[str, object]:
    return {"abc": {"context": [1, 5], "target": [2, 4], **more}, "lost": None}


def test_context_targets_and_overlap_come_as_the_index_says(tmp_path: Path) -> None:
    chunk(tmp_path)
    index = tmp_path / "evaluation.json"
    for told, word in ((0.05, "small"), (0.42, "medium"), (0.7, "large"), (0.9, "ignored"), ("large", "large")):
        index.write_text(json.dumps(entry(overlap=told)))
        (views,) = indexed_views(tmp_path, index)
        assert views.overlap == word
    assert views.scene == "abc" and views.numbers == (1, 5, 2, 4) and views.context == 2
    frames = views.read()
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [10, 50, 20, 40]
    for number, place in zip(views.numbers, range(4), strict=True):
        expected = POSES[number] * POSES[1].inv()
        np.testing.assert_allclose(views.cam_from_first[place].as_matrix(), expected.as_matrix(), atol=1e-5)
    index.write_text(json.dumps({"abc": {"context": [1]}}))
    with pytest.raises(ValueError, match="context of 1 frames"):
        indexed_views(tmp_path, index)


@pytest.mark.parametrize("name", LISTS)
def test_every_list_is_read_at_256_pixels_with_its_lens(tmp_path: Path, name: str) -> None:
    chunk(tmp_path / name)
    (tmp_path / name / LISTS[name]).write_text(json.dumps(entry()))
    (case,) = listed_cases(name, tmp_path, 10)
    assert case.overlap == "all"
    context, targets = case.read()
    assert [frame.name for frame in (*context, *targets)] == ["1", "5", "2", "4"]
    for frame in (*context, *targets):
        camera = frame.camera
        assert frame.image.shape == (256, 256, 3) and (camera.width, camera.height) == (256, 256)
        # 360 rows become 256: the focal length shrinks alike, whatever is cut off at the sides.
        assert (camera.fx, camera.fy) == pytest.approx((0.5 * 640 * 256 / 360, 0.9 * 256), rel=2e-3)
        assert (camera.cx, camera.cy) == pytest.approx((128.0, 128.0), abs=0.6)
        inside = np.argwhere(frame.image[..., 0] > 200) + 0.5
        assert inside.mean(axis=0) == pytest.approx((camera.cy, camera.cx), abs=0.6)
    with pytest.raises(FileNotFoundError, match=name):
        listed_cases(name, tmp_path / "nowhere", 10)
