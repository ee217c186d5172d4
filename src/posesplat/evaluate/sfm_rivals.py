"""Structure from motion by COLMAP as a rival: three mappers on one set of features and matches of a clip.

COLMAP runs in a process of its own, so that it cannot take ours down with it, writes nothing to our terminal, and its
processor time is told apart. It needs pycolmap (``pip install posesplat[sfm]``).
Source: Schönberger and Frahm, Structure-from-motion revisited, CVPR 2016; Pan et al., Global structure-from-motion
revisited, ECCV 2024.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate import colmap_process
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.trajectory import Trajectory

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
        self.threads = threads
        self.max_features = max_features
        self.seed = seed
        self.timeout_s = timeout_s
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
        if find_spec("pycolmap") is None:
            raise ValueError("Structure from motion needs pycolmap; it is not installed. pip install posesplat[sfm]")
        clip = tuple(frames)
        if (
            self._clip is None
            or len(clip) != len(self._clip)
            or any(a is not b for a, b in zip(clip, self._clip, strict=True))
        ):
            self._answers, self._fault = self._run(clip)
            self._clip = clip
        answer = self._answers.get(setting)
        if answer is None:
            return _trajectory(clip, {}, f"COLMAP stopped: {self._fault or 'no answer'}"), float("nan")
        reason = answer["fault"] or "COLMAP did not register the image"
        return _trajectory(clip, answer["poses"], reason), float(answer["cpu_s"])

    def _run(self, frames: tuple[Frame, ...]) -> tuple[dict[str, dict[str, Any]], str]:
        """Answers by setting, those that came, and the last words of a process that failed."""
        import cv2

        with tempfile.TemporaryDirectory(prefix="posesplat-colmap-") as name:
            folder = Path(name)
            (folder / "images").mkdir()
            for index, frame in enumerate(frames):
                if frame.image is None:
                    raise ValueError(f"Structure from motion needs images; frame {frame.name!r} has none.")
                cv2.imwrite(str(folder / "images" / _image_name(index)), cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
            camera = frames[0].camera
            job = {
                "camera": [camera.fx, camera.fy, camera.cx, camera.cy],
                "threads": self.threads,
                "max_features": self.max_features,
                "seed": self.seed,
            }
            (folder / "job.json").write_text(json.dumps(job))
            command = [sys.executable, "-m", colmap_process.__name__, str(folder)]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, errors="replace", timeout=self.timeout_s, check=False
                )
                fault = "" if done.returncode == 0 else " ".join(done.stderr.split())[-200:]
            except subprocess.TimeoutExpired:
                fault = f"not done in {self.timeout_s:g} s"
            written = {setting: folder / colmap_process.answer_name(setting) for setting in SETTINGS}
            answers = {name: json.loads(path.read_text()) for name, path in written.items() if path.is_file()}
        return answers, fault


def _image_name(index: int) -> str:
    return f"{index:06d}.png"


def _trajectory(frames: Sequence[Frame], poses: dict[str, list[float]], reason: str) -> Trajectory:
    """Poses by image name, as seven numbers: rotation quaternion xyzw and translation of cam_from_world."""
    estimates = []
    for index in range(len(frames)):
        found = poses.get(_image_name(index))
        if found is None or not np.isfinite(found).all():
            estimates.append(PoseEstimate.failure(reason, source="COLMAP"))
            continue
        pose = RigidTransform.from_components(np.array(found[4:]), Rotation.from_quat(found[:4]))
        estimates.append(PoseEstimate(True, "", pose, source="COLMAP"))
    return Trajectory(
        tuple(estimates), np.array([frame.timestamp for frame in frames]), tuple(frame.name for frame in frames)
    )
