"""Matches by a network of transformers: EfficientLoFTR, or LightGlue with the detector of its checkpoint.

Sources: Wang et al., Efficient LoFTR, CVPR 2024 (code and weights Apache-2.0); Lindenberger et al., LightGlue, ICCV
2023 (Apache-2.0). LightGlue's usual checkpoints hold SuperPoint, whose weights may not be used commercially (Magic
Leap's licence); EfficientLoFTR has no such part, and is the one to prefer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches
from posesplat.providers.checkpoints import checkpoint_name, loaded_config, loaded_model, processor_settings
from posesplat.providers.network_images import network_input
from posesplat.render.cpu import LUMA

LOFTR_KINDS = ("efficientloftr",)
"""The ``model_type`` of detector-free checkpoints."""
LIGHTGLUE_KINDS = ("lightglue",)
"""The ``model_type`` of checkpoints that match keypoints."""


class NetworkMatches:
    """Matches by a network; images are seen in grey, at the size that the checkpoint says."""

    def __init__(self, source: str, kinds: tuple[str, ...] = LOFTR_KINDS, min_score: float = 0.2) -> None:
        """Load a checkpoint.

        Args:
            source: a folder, or the name of a repository on the Hugging Face hub, ``owner/name``.
            kinds: the ``model_type`` values that will do.
            min_score: matches with a lower score are left out.

        Raises:
            ImportError: when torch or transformers is not installed.
            OSError: when there is no such checkpoint, or a part of it is missing.
            ValueError: when it is of another kind, or lacks weights.
        """
        purpose = f"Matcher '{kinds[0]}'"
        config = loaded_config(source, kinds, purpose)
        self.name = f"{config.model_type} {checkpoint_name(source)}"
        self.min_score = min_score
        size = processor_settings(source, purpose)["size"]
        self._size = int(size["width"]), int(size["height"])
        self._network = loaded_model(source, config, purpose, "AutoModelForKeypointMatching")
        self._pairs = _aligned_pairs if config.model_type in LOFTR_KINDS else _indexed_pairs

    def matches(self, a: Frame, b: Frame) -> Matches:
        """See :class:`posesplat.providers.two_view.provider.TwoViewProvider`."""
        import torch

        both = torch.cat([self._seen(frame) for frame in (a, b)])[None]
        with torch.no_grad():
            output = self._network(pixel_values=both)
        places_a, places_b, scores = self._pairs(output)
        kept = scores >= self.min_score
        return Matches(self._pixels(places_a[kept], a), self._pixels(places_b[kept], b), scores[kept])

    def _seen(self, frame: Frame) -> Any:
        if frame.image is None:
            raise ValueError(
                f"Matches need frames with an image; {frame.name!r} has depth only. Pass colour or RGB-D frames."
            )
        grey = np.rint(frame.image.astype(np.float32) @ LUMA).astype(np.uint8)
        image = np.repeat(grey[..., None], 3, axis=2)
        return network_input(image, self._size, [0.0] * 3, [1.0] * 3, antialias=False)

    def _pixels(self, places: Float[np.ndarray, "n 2"], frame: Frame) -> Float[np.ndarray, "n 2"]:
        """Shares of the size at which the network saw the image, its pixel centres whole numbers, as frame pixels."""
        size = np.array(self._size, dtype=np.float64)
        return (places * size + 0.5) / size * [frame.camera.width, frame.camera.height]


_Pairs = tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]


def _aligned_pairs(output: Any) -> _Pairs:
    """Of a network whose two lists of places belong together row by row."""
    places = output.keypoints[0].double().numpy()
    valid = output.matches[0].numpy() > -1
    return places[0][valid[0]], places[1][valid[1]], output.matching_scores[0, 0].double().numpy()[valid[0]]


def _indexed_pairs(output: Any) -> _Pairs:
    """Of a network that names for each keypoint of A the keypoint of B."""
    places = output.keypoints[0].double().numpy()
    mask = output.mask[0].numpy() > 0
    # LightGlue leaves the axis of the pairs out unless it stopped early.
    partner = output.matches.reshape(1, 2, -1)[0, 0].numpy()
    valid = mask[0] & (partner > -1) & (partner < mask[1].sum())
    scores = output.matching_scores.reshape(1, 2, -1)[0, 0].double().numpy()
    return places[0][valid], places[1][partner[valid]], scores[valid]
