"""Gaussians for what a segment's reference does not see: lifted from the later frames that see most of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial.transform import RigidTransform

from posesplat.align.exposure import in_exposure
from posesplat.align.plane_sweep import SweepOptions, swept_depth
from posesplat.align.tracks import locally_normalised
from posesplat.gaussians.gaussians import Gaussians
from posesplat.gaussians.lifting import LiftOptions
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import log
from posesplat.methods.mapping import lift_calibrated
from posesplat.render.cpu import CpuRenderer, plane_depth

_PROBE_WIDTH = 160
"""Width at which it is counted how much of a frame a scene covers."""
_COVERED_ALPHA = 0.8
"""Opacity from which on a surface needs no more Gaussians, as in maps of several frames."""
_GUIDES_STEP = 8
"""Pixels between the places at which the scene so far guides a sweep in another frame."""
_FEWEST_GUIDES = 20


@dataclass(frozen=True)
class DisocclusionOptions:
    """Which later frames add to a scene."""

    keyframes: int = 1
    """Most frames that do; 0 leaves the scene as it is."""
    least_uncovered: float = 0.01
    """A frame must see at least this share of its picture anew."""
    candidates: int = 6
    """Frames looked at: those farthest from the reference."""
    stride: int = 2
    """One Gaussian every ``stride`` pixels, as in the reference."""
    sweep: SweepOptions = field(default_factory=SweepOptions)
    """How depth is found in frames that have none."""

    def __post_init__(self) -> None:
        if min(self.keyframes, self.least_uncovered) < 0 or min(self.candidates, self.stride) < 1:
            raise ValueError(
                "DisocclusionOptions needs keyframes and least_uncovered of at least 0, candidates and stride of at "
                f"least 1; got {self}. Leave options out for their defaults."
            )


@dataclass(frozen=True)
class ExtendedScene:
    """A scene, and from which frames it has more than its reference saw."""

    gaussians: Gaussians
    """In the reference's camera frame; those of the reference come first, as they were."""
    keyframes: tuple[int, ...]
    """Frames that added Gaussians, in order."""


def extended_scene(
    gaussians: Gaussians,
    reference: Frame,
    frames: Sequence[Frame],
    cam_from_reference: RigidTransform,
    exposures: Float[np.ndarray, "frames 2"] | None = None,
    *,
    use_depth: bool = False,
    masks: Sequence[Bool[np.ndarray, "h w"] | None] | None = None,
    options: DisocclusionOptions = DisocclusionOptions(),
    threads: int | None = None,
) -> ExtendedScene:
    """Add Gaussians where later frames see past what the reference saw.

    Args:
        gaussians: of the reference, with colours, in its camera frame.
        reference: its frame, with an image.
        frames: the later frames, with images.
        cam_from_reference: their poses, shape (frames,), in the unit of the Gaussians.
        exposures: gain and bias of each frame; new colours are told in the reference's exposure.
        use_depth: take the frames' own depth (which must have the unit of the poses); otherwise a plane sweep over all
            frames gives it, guided by the scene as the frame sees it.
        masks: True where a frame may be used; None = all of it.
        options: which frames, and how many.
        threads: see :func:`posesplat.kernels.threads.thread_count`.

    Raises:
        ValueError: when counts differ or an image is missing.
    """
    if len(cam_from_reference) != len(frames) or any(frame.image is None for frame in (reference, *frames)):
        raise ValueError(
            f"extended_scene needs images and one pose for each frame; got {len(frames)} frames and "
            f"{len(cam_from_reference)} poses. Leave frames without either out."
        )
    frame_masks = [None] * len(frames) if masks is None else list(masks)
    whole = gaussians
    used: list[int] = []
    distances = np.linalg.norm(log(cam_from_reference), axis=1)
    waiting = [int(index) for index in np.argsort(-distances, kind="stable")[: options.candidates]]
    while waiting and len(used) < options.keyframes:
        shares = [_uncovered(whole, frames[i], cam_from_reference[i], frame_masks[i], threads) for i in waiting]
        if max(shares) < options.least_uncovered:
            break
        index = waiting.pop(int(np.argmax(shares)))
        depth = frames[index].depth if use_depth else None
        if depth is None:
            depth = _swept(whole, reference, frames, cam_from_reference, frame_masks, index, options.sweep, threads)
        if depth is None:
            continue
        exposure = (1.0, 0.0) if exposures is None else (float(exposures[index, 0]), float(exposures[index, 1]))
        pose, mask = cam_from_reference[index], frame_masks[index]
        added = _added(whole, replace(frames[index], depth=depth), pose, mask, exposure, options.stride, threads)
        if len(added):
            whole = Gaussians.merge([whole, added])
            used.append(index)
    return ExtendedScene(whole, tuple(used))


