"""Which tensors of an official checkpoint of SPFSplat, SPFSplatV2 or SPFSplatV2-L make which of ours, and which do not.

The official files are those of a LightningModule whose network is called ``encoder``. Every name in them is either a
source of one of our tensors or matches a row of :data:`LEFT_ASIDE`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from posesplat.learned.camera_head import CAMERA_BLOCKS
from posesplat.learned.config import Form, NetworkConfig
from posesplat.learned.published_pose_head import LEAST_SCALE, MOST_SCALE

OWN, THEIRS = "published.", "encoder."
"""How the names of the network's tensors begin here and there."""


@dataclass(frozen=True)
class Source:
    """A layer or tensor of theirs, or some of the three parts of one that makes query, key and value at once."""

    name: str
    parts: tuple[int, int] = (0, 3)
    """First part, and the one after the last."""

    @property
    def whole(self) -> bool:
        """Whether all of it is meant."""
        return self.parts == (0, 3)


@dataclass(frozen=True)
class LeftAside:
    """Tensors of theirs that have no counterpart here."""

    pattern: str
    """Regular expression of the whole name."""
    reason: str
    """Why they are not needed."""
    twin: str = ""
    """The name (a template of the expression) of a tensor that must be the same."""
    value: float | None = None
    """What the one number in it must be."""


_SELF_BLOCK = {
    "norm_attention": (Source("norm1"),),
    "attention.query": (Source("attn.qkv", (0, 1)),),
    "attention.key_value": (Source("attn.qkv", (1, 3)),),
    "attention.out": (Source("attn.proj"),),
    "norm_feed": (Source("norm2"),),
    "feed.0": (Source("mlp.fc1"),),
    "feed.2": (Source("mlp.fc2"),),
}
_CROSS_BLOCK = {
    "norm_self": (Source("norm1"),),
    "self_attention.query": (Source("attn.qkv", (0, 1)),),
    "self_attention.key_value": (Source("attn.qkv", (1, 3)),),
    "self_attention.out": (Source("attn.proj"),),
    "norm_cross": (Source("norm2"),),
    "norm_others": (Source("norm_y"),),
    "cross_attention.query": (Source("cross_attn.projq"),),
    "cross_attention.key_value": (Source("cross_attn.projk"), Source("cross_attn.projv")),
    "cross_attention.out": (Source("cross_attn.proj"),),
    "norm_feed": (Source("norm3"),),
    "feed.0": (Source("mlp.fc1"),),
    "feed.2": (Source("mlp.fc2"),),
}
_HEAD_NORMS = {
    "attention.query_norm": (Source("attn.q_norm"),),
    "attention.key_norm": (Source("attn.k_norm"),),
}
_SCALES = {"scale_attention": "ls1.gamma", "scale_feed": "ls2.gamma"}
_VGGT = "backbone.model.aggregator"
_CAMERA_HEAD = {
    "norm_in": "token_norm",
    "norm_out": "trunk_norm",
    "embed": "embed_pose",
    "modulation": "poseLN_modulation.1",
    "first": "pose_branch.fc1",
    "second": "pose_branch.fc2",
}
_PLACED_END = {"first": "scratch.output_conv1", "second": "scratch.output_conv2.0", "out": "scratch.output_conv2.2"}
_POSE_HEAD = {"hidden.0": "more_mlps.0", "hidden.2": "more_mlps.2", "translation": "fc_t", "rotation": "fc_rot"}
_POINT_END = {"first": "dpt.head.0", "second": "dpt.head.2", "out": "dpt.head.4"}
_GAUSSIAN_END = {"image": "dpt.input_merger.0", "mix": "dpt.head.0", "out": "dpt.head.4"}

