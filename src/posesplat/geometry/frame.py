"""What a camera saw: one colour image, one depth image, or both, on the same undistorted pixel grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from posesplat.geometry.cameras import Camera


@dataclass(frozen=True)
class UnreadableFrame:
    """A frame of a sequence whose images cannot be read: it keeps its place, and says why."""

    name: str
    """Usually the image's file name."""
    timestamp: float
    """Seconds; the frame's number where no clock is known."""
    reason: str
    """Why it cannot be read."""


@dataclass(frozen=True)
class Frame:
    """An observation: colour and/or depth images that share one pinhole camera."""

    camera: Camera
    """The pinhole camera of the images (lens distortion is removed when a frame is read)."""
    image: UInt8[np.ndarray, "height width 3"] | None = None
    """RGB, 8 bit."""
    depth: Float32[np.ndarray, "height width"] | None = None
    """Distance along the optical axis in metres; 0 where nothing was measured."""
    name: str = ""
    """Usually the image's file name."""
    timestamp: float = 0.0
    """Seconds; the frame's number where no clock is known."""

    def __post_init__(self) -> None:
        size = (self.camera.height, self.camera.width)
        if self.image is None and self.depth is None:
            raise ValueError(f"Frame {self.name!r} must hold an image or a depth map; got neither.")
        if self.camera.distortion:
            raise ValueError(
                f"Frame {self.name!r} must have a pinhole camera; got distortion {self.camera.distortion}. "
                "Undistort with Camera.undistortion_maps() and pass Camera.pinhole."
            )
        if self.image is not None and (self.image.dtype != np.uint8 or self.image.shape != (*size, 3)):
            raise ValueError(
                f"Frame {self.name!r}: image must be uint8 RGB of shape {(*size, 3)} as its camera says; "
                f"got {self.image.dtype} {self.image.shape}. Pass the camera of this image, or Camera.resized()."
            )
        if self.depth is not None:
            if self.depth.shape != size:
                raise ValueError(
                    f"Frame {self.name!r}: depth must be in metres with shape {size} as its camera says; "
                    f"got {self.depth.shape}. Pass the camera of the depth image, or Camera.resized()."
                )
            if not np.isfinite(self.depth).all() or (self.depth < 0).any():
                raise ValueError(
                    f"Frame {self.name!r}: depth must be finite and >= 0 (0 = nothing measured); got NaN, infinite or "
                    "negative values. Replace them with 0."
                )
            if self.depth.dtype != np.float32:
                object.__setattr__(self, "depth", np.asarray(self.depth, dtype=np.float32))
