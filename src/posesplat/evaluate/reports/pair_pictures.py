"""Pictures of two images: their matches, what they share, and their Gaussians before and after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial.transform import RigidTransform

from posesplat.align.tracks import evenly_spread
from posesplat.evaluate.reports.pictures import Picture
from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.geometry.covisibility import covisible
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.methods.pair_scene import LiftedPair
from posesplat.render.cpu import CpuRenderer

_HEIGHT = 360
_GAP = 8
_MOST_AGREEING, _MOST_OTHERS = 200, 60
_AGREES, _DISAGREES = (46, 160, 67), (200, 72, 60)
_TINT_A, _TINT_B = (1.0, 0.55, 0.15), (0.2, 0.55, 1.0)
_HIDDEN_SHARE = 0.25
_EMPTY = np.array([48, 52, 58], dtype=np.float32)


def match_picture(a: Frame, b: Frame, matches: Matches, agrees: Bool[np.ndarray, " n"]) -> Picture:
    """Both images side by side with lines between matched places: green where they agree with the pose, else red.

    Args:
        a: image A.
        b: image B.
        matches: all of them; at most 200 that agree and 60 others are drawn, evenly chosen.
        agrees: which agree.
    """
    import cv2

    left, right = _to_height(_image(a)), _to_height(_image(b))
    gap = np.full((_HEIGHT, _GAP, 3), 255, np.uint8)
    canvas = np.ascontiguousarray(np.hstack([left, gap, right]))
    offset = np.array([left.shape[1] + _GAP, 0.0])
    start = matches.pixels_a * (_HEIGHT / a.camera.height)
    end = matches.pixels_b * (_HEIGHT / b.camera.height) + offset
    for chosen, most, colour in ((~agrees, _MOST_OTHERS, _DISAGREES), (agrees, _MOST_AGREEING, _AGREES)):
        index = np.flatnonzero(chosen)
        for number in index[evenly_spread(len(index), most)] if len(index) else ():
            first, second = (tuple(int(x) for x in np.rint(place[number])) for place in (start, end))
            cv2.line(canvas, first, second, colour, 1, cv2.LINE_AA)
            for place in (first, second):
                cv2.circle(canvas, place, 2, colour, -1, cv2.LINE_AA)
    count = f"{int(agrees.sum())} of {len(matches)} matches agree with the pose (green)"
    return Picture(canvas, f"{count}; red: the others. At most {_MOST_AGREEING} and {_MOST_OTHERS} are drawn", 960)


def overlap_pictures(a: Frame, b: Frame, b_from_a: RigidTransform, matches: Matches) -> tuple[Picture, Picture]:
    """Each image with what the other one does not show dimmed.

    By depth where both images have it, else by the convex hull of the matches given.

    Args:
        a: image A.
        b: image B.
        b_from_a: the pose.
        matches: those that agree with it.
    """
    if a.depth is not None and b.depth is not None:
        seen_a = covisible(a.depth, a.camera, b.depth, b.camera, b_from_a)
        seen_b = covisible(b.depth, b.camera, a.depth, a.camera, b_from_a.inv())
        pictures = []
        for name, other, frame, found in (("A", "B", a, seen_a), ("B", "A", b, seen_b)):
            shown = found.seen | ~found.known
            told = f"image {name}: {other} shows {100 * found.share:.0f} % of it, the rest is dark"
            pictures.append(Picture(_dimmed(_image(frame), shown), told))
        return pictures[0], pictures[1]
    told = "bright: within the matches that agree"
    return (
        Picture(_dimmed(_image(a), _hull(matches.pixels_a, a.camera)), f"image A, {told}"),
        Picture(_dimmed(_image(b), _hull(matches.pixels_b, b.camera)), f"image B, {told}"),
    )


def aligned_pictures(
    lifted: LiftedPair, b_from_a: RigidTransform, camera_b: Camera, threads: int | None = None
) -> tuple[Picture, ...]:
    """Both sets of Gaussians as camera B sees them, A's orange and B's blue, before and after; none without depth.

    Args:
        lifted: the two sets.
        b_from_a: the pose found.
        camera_b: the camera of image B.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
    """
    if lifted.a is None or lifted.b is None:
        return ()
    both = replace(lifted, a=_tinted(lifted.a, _TINT_A), b=_tinted(lifted.b, _TINT_B))
    pictures = []
    for pose, name in ((RigidTransform.identity(), "before: both cameras in one place"), (b_from_a, "after")):
        scene = both.in_camera_a(pose)
        assert scene is not None
        view = CpuRenderer(scene, "rgb", threads=threads, layer=0.1).planes(camera_b, pose)
        assert view.channels is not None
        shown = 255 * view.channels.clip(0, 1) * (view.alpha[..., None] >= 0.5)
        shown += _EMPTY * (view.alpha[..., None] < 0.5)
        pictures.append(Picture(np.rint(shown).astype(np.uint8), f"{name}; Gaussians of A orange, of B blue"))
    return tuple(pictures)


def _tinted(gaussians: Gaussians, rgb: tuple[float, float, float]) -> Gaussians:
    """Brightness kept, hue replaced."""
    grey = gaussians.rgb().mean(axis=1, keepdims=True)
    return replace(gaussians, sh=None, colors=np.clip(1.3 * grey * np.asarray(rgb, np.float32), 0, 1))


def _image(frame: Frame) -> UInt8[np.ndarray, "h w 3"]:
    assert frame.image is not None
    return frame.image


def _to_height(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "out_h out_w 3"]:
    import cv2

    width = max(1, round(image.shape[1] * _HEIGHT / image.shape[0]))
    return np.asarray(cv2.resize(image, (width, _HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _dimmed(image: UInt8[np.ndarray, "h w 3"], shown: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    dark = np.rint(_HIDDEN_SHARE * image + (1 - _HIDDEN_SHARE) * _EMPTY).astype(np.uint8)
    return np.where(shown[..., None], image, dark)


def _hull(pixels: Float[np.ndarray, "n 2"], camera: Camera) -> Bool[np.ndarray, "h w"]:
    import cv2

    mask = np.zeros((camera.height, camera.width), np.uint8)
    if len(pixels) >= 3:
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(pixels - 0.5).astype(np.int32)), 1)
    return mask > 0
