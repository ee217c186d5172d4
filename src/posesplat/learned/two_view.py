"""From a prediction to relative poses in numpy: by the pose head, by PnP on Gaussian centres, and refined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from scipy.spatial.transform import RigidTransform, Rotation
from torch import Tensor

from posesplat.align.global_start import poselib_camera
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.learned.clips import Batch
from posesplat.learned.matching import STRIDE_PX, cell_places
from posesplat.learned.network import Prediction, SplatNetwork

_MIN_OPACITY = 0.2
_MIN_TRUST = 0.15
_RETURN_PX, _WANDER_PX = 1.0, 5.0
_MIN_POINTS = 12
_EPIPOLAR_PX = 1.0


@torch.no_grad()
def predict(network: SplatNetwork, batch: Batch, given: Float[Tensor, "b v 4 4"] | None = None) -> Prediction:
    """A forward pass without gradients, on the device where the network is; see :meth:`SplatNetwork.forward`."""
    device = next(network.parameters()).device
    network.eval()
    poses = None if given is None else given.to(device)
    return network(batch.images.to(device), batch.context, batch.intrinsics.to(device), poses)


def frames_batch(frames: Sequence[Frame], context: int) -> Batch:
    """One scene of frames of one size as the network takes it: context views first, then targets."""
    images = np.stack([np.asarray(frame.image) for frame in frames]).transpose(0, 3, 1, 2)
    lenses = np.stack([frame.camera.resized(1, 1).matrix for frame in frames]).astype(np.float32)
    scaled = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32) / np.float32(255.0))
    return Batch(scaled[None], torch.from_numpy(lenses)[None], context)


def rigid(matrix: Float[Tensor, "4 4"]) -> RigidTransform:
    """A pose of the network as the toolkit's type."""
    return RigidTransform.from_matrix(matrix.detach().cpu().double().numpy())


def pnp_pose(
    centres_in_first: Float[np.ndarray, "n 3"],
    pixels: Float[np.ndarray, "n 2"],
    opacities: Float[np.ndarray, " n"],
    camera: Camera,
    threshold_px: float,
) -> RigidTransform | None:
    """cam_from_first by RANSAC on Gaussian centres with opacity above 0.2; None when too few agree.

    Args:
        centres_in_first: centres of the Gaussians.
        pixels: where the camera sees them, corner-based.
        opacities: of the Gaussians.
        camera: a pinhole.
        threshold_px: largest distance of an inlier.

    Source: SPFSplat, arXiv 2508.01171, section 3.
    """
    import poselib

    chosen = (opacities > _MIN_OPACITY) & np.isfinite(centres_in_first).all(axis=1)
    if chosen.sum() < _MIN_POINTS:
        return None
    options = {"max_reproj_error": threshold_px, "max_iterations": 100, "seed": 0}
    found, evidence = poselib.estimate_absolute_pose(
        pixels[chosen], centres_in_first[chosen], poselib_camera(camera), options, {}
    )
    if evidence["num_inliers"] < _MIN_POINTS:
        return None
    return _from_poselib(found)


