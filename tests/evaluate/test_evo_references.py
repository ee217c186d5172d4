"""ATE and RPE against evo 1.38.1 on the trajectories that evo itself is tested with.

Each row was printed by the command in its comment, run in the folder evo_reference_trajectories; `-r trans_part` gave
the translation and `-r angle_deg` the rotation. evo prints six decimals.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate.alignment import aligned
from posesplat.evaluate.association import associate
from posesplat.evaluate.metrics import ErrorStatistics, absolute_trajectory_error, relative_pose_error
from posesplat.geometry.trajectory import Trajectory

XYZ = ("freiburg1_xyz-groundtruth.txt", "freiburg1_xyz-rgbdslam.txt")
XYZ_MONO = ("freiburg1_xyz-groundtruth.txt", "freiburg1_xyz-ORB_kf_mono.txt")
DESK = ("fr2_desk_groundtruth.txt", "fr2_desk_ORB.txt")
DESK_MONO = ("fr2_desk_groundtruth.txt", "fr2_desk_ORB_kf_mono.txt")
KITTI_ORB = ("KITTI_00_gt.txt", "KITTI_00_ORB.txt")
KITTI_SPTAM = ("KITTI_00_gt.txt", "KITTI_00_SPTAM.txt")

# files, alignment, (rmse, mean, median, std, min, max) of the translation in metres, the same in degrees of rotation
ABSOLUTE = [
    # evo_ape tum freiburg1_xyz-groundtruth.txt freiburg1_xyz-rgbdslam.txt
    (XYZ, "none", (0.020079, 0.018063, 0.016518, 0.008771, 0.001256, 0.043289),
     (0.701693, 0.631027, 0.585723, 0.306884, 0.027447, 1.818974)),
    # evo_ape tum freiburg1_xyz-groundtruth.txt freiburg1_xyz-rgbdslam.txt -a
    (XYZ, "se3", (0.013470, 0.012024, 0.011183, 0.006071, 0.000955, 0.034760),
     (2.057700, 2.024695, 2.000841, 0.367064, 0.741958, 3.639591)),
    # evo_ape tum freiburg1_xyz-groundtruth.txt freiburg1_xyz-rgbdslam.txt -a -s
    (XYZ, "sim3", (0.013389, 0.011987, 0.011134, 0.005966, 0.000733, 0.034846),
     (2.057700, 2.024695, 2.000841, 0.367064, 0.741958, 3.639591)),
    # evo_ape tum freiburg1_xyz-groundtruth.txt freiburg1_xyz-ORB_kf_mono.txt -a -s
    (XYZ_MONO, "sim3", (0.009755, 0.008219, 0.007909, 0.005254, 0.001877, 0.027924),
     (2.371824, 2.337933, 2.398426, 0.399523, 1.617444, 3.137713)),
    # evo_ape tum fr2_desk_groundtruth.txt fr2_desk_ORB.txt -a
    (DESK, "se3", (0.008119, 0.007492, 0.007415, 0.003129, 0.000350, 0.024300),
     (0.989036, 0.959473, 0.949801, 0.240006, 0.132951, 2.024871)),
    # evo_ape tum fr2_desk_groundtruth.txt fr2_desk_ORB_kf_mono.txt -a -s
    (DESK_MONO, "sim3", (0.007729, 0.007104, 0.007100, 0.003046, 0.001216, 0.015689),
     (0.899056, 0.864405, 0.856043, 0.247194, 0.196801, 1.372716)),
    # evo_ape kitti KITTI_00_gt.txt KITTI_00_ORB.txt
    (KITTI_ORB, "none", (7.790289, 7.011750, 6.801632, 3.394695, 0.000000, 13.458509),
     (1.609559, 1.538165, 1.518558, 0.474054, 0.000000, 7.936410)),
    # evo_ape kitti KITTI_00_gt.txt KITTI_00_ORB.txt -a
    (KITTI_ORB, "se3", (1.303450, 1.156997, 1.065625, 0.600282, 0.069313, 3.587949),
     (0.756301, 0.616516, 0.527891, 0.438062, 0.112820, 6.752584)),
    # evo_ape kitti KITTI_00_gt.txt KITTI_00_ORB.txt -a -s
    (KITTI_ORB, "sim3", (0.937709, 0.872693, 0.844691, 0.343083, 0.179515, 2.693500),
     (0.756301, 0.616516, 0.527891, 0.438062, 0.112820, 6.752584)),
    # evo_ape kitti KITTI_00_gt.txt KITTI_00_SPTAM.txt
    (KITTI_SPTAM, "none", (9.224542, 8.623704, 8.282321, 3.274738, 0.000000, 14.911823),
     (2.409097, 2.195778, 2.020656, 0.991114, 0.000000, 11.336711)),
    # evo_ape kitti KITTI_00_gt.txt KITTI_00_SPTAM.txt -a
    (KITTI_SPTAM, "se3", (3.738488, 3.490977, 3.642585, 1.337675, 0.694787, 7.768977),
     (1.725540, 1.377129, 1.040717, 1.039713, 0.086630, 9.979461)),
]  # fmt: skip

# files, alignment, delta, all pairs, the translation in metres, the rotation in degrees
RELATIVE = [
    # evo_rpe tum freiburg1_xyz-groundtruth.txt freiburg1_xyz-rgbdslam.txt -d 1 -u f
    (XYZ, "none", 1, False, (0.005764, 0.004816, 0.004139, 0.003168, 0.000171, 0.020866),
     (0.353613, 0.300307, 0.262139, 0.186704, 0.016937, 1.633296)),
    # evo_rpe tum freiburg1_xyz-groundtruth.txt freiburg1_xyz-rgbdslam.txt -d 10 -u f
    (XYZ, "none", 10, False, (0.014610, 0.012477, 0.011981, 0.007601, 0.001035, 0.043154),
     (0.701571, 0.628792, 0.596720, 0.311164, 0.060136, 1.593853)),
    # evo_rpe tum freiburg1_xyz-groundtruth.txt freiburg1_xyz-rgbdslam.txt -d 10 -u f --all_pairs
    (XYZ, "none", 10, True, (0.014041, 0.012023, 0.010939, 0.007251, 0.000368, 0.048023),
     (0.674778, 0.589748, 0.536071, 0.327905, 0.049079, 1.722177)),
    # evo_rpe tum freiburg1_xyz-groundtruth.txt freiburg1_xyz-ORB_kf_mono.txt -a -s -d 1 -u f
    (XYZ_MONO, "sim3", 1, False, (0.013835, 0.012058, 0.011142, 0.006783, 0.001784, 0.030229),
     (0.884849, 0.787725, 0.652164, 0.403047, 0.185314, 1.739958)),
    # evo_rpe tum fr2_desk_groundtruth.txt fr2_desk_ORB.txt -d 1 -u f --all_pairs
    (DESK, "none", 1, True, (0.003490, 0.003038, 0.002750, 0.001718, 0.000132, 0.019485),
     (0.280519, 0.229556, 0.187818, 0.161230, 0.006039, 1.259404)),
    # evo_rpe kitti KITTI_00_gt.txt KITTI_00_ORB.txt -d 1 -u f
    (KITTI_ORB, "none", 1, False, (0.028120, 0.019301, 0.014709, 0.020450, 0.000312, 0.302712),
     (0.114974, 0.059583, 0.041074, 0.098330, 0.002244, 2.196615)),
    # evo_rpe kitti KITTI_00_gt.txt KITTI_00_SPTAM.txt -d 10 -u f --all_pairs
    (KITTI_SPTAM, "none", 10, True, (0.227873, 0.185073, 0.163232, 0.132945, 0.010172, 1.705178),
     (1.256451, 0.866036, 0.547645, 0.910303, 0.013399, 9.780791)),
]  # fmt: skip


@cache
def read(path: Path) -> Trajectory:
    rows = np.loadtxt(path)
    if rows.shape[1] == 12:
        matrices = np.tile(np.eye(4), (len(rows), 1, 1))
        matrices[:, :3] = rows.reshape(-1, 3, 4)
        return Trajectory.from_poses(RigidTransform.from_matrix(matrices).inv())
    world_from_cam = RigidTransform.from_components(rows[:, 1:4], Rotation.from_quat(rows[:, 4:]))
    return Trajectory.from_poses(world_from_cam.inv(), rows[:, 0])


def paired(data_root: Path, files: tuple[str, str], align: str) -> tuple[RigidTransform, RigidTransform]:
    true, estimated = (read(data_root / "evo_reference_trajectories" / name) for name in files)
    mine, theirs = associate(estimated, true)
    moved, _ = aligned(mine.cam_from_world(), theirs.cam_from_world(), align)
    return moved, theirs.cam_from_world()


def row(statistics: ErrorStatistics) -> tuple[float, ...]:
    s = statistics
    return (s.rmse, s.mean, s.median, s.std, s.min, s.max)


@pytest.mark.parametrize(("files", "align", "translation", "rotation_deg"), ABSOLUTE)
def test_absolute_errors_are_those_of_evo(
    data_root: Path, files: tuple[str, str], align: str, translation: tuple[float, ...], rotation_deg: tuple[float, ...]
) -> None:
    errors = absolute_trajectory_error(*paired(data_root, files, align))
    assert row(errors.translation_statistics) == pytest.approx(translation, abs=2e-6)
    assert row(errors.rotation_statistics) == pytest.approx(rotation_deg, abs=2e-6)


@pytest.mark.parametrize(("files", "align", "delta", "all_pairs", "translation", "rotation_deg"), RELATIVE)
def test_relative_errors_are_those_of_evo(
    data_root: Path,
    files: tuple[str, str],
    align: str,
    delta: int,
    all_pairs: bool,
    translation: tuple[float, ...],
    rotation_deg: tuple[float, ...],
) -> None:
    errors = relative_pose_error(*paired(data_root, files, align), delta=delta, all_pairs=all_pairs)
    assert row(errors.translation_statistics) == pytest.approx(translation, abs=2e-6)
    assert row(errors.rotation_statistics) == pytest.approx(rotation_deg, abs=2e-6)
