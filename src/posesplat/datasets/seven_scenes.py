"""The 7-Scenes layout: frame-000000.color.png, .depth.png (millimetres, 0 or 65535 = missing) and .pose.txt.

Source: Shotton et al., Scene coordinate regression forests for camera relocalization in RGB-D images, CVPR 2013, and
https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes/.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.calibration import Calibration, ReadOptions, find_calibration
from posesplat.datasets.paths import file_sequence
from posesplat.datasets.pose_files import pose_from_matrix
from posesplat.datasets.sequences import FrameSequence
from posesplat.geometry.cameras import Camera
from posesplat.images import naturally_sorted

_LOG = logging.getLogger(__name__)
_DEPTH_SCALE = 1000.0
_MISSING = (65535,)
DEPTH_CAMERA = Camera(585.0, 585.0, 320.0, 240.0, 640, 480)
"""The data set's stated depth camera; its colour images are not registered to it."""


def is_seven_scenes(folder: Path) -> bool:
    """Whether ``folder`` has the 7-Scenes layout."""
    return any(folder.glob("*.color.png"))


def open_seven_scenes(folder: Path, options: ReadOptions | None = None) -> FrameSequence:
    """Open a 7-Scenes sequence (one ``seq-XX`` folder).

    The camera is the given one, else ``camera.json`` in the folder or one level up, else the data set's stated depth
    camera, for which depth and poses hold but the colour images are some pixels off.

    Raises:
        ValueError: when a colour image has no depth image.
    """
    options = options or ReadOptions()
    images = naturally_sorted(folder.glob("*.color.png"))
    depths = [_beside(path, ".depth.png") for path in images]
    lacking = [path.name for path, depth in zip(images, depths, strict=True) if not depth.is_file()]
    if lacking:
        raise ValueError(
            f"Each .color.png in {folder} must have its .depth.png; {len(lacking)} of {len(images)} have none, "
            f"the first is {lacking[0]}. Copy the missing files, or remove these images."
        )
    default = Calibration(DEPTH_CAMERA, _DEPTH_SCALE)
    calibration = find_calibration(options, (folder, folder.resolve().parent), images[0], default)
    if calibration is default:
        _LOG.warning("%s: using the 7-Scenes depth camera; its colour images are not registered to the depth", folder)
    return file_sequence(
        images,
        depths,
        np.arange(len(images), dtype=np.float64),
        Calibration(calibration.camera, calibration.depth_scale or _DEPTH_SCALE),
        options,
        cam_from_world=[_true_pose(_beside(path, ".pose.txt")) for path in images],
        missing_depth=_MISSING,
    )


def _beside(image: Path, ending: str) -> Path:
    return image.with_name(image.name.removesuffix(".color.png") + ending)


def _true_pose(path: Path) -> RigidTransform | None:
    if not path.is_file():
        return None
    return pose_from_matrix(np.array(path.read_text().split(), dtype=np.float64), str(path))