_TRAINING = "serves training only"
LEFT_ASIDE = (
    LeftAside(r"encoder\.backbone\.mask_token", "stands for hidden patches in CroCo's pretraining"),
    *(
        LeftAside(
            rf"(encoder\.\w+\.dpt\.scratch)\.layer_rn\.{level}\.weight",
            "a second name of the same tensor",
            rf"\g<1>.layer{level + 1}_rn.weight",
        )
        for level in range(4)
    ),
    LeftAside(
        r"encoder\.\w+\.dpt\.scratch\.refinenet4\.resConfUnit1\.conv[12]\.(weight|bias)",
        "joins a finer level to the coarsest, which is the first and has nothing to join",
    ),
    LeftAside(r"encoder\.pose_head2?\.max_scale", "a constant", value=MOST_SCALE),
    LeftAside(r"encoder\.pose_head2?\.min_scale", "a constant", value=LEAST_SCALE),
    LeftAside(r"encoder\.pose_head2?\.max_inv_scale", "a constant", value=1 / MOST_SCALE),
    LeftAside(r"encoder\.pose_head2?\.min_inv_scale", "a constant", value=1 / LEAST_SCALE),
    LeftAside(r"encoder\.pose_head2?\.h_beta", "a constant", value=math.log(2) / (1 - 1 / MOST_SCALE)),
    LeftAside(
        r"encoder\.backbone\.model\.aggregator\.patch_embed\.mask_token", "stands for hidden patches in training"
    ),
    LeftAside(r"encoder\.backbone\.model\.(depth|track)_head\..*", "serves VGGT's other tasks"),
    LeftAside(r"losses\..*", _TRAINING),
    LeftAside(r"distiller(_loss)?\..*", _TRAINING),
    LeftAside(r"decoder\.background_color", "the renderer's black"),
)
"""What an official checkpoint holds besides the tensors of the network's function, and why it is not needed."""
UNUSED_INTRINSICS = LeftAside(
    r"encoder\.backbone(\.model\.aggregator)?\.intrinsic_encoder\.(weight|bias)",
    "belongs to a network that was trained without intrinsics",
)
"""In the list as well where a network has no intrinsics token: the official code makes the layer all the same."""


def official_form(names: Iterable[str]) -> Form | None:
    """Which published form the names of a file's tensors are those of; None for none."""
    there = set(names)
    if f"{THEIRS}{_VGGT}.camera_token" in there:
        return "spfsplatv2-l"
    if "encoder.backbone.patch_embed.proj.weight" not in there:
        return None
    return "spfsplatv2" if "encoder.backbone.pose_token" in there else "spfsplat"


def left_aside(name: str, config: NetworkConfig) -> LeftAside | None:
    """The row that names the tensor; None for one that is needed, or unknown."""
    rows = LEFT_ASIDE if config.intrinsics_token else (*LEFT_ASIDE, UNUSED_INTRINSICS)
    return next((row for row in rows if re.fullmatch(row.pattern, name)), None)


def sources(names: Iterable[str], config: NetworkConfig) -> dict[str, tuple[Source, ...]]:
    """For each of our tensors those of theirs of which it is made, one below the other.

    Args:
        names: of our tensors.
        config: of the network that has them.
    """
    layers = dict(_vggt_layers(config) if config.form == "spfsplatv2-l" else _layers(config))
    bare = _bare(config)
    found: dict[str, tuple[Source, ...]] = {}
    for name in names:
        inner = name.removeprefix(OWN)
        layer, _, kind = inner.rpartition(".")
        if inner in bare:
            found[name] = (Source(f"{THEIRS}{bare[inner]}"),)
        else:
            found[name] = tuple(Source(f"{THEIRS}{part.name}.{kind}", part.parts) for part in layers[layer])
    return found


def _bare(config: NetworkConfig) -> dict[str, str]:
    """For each tensor of ours that is no layer's weight or bias that of theirs, both without their beginnings."""
    if config.form != "spfsplatv2-l":
        return {"decoder.pose_token": "backbone.pose_token"}
    found = {
        "encoder.summary_token": f"{_VGGT}.patch_embed.cls_token",
        "encoder.registers": f"{_VGGT}.patch_embed.register_tokens",
        "encoder.positions": f"{_VGGT}.patch_embed.pos_embed",
        "decoder.camera_token": f"{_VGGT}.camera_token",
        "decoder.registers": f"{_VGGT}.register_token",
        "pose_head.no_pose": "backbone.model.camera_head.empty_pose_tokens",
    }
    for own, theirs, depth in _vggt_stacks(config):
        for index in range(depth):
            found |= {f"{own}.{index}.{name}": f"{theirs}.{index}.{scale}" for name, scale in _SCALES.items()}
    return found


def _vggt_stacks(config: NetworkConfig) -> tuple[tuple[str, str, int], ...]:
    return (
        ("encoder.blocks", f"{_VGGT}.patch_embed.blocks", config.encoder_depth),
        ("decoder.view_blocks", f"{_VGGT}.frame_blocks", config.decoder_depth),
        ("decoder.all_blocks", f"{_VGGT}.global_blocks", config.decoder_depth),
        ("pose_head.blocks", "backbone.model.camera_head.trunk", CAMERA_BLOCKS),
    )


