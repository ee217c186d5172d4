"""Poses of subsets from SIFT tracks: chained two-view poses and a small bundle adjustment. The fast default."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.subset_poses import PosedImages, SubsetOptions, posed_images
from posesplat.align.view_graph import ViewGraph, ViewGraphOptions
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import rescaled, rescaled_covariance
from posesplat.providers.multi_view.provider import PosedSubset, check_subsets


class TrackPoses:
    """See :mod:`posesplat.align.subset_poses`; keypoints and connections are shared between subsets."""

    name = "tracks"

    def __init__(self, graph: ViewGraphOptions = ViewGraphOptions(), subsets: SubsetOptions = SubsetOptions()) -> None:
        self.graph_options = graph
        self.subset_options = subsets

    def pose_subsets(
        self,
        frames: Sequence[Frame],
        subsets: Sequence[Sequence[int]],
        on_done: Callable[[], None] | None = None,
    ) -> list[PosedSubset]:
        """See :class:`posesplat.providers.multi_view.provider.MultiViewProvider`."""
        check_subsets(frames, subsets)
        graph = ViewGraph(frames, self.graph_options)
        answers = []
        for subset in subsets:
            found, reason = posed_images(graph, subset, self.subset_options)
            answers.append(_posed_subset(frames, subset, found, reason))
            if on_done is not None:
                on_done()
        return answers


def _posed_subset(
    frames: Sequence[Frame], subset: Sequence[int], found: PosedImages | None, reason: str
) -> PosedSubset:
    """Lengths are told in the distance between the first image and the farthest one, so that covariances mean it."""
    unit = 1.0
    if found is not None:
        farthest = max(float(np.linalg.norm(pose.translation)) for pose in found.cam_from_first.values())
        unit = 1.0 / farthest if farthest > 0 else 1.0
    estimates, observed = [], []
    for image in subset:
        pose = None if found is None else found.cam_from_first.get(image)
        if found is None or pose is None:
            why = reason or "too few points are seen in this image to pose it with the others"
            estimates.append(PoseEstimate.failure(_sentence(why), source="tracks"))
            observed.append(False)
            continue
        covariance = found.covariances.get(image)
        estimates.append(
            PoseEstimate(
                True,
                "",
                RigidTransform.identity() if image == subset[0] else rescaled(pose, unit),
                None if covariance is None else rescaled_covariance(covariance, unit),
                inlier_fraction=found.inlier_fraction,
                cost=found.residual_px,
                source="tracks",
            )
        )
        observed.append(image != subset[0] and found.translation_observed(image))
    evidence = {}
    if found is not None:
        evidence = {"points": float(found.points), "residual_px": found.residual_px}
        evidence["shared_points"] = float(found.shared_points.get(subset[1], 0))
    return PosedSubset.of(frames, subset, estimates, observed, evidence)


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:] + "."
