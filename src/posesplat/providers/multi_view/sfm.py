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
from posesplat.providers.multi_view.colmap_run import ColmapOptions, check_pycolmap, image_name, run_colmap
from posesplat.providers.multi_view.provider import PosedSubset, check_subsets

KNOWN_FOCAL, UNKNOWN_FOCAL, SEVERAL_CAMERAS = "global", "incremental", "incremental, small angles"
"""The mappers: only incremental ones can estimate focal lengths; with two known cameras, pycolmap 4.2.1's global one is
up to 9 degrees off where the incremental one is 0.1 (a room, 3 and 5 images)."""


class SfmPoses:
    """COLMAP on each subset; focal lengths are given, or estimated for each camera."""

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
        """See :class:`posesplat.providers.multi_view.provider.MultiViewProvider`."""
        check_subsets(frames, subsets)
        several = len({frame.camera for frame in frames}) > 1
        setting = SEVERAL_CAMERAS if several else self.setting
        answers, fault = run_colmap(frames, [setting], subsets, self.options, on_done)
        missing = {"poses": {}, "fault": f"COLMAP stopped: {fault or 'no answer'}"}
        return [
            _posed_subset(frames, subset, answers.get((setting, number), missing))
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
    return PosedSubset.of(frames, subset, estimates, [one.success for one in estimates], evidence)
