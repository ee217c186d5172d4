"""What training minimises. No camera pose and no depth from outside enters: images and intrinsics only.

Render loss: target views are drawn from the Gaussians of the context views at their predicted poses. Reprojection
losses: every pixel's Gaussian, seen from its view's predicted pose, lies at the pixel (as published), and, where the
network has matches, at the matched place of the other view. Errors are in pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from posesplat.learned.epipolar import sampson_errors
from posesplat.learned.harmonics import DEGREE_0, view_colours
from posesplat.learned.matching import STRIDE_PX, cell_places
from posesplat.learned.network import Prediction
from posesplat.learned.points import moved, projected, unprojected
from posesplat.learned.pose_head import inverse_pose
from posesplat.learned.rasterise import Backend, rasterise

_FARTHEST_PX = 1000.0
_NEAR = 0.05
_LEAST_TRUST = 0.05
"""Mean weight of a batch's matches below which they count less in total."""
_EPIPOLAR_SCALE = 0.015


@dataclass(frozen=True)
class LossWeights:
    """How the losses are summed."""

    render: float = 1.0
    """Mean squared colour difference of rendered target views."""
    perceptual: float = 0.05
    """Perceptual difference of the same, where a perceptual network is given."""
    reprojection: float = 0.001
    """Distance in pixels between a Gaussian, seen from its own view's predicted pose, and its pixel."""
    matching: float = 0.001
    """Distance in pixels between a Gaussian and its match in another view; networks with matching only."""
    warp: float = 0.1
    """Descriptors between images and their own warps: cross-entropy and distance; networks with matching only."""


def dyntanh(errors_px: Float[Tensor, "*n"], progress: float) -> Float[Tensor, "*n"]:
    """Errors that saturate at w = 50 (1 - s) + 1 pixels, s = 1 - sqrt(1 - progress^2): 51 at first, 1 in the end.

    Args:
        errors_px: distances in pixels.
        progress: of the training, 0 to 1.

    Source: ACE Zero, arXiv 2404.14351, as used by SPFSplat.
    """
    width = 50.0 * math.sqrt(max(0.0, 1.0 - progress * progress)) + 1.0
    return width * torch.tanh(errors_px / width)


def reprojection_loss(
    points_in_first: Float[Tensor, "b v n 3"],
    cam_from_first: Float[Tensor, "b v 4 4"],
    intrinsics: Float[Tensor, "b v 3 3"],
    places: Float[Tensor, "b v n 2"],
    size_px: tuple[int, int],
    progress: float,
    weights: Float[Tensor, "b v n"] | None = None,
) -> Float[Tensor, " v"]:
    """Mean dyntanh distance in pixels between projected points and image places, one value a view.

    Distances beyond 1000 pixels, and points that lie behind the camera by more than that, are dropped; weights are
    averaged over, so that a view with little weight counts little.

    Source: SPFSplatV2, arXiv 2509.17246, equation 14, with pixel centres at halves.
    """
    found, depth = projected(moved(points_in_first, cam_from_first), intrinsics)
    width, height = size_px
    size = found.new_tensor([width, height])
    error = ((found - places) * size).square().sum(-1).clamp(min=1e-8).sqrt()
    kept = (error < _FARTHEST_PX).float()
    if weights is not None:
        kept = kept * weights * (depth > _NEAR)
    loss = dyntanh(torch.where(kept > 0, error, torch.zeros_like(error)), progress)
    count = kept[:, 0].numel()
    total = count if weights is None else kept.sum((0, 2)).clamp(min=_LEAST_TRUST * count)
    return (kept * loss).sum((0, 2)) / total


def rendered_targets(
    prediction: Prediction,
    intrinsics: Float[Tensor, "b v 3 3"],
    context: int,
    height: int,
    width: int,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "b t h w 3"], Float[Tensor, "b t h w"]]:
    """Colours on black and alpha of the target views, drawn at their predicted poses."""
    splats = prediction.splats
    poses = prediction.cam_from_first[:, context:].float()
    scale = intrinsics.new_tensor([width, height, 1.0])[:, None]
    pixels = (intrinsics[:, context:] * scale).float()
    images, alphas = [], []
    for view in range(poses.shape[1]):
        if splats.harmonics.shape[2] == 1:
            colours = (0.5 + DEGREE_0 * splats.harmonics[:, :, 0]).clamp(min=0)
        else:
            colours = view_colours(splats.harmonics, splats.means, inverse_pose(poses[:, view])[:, :3, 3])
        seen = rasterise(
            splats.means.float(),
            splats.quats_wxyz.float(),
            splats.scales.float(),
            splats.opacities.float(),
            colours.float(),
            poses[:, view : view + 1],
            pixels[:, view : view + 1],
            width,
            height,
            backend=backend,
        )
        images.append(seen.channels)
        alphas.append(seen.alpha)
    return torch.cat(images, dim=1), torch.cat(alphas, dim=1)


