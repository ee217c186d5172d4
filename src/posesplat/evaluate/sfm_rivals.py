"""Structure from motion by COLMAP as a rival: its mappers on one set of features and matches of a clip.

Source: Schönberger and Frahm, Structure-from-motion revisited, CVPR 2016; Pan et al., Global structure-from-motion
revisited, ECCV 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.trajectory import Trajectory
from posesplat.providers.multi_view import colmap_process
from posesplat.providers.multi_view.colmap_run import ColmapOptions, check_pycolmap, image_name, run_colmap

SETTINGS = tuple(colmap_process.MAPPERS)
"""Names of the mappers and their settings."""


class SfmRival:
    """COLMAP on clips; features and matches of the clip asked for last are used again for its other mappers."""

    def __init__(self, threads: int = 1, max_features: int = 2000, seed: int = 0, timeout_s: float = 1800.0) -> None:
        """Choose what is the same for all mappers.

        Args:
            threads: of COLMAP.
            max_features: SIFT features of an image.
            seed: of its RANSACs and mappers.
            timeout_s: wall time after which a clip is given up.
        """
        self.options = ColmapOptions(threads, max_features, seed, timeout_s)
        self._clip: tuple[Frame, ...] | None = None
        self._answers: dict[str, dict[str, Any]] = {}
        self._fault = ""

    def solve(self, setting: str, frames: Sequence[Frame]) -> tuple[Trajectory, float]:
        """The trajectory of frames of one camera by one of SETTINGS, and its seconds of processor time.

        Frames that are not registered are failures. The time is that of features and matches, which the mappers share,
        and of the mapper itself.

        Raises:
            ValueError: for an unknown setting, frames without images, or when pycolmap is not installed.
        """
        if setting not in SETTINGS:
            raise ValueError(f"A mapper must be one of {', '.join(SETTINGS)}; got {setting!r}.")
        check_pycolmap()
        clip = tuple(frames)
        if (
            self._clip is None
            or len(clip) != len(self._clip)
            or any(a is not b for a, b in zip(clip, self._clip, strict=True))
        ):
            answers, self._fault = run_colmap(clip, SETTINGS, options=self.options)
            self._answers = {setting: answer for (setting, _), answer in answers.items()}
            self._clip = clip
        answer = self._answers.get(setting)
        if answer is None:
            return _trajectory(clip, {}, f"COLMAP stopped: {self._fault or 'no answer'}"), float("nan")
        reason = answer["fault"] or "COLMAP did not register the image"
        return _trajectory(clip, answer["poses"], reason), float(answer["cpu_s"])


def _trajectory(frames: Sequence[Frame], poses: dict[str, list[float]], reason: str) -> Trajectory:
    """Poses by image name, as seven numbers: rotation quaternion xyzw and translation of cam_from_world."""
    estimates = []
    for index in range(len(frames)):
        found = poses.get(image_name(index))
        if found is None or not np.isfinite(found).all():
            estimates.append(PoseEstimate.failure(reason, source="COLMAP"))
            continue
        pose = RigidTransform.from_components(np.array(found[4:]), Rotation.from_quat(found[:4]))
        estimates.append(PoseEstimate(True, "", pose, source="COLMAP"))
    return Trajectory(
        tuple(estimates), np.array([frame.timestamp for frame in frames]), tuple(frame.name for frame in frames)
    )
