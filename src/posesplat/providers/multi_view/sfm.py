"""Poses of subsets by COLMAP's mappers, on features and matches that all subsets share.

Source: Pan et al., Global structure-from-motion revisited, ECCV 2024; Schönberger and Frahm, Structure-from-motion
revisited, CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.trajectory import Trajectory
from posesplat.providers.multi_view.colmap_run import ColmapOptions, check_pycolmap, image_name, run_colmap
from posesplat.providers.multi_view.provider import PosedSubset

KNOWN_FOCAL, UNKNOWN_FOCAL = "global", "incremental"
"""The mappers: only the incremental one can estimate the focal length."""


class SfmPoses:
    """COLMAP on each subset; one camera for all frames, its focal length given or estimated."""

    name = "sfm"

    def __init__(self, options: ColmapOptions = ColmapOptions()) -> None:
        """Choose threads, features and seed.

        Raises:
            ValueError: when pycolmap is not installed.
        """
        check_pycolmap()
        self.options = options
        self.setting = UNKNOWN_FOCAL if options.refine_focal else KNOWN_FOCAL

    def pose_subsets(
        self,
        frames: Sequence[Frame],
        subsets: Sequence[Sequence[int]],
        on_done: Callable[[], None] | None = None,
    ) -> list[PosedSubset]:
        """See :class:`posesplat.providers.multi_view.provider.MultiViewProvider`.

        Raises:
            ValueError: when the frames have more than one camera.
        """
        if any(frame.camera != frames[0].camera for frame in frames):
            raise ValueError("sfm needs one camera for all frames; got several. Use --estimator tracks.")
        answers, fault = run_colmap(frames, [self.setting], subsets, self.options, on_done)
        missing = {"poses": {}, "fault": f"COLMAP stopped: {fault or 'no answer'}"}
        return [
            _posed_subset(frames, subset, answers.get((self.setting, number), missing))
            for number, subset in enumerate(subsets)
        ]


def _posed_subset(frames: Sequence[Frame], subset: Sequence[int], answer: dict[str, Any]) -> PosedSubset:
    found = {}
    for image in subset:
        numbers = answer["poses"].get(image_name(image))
        if numbers is not None and np.isfinite(numbers).all():
            found[image] = RigidTransform.from_components(np.array(numbers[4:]), Rotation.from_quat(numbers[:4]))
    first = found.get(subset[0])
    reason = answer["fault"] or "COLMAP did not register the image with the first one."
    estimates = []
    for image in subset:
        if first is None or image not in found:
            estimates.append(PoseEstimate.failure(reason, source="COLMAP"))
        else:
            estimates.append(PoseEstimate(True, "", found[image] * first.inv(), source="COLMAP"))
    evidence = {key: float(answer[key]) for key in ("points", "residual_px") if answer.get(key) is not None}
    pairs = [set(track) for track in answer.get("tracks", ())]
    if pairs:
        evidence["shared_points"] = float(sum({image_name(subset[0]), image_name(subset[1])} <= pair for pair in pairs))
    times = np.array([frames[image].timestamp for image in subset])
    trajectory = Trajectory(tuple(estimates), times, tuple(frames[image].name for image in subset))
    return PosedSubset(trajectory, tuple(one.success for one in estimates), evidence)
