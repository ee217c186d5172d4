"""Maps in files: Gaussians and views come back as they were, and foreign or damaged files are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.ply import write_ply
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.geometry.cameras import Camera

CAMERA = Camera(517.306408, 516.469215, 319.14304, 255.813989, 640, 480)


@pytest.fixture
def scene() -> Gaussians:
    rng = np.random.default_rng(3)
    quats = rng.normal(size=(20, 4))
    arrays = (
        rng.normal(size=(20, 3)),
        quats / np.linalg.norm(quats, axis=1, keepdims=True),
        rng.uniform(0.01, 0.1, (20, 3)),
        rng.uniform(0.1, 0.9, 20),
        rng.uniform(0, 1, (20, 3)),
    )
    return Gaussians(*(array.astype(np.float32) for array in arrays))


def test_views_survive_saving(tmp_path: Path, scene: Gaussians) -> None:
    poses = [RigidTransform.from_exp_coords([0.1 * k, -0.2, 0.3, 1.0, k, 3.0]) for k in range(3)]
    names = ["rgb/1305031453.3.png", 'two words, a "quote" and é', ""]
    views = tuple(MapView(CAMERA, pose, name) for pose, name in zip(poses, names, strict=True))
    SplatMap(scene, views, metric=False).save(tmp_path / "map.ply")
    back = SplatMap.load(tmp_path / "map.ply")
    assert back.metric is False
    assert [view.name for view in back.views] == names
    for view, pose in zip(back.views, poses, strict=True):
        assert view.camera == CAMERA
        np.testing.assert_allclose(view.cam_from_world.as_matrix(), pose.as_matrix(), atol=1e-14)
    np.testing.assert_array_equal(back.gaussians.means_in_world, scene.means_in_world)
    np.testing.assert_allclose(back.gaussians.scales, scene.scales, rtol=1e-6)
    np.testing.assert_allclose(back.gaussians.opacities, scene.opacities, atol=1e-6)
    np.testing.assert_allclose(back.gaussians.rgb(), scene.rgb(), atol=1e-6)


def test_maps_trained_elsewhere_have_no_views_and_the_unit_the_caller_says(tmp_path: Path, scene: Gaussians) -> None:
    write_ply(tmp_path / "trained.ply", scene, ["made by another program"])
    assert SplatMap.load(tmp_path / "trained.ply").views == ()
    assert SplatMap.load(tmp_path / "trained.ply").metric is True
    assert SplatMap.load(tmp_path / "trained.ply", metric=False).metric is False


def test_what_the_file_says_of_its_unit_wins(tmp_path: Path, scene: Gaussians) -> None:
    SplatMap(scene, metric=True).save(tmp_path / "map.ply")
    assert SplatMap.load(tmp_path / "map.ply", metric=False).metric is True


@pytest.mark.parametrize(
    "damaged",
    [
        "posesplat view {not json",
        'posesplat view {"name": "a"}',
        'posesplat view {"name": "a", "camera": {"fx": 1, "fy": 1, "cx": 1, "cy": 1, "width": 2, "height": 2}, '
        '"cam_from_world": [1, 2, 3]}',
    ],
)
def test_damaged_view_comments_are_errors(tmp_path: Path, scene: Gaussians, damaged: str) -> None:
    write_ply(tmp_path / "map.ply", scene, [damaged])
    with pytest.raises(ValueError, match=r"view comments must be what SplatMap.save writes"):
        SplatMap.load(tmp_path / "map.ply")
