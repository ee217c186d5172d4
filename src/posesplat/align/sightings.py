"""Where points of a reference were seen, as small-motion bundle adjustment needs it, and the lens they were seen by."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from posesplat.align.tracks import Tracks
from posesplat.geometry.cameras import Camera
from posesplat.kernels.small_motion import LensBend

_LOG_FOCAL_LIMIT = 1.2
_RADIAL_LIMIT = 0.6


@dataclass(frozen=True)
class Lens:
    """What a camera's focal length and first radial term are, relative to those that sightings were made with.

    A place o from the principal point stands for the pinhole's o (1 + radial |o / focal|^2), with the focal length that
    the sightings were made with: the straightening direction, which needs no iteration.
    """

    log_focal: float = 0.0
    """Logarithm of the focal length over the sightings' own."""
    radial: float = 0.0
    """First radial term of straightening."""

    def moved(self, log_focal: float, radial: float) -> Lens:
        """The lens after a step, kept within what lenses are."""
        return Lens(
            min(max(self.log_focal + log_focal, -_LOG_FOCAL_LIMIT), _LOG_FOCAL_LIMIT),
            min(max(self.radial + radial, -_RADIAL_LIMIT), _RADIAL_LIMIT),
        )


SAME_LENS = Lens()


@dataclass(frozen=True)
class LensPrior:
    """What is known of a lens beforehand: independent normal distributions about :data:`SAME_LENS`."""

    log_focal: float = 0.5
    """Standard deviation of the logarithm of the focal length."""
    radial: float = 0.05
    """Standard deviation of the radial term."""

    def __post_init__(self) -> None:
        if not (self.log_focal > 0 and self.radial > 0):
            raise ValueError(
                f"LensPrior needs standard deviations above 0; got {self}. Use a small number, such as 1e-6, for what "
                "is known."
            )

    def cost(self, lens: Lens) -> float:
        """Sum of squared deviations in units of the standard deviations."""
        return (lens.log_focal / self.log_focal) ** 2 + (lens.radial / self.radial) ** 2


@dataclass(frozen=True)
class Sightings:
    """Tracks as the adjustment needs them: rays of the reference and where they were seen, from the principal point."""

    rays: Float[np.ndarray, "points 3"]
    """Viewing rays with z = 1 in the reference camera."""
    offsets: Float[np.ndarray, "frames 2 points"]
    """Seen pixels less the principal point."""
    seen: Bool[np.ndarray, "frames points"]
    """Which are measured."""
    focal: Float[np.ndarray, "2"]
    """Focal lengths in pixels."""
    deviations: Float[np.ndarray, " points"]
    """How uncertain each point is, relative to the typical one; residuals count in this unit."""

    @staticmethod
    def of(tracks: Tracks, camera: Camera) -> Sightings:
        """The sightings of tracks in images of a pinhole camera."""
        focal, centre = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
        rays = camera.rays_at(tracks.reference)
        offsets = np.where(tracks.seen[:, None], (tracks.pixels - centre).transpose(0, 2, 1), 0.0)
        return Sightings(rays, np.ascontiguousarray(offsets), tracks.seen, focal, np.ones(len(rays)))

    def select(self, points: Bool[np.ndarray, " points"] | Int[np.ndarray, " chosen"] | slice) -> Sightings:
        """Some of the points, in all frames."""
        offsets = np.ascontiguousarray(self.offsets[:, :, points])
        deviations = self.deviations[points]
        return Sightings(self.rays[points], offsets, self.seen[:, points], self.focal, deviations)

    def frames(self, chosen: Int[np.ndarray, " chosen"]) -> Sightings:
        """All points, in some of the frames."""
        return replace(self, offsets=self.offsets[chosen], seen=self.seen[chosen])

    def through(self, lens: Lens) -> Sightings:
        """The same pixels as a pinhole camera would have seen them, were ``lens`` the true one."""
        if lens == SAME_LENS:
            return self
        bend = self.bend(SAME_LENS)
        rays = self.rays.copy()
        rays[:, :2] = (rays[:, :2] + lens.radial * bend.rays.T) * math.exp(-lens.log_focal)
        offsets = self.offsets + lens.radial * bend.offsets
        return replace(self, rays=rays, offsets=offsets, focal=self.focal * math.exp(lens.log_focal))

    def bend(self, lens: Lens) -> LensBend:
        """How rays and seen pixels change with the radial term of ``lens``."""
        places = self.rays[:, :2].T
        rays = places * np.square(places).sum(axis=0) * math.exp(-lens.log_focal)
        ratio = np.square(self.offsets / self.focal[:, None]).sum(axis=1, keepdims=True)
        return LensBend(rays, self.offsets * ratio)