def _vggt_layers(config: NetworkConfig) -> Iterator[tuple[str, tuple[Source, ...]]]:
    yield "encoder.patches", (Source(f"{_VGGT}.patch_embed.patch_embed.proj"),)
    yield "encoder.norm", (Source(f"{_VGGT}.patch_embed.norm"),)
    if config.intrinsics_token:
        yield "decoder.intrinsics", (Source(f"{_VGGT}.intrinsic_encoder"),)
    for own, theirs, depth in _vggt_stacks(config):
        table = {**_SELF_BLOCK, **(_HEAD_NORMS if own.startswith("decoder") else {})}
        yield from _stack(own, theirs, depth, table)
    trunk = {
        "trunk.norm": "norm",
        **{f"trunk.project.{level}": f"projects.{level}" for level in range(4)},
        **{f"trunk.resize.{level}": f"resize_layers.{level}" for level in (0, 1, 3)},
        **_fusion("scratch"),
        **_PLACED_END,
    }
    heads = (
        ("pose_head", "backbone.model.camera_head", _CAMERA_HEAD),
        ("point_head", "backbone.model.point_head", trunk),
        ("gaussian_head", "gaussian_param_head", {**trunk, "image": "input_merger.0"}),
    )
    for own, theirs, names in heads:
        for name, layer in names.items():
            yield f"{own}.{name}", (Source(f"{theirs}.{layer}"),)


def _stack(
    own: str, theirs: str, depth: int, table: Mapping[str, tuple[Source, ...]]
) -> Iterator[tuple[str, tuple[Source, ...]]]:
    for index in range(depth):
        for name, parts in table.items():
            yield f"{own}.{index}.{name}", tuple(Source(f"{theirs}.{index}.{part.name}", part.parts) for part in parts)


def _layers(config: NetworkConfig) -> Iterator[tuple[str, tuple[Source, ...]]]:
    yield "encoder.patches", (Source("backbone.patch_embed.proj"),)
    yield "encoder.norm", (Source("backbone.enc_norm"),)
    yield "decoder.embed", (Source("backbone.decoder_embed"),)
    yield "decoder.norm", (Source("backbone.dec_norm"),)
    if config.intrinsics_token:
        place = "encoder" if config.form == "spfsplat" else "decoder"
        yield f"{place}.intrinsics", (Source("backbone.intrinsic_encoder"),)
    stacks = (
        ("encoder.blocks", "backbone.enc_blocks", config.encoder_depth, _SELF_BLOCK),
        ("decoder.reference_blocks", "backbone.dec_blocks", config.decoder_depth, _CROSS_BLOCK),
        ("decoder.blocks", "backbone.dec_blocks2", config.decoder_depth, _CROSS_BLOCK),
    )
    for own, theirs, depth, table in stacks:
        yield from _stack(own, theirs, depth, table)
    heads = (
        ("point_heads.0", "downstream_head1", {**_trunk(), **_POINT_END}),
        ("point_heads.1", "downstream_head2", {**_trunk(), **_POINT_END}),
        ("gaussian_heads.0", "gaussian_param_head", {**_trunk(), **_GAUSSIAN_END}),
        ("gaussian_heads.1", "gaussian_param_head2", {**_trunk(), **_GAUSSIAN_END}),
        ("pose_heads.0", "pose_head", _POSE_HEAD),
        ("pose_heads.1", "pose_head2", _POSE_HEAD),
    )
    for own, theirs, names in heads:
        for name, layer in names.items():
            yield f"{own}.{name}", (Source(f"{theirs}.{layer}"),)


def _trunk() -> dict[str, str]:
    names = _fusion("dpt.scratch")
    for level in range(4):
        names[f"trunk.project.{level}"] = f"dpt.act_postprocess.{level}.0"
        names[f"trunk.resize.{level}"] = f"dpt.act_postprocess.{level}.1"
    return names


def _fusion(scratch: str) -> dict[str, str]:
    names = {}
    for level in range(4):
        names[f"trunk.bring.{level}"] = f"{scratch}.layer{level + 1}_rn"
        stage = f"{scratch}.refinenet{level + 1}"
        names[f"trunk.fuse.{level}.out"] = f"{stage}.out_conv"
        for unit, theirs in (("join", "resConfUnit1"), ("refine", "resConfUnit2")):
            names[f"trunk.fuse.{level}.{unit}.first"] = f"{stage}.{theirs}.conv1"
            names[f"trunk.fuse.{level}.{unit}.second"] = f"{stage}.{theirs}.conv2"
    return names
