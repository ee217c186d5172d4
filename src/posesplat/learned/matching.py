"""Soft matches of local descriptors between the first view and the others, and how descriptors are learned.

Descriptors are learned from single images: a picture and its warp by a random homography show the same points at known
places. No camera pose, and no second view, takes part in that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

STRIDE_PX = 4
_PLACE_WEIGHT, _NEAR_CELLS = 2.0, 1.5
"""Weight of the distance, in cells, between expected and true places in the warp loss; only places nearer than this
count, since the expectation is local."""
_CYCLE_PX = 4.0
"""Distance of a match that does not come back to where it began at which its weight has fallen to 1/e."""


@dataclass(frozen=True)
class Matches:
    """Where the descriptors' cells lie in another view; places are normalised (0 to 1 across the image)."""

    places: Float[Tensor, "*b n 2"]
    """Expected place (u, v) of each cell in the other view."""
    weights: Float[Tensor, "*b n"]
    """Trust in [0, 1]: how peaked the match is, and whether the way back leads to the cell."""


def cell_places(rows: int, columns: int, device: torch.device) -> Float[Tensor, "n 2"]:
    """Normalised centres (u, v) of a grid's cells, row by row."""
    v, u = torch.meshgrid(
        (torch.arange(rows, device=device) + 0.5) / rows,
        (torch.arange(columns, device=device) + 0.5) / columns,
        indexing="ij",
    )
    return torch.stack([u.flatten(), v.flatten()], dim=-1)


class Descriptors(nn.Module):
    """A small convolutional network: one unit vector for every cell of 4 x 4 pixels."""

    def __init__(self, features: int) -> None:
        super().__init__()
        half = features // 2

        def layer(inside: int, outside: int, stride: int = 1, spread: int = 1) -> nn.Sequential:
            conv = nn.Conv2d(inside, outside, 3, stride, padding=spread, dilation=spread)
            return nn.Sequential(conv, nn.GroupNorm(4, outside), nn.GELU())

        self.layers = nn.Sequential(
            layer(3, half, 2),
            layer(half, half),
            layer(half, features, 2),
            layer(features, features),
            layer(features, features, spread=2),
            layer(features, features, spread=4),
            nn.Conv2d(features, features, 1),
        )
        self.log_sharpness = nn.Parameter(torch.tensor(2.5))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n c"]:
        """Unit descriptors of images in [-1, 1], row by row."""
        found = self.layers(images).flatten(2).transpose(1, 2)
        return nn.functional.normalize(found.float(), dim=-1)

    def logits(self, here: Float[Tensor, "*#b n c"], there: Float[Tensor, "*#b m c"]) -> Float[Tensor, "*#b n m"]:
        """Similarities, sharpened by a learned factor."""
        with torch.autocast(here.device.type, enabled=False):
            return self.log_sharpness.clamp(max=4.5).exp() * (here.float() @ there.float().transpose(-1, -2))


def soft_matches(
    logits: Float[Tensor, "*b n m"], rows: int, columns: int, height: int, width: int
) -> tuple[Matches, Matches]:
    """Matches of each cell in the other view, both ways, from one table of similarities.

    The expected place is taken over 5 x 5 cells about the most similar one, so that a second candidate elsewhere does
    not draw it to a place between the two.
    """
    places = cell_places(rows, columns, logits.device)
    forth, forth_trust = _expected(logits, places, rows, columns)
    back, back_trust = _expected(logits.transpose(-1, -2), places, rows, columns)
    size = torch.tensor([width, height], device=logits.device, dtype=torch.float32)
    return (
        Matches(forth, forth_trust * _returns(forth, back, places, size, rows, columns)),
        Matches(back, back_trust * _returns(back, forth, places, size, rows, columns)),
    )


def _expected(
    logits: Float[Tensor, "*b n m"], places: Float[Tensor, "m 2"], rows: int, columns: int
) -> tuple[Float[Tensor, "*b n 2"], Float[Tensor, "*b n"]]:
    best = logits.argmax(-1)
    row, column = best // columns, best % columns
    offsets = torch.arange(-2, 3, device=logits.device)
    near_rows = row[..., None] + offsets
    near_columns = column[..., None] + offsets
    inside = ((near_rows >= 0) & (near_rows < rows))[..., :, None] & ((near_columns >= 0) & (near_columns < columns))[
        ..., None, :
    ]
    index = near_rows.clamp(0, rows - 1)[..., :, None] * columns + near_columns.clamp(0, columns - 1)[..., None, :]
    index, inside = index.flatten(-2), inside.flatten(-2)
    near = logits.gather(-1, index).masked_fill(~inside, -torch.inf)
    share = near.softmax(-1)
    trust = (near.logsumexp(-1) - logits.logsumexp(-1)).exp()
    return (share[..., None] * places[index]).sum(-2), trust


