"""What the Gaussians show at a frame's pose, beside what the camera saw there."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from posesplat.evaluate.reports.pictures import compare_frame, rendered_depth
from posesplat.geometry.frame import Frame
from posesplat.images import reduced_image
from posesplat.viewer.shown import ShownResult

Picture = UInt8[np.ndarray, "_ _ 3"]


def frame_pictures(result: ShownResult, index: int, longest_px: int, threads: int | None = None) -> dict[str, Picture]:
    """Pictures of one frame by name: ``seen``, ``rendered``, ``difference``, as far as there are any.

    Args:
        result: where the frame is.
        index: of the frame.
        longest_px: of the longer side of what is rendered.
        threads: see :func:`posesplat.kernels.threads.thread_count`.
    """
    seen, scene = result.seen.get(index), result.gaussians
    pose = result.trajectory[index].cam_from_world
    pictures = {} if seen is None else {"seen": np.asarray(seen)}
    if pose is None or scene is None:
        return pictures
    camera = result.cameras[index]
    if seen is not None:
        camera = camera.resized(seen.shape[1], seen.shape[0])
    elif max(camera.width, camera.height) > longest_px:
        factor = longest_px / max(camera.width, camera.height)
        camera = camera.resized(round(factor * camera.width), round(factor * camera.height))
    if not scene.has_color:
        return pictures | {"rendered": rendered_depth(scene, camera, pose, threads=threads).rgb}
    image = np.zeros((camera.height, camera.width, 3), np.uint8) if seen is None else np.asarray(seen)
    rendered, _, difference = compare_frame(scene, Frame(camera, image), pose, None, threads).colour
    pictures["rendered"] = rendered.rgb
    if seen is not None:
        pictures["difference"] = difference.rgb
    return pictures


def rendered_picture(result: ShownResult, index: int, longest_px: int, threads: int | None = None) -> Picture | None:
    """What the Gaussians show at one frame; None without Gaussians or pose."""
    picture = frame_pictures(result, index, longest_px, threads).get("rendered")
    return None if picture is None else reduced_image(picture, longest_px)
