"""Poses of subsets by the feed-forward network of ``reconstruct``: one pass, then each view aligned and chained.

The estimator ``network`` of :mod:`posesplat.providers.multi_view.open`, by its entry point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scipy.spatial.transform import RigidTransform

from posesplat.align.subset_poses import OBSERVED_DEG
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import direction_sigma_deg
from posesplat.learned.network import MAX_VIEWS, SplatNetwork
from posesplat.learned.reconstruction import Reconstruction, ReconstructOptions, reconstruct_frames
from posesplat.learned.weights import load_network
from posesplat.providers.multi_view.provider import PosedSubset, check_subsets

_SOURCE = "network"


class NetworkPoses:
    """Reconstructs each subset; the weights are loaded at the first one."""

    def __init__(self, options: ReconstructOptions = ReconstructOptions()) -> None:
        self.options = options
        self.name = f"network {options.weights}"
        self._network: SplatNetwork | None = None

    def pose_subsets(
        self,
        frames: Sequence[Frame],
        subsets: Sequence[Sequence[int]],
        on_done: Callable[[], None] | None = None,
    ) -> list[PosedSubset]:
        """See :class:`posesplat.providers.multi_view.provider.MultiViewProvider`; at most 10 images a subset.

        Raises:
            FileNotFoundError: when the weights are missing.
            ValueError: for a frame without an image, or a subset that is none or too large.
        """
        check_subsets(frames, subsets)
        most = max(map(len, subsets), default=0)
        if most > MAX_VIEWS:
            raise ValueError(f"--estimator network takes subsets of at most {MAX_VIEWS} images; got {most}.")
        if self._network is None:
            self._network = load_network(self.options.weights)
        answers = []
        for subset in subsets:
            chosen = [frames[image] for image in subset]
            found = reconstruct_frames(chosen, [False] * len(chosen), self.options, self._network)
            answers.append(_posed_subset(frames, subset, found))
            if on_done is not None:
                on_done()
        return answers


def open_network_poses(weights: str, seed: int) -> NetworkPoses:
    """The estimator of a word ``network:WEIGHTS``; without weights, those that come with the package."""
    return NetworkPoses(ReconstructOptions(weights=weights or ReconstructOptions.weights, seed=seed))


def _posed_subset(frames: Sequence[Frame], subset: Sequence[int], found: Reconstruction) -> PosedSubset:
    estimates, observed = [], []
    for place, estimate in enumerate(found.trajectory):
        fit = found.fits[place]
        if found.scene is None and fit is not None and fit.estimate.cam_from_world is not None:
            # Nothing tells depth, as where the camera only turned; the turn itself is known.
            estimate = fit.estimate.replace(
                cam_from_world=RigidTransform.from_rotation(fit.estimate.cam_from_world.rotation), covariance=None
            )
        estimates.append(_named(estimate, found.reason))
        pose = estimate.cam_from_world
        if place == 0 or found.scene is None or pose is None:
            observed.append(False)
        else:
            observed.append(direction_sigma_deg(pose, estimate.covariance) <= OBSERVED_DEG)
    second = found.fits[1]
    shared = 0 if second is None or not second.estimate.success else int(second.inliers.sum())
    return PosedSubset.of(frames, subset, estimates, observed, {"shared_points": float(shared)})


def _named(estimate: PoseEstimate, reason: str) -> PoseEstimate:
    if estimate.success:
        return estimate.replace(source=_SOURCE)
    return PoseEstimate.failure(estimate.reason or reason, source=_SOURCE)
