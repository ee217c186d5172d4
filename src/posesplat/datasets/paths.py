"""Frame sequences whose frames are files: one image, and perhaps one depth map, each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.calibration import Calibration, ReadOptions
from posesplat.datasets.sequences import FrameSequence, RawImages
from posesplat.images import read_colour, read_depth


def file_sequence(
    images: Sequence[Path],
    depths: Sequence[Path] | None,
    timestamps: Sequence[float] | Float[np.ndarray, " n"],
    calibration: Calibration,
    options: ReadOptions,
    *,
    cam_from_world: Sequence[RigidTransform | None] | None = None,
    missing_depth: tuple[int, ...] = (),
) -> FrameSequence:
    """Frames read from ``images`` and, in the same order, ``depths``; ``missing_depth`` are further no-data values."""
    units = options.depth_units(calibration.depth_scale, missing_depth)

    def read(index: int) -> RawImages:
        depth = None if depths is None else read_depth(depths[index], units)
        return read_colour(images[index]), depth

    return FrameSequence(
        calibration.camera,
        [path.name for path in images],
        timestamps,
        read,
        has_depth=depths is not None,
        cam_from_world=cam_from_world,
        undistort_depth=options.undistort_depth,
    )
