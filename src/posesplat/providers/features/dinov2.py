"""DINOv2's patch tokens as feature channels, on one basis for the whole clip.

Sources: Oquab et al., DINOv2, TMLR 2024; SmallGS (arXiv 2504.17810), whose own recipe is kept as an option.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32, UInt8

from posesplat.providers.checkpoints import (
    checkpoint_name,
    loaded_config,
    loaded_model,
)
from posesplat.providers.features.token_basis import TokenBasis, TokenMoments
from posesplat.providers.network_images import network_input, resized

KINDS = ("dinov2", "dinov2_with_registers")
"""The ``model_type`` of the checkpoints that can be used."""
IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_DEVIATION = [0.229, 0.224, 0.225]
PUBLISHED_SIDE = 518
"""Side of the square to which SmallGS resizes images."""
_PURPOSE = "Features 'dinov2'"
_PUBLISHED_SEED = 0


class DinoFeatures:
    """Patch tokens of DINOv2, projected on the clip's principal axes and interpolated between patch centres.

    The image keeps its aspect ratio as far as whole patches allow. All frames share mean, axes, signs and unit, so a
    channel means the same in each: in units of the standard deviation along the clip's first axis.

    With ``published`` the recipe of SmallGS instead: images squashed to 518 x 518, axes by randomised decomposition of
    each image alone, tokens projected without centring, and every channel stretched to [0, 1] in each image. Channels
    of different frames then need not mean the same.
    """

    def __init__(self, source: str, channels: int = 16, *, published: bool = False, pixels: int = 518 * 518) -> None:
        """Load a checkpoint.

        Args:
            source: a folder, or the name of a repository on the Hugging Face hub, ``owner/name``.
            channels: how many axes are kept.
            published: the recipe of SmallGS.
            pixels: about how many pixels the network sees; more give finer features, in proportion to the time.

        Raises:
            ImportError: when torch or transformers is not installed.
            OSError: when there is no such checkpoint, or its weights are missing.
            ValueError: when it is of another kind or lacks weights, or ``channels`` or ``pixels`` do not fit.
        """
        config = loaded_config(source, KINDS, _PURPOSE)
        if not 1 <= channels <= config.hidden_size or pixels < config.patch_size**2:
            raise ValueError(
                f"Features of {source} need channels from 1 to {config.hidden_size} and pixels of at least one patch "
                f"({config.patch_size} x {config.patch_size}); got {channels} and {pixels}."
            )
        self.name = f"dinov2 {checkpoint_name(source)}" + (" as published" if published else "")
        self.channels = channels
        self._published = published
        self._pixels = pixels
        self._patch = int(config.patch_size)
        self._extra_tokens = 1 + int(getattr(config, "num_register_tokens", 0))
        self._network = loaded_model(source, config, _PURPOSE, "AutoModel")
        self._basis: TokenBasis | None = None

    def fit(self, images: Iterable[UInt8[np.ndarray, "_ _ 3"]]) -> None:
        """Find the clip's principal axes from its images, one at a time; a sample of them will do."""
        if self._published:
            return
        moments = TokenMoments()
        for image in images:
            moments.add(self.tokens(image).reshape(-1, self._network.config.hidden_size))
        self._basis = moments.basis(self.channels)

    def features(self, image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width channels"]:
        """See :class:`posesplat.providers.features.provider.FeatureProvider`.

        Raises:
            ValueError: before ``fit``.
        """
        if not self._published and self._basis is None:
            raise ValueError("Features 'dinov2' need the clip's images first: call fit(images) once before features().")
        tokens = self.tokens(image)
        coarse = _published_channels(tokens, self.channels) if self._basis is None else self._basis.project(tokens)
        return resized(coarse, image.shape[1], image.shape[0])

    def tokens(self, image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "rows columns dimensions"]:
        """The network's normalised patch tokens on the grid of patches, which covers the whole image."""
        import torch

        width, height = self.input_size(image.shape[1], image.shape[0])
        seen = network_input(image, (width, height), IMAGENET_MEAN, IMAGENET_DEVIATION, antialias=True)
        with torch.no_grad():
            found = self._network(pixel_values=seen).last_hidden_state[0, self._extra_tokens :]
        return np.asarray(found.numpy(), np.float32).reshape(height // self._patch, width // self._patch, -1)

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that the network sees: whole patches, about ``pixels`` in all, the image's aspect ratio."""
        if self._published:
            return PUBLISHED_SIDE, PUBLISHED_SIDE
        scale = math.sqrt(self._pixels / (width * height)) / self._patch
        columns, rows = (max(round(scale * side), 1) for side in (width, height))
        return columns * self._patch, rows * self._patch


def _published_channels(
    tokens: Float32[np.ndarray, "rows columns dimensions"], channels: int
) -> Float32[np.ndarray, "rows columns channels"]:
    """Axes of one image's tokens, which are projected without centring; each channel stretched to [0, 1]."""
    import torch

    rows, columns, dimensions = tokens.shape
    flat = torch.from_numpy(tokens.reshape(-1, dimensions))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_PUBLISHED_SEED)
        _, _, axes = torch.pca_lowrank(flat, q=channels)
    projected = (flat @ axes).numpy()
    low, high = projected.min(axis=0), projected.max(axis=0)
    return ((projected - low) / np.maximum(high - low, 1e-12)).reshape(rows, columns, channels).astype(np.float32)