def match_pixels(
    prediction: Prediction, view: int, height: int, width: int, scene: int = 0
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Matches between the first view and another: pixels in the first, pixels in the other, trust; both ways joined.

    Raises:
        ValueError: for a network without matching.
    """
    if prediction.to_first is None or prediction.from_first is None:
        raise ValueError("This network has no matches (matching_features=0); take the pose head or PnP.")
    size = np.array([width, height], dtype=np.float64)
    own = cell_places(height // STRIDE_PX, width // STRIDE_PX, torch.device("cpu")).numpy() * size
    forth, back = prediction.from_first, prediction.to_first
    there = forth.places[scene, view - 1].cpu().numpy() * size
    here = back.places[scene, view - 1].cpu().numpy() * size
    trust = [side.weights[scene, view - 1].cpu().numpy() for side in (forth, back)]
    return np.concatenate([own, here]), np.concatenate([there, own]), np.concatenate(trust)


def sharpened_matches(
    images: UInt8[np.ndarray, "2 h w 3"] | tuple[UInt8[np.ndarray, "_ _ 3"], UInt8[np.ndarray, "_ _ 3"]],
    first_px: Float[np.ndarray, "n 2"],
    second_px: Float[np.ndarray, "n 2"],
    enlarged: float = 1.0,
) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "m 2"]]:
    """Matches moved to where the pictures agree to a fraction of a pixel; those that wander off or back are dropped.

    Args:
        images: RGB; they may have two sizes.
        first_px: places in the first.
        second_px: places in the second.
        enlarged: how much larger the pictures are than those of which the matches were found.

    Source: Lucas and Kanade, An iterative image registration technique, 1981, as OpenCV has it.
    """
    import cv2

    size = tuple(max(image.shape[side] for image in images) for side in (0, 1))
    grey = [_padded(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size) for image in images]
    here, there = ((points - 0.5).astype(np.float32) for points in (first_px, second_px))
    settings = {
        "winSize": (11, 11),
        "maxLevel": max(0, round(math.log2(enlarged))),
        "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
    }
    found, ahead, _ = cv2.calcOpticalFlowPyrLK(grey[0], grey[1], here, there.copy(), **settings)
    returned, back, _ = cv2.calcOpticalFlowPyrLK(grey[1], grey[0], found, here.copy(), **settings)
    kept = (ahead.ravel() > 0) & (back.ravel() > 0)
    kept &= np.linalg.norm(returned - here, axis=1) < _RETURN_PX
    kept &= np.linalg.norm(found - there, axis=1) < _WANDER_PX * enlarged
    return first_px[kept], found[kept].astype(np.float64) + 0.5


def _padded(image: UInt8[np.ndarray, "_ _"], size: tuple[int, ...]) -> UInt8[np.ndarray, "h w"]:
    """An image with its last row and column repeated until it has the size."""
    return np.pad(image, [(0, size[side] - image.shape[side]) for side in (0, 1)], mode="edge")


def refined_relative_pose(
    start: RigidTransform,
    images: UInt8[np.ndarray, "2 h w 3"],
    first_px: Float[np.ndarray, "n 2"],
    second_px: Float[np.ndarray, "n 2"],
    trust: Float[np.ndarray, " n"] | Float32[np.ndarray, " n"],
    cameras: tuple[Camera, Camera],
) -> RigidTransform:
    """second_from_first on trusted matches, sharpened: the start and RANSAC's best compete, then all inliers decide.

    The length of the start's translation is kept, since matches do not tell it. The start comes back when there are
    too few matches.
    """
    import poselib

    chosen = trust > _MIN_TRUST
    if chosen.sum() < _MIN_POINTS:
        return start
    first, second = sharpened_matches(images, first_px[chosen], second_px[chosen])
    if len(first) < _MIN_POINTS:
        first, second = first_px[chosen], second_px[chosen]
    ransac = {"max_epipolar_error": _EPIPOLAR_PX, "max_iterations": 2000, "min_iterations": 200, "seed": 0}
    bundle = {"loss_type": "CAUCHY", "loss_scale": 0.5 * _EPIPOLAR_PX}
    models = (poselib_camera(cameras[0]), poselib_camera(cameras[1]))
    initial = poselib.CameraPose()
    initial.R, initial.t = start.rotation.as_matrix(), _unit(start.translation)
    found, evidence = poselib.estimate_relative_pose(first, second, *models, ransac, bundle, initial)
    if evidence["num_inliers"] < _MIN_POINTS:
        return start
    length = float(np.linalg.norm(start.translation))
    pose = _from_poselib(found)
    return RigidTransform.from_components(_unit(pose.translation) * length, pose.rotation)


def folded_errors_deg(estimated: RigidTransform, true: RigidTransform) -> tuple[float, float]:
    """Angle between rotations, and between translations whatever their sign, in degrees (SPFSplat's protocol)."""
    rotation = math.degrees((estimated.rotation * true.rotation.inv()).magnitude())
    cosine = abs(float(_unit(estimated.translation) @ _unit(true.translation)))
    return rotation, math.degrees(math.acos(min(cosine, 1.0)))


def _unit(vector: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])


def _from_poselib(pose: Any) -> RigidTransform:
    return RigidTransform.from_components(np.asarray(pose.t), Rotation.from_matrix(np.asarray(pose.R)))
