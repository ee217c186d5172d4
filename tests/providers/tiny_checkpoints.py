"""Checkpoints of a few thousand random weights, written as the real ones are, to be loaded as the real ones are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def _dino_settings(**changes: Any) -> dict[str, Any]:
    return {
        "hidden_size": 24,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "patch_size": 14,
        "image_size": 70,
        **changes,
    }


def _lively(model: Any) -> Any:
    """Random weights that keep the signal's size from layer to layer, so that the output depends on the image."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embeddings" not in name and "relative_position" not in name:
                weight.normal_(0.0, 1.1 / weight[0].numel() ** 0.5)
            if "lambda" in name:
                weight.fill_(0.5)
    return model.eval()


def save_dinov2(folder: Path, registers: int = 0) -> Path:
    """DINOv2 with or without register tokens."""
    import torch
    import transformers

    torch.manual_seed(1)
    if registers:
        config = transformers.Dinov2WithRegistersConfig(**_dino_settings(num_register_tokens=registers))
        model = transformers.Dinov2WithRegistersModel(config)
    else:
        model = transformers.Dinov2Model(transformers.Dinov2Config(**_dino_settings()))
    _lively(model).save_pretrained(folder)
    return folder


def save_depth_anything(folder: Path, metric: bool) -> Path:
    """Depth Anything V2; ``metric`` up to 20 m."""
    import torch
    import transformers

    torch.manual_seed(2)
    backbone = transformers.Dinov2Config(
        **_dino_settings(out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True)
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=24,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type="metric" if metric else "relative",
        max_depth=20 if metric else 1,
    )
    _lively(transformers.DepthAnythingForDepthEstimation(config)).save_pretrained(folder)
    processor = transformers.DPTImageProcessorPil(
        size={"height": 70, "width": 70}, keep_aspect_ratio=True, ensure_multiple_of=14, resample=3, **IMAGENET
    )
    processor.save_pretrained(folder)
    return folder


def save_zoedepth(folder: Path, farthest_m: tuple[float, ...] = (10.0,)) -> Path:
    """ZoeDepth with a head for each range of depths; with two it chooses by the image."""
    import torch
    import transformers

    torch.manual_seed(3)
    backbone = transformers.BeitConfig(
        image_size=64,
        patch_size=16,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        use_relative_position_bias=True,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        num_relative_features=8,
        bottleneck_features=8,
        num_attractors=[4, 3, 2, 1],
        bin_embedding_dim=8,
        bin_configurations=[
            {"name": f"to {far:g} m", "n_bins": 8, "min_depth": 0.1, "max_depth": far} for far in farthest_m
        ],
        num_patch_transformer_layers=4,
        patch_transformer_hidden_size=128,
        patch_transformer_intermediate_size=16,
        patch_transformer_num_attention_heads=2,
    )
    _lively(transformers.ZoeDepthForDepthEstimation(config)).save_pretrained(folder)
    processor = transformers.ZoeDepthImageProcessorPil(
        size={"height": 64, "width": 96}, keep_aspect_ratio=True, ensure_multiple_of=32, **HALF
    )
    processor.save_pretrained(folder)
    return folder


def save_depth_pro(folder: Path) -> Path:
    """DepthPro, with its field-of-view part as in the published checkpoint."""
    import torch
    import transformers

    torch.manual_seed(4)
    vit = {**_dino_settings(patch_size=8, image_size=32), "model_type": "dinov2"}
    config = transformers.DepthProConfig(
        patch_size=32,
        fusion_hidden_size=16,
        intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.25],
        scaled_images_feature_dims=[8, 8],
        merge_padding_value=1,
        use_fov_model=True,
        num_fov_head_layers=0,
        image_model_config=dict(vit),
        patch_model_config=dict(vit),
        fov_model_config=dict(vit),
    )
    _lively(transformers.DepthProForDepthEstimation(config)).save_pretrained(folder)
    settings = {
        "image_processor_type": "DepthProImageProcessor",
        "do_resize": True,
        "size": {"height": 64, "width": 64},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        **HALF,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def save_loftr(folder: Path) -> Path:
    """EfficientLoFTR, on images of 128 x 96 pixels."""
    import torch
    import transformers

    torch.manual_seed(5)
    config = transformers.EfficientLoFTRConfig(
        stage_num_blocks=[1, 1, 1, 1],
        stage_stride=[2, 1, 2, 2],
        out_features=[8, 8, 16, 32],
        hidden_size=32,
        num_attention_layers=1,
        num_attention_heads=8,
        fine_matching_slice_dim=2,
        coarse_matching_threshold=0.0,
        coarse_matching_border_removal=0,
    )
    transformers.EfficientLoFTRForKeypointMatching(config).eval().save_pretrained(folder)
    transformers.EfficientLoFTRImageProcessorPil(size={"height": 96, "width": 128}).save_pretrained(folder)
    return folder


def save_lightglue(folder: Path) -> Path:
    """LightGlue with SuperPoint's network, on images of 128 x 96 pixels."""
    import torch
    import transformers

    torch.manual_seed(6)
    detector = transformers.SuperPointConfig(
        encoder_hidden_sizes=[8, 8, 8, 8],
        decoder_hidden_size=8,
        keypoint_decoder_dim=65,
        descriptor_decoder_dim=16,
        keypoint_threshold=0.0,
        max_keypoints=60,
    )
    config = transformers.LightGlueConfig(
        keypoint_detector_config=detector,
        descriptor_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        filter_threshold=0.0,
        depth_confidence=-1.0,
        width_confidence=-1.0,
    )
    transformers.LightGlueForKeypointMatching(config).eval().save_pretrained(folder)
    transformers.LightGlueImageProcessorPil(size={"height": 96, "width": 128}).save_pretrained(folder)
    return folder
