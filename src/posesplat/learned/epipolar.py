"""A relative pose from weighted matches of rays, in a fixed number of steps that run on any device in a batch.

Nothing here is learned; gradients do not pass. Descents on the robust Sampson error from 26 starts; the three best go
on with all matches, and the one that explains them best, with the points before both cameras, is the answer. Nothing
waits for the device.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from posesplat.learned.pose_head import pose_matrix

_COARSE, _MIDDLE, _FINE = 0.1, 0.02, 0.004
"""Robust scales in units of the focal length: of the first step, between the two rounds, of the last step."""
_JUDGED = 0.01
"""Robust scale of the cost by which starts are told apart."""
_TURN = 0.1
"""Robust scale of the rotation that most matches share."""
_FEWER = 300
"""About so many matches take part in the first round."""
_KEPT = 3
_DAMPING = 1e-4
_TINY = 1e-12


def cross_matrix(vectors: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
    """[v] with [v] x = v cross x."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def rotation_exp(vectors: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
    """Rotations of rotation vectors in radians.

    Source: Rodrigues' formula.
    """
    angle = vectors.norm(dim=-1)[..., None, None]
    turn = cross_matrix(vectors)
    sine, versine = torch.sinc(angle / torch.pi), 0.5 * torch.sinc(angle / (2 * torch.pi)).square()
    return torch.eye(3, device=vectors.device, dtype=vectors.dtype) + sine * turn + versine * (turn @ turn)


def sampson_errors(
    rotation: Float[Tensor, "b 3 3"],
    direction: Float[Tensor, "b 3"],
    first: Float[Tensor, "b n 3"],
    second: Float[Tensor, "b n 3"],
) -> Float[Tensor, "b n"]:
    """First-order distance of ray matches (third coordinate 1) from x2 . (t x R x1) = 0, in units of the focal length.

    Source: Hartley and Zisserman, Multiple View Geometry, equation 11.9.
    """
    essential = cross_matrix(direction) @ rotation
    lines, lines_back = first @ essential.transpose(-1, -2), second @ essential
    slopes = lines[..., :2].square().sum(-1) + lines_back[..., :2].square().sum(-1)
    return (second * lines).sum(-1) / slopes.clamp(min=_TINY).sqrt()


