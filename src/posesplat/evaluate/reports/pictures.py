"""Pictures of what a map shows at a pose, what the camera saw there, and how they differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.kernels.splatting import View
from posesplat.render.cpu import CpuRenderer, plane_depth

_LARGEST_GREY_DIFFERENCE = 40.0
"""Grey levels at the bright end of the difference picture."""
_FLAT_GREY = 1.0
"""Grey levels; images that vary less have no contrast to match."""
_MIN_ALPHA = 0.5
_EMPTY = np.array([48, 52, 58], dtype=np.uint8)
_BLUE_WHITE_RED = np.array([[33, 84, 158], [247, 247, 247], [178, 34, 42]], dtype=np.float64)


@dataclass(frozen=True)
class Picture:
    """An RGB image and one line about it."""

    rgb: UInt8[np.ndarray, "height width 3"]
    caption: str
    largest_width: int = 480
    """Pixels; wider pictures are written smaller."""

    def jpeg(self, quality: int = 85) -> bytes:
        """The picture as a JPEG file."""
        import cv2

        image = cv2.cvtColor(self.rgb, cv2.COLOR_RGB2BGR)
        if image.shape[1] > self.largest_width:
            height = round(image.shape[0] * self.largest_width / image.shape[1])
            image = cv2.resize(image, (self.largest_width, height), interpolation=cv2.INTER_AREA)
        return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


@dataclass(frozen=True)
class Comparison:
    """Rendered, seen and difference, for colour and for depth as far as there are both."""

    colour: tuple[Picture, ...]
    """Three pictures, or none."""
    depth: tuple[Picture, ...]
    """Three pictures, or none."""
    covered: float
    """Share of the frame where the scene shows anything."""


def compare_frame(
    scene: Gaussians,
    frame: Frame,
    cam_from_world: RigidTransform,
    unit: str | None = "m",
    threads: int | None = None,
    mask: Bool[np.ndarray, "h w"] | None = None,
) -> Comparison:
    """Render a map at a pose and set it beside the frame.

    Args:
        scene: the map.
        frame: what the camera saw.
        cam_from_world: where to render from.
        unit: of the world, for the captions; None when the frame's depth is in another one and not compared.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
        mask: True where the frame was used; the rest is greyed, and left out of the difference. None = everywhere.
    """
    with_colour = frame.image is not None and scene.has_color
    view = _view(scene, frame.camera, cam_from_world, with_colour, threads)
    covered = view.alpha >= _MIN_ALPHA
    colour: tuple[Picture, ...] = ()
    if frame.image is not None and view.channels is not None:
        colour = _colour_pictures(view.channels, frame.image, covered, mask)
    depth: tuple[Picture, ...] = ()
    if frame.depth is not None and unit is not None:
        depth = _depth_pictures(plane_depth(view) * covered, frame.depth, unit)
    return Comparison(colour, depth, float(covered.mean()))


def rendered_depth(
    scene: Gaussians, camera: Camera, cam_from_world: RigidTransform, unit: str = "m", threads: int | None = None
) -> Picture:
    """The depth of a scene as a camera sees it, near dark and far bright.

    Args:
        scene: what is rendered.
        camera: pinhole.
        cam_from_world: where to render from.
        unit: of the world, for the caption.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
    """
    view = _view(scene, camera, cam_from_world, False, threads)
    depth = plane_depth(view) * (view.alpha >= _MIN_ALPHA)
    near, far = _depth_range(depth[depth > 0])
    shown = _painted((depth - near) / (far - near), depth > 0, "viridis")
    return Picture(shown, f"depth rendered at the found pose, {near:.2g} to {far:.2g} {unit}")


def _view(
    scene: Gaussians, camera: Camera, cam_from_world: RigidTransform, with_colour: bool, threads: int | None
) -> View:
    seen_from = np.asarray(cam_from_world.inv().translation)
    renderer = CpuRenderer(scene, "rgb" if with_colour else "none", seen_from if with_colour else None, threads)
    return renderer.planes(camera, cam_from_world)


def _depth_range(depth: Float32[np.ndarray, " n"]) -> tuple[float, float]:
    """Depths between which nearly all lie, not equal."""
    near, far = (float(end) for end in np.percentile(depth, [2, 98])) if len(depth) else (0.0, 1.0)
    return near, max(far, near + 1e-6)


def _colour_pictures(
    rendered: Float32[np.ndarray, "h w 3"],
    seen: UInt8[np.ndarray, "h w 3"],
    covered: Bool[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"] | None,
) -> tuple[Picture, ...]:
    shown = np.rint(255 * rendered.clip(0, 1)).astype(np.uint8)
    shown[~covered] = _EMPTY
    compared, used, masked = covered, seen, ""
    if mask is not None and not mask.all():
        compared, used, masked = covered & mask, seen.copy(), ", greyed where masked"
        used[~mask] = (_EMPTY.astype(np.uint16) * 3 + seen[~mask]) // 4
    grey, seen_grey = 255 * rendered.mean(axis=-1), seen.mean(axis=-1, dtype=np.float32)
    difference = np.abs(_matched(grey, seen_grey, compared) - seen_grey)
    painted = _painted(difference / _LARGEST_GREY_DIFFERENCE, compared, "inferno")
    median = f", median {np.median(difference[compared]):.1f}" if compared.any() else ""
    return (
        Picture(shown, "rendered at the found pose"),
        Picture(used, f"seen by the camera{masked}"),
        Picture(painted, f"difference in grey, black 0 to yellow {_LARGEST_GREY_DIFFERENCE:.0f} of 255{median}"),
    )


def _matched(
    grey: Float32[np.ndarray, "h w"], seen: Float32[np.ndarray, "h w"], covered: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w"]:
    """Grey values with the gain and offset that bring them closest to what was seen."""
    if not covered.any():
        return grey
    spread = float(grey[covered].std())
    gain = float(np.cov(grey[covered], seen[covered])[0, 1]) / spread**2 if spread > _FLAT_GREY else 1.0
    return np.float32(gain) * (grey - grey[covered].mean()) + seen[covered].mean()


def _depth_pictures(
    rendered: Float32[np.ndarray, "h w"], seen: Float32[np.ndarray, "h w"], unit: str
) -> tuple[Picture, ...]:
    measured = np.concatenate([rendered[rendered > 0], seen[seen > 0]])
    near, far = _depth_range(measured)
    span = far - near
    both = (rendered > 0) & (seen > 0)
    difference = np.where(both, rendered - seen, 0.0)
    limit = _round_up(3 * float(np.median(np.abs(difference[both])))) if both.any() else 1.0
    low, factor = ("mm", 1e3) if unit == "m" else (unit, 1.0)
    median = f", median {factor * np.median(np.abs(difference[both])):.2g} {low}" if both.any() else ""
    return (
        Picture(_painted((rendered - near) / span, rendered > 0, "viridis"), "depth rendered at the found pose"),
        Picture(_painted((seen - near) / span, seen > 0, "viridis"), f"depth measured, {near:.2g} to {far:.2g} {unit}"),
        Picture(
            _diverging((difference / limit).astype(np.float32), both),
            f"depth difference, blue -{factor * limit:g} to red +{factor * limit:g} {low}{median}",
        ),
    )


def _painted(
    values: Float32[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"], colours: str
) -> UInt8[np.ndarray, "h w 3"]:
    import cv2

    table = {"viridis": cv2.COLORMAP_VIRIDIS, "inferno": cv2.COLORMAP_INFERNO}[colours]
    levels = np.rint(255 * np.asarray(values).clip(0, 1)).astype(np.uint8)
    rgb = np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, table), cv2.COLOR_BGR2RGB), np.uint8)
    rgb[~valid] = _EMPTY
    return rgb


def _diverging(values: Float32[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    position = np.asarray(values, dtype=np.float64).clip(-1, 1)
    channels = [np.interp(position, [-1, 0, 1], _BLUE_WHITE_RED[:, channel]) for channel in range(3)]
    rgb = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    rgb[~valid] = _EMPTY
    return rgb


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten."""
    if not value > 0:
        return 1e-3
    power = 10.0 ** math.floor(math.log10(value))
    return power * next(step for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
