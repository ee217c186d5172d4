"""Whether a refined pose may be believed: how much of the observation the map explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.align.noise import channel_residuals, depth_residuals, sample_step
from posesplat.align.pyramid import QueryLevel
from posesplat.kernels.splatting import View

_SAMPLES = 4800
"""Pixels of the observation, or of the view, that are looked at."""


@dataclass(frozen=True)
class AgreementRule:
    """Thresholds of belief."""

    tolerance_m: float = 0.01
    """A depth agrees within tolerance_m + relative_tolerance * depth."""
    relative_tolerance: float = 0.015
    """See ``tolerance_m``."""
    min_inlier_fraction: float = 0.6
    """Least share of the covered depths that must agree."""
    min_overlap: float = 0.15
    """Least share of the observation that the map must cover."""
    min_correlation: float = 0.5
    """Least correlation of rendered and seen grey over the overlap, when there is no depth to judge by."""
    min_joint_correlation: float = 0.3
    """The same when depth agrees: rooms of equal shape differ in their colours."""


@dataclass(frozen=True)
class Agreement:
    """Evidence for a pose."""

    inlier_fraction: float
    """Share of the covered depths that agree; without depth, the correlation of the grey images."""
    overlap: float
    """Share of the observation that the map covers with clean surface."""
    refusal: str
    """Why the pose is not believed; empty when it is."""


def measure_agreement(view: View, query: QueryLevel, pose: RigidTransform, rule: AgreementRule) -> Agreement:
    """Compare an observation at a pose with a view rendered near it, whatever the robust scales of a refinement."""
    on_view = sample_step(view.camera, _SAMPLES)
    if query.depth is not None:
        step = sample_step(query.camera, _SAMPLES)
        residuals, depths = depth_residuals(view, query, pose, step, gate=1e-3)
        observed = int((query.depth[step // 2 :: step, step // 2 :: step] > 0).sum())
        agree = np.abs(residuals) <= rule.tolerance_m + rule.relative_tolerance * depths
        fraction, needed, what = float(agree.mean()) if len(agree) else 0.0, rule.min_inlier_fraction, "depths"
    else:
        rendered, seen = channel_residuals(view, query, pose, on_view, gate=1e-2)
        observed = view.alpha[on_view // 2 :: on_view, on_view // 2 :: on_view].size
        agree = rendered
        fraction, needed, what = _correlation(rendered, seen), rule.min_correlation, "grey values"
    overlap = len(agree) / observed if observed else 0.0
    refusal = ""
    if observed == 0:
        refusal = "The frame has no measured depth: its depth map is empty."
    elif overlap < rule.min_overlap:
        refusal = (
            f"The map covers {100 * overlap:.0f} % of the frame at the refined pose; "
            f"{100 * rule.min_overlap:.0f} % are needed."
        )
    elif fraction < needed:
        refusal = (
            f"The map does not agree with the frame: {fraction:.2f} of the {what} within the overlap fit; "
            f"{needed:.2f} are needed."
        )
    if not refusal and query.depth is not None and query.channels is not None and view.channels is not None:
        correlation = _correlation(*channel_residuals(view, query, pose, on_view, gate=1e-2))
        if correlation < rule.min_joint_correlation:
            refusal = (
                "The map's depth agrees with the frame but its colours do not: "
                f"their correlation is {correlation:.2f}; {rule.min_joint_correlation:.2f} is needed."
            )
    return Agreement(fraction, overlap, refusal)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) < 100 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
