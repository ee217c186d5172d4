"""What every answer with poses must be, whoever gives it, and how poses are compared with the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.estimate import PoseEstimate, ScaleSource
from posesplat.testing.check import demand, fail


def demand_estimate(what: str, estimate: Any) -> None:
    """Fail unless an answer is a pose with sound numbers, or a refusal with a reason."""
    demand(isinstance(estimate, PoseEstimate), what, "a PoseEstimate", type(estimate).__name__)
    if estimate.cam_from_world is None:
        demand(len(estimate.reason.split()) >= 2, f"reason of {what}", "words", repr(estimate.reason))
        demand(estimate.covariance is None, f"covariance of {what}, a refusal", "none", "one")
    else:
        demand(not estimate.reason, f"reason of {what}, a success", "none", repr(estimate.reason))
        matrix = np.asarray(estimate.cam_from_world.as_matrix())
        demand(matrix.shape == (4, 4), f"pose of {what}", "one", f"a stack of shape {matrix.shape[:-2]}")
        demand(np.isfinite(matrix).all(), f"pose of {what}", "finite numbers", "NaN or infinity")
    covariance = estimate.covariance
    if covariance is not None:
        demand(covariance.shape == (6, 6), f"covariance of {what}", "6 x 6", covariance.shape)
        demand(np.isfinite(covariance).all(), f"covariance of {what}", "finite numbers", "NaN or infinity")
        largest = float(np.abs(covariance).max())
        gap = float(np.abs(covariance - covariance.T).max())
        demand(gap <= 1e-6 * largest, f"covariance of {what}", "symmetric", f"a gap of {gap:.3g}")
        deviations = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        smallest = float(np.linalg.eigvalsh(covariance / np.outer(deviations, deviations))[0])
        # The world's own pose may be certain: all zero.
        demand(
            largest == 0 or smallest >= -1e-6,
            f"covariance of {what}",
            "no negative variance",
            f"eigenvalue {smallest:.3g}",
        )
    for name in ("inlier_fraction", "overlap"):
        value = getattr(estimate, name)
        demand(math.isnan(value) or -1e-9 <= value <= 1 + 1e-6, f"{name} of {what}", "0 to 1, or NaN", value)
    demand(not estimate.runtime_s < 0, f"runtime_s of {what}", "0 or more, or NaN", estimate.runtime_s)
    scale = estimate.scale
    demand(scale.source in get_args(ScaleSource), f"scale of {what}", f"one of {get_args(ScaleSource)}", scale.source)
    demand(
        scale.metric != (scale.source == "unknown"),
        f"scale of {what}",
        "a source for metres, and 'unknown' without them",
        f"metric={scale.metric} by {scale.source!r}",
    )


def demand_relative_poses(
    what: str,
    found: Sequence[RigidTransform],
    true: Sequence[RigidTransform],
    *,
    metric: bool,
    tolerance_deg: float,
    tolerance: float | None,
) -> None:
    """Fail unless poses agree with the truth.

    Args:
        what: in words.
        found: cam_from_first.
        true: the same, exactly.
        metric: whether lengths must agree; else they may have any one positive factor.
        tolerance_deg: of each rotation.
        tolerance: of translations: root mean square of the errors, as a share of that of the true ones; None where the
            translations are said to be unobserved.
    """
    for index, (one, other) in enumerate(zip(found, true, strict=True)):
        angle = math.degrees(float((one.rotation * other.rotation.inv()).magnitude()))
        demand(
            angle <= tolerance_deg,
            f"rotation {index} of {what}",
            f"the true one within {tolerance_deg:g} deg",
            f"{angle:.3g}",
        )
    if tolerance is None:
        return
    moved = np.array([pose.translation for pose in found])
    truly = np.array([pose.translation for pose in true])
    size = float(np.sqrt((truly**2).mean()))
    if size == 0:
        fail(what, "a camera that moves, to tell translations by", "none")
    factor = 1.0
    if not metric:
        factor = float((moved * truly).sum() / max((moved**2).sum(), 1e-30))
        demand(factor > 0, f"translations of {what}", "the true direction", "the opposite one, or none")
    error = float(np.sqrt(((factor * moved - truly) ** 2).mean())) / size
    unit = "in metres" if metric else "up to one factor"
    demand(
        error <= tolerance,
        f"translations of {what}",
        f"the true ones {unit} within {tolerance:.1%}",
        f"an error of {error:.1%}",
    )
