"""Which images of a set show the same things: keypoints once an image, matches and a relative pose once a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import RigidTransform

from posesplat.align.global_start import match
from posesplat.align.keypoints import KeypointOptions, Keypoints, detect_in_frame
from posesplat.align.relative_pose import relative_pose
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches


@dataclass(frozen=True)
class ViewGraphOptions:
    """How images are connected."""

    keypoints: KeypointOptions = field(
        default_factory=lambda: KeypointOptions(max_width=640, max_keypoints=1200, contrast_threshold=0.01)
    )
    """How keypoints are found."""
    ratio: float = 0.85
    """A match's descriptor distance is at most this share of the second best one's."""
    max_epipolar_px: float = 1.5
    """A match agrees with a relative pose within this Sampson error."""
    min_inliers: int = 16
    """Fewest matches that connect two images."""
    min_share: float = 0.2
    """Least share of the matches that must agree for a connection."""
    min_iterations: int = 100
    """Fewest random samples of a pair."""
    max_iterations: int = 2000
    """Most random samples of a pair."""
    seed: int = 0
    """Of all random samples."""


@dataclass(frozen=True)
class Connection:
    """What connects two images: keypoints of each that agree with one relative pose."""

    second_from_first: RigidTransform
    """Translation of length 1."""
    first: Int[np.ndarray, " n"]
    """Numbers of the keypoints of the first image."""
    second: Int[np.ndarray, " n"]
    """Numbers of the keypoints of the second image."""

    def __len__(self) -> int:
        return len(self.first)


class ViewGraph:
    """Images and their connections, found when first asked for and kept: subsets of the images share them."""

    def __init__(self, frames: Sequence[Frame], options: ViewGraphOptions = ViewGraphOptions()) -> None:
        """Take images with pinhole cameras; nothing is computed yet.

        Raises:
            ValueError: for a frame without an image.
        """
        for frame in frames:
            if frame.image is None:
                raise ValueError(f"A view graph needs images; frame {frame.name!r} has depth only. Pass colour frames.")
        self.frames = tuple(frames)
        self.options = options
        self._keypoints: dict[int, Keypoints] = {}
        self._connections: dict[tuple[int, int], Connection | None] = {}

    def keypoints(self, index: int) -> Keypoints:
        """Keypoints of one image, in its own pixels."""
        if index not in self._keypoints:
            frame = self.frames[index]
            camera, found = detect_in_frame(frame, self.options.keypoints)
            scale = np.array([frame.camera.width / camera.width, frame.camera.height / camera.height])
            self._keypoints[index] = Keypoints(found.pixels * scale, found.descriptors)
        return self._keypoints[index]

    def places(self, index: int) -> Float[np.ndarray, "n 2"]:
        """x / z and y / z of the keypoints in the image's camera frame."""
        return self.frames[index].camera.rays_at(self.keypoints(index).pixels)[:, :2]

    def matches(self, first: int, second: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Numbers of keypoints that look alike, before any geometry."""
        return match(self.keypoints(first), self.keypoints(second), self.options.ratio)

    def connection(self, first: int, second: int) -> Connection | None:
        """What connects two images, ``first < second``; None when too little does.

        Raises:
            ValueError: unless ``first < second``.
        """
        if not first < second:
            raise ValueError(f"A connection is asked for in rising order; got {first} and {second}.")
        key = (first, second)
        if key not in self._connections:
            self._connections[key] = self._connected(first, second)
        return self._connections[key]

    def _connected(self, first: int, second: int) -> Connection | None:
        options = self.options
        of_first, of_second = self.matches(first, second)
        pixels_first = self.keypoints(first).pixels[of_first]
        pixels_second = self.keypoints(second).pixels[of_second]
        pose, agrees = relative_pose(
            Matches(pixels_first, pixels_second, np.ones(len(of_first))),
            self.frames[first].camera,
            self.frames[second].camera,
            max_epipolar_px=options.max_epipolar_px,
            min_points=options.min_inliers,
            max_iterations=options.max_iterations,
            min_iterations=options.min_iterations,
            seed=options.seed,
        )
        if pose is None or agrees.mean() < options.min_share:
            return None
        return Connection(pose, of_first[agrees], of_second[agrees])