def geometry_losses(
    prediction: Prediction,
    intrinsics: Float[Tensor, "b v 3 3"],
    context: int,
    progress: float,
) -> dict[str, Float[Tensor, ""]]:
    """The reprojection losses: ``reprojection`` as published, and ``matching`` where the network has matches.

    Where the pose is refined by epipolar steps, ``reprojection`` holds the points and teaches the pose head, and the
    points learn from the matches at the refined pose.
    """
    views = intrinsics.shape[1]
    height, width = prediction.points.shape[2:4]
    size = (width, height)
    points = prediction.points.flatten(2, 3)
    pixels = cell_places(height, width, points.device).expand(*points.shape[:2], -1, 2)
    seen = intrinsics[:, :context]
    refined = prediction.to_first is not None and prediction.cam_from_first is not prediction.head_cam_from_first
    held = points.detach() if refined else points
    own = reprojection_loss(held, prediction.head_cam_from_first[:, :context], seen, pixels, size, progress)
    losses = {"reprojection": own[0] + own[1:].sum() / context}
    if prediction.to_first is None or prediction.from_first is None:
        return losses

    # Cells of the matches, each at the mean of the points of its pixels.
    rows, columns = height // STRIDE_PX, width // STRIDE_PX
    cells = (
        prediction.points.unflatten(3, (columns, STRIDE_PX)).unflatten(2, (rows, STRIDE_PX)).mean((3, 5)).flatten(2, 3)
    )
    forth, back = prediction.from_first, prediction.to_first
    trust_forth, trust_back = _consistent(prediction, intrinsics)
    poses = prediction.cam_from_first
    into_others = reprojection_loss(
        cells[:, :1].expand(-1, views - 1, -1, -1),
        poses[:, 1:],
        intrinsics[:, 1:],
        forth.places,
        size,
        progress,
        trust_forth,
    )
    others = slice(1, context)
    into_first = reprojection_loss(
        cells[:, others],
        poses[:, :1].expand(-1, context - 1, -1, -1),
        intrinsics[:, :1].expand(-1, context - 1, -1, -1),
        back.places[:, : context - 1],
        size,
        progress,
        trust_back[:, : context - 1],
    )
    losses["matching"] = into_others.mean() + into_first.mean()
    if refined and views > context:
        taught = reprojection_loss(
            cells[:, :1].detach().expand(-1, views - context, -1, -1),
            prediction.head_cam_from_first[:, context:],
            intrinsics[:, context:],
            forth.places[:, context - 1 :],
            size,
            progress,
            trust_forth[:, context - 1 :],
        )
        losses["reprojection"] = losses["reprojection"] + taught.mean()
    return losses


def _consistent(
    prediction: Prediction, intrinsics: Float[Tensor, "b v 3 3"]
) -> tuple[Float[Tensor, "b others n"], Float[Tensor, "b others n"]]:
    """Trust in the matches, from and to the first view, less where they disagree with the predicted pose."""
    assert prediction.to_first is not None and prediction.from_first is not None
    cells = prediction.to_first.places.shape[2]
    height, width = prediction.points.shape[2:4]
    own = cell_places(height // STRIDE_PX, width // STRIDE_PX, intrinsics.device)
    own = own.expand(*prediction.to_first.places.shape[:2], cells, 2)
    with torch.no_grad():
        first_k, other_k = intrinsics[:, :1].expand(-1, own.shape[1], -1, -1), intrinsics[:, 1:]
        poses = prediction.cam_from_first[:, 1:].float()
        found = []
        for first, second, weights in (
            (own, prediction.from_first.places, prediction.from_first.weights),
            (prediction.to_first.places, own, prediction.to_first.weights),
        ):
            rays = unprojected(first, first_k).flatten(0, 1), unprojected(second, other_k).flatten(0, 1)
            error = sampson_errors(poses[..., :3, :3].flatten(0, 1), _direction(poses).flatten(0, 1), *rays)
            found.append(weights * (-(error / _EPIPOLAR_SCALE).square()).exp().view_as(weights))
    return found[0], found[1]


def _direction(poses: Float[Tensor, "b v 4 4"]) -> Float[Tensor, "b v 3"]:
    return torch.nn.functional.normalize(poses[..., :3, 3], dim=-1)
