"""A tile rasteriser in plain torch, with torch's own gradients: what the kernels of training are compared with.

As rasterisers of Gaussians do it: project, sort by depth, and composite each tile of pixels with the Gaussians whose
boxes meet it. All arithmetic of a tile is vectorised over its pixels and Gaussians; the rules of blending are those of
:mod:`posesplat.learned.plain_rasteriser`, so that the same scene gives the same numbers.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from posesplat.learned.plain_rasteriser import Footprints, composite_part, footprints

TILE_PX = 16


def composite_tiles(
    means_in_world: Float[Tensor, "n 3"],
    quats_wxyz: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    channels: Float[Tensor, "n c"],
    cam_from_world: Float[Tensor, "4 4"],
    intrinsics_px: Float[Tensor, "3 3"],
    width: int,
    height: int,
    tile_px: int = TILE_PX,
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Channels on black, expected depth of the centres, and alpha of one view.

    Arguments and values are those of :func:`posesplat.learned.plain_rasteriser.composite_plain`; memory grows with the
    number of Gaussians of all tiles together.

    Args:
        means_in_world: centres.
        quats_wxyz: orientations.
        scales: standard deviations.
        opacities: in [0, 1].
        channels: colours or features.
        cam_from_world: rigid pose.
        intrinsics_px: pinhole, corner-based pixels.
        width: of the image.
        height: of the image.
        tile_px: side of a tile.

    Source: Kerbl et al., 3D Gaussian Splatting, 2023, section 6.
    """
    gaussians = (means_in_world, quats_wxyz, scales, opacities, channels)
    seen = footprints(*gaussians, cam_from_world, intrinsics_px, width, height)
    centres = seen.centres_px.detach()
    low, high = centres - seen.reaches_px, centres + seen.reaches_px
    bands = []
    for top in range(0, height, tile_px):
        bottom = min(top + tile_px, height)
        band = torch.nonzero((high[:, 1] > top) & (low[:, 1] < bottom)).ravel()
        in_band, left_of, right_of = seen.select(band), low[band, 0], high[band, 0]
        tiles = []
        for left in range(0, width, tile_px):
            right = min(left + tile_px, width)
            chosen = torch.nonzero((right_of > left) & (left_of < right)).ravel()
            tiles.append(_tile(in_band.select(chosen), (left, right), (top, bottom)))
        bands.append([torch.cat(parts, dim=1) for parts in zip(*tiles, strict=True)])
    image, depth, alpha = (torch.cat(parts, dim=0) for parts in zip(*bands, strict=True))
    return image, depth, alpha


def _tile(seen: Footprints, columns: tuple[int, int], rows: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    if len(seen.depths):
        return composite_part(seen, columns, rows)
    size = (rows[1] - rows[0], columns[1] - columns[0])
    nothing = seen.depths.new_zeros(size)
    return seen.channels.new_zeros((*size, seen.channels.shape[1])), nothing, nothing
