"""Depth from one image by a network of transformers: Depth Anything V2, ZoeDepth, DepthPro.

A network's output is brought to the frame's size as inverse depth, which is linear in the pixel on planes. Sources:
Yang et al., Depth Anything V2, NeurIPS 2024; Bhat et al., ZoeDepth, 2023; Bochkovskii et al., Depth Pro, ICLR 2025.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from scipy.ndimage import map_coordinates

from posesplat.geometry.depth_map import DepthMap, DepthMeaning
from posesplat.geometry.estimate import ScaleSource
from posesplat.geometry.frame import Frame
from posesplat.providers.checkpoints import (
    checkpoint_name,
    image_processor,
    loaded_config,
    loaded_model,
    processor_settings,
)
from posesplat.providers.network_images import network_input, resized

KINDS = ("depth_anything", "zoedepth", "depth_pro")
"""The ``model_type`` of the checkpoints that can be used."""
_PURPOSE = "Depth 'transformers'"
_ZOE_PADDING = 3.0
"""Reflected border of an image of size s, in units of sqrt(s / 2): ZoeDepth's own rule."""
_LARGEST_METRES = 1e4
"""Depth Pro's own limit of depth, and of inverse depth."""


class MonocularDepth:
    """Depth maps by a network; what they mean follows from the checkpoint.

    Depth Anything is ``affine``, or ``metric`` when its configuration says so; ZoeDepth and DepthPro are ``metric``.
    DepthPro's metres are in proportion to the focal length of the frame's camera, which takes the place of the field of
    view that it would guess; the others know no focal length and are right for cameras like those they were trained on.
    """

    source: ScaleSource = "learned depth"

    def __init__(self, source: str) -> None:
        """Load a checkpoint.

        Args:
            source: a folder, or the name of a repository on the Hugging Face hub, ``owner/name``.

        Raises:
            ImportError: when torch or transformers is not installed.
            OSError: when there is no such checkpoint, or a part of it is missing.
            ValueError: when it is of another kind, or lacks weights.
        """
        config = loaded_config(source, KINDS, _PURPOSE)
        kind = config.model_type
        if kind == "depth_pro":
            config.use_fov_model = False
        metric = kind != "depth_anything" or config.depth_estimation_type == "metric"
        self.name = f"{kind} {checkpoint_name(source)}"
        self.meaning: DepthMeaning = "metric" if metric else "affine"
        self._network = loaded_model(source, config, _PURPOSE, "AutoModelForDepthEstimation")
        self._inverse_depth = self._prepared(kind, source)

    def depth(self, frame: Frame) -> DepthMap:
        """See :class:`posesplat.providers.depth.provider.DepthProvider`."""
        if frame.image is None:
            raise ValueError(
                f"{_PURPOSE} needs frames with an image; {frame.name!r} has depth only. Pass colour frames."
            )
        inverse = self._inverse_depth(frame, frame.image)
        if self.meaning == "affine":
            return DepthMap.of(inverse, "affine")
        known = np.isfinite(inverse) & (inverse > 0)
        return DepthMap.of(np.divide(np.float32(1), inverse, out=np.zeros_like(inverse), where=known), "metric", known)

    def _prepared(
        self, kind: str, source: str
    ) -> Callable[[Frame, UInt8[np.ndarray, "height width 3"]], Float32[np.ndarray, "height width"]]:
        """The function from a frame and its image to inverse depth of the frame's size."""
        if kind == "depth_pro":
            settings = processor_settings(source, _PURPOSE)
            return lambda frame, image: self._depth_pro(frame, image, settings)
        if kind == "zoedepth":
            processor = image_processor(source, "ZoeDepthImageProcessorPil", _PURPOSE)
            return lambda frame, image: self._zoedepth(image, processor)
        processor = image_processor(source, "DPTImageProcessorPil", _PURPOSE)
        return lambda frame, image: self._depth_anything(image, processor)

    def _output(self, pixel_values: Any) -> Float32[np.ndarray, "out_height out_width"]:
        import torch

        with torch.no_grad():
            return np.asarray(self._network(pixel_values=pixel_values).predicted_depth[0].numpy(), np.float32)

    def _depth_anything(
        self, image: UInt8[np.ndarray, "height width 3"], processor: Any
    ) -> Float32[np.ndarray, "height width"]:
        output = self._output(_processed(image, processor))
        return resized(_inverted(output) if self.meaning == "metric" else output, image.shape[1], image.shape[0])

    def _zoedepth(
        self, image: UInt8[np.ndarray, "height width 3"], processor: Any
    ) -> Float32[np.ndarray, "height width"]:
        inverse = _inverted(self._output(_processed(image, processor)))
        height, width = image.shape[:2]
        pad_y, pad_x = (int(np.sqrt(size / 2) * _ZOE_PADDING) if processor.do_pad else 0 for size in (height, width))
        # The processor resizes so that the centres of the corner pixels fall on each other; undo just that.
        columns = (np.arange(width) + pad_x) * ((inverse.shape[1] - 1) / (width + 2 * pad_x - 1))
        rows = (np.arange(height) + pad_y) * ((inverse.shape[0] - 1) / (height + 2 * pad_y - 1))
        places = np.meshgrid(rows, columns, indexing="ij")
        return np.asarray(map_coordinates(inverse, places, order=1, mode="nearest"), np.float32)

    def _depth_pro(
        self, frame: Frame, image: UInt8[np.ndarray, "height width 3"], settings: dict[str, Any]
    ) -> Float32[np.ndarray, "height width"]:
        height, width = image.shape[:2]
        size = int(settings["size"]["width"]), int(settings["size"]["height"])
        seen = network_input(image, size, settings["image_mean"], settings["image_std"], antialias=False)
        # The network gives inverse depth for a camera whose focal length is the image's width.
        inverse = resized(self._output(seen), width, height) * np.float32(width / frame.camera.fx)
        return np.clip(inverse, np.float32(1.0 / _LARGEST_METRES), np.float32(_LARGEST_METRES))


def _processed(image: UInt8[np.ndarray, "height width 3"], processor: Any) -> Any:
    return processor(images=image, input_data_format="channels_last", return_tensors="pt")["pixel_values"]


def _inverted(depth: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """1 / depth; NaN where depth is not positive."""
    return np.divide(np.float32(1), depth, out=np.full_like(depth, np.nan), where=depth > 0)
