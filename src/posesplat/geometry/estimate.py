"""The answer type of every method: a camera pose with its covariance, scale, evidence, and the right to say no."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import RigidTransform

ScaleSource = Literal["depth sensor", "known baseline", "learned depth", "map", "unknown"]


@dataclass(frozen=True)
class Scale:
    """Whether translations are metres, and who says so."""

    metric: bool
    """True when the translation is in metres."""
    source: ScaleSource
    """Where the metres come from; ``unknown`` when they are up to scale."""


@dataclass(frozen=True)
class PoseEstimate:
    """A camera pose or a refusal: ``cam_from_world is None`` exactly when ``success`` is False."""

    success: bool
    """True when the pose may be used."""
    reason: str
    """Empty on success, otherwise one sentence: why there is no pose."""
    cam_from_world: RigidTransform | None
    """The pose: ``points_in_cam = cam_from_world.apply(points_in_world)``, OpenCV axes."""
    covariance: Float[np.ndarray, "6 6"] | None = None
    """Covariance of the left perturbation exp(xi) * cam_from_world, xi = (rotation rad, translation m)."""
    scale: Scale = Scale(False, "unknown")
    """The unit of the translation."""
    inlier_fraction: float = float("nan")
    """Share of the compared pixels (or matches) that agree with the pose."""
    overlap: float = float("nan")
    """Share of the observation that the map (or the other image) covers."""
    cost: float = float("nan")
    """Final value of the objective, comparable between starts of one query only."""
    iterations: int = 0
    """Objective evaluations spent."""
    runtime_s: float = float("nan")
    """Wall time in seconds."""
    source: str = ""
    """Which estimator or start of a chain gave the answer."""
    warnings: tuple[str, ...] = ()
    """What the caller should know about an answer that is still usable."""

    def __post_init__(self) -> None:
        if self.success != (self.cam_from_world is not None):
            raise ValueError(
                f"PoseEstimate must hold a pose exactly when it succeeds; got success={self.success} and "
                f"cam_from_world={self.cam_from_world}. Use PoseEstimate.failure for refusals."
            )
        if not self.success and not self.reason:
            raise ValueError("PoseEstimate without success must give a reason; got an empty one.")

    @staticmethod
    def failure(reason: str, **evidence: Any) -> PoseEstimate:
        """A refusal with its reason; ``evidence`` fills the other fields."""
        return PoseEstimate(success=False, reason=reason, cam_from_world=None, **evidence)

    def replace(self, **changes: Any) -> PoseEstimate:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record; matrices as nested lists, missing values as null."""

        def number(value: float) -> float | None:
            return float(value) if np.isfinite(value) else None

        return {
            "success": self.success,
            "reason": self.reason,
            "cam_from_world": None if self.cam_from_world is None else self.cam_from_world.as_matrix().tolist(),
            "covariance": None if self.covariance is None else self.covariance.tolist(),
            "scale": {"metric": self.scale.metric, "source": self.scale.source},
            "inlier_fraction": number(self.inlier_fraction),
            "overlap": number(self.overlap),
            "cost": number(self.cost),
            "iterations": self.iterations,
            "runtime_s": number(self.runtime_s),
            "source": self.source,
            "warnings": list(self.warnings),
        }

    @staticmethod
    def from_json(record: dict[str, Any]) -> PoseEstimate:
        """The inverse of :meth:`to_json`."""

        def number(name: str) -> float:
            value = record.get(name)
            return float("nan") if value is None else float(value)

        pose, covariance = record["cam_from_world"], record.get("covariance")
        scale = record.get("scale", {"metric": False, "source": "unknown"})
        return PoseEstimate(
            success=record["success"],
            reason=record.get("reason", ""),
            cam_from_world=None if pose is None else RigidTransform.from_matrix(np.asarray(pose)),
            covariance=None if covariance is None else np.asarray(covariance, dtype=np.float64),
            scale=Scale(scale["metric"], scale["source"]),
            inlier_fraction=number("inlier_fraction"),
            overlap=number("overlap"),
            cost=number("cost"),
            iterations=record.get("iterations", 0),
            runtime_s=number("runtime_s"),
            source=record.get("source", ""),
            warnings=tuple(record.get("warnings", ())),
        )
