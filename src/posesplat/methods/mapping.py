"""Maps of Gaussians from posed RGB-D frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import uniform_filter
from scipy.spatial.transform import RigidTransform

from posesplat.align.exposure import fitted_exposure, in_exposure
from posesplat.gaussians.fusion import FusedGaussians, colors_of, compare, first_sighting, updated
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.lifting import LiftedGaussians, LiftOptions, Surface, fit_surface, lift
from posesplat.gaussians.splat_map import MapView, SplatMap
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.methods.pose_correction import consistent_pose
from posesplat.render.cpu import CpuRenderer, plane_depth

_LOG = logging.getLogger(__name__)
_SURROUNDED = 0.7
"""Share of the cells around a coarse Gaussian that a frame must have measured to replace it."""
_LARGEST_CORRECTION = 5e-4
"""Relative; curvature displaces the surface by far less, an occlusion edge by far more."""


def calibrated(
    lifted: LiftedGaussians, surface: Surface, frame: Frame, rounds: int = 3, threads: int | None = None
) -> LiftedGaussians:
    """Move each mean along its viewing ray until the rendered surface meets the measured one.

    Tangent planes lie outside a convex surface, and blending them leaves that bias: it is removed once for each map.
    Corrections that the noise of the depth could explain are not made, nor is anything near an occlusion edge.
    """
    rows, columns = lifted.pixels.T
    target = surface.depth[rows, columns]
    noise = 2.0 * surface.relative_error[rows, columns]
    gaussians = lifted.gaussians
    ratio = np.ones_like(target)
    for _ in range(rounds):
        view = CpuRenderer(gaussians, threads=threads).planes(frame.camera, RigidTransform.identity())
        assert view.variance is not None
        found = plane_depth(view)[rows, columns]
        step = np.divide(target, found, out=np.ones_like(target), where=found > 0)
        smooth = view.variance[rows, columns] < _LARGEST_CORRECTION**2
        needed = smooth & (np.abs(step - 1) > noise) & (np.abs(ratio * step - 1) < _LARGEST_CORRECTION)
        step = np.where(needed, step, 1.0).astype(np.float32)
        ratio *= step
        gaussians = replace(gaussians, means_in_world=gaussians.means_in_world * step[:, None])
    return replace(lifted, gaussians=gaussians)


def lift_calibrated(frame: Frame, options: LiftOptions = LiftOptions(), threads: int | None = None) -> LiftedGaussians:
    """Gaussians of one RGB-D frame in its camera's frame, ready to be rendered without bias.

    Raises:
        ValueError: for a frame without depth or without any surface.
    """
    return _lift_with_surface(frame, options, threads)[0]


def _lift_with_surface(frame: Frame, options: LiftOptions, threads: int | None) -> tuple[LiftedGaussians, Surface]:
    if frame.depth is None:
        raise ValueError(
            f"Frame {frame.name!r} must have depth to enter a map; got an image only. "
            "Leave it out, or give it depth from a depth provider."
        )
    surface = fit_surface(frame.depth, frame.camera, threads)
    return calibrated(lift(frame, surface, options, threads), surface, frame, threads=threads), surface


def single_frame_map(frame: Frame, cam_from_world: RigidTransform, options: LiftOptions = LiftOptions()) -> Gaussians:
    """The Gaussians of one posed RGB-D frame in the world frame."""
    return lift_calibrated(frame, options).gaussians.transformed(cam_from_world.inv())


@dataclass(frozen=True)
class MapOptions:
    """How posed RGB-D frames become one map."""

    stride: int = 2
    """One Gaussian every ``stride`` pixels of a frame in x and y, where the map has none yet."""
    max_tilt_deg: float = 80.0
    """Surfaces seen at a larger angle from their normal are left out."""
    tolerance: float = 0.01
    """Measurements within this fraction of the depth from the map's surface are of that surface; so are those that
    noise explains. Errors of the poses need it."""
    sigmas: float = 3.0
    """How many standard deviations noise explains."""
    covered_alpha: float = 0.8
    """Pixels where the surface already in the map has at least this opacity need no new Gaussians."""
    finer: float = 1.8
    """Gaussians larger than those of a new frame by this factor are replaced by the new frame's."""
    free_space_margin: float = 0.05
    """Gaussians nearer than the measured depth by this fraction are seen through."""
    min_violations: int = 2
    """A Gaussian is removed when at least this many frames, and more than have measured it, see through it."""
    correct_poses: bool = True
    """Frames whose pose contradicts the map, beyond what noise explains, enter it at the pose at which they agree.
    Answers are still told in the world of the given poses."""

    def __post_init__(self) -> None:
        sizes = (self.stride, self.tolerance, self.sigmas, self.free_space_margin, self.min_violations)
        if min(sizes) <= 0 or not 0 < self.covered_alpha < 1 or not 0 < self.max_tilt_deg < 90 or self.finer <= 1:
            raise ValueError(
                "MapOptions needs sizes above 0, 0 < covered_alpha < 1, 0 < max_tilt_deg < 90 and finer > 1; "
                f"got {self}. Leave options out for their defaults."
            )

    @property
    def lift(self) -> LiftOptions:
        """The options of lifting one frame."""
        return LiftOptions(stride=self.stride, max_tilt_deg=self.max_tilt_deg)


