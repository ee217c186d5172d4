"""A perceptual difference of images from a file: whatever network one has, exported from torch."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor


class ExportedDifference:
    """A function of two batches of images, read from a file; it is differentiated, not trained.

    It is no part of the network whose loss it serves, and of none of its checkpoints.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module.requires_grad_(False)

    def __call__(self, drawn: Float[Tensor, "b 3 h w"], seen: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """The mean difference of images in [0, 1]."""
        found: Tensor = self.module.to(drawn.device)(drawn, seen)
        return found.mean()


def open_perceptual(path: str | PathLike[str], batch: int, height: int, width: int) -> ExportedDifference:
    """The perceptual difference in a file of ``torch.export.save``.

    Args:
        path: of a module that takes two batches (b, 3, h, w) of RGB in [0, 1] and gives numbers, 0 for equal images,
            as LPIPS does (Zhang et al., arXiv 1801.03924).
        batch: how many images it will be given.
        height: of them.
        width: of them.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it holds something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(2, "No perceptual difference there; save one by torch.export.save", str(path))
    expected = f"{path} must be of torch.export.save and compare two batches of images (b, 3, h, w) in [0, 1]; "
    try:
        found = ExportedDifference(torch.export.load(path).module())
    except Exception as error:  # whatever torch comes upon in a file that is something else
        raise ValueError(f"{expected}it cannot be opened. Export the module anew.") from error
    images = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
    try:
        same, other = float(found(images, images)), float(found(images, 1 - images))
    except Exception as error:  # whatever a module says that wants other images
        raise ValueError(
            f"{expected}it does not take {batch} images of {width} x {height} ({type(error).__name__}). "
            "Export it with these sizes, or with dynamic ones."
        ) from error
    if abs(same) > 1e-4 or not other > same:
        raise ValueError(
            f"{expected}it gives {same:.3g} for equal images and {other:.3g} for different ones. Export a difference."
        )
    return found
