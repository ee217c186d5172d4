"""The trajectory of a short, nearly still video, from its images alone.

A video is cut into segments, each solved by small-motion bundle adjustment in the frame of its reference; the reference
stays while most of its points are found, and the next one is the last frame that saw enough of them, with the depths of
the points they share. The world is the camera frame of the first picture, its unit the median depth there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate
from posesplat.geometry.frame import Frame, UnreadableFrame
from posesplat.geometry.trajectory import Trajectory
from posesplat.kernels.threads import one_library_thread
from posesplat.methods.track_answer import TrackAids
from posesplat.methods.track_options import TrackOptions
from posesplat.methods.track_recorder import Recorder
from posesplat.methods.track_run import Run
from posesplat.methods.track_state import TrackState


def track(
    frames: Iterable[Frame | UnreadableFrame],
    options: TrackOptions = TrackOptions(),
    on_estimate: Callable[[str, PoseEstimate], None] | None = None,
    *,
    aids: TrackAids = TrackAids(),
    resume: TrackState | None = None,
    on_state: Callable[[TrackState], None] | None = None,
) -> Trajectory:
    """Poses of a video's frames, up to scale: cam_from_world of the first picture that can be tracked is the identity.

    Frames are read once, in order, and kept, in grey, no longer than their segment is open. Where translation cannot be
    told from pure rotation, the estimate has the rotation, a warning, and a translation whose variance is
    :data:`posesplat.methods.track_segment.UNOBSERVABLE_VARIANCE`: its numbers mean nothing.

    Args:
        frames: with images, of one camera; of :func:`posesplat.open_frames`, for example. Its ``readable()`` also
            gives frames that are damaged, which are refused, and the rest is tracked.
        options: how to track.
        on_estimate: called with name and estimate of each frame, in order, when its segment is done.
        aids: depth, masks and features, where there are any. Metric depth makes the trajectory metric.
        resume: where an interrupted run stopped; ``frames`` are then those after the ones it had done.
        on_state: called after each segment with what the video can be continued from.

    Returns:
        one estimate a frame, scale unknown; with ``resume`` also the frames done before.

    Raises:
        ValueError: when there are no frames, a frame has no image, or cameras differ.

    Example:
        >>> trajectory = track(open_frames("video.mp4", camera="camera.json"))
    """
    tracker: Tracker | None = None
    for frame in frames:
        if tracker is None:
            if isinstance(frame, UnreadableFrame):
                raise ValueError(f"The first frame of a video must be readable; {frame.name!r} is not: {frame.reason}")
            tracker = Tracker(frame.camera, options, on_estimate, aids=aids, resume=resume, on_state=on_state)
        tracker.take(frame)
    if tracker is None and resume is not None:
        return resume.done
    if tracker is None:
        raise ValueError("track needs at least one frame; got none. Check the source of the video.")
    return tracker.trajectory()


class Tracker:
    """Tracks a live camera: every frame's pose at once, from the frames up to it.

    :func:`track` with ``TrackOptions(causal=True)`` gives the same poses.

    Example:
        >>> tracker = Tracker(camera)
        >>> estimate = tracker.push(frame)
    """

    def __init__(
        self,
        camera: Camera,
        options: TrackOptions = TrackOptions(causal=True),
        on_estimate: Callable[[str, PoseEstimate], None] | None = None,
        *,
        aids: TrackAids = TrackAids(),
        resume: TrackState | None = None,
        on_state: Callable[[TrackState], None] | None = None,
    ) -> None:
        """Wait for the first frame.

        Args:
            camera: pinhole of all frames.
            options: how to track.
            on_estimate: called with name and estimate of each frame, in order, once it is known.
            aids: depth, masks and features, where there are any.
            resume: where an interrupted run stopped.
            on_state: called after each segment with what the video can be continued from.
        """
        self._recorder = Recorder(on_estimate, None if resume is None else resume.done)
        self._run = Run(camera, options, self._recorder, aids, on_state)
        if resume is not None:
            self._run.restore(resume)
        self._causal = options.causal

    def push(self, frame: Frame | UnreadableFrame) -> PoseEstimate:
        """The pose of the next frame.

        Raises:
            ValueError: when the frame has no image or another camera, or the options are not causal.
        """
        if not self._causal:
            raise ValueError("Tracker.push needs TrackOptions(causal=True); got causal=False. Use track() instead.")
        self.take(frame)
        estimate = self._recorder.estimate(len(self._recorder) - 1)
        assert estimate is not None
        return estimate

    def take(self, frame: Frame | UnreadableFrame) -> None:
        """Take the next frame; its pose is told when it is known."""
        if isinstance(frame, UnreadableFrame):
            self._run.skip(self._recorder.register(frame), frame.reason)
            return
        if frame.image is None:
            raise ValueError(f"track needs frames with images; {frame.name!r} has depth only. Pass colour frames.")
        if frame.camera != self._run.camera:
            raise ValueError(
                f"All frames of a video must have the camera {self._run.camera}; {frame.name!r} has {frame.camera}. "
                "Split the video where the camera changes."
            )
        with one_library_thread():
            self._run.add(self._recorder.register(frame), frame)
            if self._causal:
                self._run.settle()

    def trajectory(self) -> Trajectory:
        """The poses of all frames taken; those that waited for later frames are solved now.

        Where the camera came back to what earlier references saw, all poses are moved to agree with that, also those
        told before.
        """
        with one_library_thread():
            self._run.finish()
        return self._recorder.trajectory()

    def gaussians(self) -> Gaussians | None:
        """What was seen, in the world, after :meth:`trajectory`; None where no depth was found or given."""
        return self._run.gaussians()