class MapBuilder:
    """A map that grows frame by frame."""

    def __init__(self, options: MapOptions = MapOptions(), threads: int | None = None) -> None:
        self.options = options
        self.threads = threads
        self.views: list[MapView] = []
        self._fused: FusedGaussians | None = None

    def __len__(self) -> int:
        return 0 if self._fused is None else len(self._fused)

    def add(self, frame: Frame, cam_from_world: RigidTransform) -> None:
        """Take in one posed RGB-D frame.

        Raises:
            ValueError: for a frame without depth, surface or finite pose, or with an image where others have none.
        """
        if not np.isfinite(cam_from_world.as_matrix()).all():
            raise ValueError(
                f"The pose of frame {frame.name!r} must be finite; got NaN or infinity. Pass None to leave it out."
            )
        lifted, surface = _lift_with_surface(frame, self.options.lift, self.threads)
        given = cam_from_world
        if self._fused is not None and self.options.correct_poses:
            cam_from_world = consistent_pose(self._fused.gaussians, frame, given, self.threads)
        seen = first_sighting(lifted, surface, cam_from_world)
        if self._fused is None:
            self._fused = seen
        else:
            if seen.gaussians.has_color != self._fused.gaussians.has_color:
                raise ValueError(
                    f"All frames of a map must have an image, or none of them; frame {frame.name!r} differs from "
                    "those before it. Drop the images, or the frames without one."
                )
            self._fused = self._merged(self._fused, seen, lifted, surface, frame, cam_from_world)
        corrected = cam_from_world is not given
        self.views.append(MapView(frame.camera, cam_from_world, frame.name, given if corrected else None))

    def _merged(
        self,
        fused: FusedGaussians,
        seen: FusedGaussians,
        lifted: LiftedGaussians,
        surface: Surface,
        frame: Frame,
        cam_from_world: RigidTransform,
    ) -> FusedGaussians:
        options = self.options
        comparison = compare(
            fused,
            surface,
            frame.camera,
            cam_from_world,
            sigmas=options.sigmas,
            tolerance=options.tolerance,
            free_space_margin=options.free_space_margin,
        )
        colors, own = None, seen.gaussians.colors
        if frame.image is not None and own is not None and fused.gaussians.colors is not None:
            colors = colors_of(comparison, frame.image, options.stride)
            # A frame's exposure is its own: without this, a map's brightness would depend on who saw what.
            gain, bias = fitted_exposure(fused.gaussians.colors[comparison.index[comparison.measured]], colors)
            colors = in_exposure(colors, gain, bias)
            seen = replace(seen, gaussians=replace(seen.gaussians, colors=in_exposure(own, gain, bias)))
        fused = updated(fused, comparison, surface, colors, cam_from_world)
        present = comparison.index[comparison.present]
        cells = tuple(comparison.pixels[comparison.present].astype(np.int64).T[::-1] // options.stride)
        sizes = _largest_sizes(lifted, frame.camera, options.stride)
        coarse = fused.gaussians.scales[present].max(axis=1) > options.finer * sizes[cells]
        coarse &= comparison.measured[comparison.present]
        fine = fused.gaussians.select(present[~coarse])
        view = CpuRenderer(fine, threads=self.threads).planes(frame.camera, cam_from_world)
        new = view.alpha[tuple(lifted.pixels.T)] < options.covered_alpha
        keep = (fused.violations < options.min_violations) | (fused.violations <= fused.sightings)
        # A coarse Gaussian goes only where the frame has seen its surroundings as well.
        surrounded = uniform_filter(np.isfinite(sizes).astype(np.float32), 5, mode="constant") > _SURROUNDED
        keep[present[coarse & surrounded[cells]]] = False
        return fused.select(keep).joined(seen.select(new))

    def finished(self) -> SplatMap:
        """The map so far.

        Raises:
            ValueError: before any frame was added.
        """
        if self._fused is None:
            raise ValueError(
                "A map needs at least one RGB-D frame with a pose; got none. Check the frames and their poses."
            )
        return SplatMap(self._fused.gaussians, tuple(self.views))


def _largest_sizes(lifted: LiftedGaussians, camera: Camera, stride: int) -> Float32[np.ndarray, "rows columns"]:
    """Largest standard deviation of the Gaussian of each stride x stride cell of pixels; infinite where none is."""
    sizes = np.full((-(-camera.height // stride), -(-camera.width // stride)), np.inf, dtype=np.float32)
    sizes[tuple(lifted.pixels.T // stride)] = lifted.gaussians.scales.max(axis=1)
    return sizes


def build_map(
    frames: Iterable[Frame],
    cam_from_world: Sequence[RigidTransform | None] | RigidTransform,
    options: MapOptions = MapOptions(),
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> SplatMap:
    """One map from posed RGB-D frames, in which each surface exists once.

    A frame adds Gaussians where it sees something new or sees it finer; elsewhere it improves those that are there.
    Frames whose pose is None are skipped. One frame is in memory at a time.

    Args:
        frames: the frames; a sequence that decodes on indexing is read one frame at a time.
        cam_from_world: one pose a frame; metres.
        options: see :class:`MapOptions`.
        progress: called with the number of frames done and their total.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Returns:
        Gaussians in the world of the poses, and one view for each frame that was used.

    Raises:
        ValueError: without frames or poses, when their counts differ, for a frame without depth, surface or
            finite pose, or when only some frames have an image.
    """
    if isinstance(frames, Sized) and len(frames) != len(cam_from_world):
        raise _counts_differ(len(frames), len(cam_from_world))
    builder = MapBuilder(options, threads)
    taken = 0
    for taken, (frame, pose) in enumerate(_posed(frames, cam_from_world), start=1):
        if frame is not None and pose is not None:
            builder.add(frame, pose)
        if progress is not None:
            progress(taken, len(cam_from_world))
    if taken != len(cam_from_world):
        raise _counts_differ(taken, len(cam_from_world))
    return builder.finished()


def _counts_differ(frames: int, poses: int) -> ValueError:
    return ValueError(
        f"build_map needs one pose for each frame; got {frames} frames and {poses} poses. "
        "Pass None as the pose of frames that have none."
    )


def _posed(
    frames: Iterable[Frame], cam_from_world: Sequence[RigidTransform | None] | RigidTransform
) -> Iterator[tuple[Frame | None, RigidTransform | None]]:
    """Frames with their poses; a frame without a pose is not even decoded where that can be avoided."""
    if isinstance(frames, Sequence):
        for index in range(len(frames)):
            pose = cam_from_world[index]
            if pose is None:
                _LOG.warning("Frame %d has no pose and is left out of the map.", index)
            yield (None if pose is None else frames[index]), pose
        return
    for index, frame in enumerate(frames):
        if index == len(cam_from_world):
            raise _counts_differ(index + 1, index)
        pose = cam_from_world[index]
        if pose is None:
            _LOG.warning("Frame %r has no pose and is left out of the map.", frame.name)
        yield frame, pose
