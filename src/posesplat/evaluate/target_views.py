"""How well a reconstruction draws a view that it has not seen, as feed-forward splatting is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from posesplat.evaluate.picture_quality import psnr_db, ssim
from posesplat.evaluate.reports.reconstruction import novel_view
from posesplat.geometry.frame import Frame
from posesplat.learned.losses import rendered_targets
from posesplat.learned.network import SplatNetwork
from posesplat.learned.reconstruction import Reconstruction
from posesplat.learned.two_view import frames_batch, predict
from posesplat.learned.working_views import working_frame, working_size

UNMOVED, NETWORK, LOCATED = "first view, unmoved", "network alone", "reconstruct"


@dataclass(frozen=True)
class PictureScore:
    """How alike a drawn and a true target view are."""

    psnr_db: float
    """Peak signal-to-noise ratio."""
    ssim: float
    """Structural similarity."""


def target_scores(
    network: SplatNetwork, found: Reconstruction, context: Sequence[Frame], target: Frame, side_px: int | None
) -> dict[str, PictureScore]:
    """The target drawn at the pose that was found for it, which the image itself tells, as in the published protocol.

    Rows: the first context view as it is, the network alone, and the reconstruction where the target could be located
    in it.

    Args:
        network: the network.
        found: the reconstruction of the context views.
        context: frames of one size.
        target: a frame of that size.
        side_px: see :class:`posesplat.learned.reconstruction.ReconstructOptions`.

    Source: Huang and Mikolajczyk, SPFSplatV2, arXiv 2509.17246, section 4.
    """
    seen = np.asarray(target.image)
    pictures = {
        UNMOVED: np.asarray(context[0].image),
        NETWORK: network_picture(network, context, target, side_px),
    }
    pose = found.locate(target).cam_from_world if found.success else None
    if pose is not None:
        pictures[LOCATED] = novel_view(found, target.camera, pose)
    return {name: PictureScore(psnr_db(drawn, seen), ssim(drawn, seen)) for name, drawn in pictures.items()}


def network_picture(
    network: SplatNetwork, context: Sequence[Frame], target: Frame, side_px: int | None
) -> UInt8[np.ndarray, "h w 3"]:
    """The target view as the network draws it at the pose that it predicts for it; frames of one size.

    Raises:
        ValueError: for frames of several sizes.
    """
    sizes = {(frame.camera.width, frame.camera.height) for frame in (*context, target)}
    if len(sizes) != 1:
        raise ValueError(f"Context and target views must have one size; got {sorted(sizes)}. Crop them to one.")
    width, height = working_size(target.camera, side_px, network.config)
    batch = frames_batch([working_frame(frame, width, height) for frame in (*context, target)], len(context))
    prediction = predict(network, batch)
    size = (target.camera.height, target.camera.width)
    with torch.no_grad():
        drawn, _ = rendered_targets(prediction, batch.intrinsics, len(context), *size)
    return np.rint(255 * drawn[0, 0].clamp(0, 1).cpu().numpy()).astype(np.uint8)