def _returns(
    forth: Float[Tensor, "*b n 2"],
    back: Float[Tensor, "*b m 2"],
    places: Float[Tensor, "n 2"],
    size_px: Float[Tensor, "2"],
    rows: int,
    columns: int,
) -> Float[Tensor, "*b n"]:
    """Nearness to the start of a match followed back from the cell it fell in and the offset within that cell."""
    grid = torch.tensor([columns, rows], device=forth.device, dtype=forth.dtype)
    cell = (forth * grid).floor().clamp(min=torch.zeros_like(grid), max=grid - 1)
    index = (cell[..., 1] * columns + cell[..., 0]).long()
    returned = back.gather(-2, index[..., None].expand(*index.shape, 2)) + forth - (cell + 0.5) / grid
    gap = ((returned - places) * size_px).square().sum(-1)
    return (-gap / _CYCLE_PX**2).exp()


def warp_loss(
    descriptors: Descriptors, images: Float[Tensor, "b 3 h w"], generator: torch.Generator | None = None
) -> Float[Tensor, ""]:
    """Cross-entropy of finding each cell of an image's warp by a random homography in the image, and how far off.

    The exposure of the warp differs. To the cross-entropy comes the distance between the expected and the true place.

    Args:
        descriptors: the network that is learned.
        images: in [-1, 1].
        generator: source of the random warps.

    Source: the idea of SuperPoint's homographic self-supervision, DeTone et al., arXiv 1712.07629.
    """
    batch, _, height, width = images.shape
    rows, columns = height // STRIDE_PX, width // STRIDE_PX
    device = images.device
    to_source = random_homographies(batch, device, generator)
    pixels = cell_places(height, width, device)
    grid = (2 * transferred(to_source, pixels) - 1).reshape(batch, height, width, 2)
    warped = nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    gain = 1 + 0.3 * (torch.rand(batch, 3, 1, 1, device=device, generator=generator) - 0.5)
    bias = 0.3 * (torch.rand(batch, 3, 1, 1, device=device, generator=generator) - 0.5)
    noise = 0.03 * torch.randn(warped.shape, device=device, generator=generator)
    warped = warped * gain + bias + noise
    found = descriptors(torch.cat([warped, images]).to(images.dtype))
    logits = descriptors.logits(found[:batch], found[batch:])
    target = transferred(to_source, cell_places(rows, columns, device))
    inside = ((target > 0) & (target < 1)).all(-1)
    grid_size = torch.tensor([columns, rows], device=device, dtype=torch.float32)
    place = (target * grid_size - 0.5).clamp(min=torch.zeros(2, device=device), max=grid_size - 1)
    low = place.floor()
    share = place - low
    likelihood = torch.zeros_like(target[..., 0])
    log_all = logits.logsumexp(-1)
    for x in (0, 1):
        for y in (0, 1):
            column = (low[..., 0] + x).clamp(max=columns - 1)
            row = (low[..., 1] + y).clamp(max=rows - 1)
            part = (share[..., 0] if x else 1 - share[..., 0]) * (share[..., 1] if y else 1 - share[..., 1])
            index = (row * columns + column).long()
            likelihood = likelihood + part * logits.gather(-1, index[..., None])[..., 0]
    expected, _ = _expected(logits, cell_places(rows, columns, device), rows, columns)
    gap = ((expected - target) * grid_size).square().sum(-1).clamp(min=1e-8).sqrt()
    near = inside & (gap < _NEAR_CELLS)
    found_loss = ((log_all - likelihood) * inside).sum() / inside.sum().clamp(min=1)
    return found_loss + _PLACE_WEIGHT * (gap * near).sum() / near.sum().clamp(min=1)


def transferred(homographies: Float[Tensor, "b 3 3"], places: Float[Tensor, "n 2"]) -> Float[Tensor, "b n 2"]:
    """Normalised places carried by homographies."""
    homogeneous = torch.cat([places, torch.ones_like(places[:, :1])], dim=-1)
    carried = torch.einsum("bij,nj->bni", homographies, homogeneous)
    return carried[..., :2] / carried[..., 2:].clamp(min=1e-3)


def random_homographies(
    count: int, device: torch.device, generator: torch.Generator | None = None
) -> Float[Tensor, "b 3 3"]:
    """Homographies of normalised places about the middle: turned, scaled, sheared, shifted and tilted at random."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, device=device, generator=generator)

    angle = uniform(-0.3, 0.3)
    log_scale, log_aspect = uniform(-0.6, 0.6), uniform(-0.3, 0.3)
    shear, tilt_x, tilt_y = uniform(-0.25, 0.25), uniform(-0.5, 0.5), uniform(-0.4, 0.4)
    shift_x, shift_y = uniform(-0.3, 0.3), uniform(-0.2, 0.2)
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cos, sin = angle.cos(), angle.sin()
    along, across = (log_scale + log_aspect).exp(), (log_scale - log_aspect).exp()
    linear = torch.stack(
        [along * cos, -across * sin + shear, zero, along * sin, across * cos, zero, zero, zero, one], -1
    )
    tilt = torch.stack([one, zero, zero, zero, one, zero, tilt_x, tilt_y, one], -1)
    shift = torch.stack([one, zero, shift_x, zero, one, shift_y, zero, zero, one], -1)
    middle = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]], device=device)
    back = torch.tensor([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]], device=device)
    return middle @ shift.view(-1, 3, 3) @ linear.view(-1, 3, 3) @ tilt.view(-1, 3, 3) @ back
