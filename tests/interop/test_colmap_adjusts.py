"""COLMAP opens our export and adjusts it: axes and pixels are as it takes them, and poses a start."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import perturbed, pose_errors
from posesplat.geometry.trajectory import Trajectory
from posesplat.io.colmap import write_colmap
from posesplat.io.formats import read_trajectory
from posesplat.testing import sample_views

pycolmap = pytest.importorskip("pycolmap", reason="needs pycolmap: pip install posesplat[sfm]")

CAMERA = Camera.from_fov(65.0, 320, 240)
NOISE_PX = 0.1


def true_poses() -> RigidTransform:
    return sample_views(6, 16, 12, 20.0, (0.5, 0.1, 0.05))[1]


def estimated(poses: RigidTransform) -> RigidTransform:
    """Poses with errors of about 15 mm and 0.4 degrees; the first two, which fix the frame and the scale, have none."""
    rng = np.random.default_rng(5)
    moved = [perturbed(pose, rng.normal(0, [0.004] * 3 + [0.01] * 3)) for pose in poses[2:]]
    return RigidTransform.concatenate([*poses[:2], *moved])


def with_observations(folder: Path, poses: RigidTransform) -> pycolmap.Reconstruction:
    """The model that COLMAP reads from our files, with noisy sightings of points that it does not get from us.

    They are made by OpenCV's projection of the true poses, whose pixel centres are whole numbers.
    """
    rng = np.random.default_rng(7)
    in_first = rng.uniform([-0.8, -0.6, 2.0], [0.8, 0.6, 4.0], (150, 3))
    points = np.ascontiguousarray(poses[0].inv().apply(in_first))
    model = pycolmap.Reconstruction(str(folder))
    seen = {}
    for index, pose in enumerate(poses):
        projected, _ = cv2.projectPoints(
            points, pose.rotation.as_rotvec(), pose.translation, CAMERA.opencv_matrix, np.zeros(4)
        )
        seen[index + 1] = projected[:, 0] + 0.5 + rng.normal(0, NOISE_PX, (len(points), 2))
        model.images[index + 1].points2D = pycolmap.Point2DList([pycolmap.Point2D(place) for place in seen[index + 1]])
    for number, point in enumerate(points + rng.normal(0, 0.01, points.shape)):
        track = pycolmap.Track()
        for image in seen:
            track.add_element(image, number)
        model.add_point3D(point, track)
    return model


def errors(poses: RigidTransform, true: RigidTransform) -> tuple[float, float]:
    """RMS of translation in metres and rotation in degrees, seen from the first camera, since the adjustment's world
    and scale are free."""
    found, wanted = (each[1:] * each[0].inv() for each in (poses, true))
    factor = np.sum(found.translation * wanted.translation) / np.sum(found.translation**2)
    gap = factor * found.translation - wanted.translation
    angle = np.degrees((found.rotation * wanted.rotation.inv()).magnitude())
    return float(np.sqrt((gap**2).sum(axis=1).mean())), float(np.sqrt((angle**2).mean()))


def errors_of_adjusting(model: pycolmap.Reconstruction) -> tuple[float, float]:
    """Mean reprojection errors in pixels before and after COLMAP adjusts poses and points, cameras held."""
    model.update_point_3d_errors()
    before = model.compute_mean_reprojection_error()
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = options.refine_principal_point = options.refine_extra_params = False
    options.print_summary = False
    pycolmap.bundle_adjustment(model, options)
    model.update_point_3d_errors()
    return before, model.compute_mean_reprojection_error()


@pytest.mark.parametrize("binary", [False, True])
def test_our_export_is_adjusted_to_the_truth(tmp_path: Path, binary: bool) -> None:
    true, ours = true_poses(), estimated(true_poses())
    write_colmap(tmp_path / "ours", Trajectory.from_poses(ours), CAMERA, binary=binary)
    model = with_observations(tmp_path / "ours", true)
    before, after = errors_of_adjusting(model)
    # The mean length of a two-dimensional error is sqrt(pi / 2) deviations.
    assert after == pytest.approx(NOISE_PX * np.sqrt(np.pi / 2), rel=0.15)
    assert after < 0.6 * before

    (tmp_path / "adjusted").mkdir()
    model.write(str(tmp_path / "adjusted"))
    adjusted = read_trajectory(tmp_path / "adjusted").cam_from_world()
    error_before, error_after = (errors(poses, true) for poses in (ours, adjusted))
    assert error_after[0] < 0.7 * error_before[0] and error_after[1] < 0.7 * error_before[1]
    moved_m, moved_deg = errors(adjusted, ours)
    assert moved_m < 0.03 and moved_deg < 1.0


def test_colmap_triangulates_its_own_features_with_our_poses(tmp_path: Path) -> None:
    """Its own SIFT and matches, our exact poses: points come out, and adjusting them moves no camera by much."""
    frames, poses = sample_views(5, 320, 240, 15.0, (0.5, 0.1, 0.05))
    (tmp_path / "images").mkdir()
    names = [f"{index}.png" for index in range(len(frames))]
    for frame, name in zip(frames, names, strict=True):
        assert frame.image is not None
        cv2.imwrite(str(tmp_path / "images" / name), cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    camera = frames[0].camera
    numbers = f"{camera.fx},{camera.fy},{camera.cx},{camera.cy}"
    pycolmap.extract_features(
        tmp_path / "database.db",
        tmp_path / "images",
        camera_mode=pycolmap.CameraMode.SINGLE,
        reader_options=pycolmap.ImageReaderOptions(camera_model="PINHOLE", camera_params=numbers),
        # Image numbers must be those of the database: one thread gives them in the order of the names, as we do.
        extraction_options=pycolmap.FeatureExtractionOptions(num_threads=1),
        device=pycolmap.Device.cpu,
    )
    pycolmap.match_exhaustive(tmp_path / "database.db", device=pycolmap.Device.cpu)
    write_colmap(tmp_path / "ours", Trajectory.from_poses(poses, names=names), camera)
    (tmp_path / "out").mkdir()
    model = pycolmap.triangulate_points(
        pycolmap.Reconstruction(str(tmp_path / "ours")), tmp_path / "database.db", tmp_path / "images", tmp_path / "out"
    )
    assert model.num_points3D() > 50
    before, after = errors_of_adjusting(model)
    # What is minimised is robust, so the mean may stay where it was.
    assert after <= 1.02 * before < 0.3
    for index, name in enumerate(names):
        (image,) = [image for image in model.images.values() if image.name == name]
        rotation = RigidTransform.from_matrix(np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]]))
        assert pose_errors(rotation, poses[index])[1] < 0.3
