"""In-between frames of video diffusion networks that take a first and a last frame: Wan and LTX, by diffusers.

It needs diffusers, accelerate and torch (``pip install posesplat[inbetween,learned]``).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from posesplat.providers.inbetween.clip_files import fitted
from posesplat.providers.inbetween.provider import ClipRequest, Image

PIPELINES = {"WanImageToVideoPipeline": "wan", "LTXConditionPipeline": "ltx"}
"""Classes of pipelines that condition on both ends, and what they are called here."""


@dataclass(frozen=True)
class DiffusionOptions:
    """How clips are made; None leaves a value to the pipeline."""

    width: int = 832
    """Of the frames that are made, rounded to what the network can do; the height follows the images."""
    steps: int | None = None
    """Denoising steps."""
    guidance: float | None = None
    """Weight of the prompt."""
    device: str = "auto"
    """``auto`` takes the first GPU, else the CPU."""


class DiffusionClips:
    """Clips of one checkpoint, loaded at the first request."""

    stored_clips: int | None = None
    usd_per_clip = 0.0

    def __init__(self, checkpoint: str, options: DiffusionOptions = DiffusionOptions()) -> None:
        """Remember the checkpoint.

        Args:
            checkpoint: a folder, or owner/name on the Hugging Face hub.
            options: size, steps, guidance, device.

        Raises:
            ImportError: when one of the three is not installed.
        """
        for package in ("diffusers", "accelerate", "torch"):
            if find_spec(package) is None:
                raise ImportError(
                    f"diffusers:{checkpoint} needs {package}; it is not installed. "
                    "pip install 'posesplat[inbetween,learned]'"
                )
        self.checkpoint, self.options = checkpoint, options
        self.name = f"diffusers {Path(checkpoint).name}"
        self._pipeline: Any = None

    def identity(self) -> dict[str, Any]:
        """See :class:`posesplat.providers.inbetween.provider.InbetweenProvider`."""
        import diffusers

        options = self.options
        return {
            "provider": "diffusers",
            "checkpoint": self.checkpoint,
            "version": diffusers.__version__,
            "width": options.width,
            "steps": options.steps,
            "guidance": options.guidance,
        }

    def frames(self, request: ClipRequest) -> list[Image]:
        """See :class:`posesplat.providers.inbetween.provider.InbetweenProvider`.

        Raises:
            OSError: when there is no such checkpoint.
            ValueError: when it is of another kind of pipeline.
        """
        import torch
        from PIL import Image as Pillow

        pipeline = self._loaded()
        kind = PIPELINES[type(pipeline).__name__]
        space, time = self._strides(pipeline, kind)
        height, width = request.first.shape[:2]
        wide = max(round(self.options.width / space), 1) * space
        high = max(round(self.options.width * height / width / space), 1) * space
        count = max(round((request.count + 1) / time), 1) * time + 1
        ends = [Pillow.fromarray(_sized(image, wide, high)) for image in (request.first, request.last)]
        arguments: dict[str, Any] = {
            "prompt": request.prompt,
            "height": high,
            "width": wide,
            "num_frames": count,
            "generator": torch.Generator("cpu").manual_seed(request.seed),
            "output_type": "np",
        }
        if self.options.steps is not None:
            arguments["num_inference_steps"] = self.options.steps
        if self.options.guidance is not None:
            arguments["guidance_scale"] = self.options.guidance
        if kind == "wan":
            arguments |= {"image": ends[0], "last_image": ends[1]}
        else:
            from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

            arguments["conditions"] = [
                LTXVideoCondition(image=ends[0], frame_index=0),
                LTXVideoCondition(image=ends[1], frame_index=count - 1),
            ]
        with torch.inference_mode():
            made = np.asarray(pipeline(**arguments).frames[0])
        if not np.isfinite(made).all():
            raise ValueError(f"{self.name} made values that are not numbers. Use another precision or checkpoint.")
        images = np.rint(np.clip(made, 0.0, 1.0) * 255.0).astype(np.uint8)
        return [fitted(image, request.first) for image in images[1:-1]]

    def _loaded(self) -> Any:
        if self._pipeline is None:
            import torch
            from diffusers import DiffusionPipeline

            device = self.options.device
            if device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            precision = torch.float32 if device == "cpu" else torch.bfloat16
            pipeline = DiffusionPipeline.from_pretrained(self.checkpoint, dtype=precision)
            if type(pipeline).__name__ not in PIPELINES:
                raise ValueError(
                    f"diffusers:{self.checkpoint} must be one of {', '.join(PIPELINES)}, which take a first and a last "
                    f"frame; got {type(pipeline).__name__}. Choose another checkpoint."
                )
            pipeline.set_progress_bar_config(disable=True)
            self._pipeline = pipeline.to(device)
        return self._pipeline

    @staticmethod
    def _strides(pipeline: Any, kind: str) -> tuple[int, int]:
        """Pixels and frames in whose multiples the network works."""
        if kind == "wan":
            patch = pipeline.transformer.config.patch_size
            return int(pipeline.vae_scale_factor_spatial * patch[1]), int(pipeline.vae_scale_factor_temporal)
        patch = pipeline.transformer_spatial_patch_size
        return (
            int(np.lcm(pipeline.vae_spatial_compression_ratio * patch, 32)),
            int(pipeline.vae_temporal_compression_ratio),
        )


def _sized(image: Image, width: int, height: int) -> Image:
    import cv2

    method = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