@torch.no_grad()
def pose_from_matches(
    first: Float[Tensor, "b n 3"], second: Float[Tensor, "b n 3"], weights: Float[Tensor, "b n"], steps: int
) -> Float[Tensor, "b 4 4"]:
    """second_from_first with a translation of length 1, by descent on the robust Sampson error from many starts.

    Args:
        first: rays of the matches in the first camera, third coordinate 1.
        second: their partners in the second camera.
        weights: trust in each match, at least 0.
        steps: of the descents, two fifths of them from every start.
    """
    first, second, weights = first.float(), second.float(), weights.float()
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-9)
    batch = len(first)
    rotations, directions = _starts(first, second, weights)
    starts, early = rotations.shape[1], -(-2 * steps // 5)

    stride = max(1, first.shape[1] // _FEWER) | 1  # odd, so that a grid's columns all have their turn
    few = [part[:, ::stride].repeat_interleave(starts, 0) for part in (first, second, weights)]
    rotation, direction = rotations.flatten(0, 1), directions.flatten(0, 1)
    for scale in _scales(_COARSE, 1.5 * _MIDDLE, early):
        rotation, direction = _descended(rotation, direction, few[0], few[1], few[2], scale)
    cost, _ = _judged(rotation, direction, few[0], few[1], few[2])
    best = cost.view(batch, starts).topk(_KEPT, largest=False).indices
    rotation, direction = _picked(rotation, direction, best)

    every = [part.repeat_interleave(_KEPT, 0) for part in (first, second, weights)]
    for scale in _scales(_MIDDLE, _FINE, steps - early):
        rotation, direction = _descended(rotation, direction, every[0], every[1], every[2], scale)
    cost, sign = _judged(rotation, direction, every[0], every[1], every[2])
    best = cost.view(batch, _KEPT).argmin(1, keepdim=True)
    rotation, direction = _picked(rotation, direction * sign[:, None], best)
    return pose_matrix(rotation, direction)


def inverse_depths(
    second_from_first: Float[Tensor, "b 4 4"], first: Float[Tensor, "b n 3"], second: Float[Tensor, "b n 3"]
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
    """Inverse depths of matched rays in both cameras, at least 0, by least squares.

    With a = R x1 x x2, z2 x2 = z1 R x1 + t gives (t x x2) / z1 = -a and (t x R x1) / z2 = -a.
    """
    turned = first @ second_from_first[:, :3, :3].transpose(-1, -2)
    moved = second_from_first[:, None, :3, 3].expand_as(second)
    axis = torch.linalg.cross(turned, second)
    found = []
    for rays in (second, turned):
        lever = torch.linalg.cross(moved, rays)
        found.append(-(axis * lever).sum(-1) / lever.square().sum(-1).clamp(min=1e-4))
    return found[0].clamp(min=0), found[1].clamp(min=0)


def _scales(first: float, last: float, steps: int) -> list[float]:
    return [first * (last / first) ** (step / max(steps - 1, 1)) for step in range(steps)]


def _starts(
    first: Float[Tensor, "b n 3"], second: Float[Tensor, "b n 3"], weights: Float[Tensor, "b n"]
) -> tuple[Float[Tensor, "b s 3 3"], Float[Tensor, "b s 3"]]:
    """No rotation, and the one that most matches share, each with 13 directions; a direction's sign does not count."""
    grid = [place for place in itertools.product((-1.0, 0.0, 1.0), repeat=3) if place > (0.0, 0.0, 0.0)]
    directions = torch.nn.functional.normalize(first.new_tensor(grid), dim=-1)
    still = torch.eye(3, device=first.device).expand(len(first), 3, 3)
    turned = _shared_rotation(first, second, weights)
    rotations = torch.stack([still, turned], dim=1).repeat_interleave(len(directions), 1)
    return rotations, directions.repeat(2, 1).expand(len(first), -1, 3)


def _shared_rotation(
    first: Float[Tensor, "b n 3"], second: Float[Tensor, "b n 3"], weights: Float[Tensor, "b n"]
) -> Float[Tensor, "b 3 3"]:
    """The rotation that best turns rays into their partners, robustly: six Gauss-Newton steps from none."""
    here, there = (torch.nn.functional.normalize(rays, dim=-1) for rays in (first, second))
    rotation = torch.eye(3, device=first.device).expand(len(first), 3, 3)
    eye = torch.eye(3, device=first.device)
    for _ in range(6):
        turned = here @ rotation.transpose(-1, -2)
        robust = weights[..., None] / (1 + (there - turned).square().sum(-1, keepdim=True) / _TURN**2)
        # there - exp(omega) turned = there - turned - omega x turned, and [turned]^T [turned] = 1 - turned turned^T.
        hessian = robust.sum(1)[..., None] * eye - (robust * turned).transpose(-1, -2) @ turned
        gradient = (robust * torch.linalg.cross(turned, there)).sum(1)
        rotation = rotation_exp(_solved(hessian, gradient)) @ rotation
    return rotation


def _descended(
    rotation: Float[Tensor, "b 3 3"],
    direction: Float[Tensor, "b 3"],
    first: Float[Tensor, "b n 3"],
    second: Float[Tensor, "b n 3"],
    weights: Float[Tensor, "b n"],
    scale: float,
) -> tuple[Float[Tensor, "b 3 3"], Float[Tensor, "b 3"]]:
    """One Gauss-Newton step with Geman-McClure weights on the rotation and the direction's two degrees of freedom."""
    turned = first @ rotation.transpose(-1, -2)
    essential = cross_matrix(direction) @ rotation
    lines, lines_back = first @ essential.transpose(-1, -2), second @ essential
    slopes = lines[..., :2].square().sum(-1) + lines_back[..., :2].square().sum(-1)
    norm = slopes.clamp(min=_TINY).sqrt()[..., None]
    error = (second * lines).sum(-1, keepdim=True) / norm
    # x2 . (t x R x1): turning by omega adds x2 . (t x (omega x R x1)), moving t by d adds x2 . (d x R x1).
    across = _across(direction)
    by_rotation = torch.linalg.cross(turned, torch.linalg.cross(second, direction[:, None].expand_as(second)))
    by_direction = torch.linalg.cross(turned, second) @ across
    slope = torch.cat([by_rotation, by_direction], dim=-1) / norm
    robust = weights[..., None] / (1 + (error / scale).square()).square()
    hessian = (robust * slope).transpose(-1, -2) @ slope
    step = _solved(hessian, -(robust * slope * error).sum(1)).clamp(-0.5, 0.5)
    rotation = rotation_exp(step[:, :3]) @ rotation
    direction = torch.nn.functional.normalize(direction + (across @ step[:, 3:, None])[..., 0], dim=-1)
    return rotation, direction


def _across(direction: Float[Tensor, "b 3"]) -> Float[Tensor, "b 3 2"]:
    """Two unit vectors at right angles to a unit vector and to each other."""
    least = torch.nn.functional.one_hot(direction.abs().argmin(-1), 3).to(direction.dtype)
    one = torch.nn.functional.normalize(torch.linalg.cross(direction, least), dim=-1)
    return torch.stack([one, torch.linalg.cross(direction, one)], dim=-1)


def _solved(hessian: Float[Tensor, "b k k"], right: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    step, _ = torch.linalg.solve_ex(hessian + torch.diag_embed(_DAMPING * diagonal + 1e-10), right)
    return torch.nan_to_num(step)


def _judged(
    rotation: Float[Tensor, "b 3 3"],
    direction: Float[Tensor, "b 3"],
    first: Float[Tensor, "b n 3"],
    second: Float[Tensor, "b n 3"],
    weights: Float[Tensor, "b n"],
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Robust cost in [0, 1] and the sign of the direction; a match whose point lies behind a camera counts in full."""
    error = (sampson_errors(rotation, direction, first, second) / _JUDGED).square()
    fit = weights / (1 + error)
    both = []
    for sign in (1.0, -1.0):
        both.append((fit * _before(rotation, sign * direction, first, second)).sum(-1))
    best = torch.maximum(both[0], both[1])
    return 1 - best, torch.where(both[0] >= both[1], 1.0, -1.0)


def _before(
    rotation: Float[Tensor, "b 3 3"],
    direction: Float[Tensor, "b 3"],
    first: Float[Tensor, "b n 3"],
    second: Float[Tensor, "b n 3"],
) -> Bool[Tensor, "b n"]:
    """Whether the matches' points lie before both cameras.

    z2 x2 = z1 R x1 + t: with a = R x1 x x2, z1 has the sign of -(t x x2) . a and z2 that of -(t x R x1) . a.
    """
    turned = first @ rotation.transpose(-1, -2)
    axis = torch.linalg.cross(turned, second)
    moved = direction[:, None].expand_as(second)
    depths = [-(torch.linalg.cross(moved, rays) * axis).sum(-1) for rays in (second, turned)]
    return (depths[0] > 0) & (depths[1] > 0)


def _picked(
    rotation: Float[Tensor, "m 3 3"], direction: Float[Tensor, "m 3"], best: Int[Tensor, "b k"]
) -> tuple[Float[Tensor, "c 3 3"], Float[Tensor, "c 3"]]:
    """Of m = b s poses, the k of each b that are named."""
    batch = torch.arange(len(best), device=best.device)[:, None]
    rotations = rotation.unflatten(0, (len(best), -1))[batch, best]
    return rotations.flatten(0, 1), direction.unflatten(0, (len(best), -1))[batch, best].flatten(0, 1)
