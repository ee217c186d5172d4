"""The relative pose of two images by COLMAP's two-view geometry, as a rival."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.providers.multi_view.colmap_run import check_pycolmap

_FEWEST = 8


def colmap_relative_pose(
    matches: Matches, first: Frame, second: Frame, seed: int = 0, max_error_px: float = 1.0
) -> RigidTransform | None:
    """second_from_first with a translation of length 1, or None where COLMAP finds none.

    COLMAP decides by itself between an essential matrix, a homography and a pure rotation.

    Args:
        matches: of both images, with outliers.
        first: gives the first pinhole.
        second: gives the second pinhole.
        seed: of its RANSAC.
        max_error_px: a match agrees within it; COLMAP's own 4 pixels are meant for large photographs.

    Raises:
        ValueError: when pycolmap is not installed.

    Source: Schönberger and Frahm, Structure-from-motion revisited, CVPR 2016, section 4.
    """
    check_pycolmap()
    import pycolmap

    if len(matches) < _FEWEST:
        return None
    options = pycolmap.TwoViewGeometryOptions()
    options.compute_relative_pose = True
    options.ransac.random_seed = seed
    options.ransac.max_error = max_error_px
    geometry = pycolmap.estimate_calibrated_two_view_geometry(
        _pinhole(first.camera),
        np.asarray(matches.pixels_a),
        _pinhole(second.camera),
        np.asarray(matches.pixels_b),
        np.repeat(np.arange(len(matches), dtype=np.uint32)[:, None], 2, axis=1),
        options,
    )
    found = geometry.cam2_from_cam1
    if found is None:
        return None
    translation = np.asarray(found.translation, dtype=np.float64)
    length = float(np.linalg.norm(translation))
    if not 0 < length < np.inf:
        return None
    return RigidTransform.from_components(translation / length, Rotation.from_quat(found.rotation.quat))


def _pinhole(camera: Camera) -> Any:
    import pycolmap

    parameters = [camera.fx, camera.fy, camera.cx, camera.cy]
    return pycolmap.Camera(model="PINHOLE", width=camera.width, height=camera.height, params=parameters)