def _probe(camera: Camera) -> Camera:
    shrink = max(camera.width // _PROBE_WIDTH, 1)
    return camera.resized(max(camera.width // shrink, 1), max(camera.height // shrink, 1))


def _uncovered(
    gaussians: Gaussians,
    frame: Frame,
    cam_from_reference: RigidTransform,
    mask: Bool[np.ndarray, "h w"] | None,
    threads: int | None,
) -> float:
    """Share of a frame's usable picture where the scene shows nothing."""
    probe = _probe(frame.camera)
    empty = CpuRenderer(gaussians, threads=threads).planes(probe, cam_from_reference).alpha < 0.5
    if mask is not None:
        rows = np.arange(probe.height) * frame.camera.height // probe.height
        columns = np.arange(probe.width) * frame.camera.width // probe.width
        empty &= mask[np.ix_(rows, columns)]
    return float(empty.mean())


def _swept(
    gaussians: Gaussians,
    reference: Frame,
    frames: Sequence[Frame],
    cam_from_reference: RigidTransform,
    masks: Sequence[Bool[np.ndarray, "h w"] | None],
    index: int,
    options: SweepOptions,
    threads: int | None,
) -> Float32[np.ndarray, "h w"] | None:
    """Depth of one frame by a sweep over the reference and the other frames; None where nothing guides it."""
    camera, own = frames[index].camera, cam_from_reference[index]
    view = CpuRenderer(gaussians, threads=threads).planes(camera, own)
    depth = np.where(view.alpha >= _COVERED_ALPHA, plane_depth(view), 0.0)
    rows, columns = np.nonzero(depth[::_GUIDES_STEP, ::_GUIDES_STEP] > 0)
    rows, columns = rows * _GUIDES_STEP, columns * _GUIDES_STEP
    if len(rows) < _FEWEST_GUIDES:
        return None
    others = [reference, *(frame for place, frame in enumerate(frames) if place != index)]
    from_reference = [RigidTransform.identity(), *(p for place, p in enumerate(cam_from_reference) if place != index)]
    images = [locally_normalised(frame.image) for frame in (frames[index], *others) if frame.image is not None]
    return swept_depth(
        images[0],
        images[1:],
        RigidTransform.concatenate(from_reference) * own.inv(),
        camera,
        np.column_stack([columns, rows]) + 0.5,
        1.0 / depth[rows, columns].astype(np.float64),
        options,
        reference_mask=masks[index],
        masks=[None, *(mask for place, mask in enumerate(masks) if place != index)],
    ).depth


def _added(
    gaussians: Gaussians,
    frame: Frame,
    cam_from_reference: RigidTransform,
    mask: Bool[np.ndarray, "h w"] | None,
    exposure: tuple[float, float],
    stride: int,
    threads: int | None,
) -> Gaussians:
    """The Gaussians of a frame where the scene has none, in the reference's camera frame."""
    if mask is not None and frame.depth is not None:
        frame = replace(frame, depth=np.where(mask, frame.depth, np.float32(0.0)))
    try:
        lifted = lift_calibrated(frame, LiftOptions(stride=stride), threads)
    except ValueError:  # no pixel of the frame gives a surface
        return gaussians.select(slice(0))
    alpha = CpuRenderer(gaussians, threads=threads).planes(frame.camera, cam_from_reference).alpha
    new = lifted.gaussians.select(alpha[tuple(lifted.pixels.T)] < _COVERED_ALPHA)
    if new.colors is not None:
        new = replace(new, colors=in_exposure(new.colors, *exposure))
    return new.transformed(cam_from_reference.inv())
