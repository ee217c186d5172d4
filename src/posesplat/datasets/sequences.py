"""Frames in order, decoded only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame, UnreadableFrame

RawImages = tuple[UInt8[np.ndarray, "height width 3"] | None, Float32[np.ndarray, "depth_height depth_width"] | None]
"""Colour (RGB) and depth (metres, 0 = missing) as stored, before the lens distortion is removed."""


class FrameSequence(Sequence):  # unsubscripted: run-time type checkers decode an element of a Sequence[Frame]
    """A sized, indexable sequence of undistorted frames that keeps no image in memory.

    Indexing decodes one frame and removes its lens distortion (colour bilinear, edges repeated where the lens saw
    nothing; depth by nearest pixel, 0 there). A slice is a shorter sequence.
    """

    def __init__(
        self,
        lens_camera: Camera,
        names: Sequence[str],
        timestamps: Sequence[float] | Float[np.ndarray, " n"],
        read: Callable[[int], RawImages],
        *,
        has_depth: bool,
        cam_from_world: Sequence[RigidTransform | None] | None = None,
        undistort_depth: bool = True,
    ) -> None:
        """Describe the frames; nothing is decoded.

        Args:
            lens_camera: the camera of the stored images, with their lens distortion.
            names: one name a frame, usually the image's file name.
            timestamps: seconds, one a frame; the frame's number where no clock is known.
            read: gives the stored images of frame ``i``.
            has_depth: whether ``read`` gives depth.
            cam_from_world: true poses, one a frame, None for frames without; None when there are none at all.
            undistort_depth: False when the stored depth is already on the pinhole's pixel grid.

        Raises:
            ValueError: when the counts differ.
        """
        self.lens_camera = lens_camera
        self.names = tuple(names)
        self.timestamps = np.array(timestamps, dtype=np.float64)
        self.timestamps.setflags(write=False)
        self.has_depth = has_depth
        self.undistort_depth = undistort_depth
        poses = None if cam_from_world is None else tuple(cam_from_world)
        self.cam_from_world = None if poses is None or all(pose is None for pose in poses) else poses
        self._read = read
        counts = (len(self.names), len(self.timestamps), len(self.names) if poses is None else len(poses))
        if len(set(counts)) != 1:
            raise ValueError(
                "FrameSequence needs one name, one timestamp and one pose (or None) for each frame; got "
                f"{counts[0]} names, {counts[1]} timestamps and {counts[2]} poses. Pass sequences of equal length."
            )

    @staticmethod
    def from_frames(
        frames: Sequence[Frame], cam_from_world: Sequence[RigidTransform | None] | None = None
    ) -> FrameSequence:
        """A sequence of frames that are in memory already; they must share one camera."""
        if not frames or any(frame.camera != frames[0].camera for frame in frames):
            raise ValueError(
                "FrameSequence.from_frames needs at least one frame, all with the same camera; got "
                f"{len(frames)} frames with {len({frame.camera for frame in frames})} cameras. Split them by camera."
            )
        return FrameSequence(
            frames[0].camera,
            [frame.name for frame in frames],
            [frame.timestamp for frame in frames],
            lambda index: (frames[index].image, frames[index].depth),
            has_depth=all(frame.depth is not None for frame in frames),
            cam_from_world=cam_from_world,
        )

    @property
    def camera(self) -> Camera:
        """The pinhole camera that all frames share."""
        return self.lens_camera.pinhole

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def readable(self) -> Iterator[Frame | UnreadableFrame]:
        """All frames in order; one that is damaged after the first is told instead of raised, and the rest follow.

        Raises:
            ValueError: when the first frame cannot be read.
        """
        for index in range(len(self)):
            try:
                yield self[index]
            except ValueError as error:
                if index == 0:
                    raise
                yield UnreadableFrame(self.names[index], float(self.timestamps[index]), str(error))

    def with_camera(self, lens_camera: Camera) -> FrameSequence:
        """The same stored images, taken by another camera."""
        return FrameSequence(
            lens_camera,
            self.names,
            self.timestamps,
            self._read,
            has_depth=self.has_depth,
            cam_from_world=self.cam_from_world,
            undistort_depth=self.undistort_depth,
        )

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> FrameSequence: ...
    def __getitem__(self, index: int | slice) -> Frame | FrameSequence:
        if isinstance(index, slice):
            return self.subset(range(len(self))[index])
        index = range(len(self))[index]
        name = self.names[index]
        image, depth = self._read(index)
        if image is not None:
            self._check_size(f"the image of frame {name!r}", image.shape)
        if depth is not None:
            self._check_size(f"the depth of frame {name!r}", depth.shape)
        if self.lens_camera.distortion:
            image, depth = self._undistorted(image, depth)
        return Frame(self.camera, image, depth, name, float(self.timestamps[index]))

    def __repr__(self) -> str:
        kind = "RGB-D" if self.has_depth else "colour"
        truth = "with" if self.cam_from_world else "without"
        return f"FrameSequence({len(self)} {kind} frames, {self.camera}, {truth} true poses)"

    def subset(self, indices: Iterable[int]) -> FrameSequence:
        """The frames at ``indices``, in that order; negative indices count from the end."""
        kept = [range(len(self))[index] for index in indices]
        return FrameSequence(
            self.lens_camera,
            [self.names[index] for index in kept],
            self.timestamps[kept],
            lambda index: self._read(kept[index]),
            has_depth=self.has_depth,
            cam_from_world=None if self.cam_from_world is None else [self.cam_from_world[index] for index in kept],
            undistort_depth=self.undistort_depth,
        )

    def _check_size(self, what: str, shape: tuple[int, ...]) -> None:
        camera = self.lens_camera
        if shape[:2] != (camera.height, camera.width):
            raise ValueError(
                f"Expected {what} to be {camera.width} x {camera.height} pixels as its camera says; "
                f"got {shape[1]} x {shape[0]}. Pass the camera of these images (Camera.resized() scales one), or "
                "resize the images so that colour and depth share one pixel grid."
            )

    @cached_property
    def _maps(self) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
        return self.lens_camera.undistortion_maps()

    def _undistorted(
        self,
        image: UInt8[np.ndarray, "height width 3"] | None,
        depth: Float32[np.ndarray, "height width"] | None,
    ) -> RawImages:
        import cv2

        x, y = self._maps
        if image is not None:
            image = np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        if depth is not None and self.undistort_depth:
            remapped = cv2.remap(depth, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
            depth = np.asarray(remapped, np.float32)
        return image, depth
