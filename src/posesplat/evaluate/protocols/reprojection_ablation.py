"""What the reprojection loss is good for: a network with free points, trained further with it and without it.

SPFSplat reports that training collapses without it. ``tiny`` cannot show that: it has depth along the rays of its
pixels, so that the loss is zero whatever the pose. Here it gets a head of free points, as published, which first learns
to say what ``tiny`` says; and its pose is that of the pose head alone. From there on two trainings differ in the weight
of one loss.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from posesplat.datasets.training_clips import HeldClips, RoomClips
from posesplat.evaluate.feed_forward import ViewPair, as_batch, held_out_pairs, score_network
from posesplat.evaluate.protocols.report import Column, Report, Row, Table
from posesplat.learned.clips import Batch, ClipSource, GapSchedule, SamplingOptions, draw_batch
from posesplat.learned.losses import LossWeights, reprojection_loss
from posesplat.learned.matching import cell_places
from posesplat.learned.network import Clues, SplatNetwork
from posesplat.learned.points import canonical_points, moved, projected
from posesplat.learned.training import TrainingOptions, train
from posesplat.learned.two_view import predict
from posesplat.learned.weights import load_network

_GAPS = GapSchedule(start=9, end_min=2, end_max=9, until=0.01)
_FARTHEST = 2.0
"""Largest relative error of a point that counts while it learns from the network it is to replace."""
_PER_PIXEL = 0.02
_COLUMNS = (
    Column("training", "training"),
    Column("auc_20", "AUC@20, pose head", ".3f"),
    Column("rotation_deg", "median rotation deg", ".2f"),
    Column("translation_deg", "median direction deg", ".1f"),
    Column("off_px", "Gaussians off their pixels, px", ".1f"),
)


@dataclass(frozen=True)
class AblationSize:
    """How much is trained and judged."""

    rooms: int = 300
    """Synthetic rooms to train on."""
    batches: int = 48
    """Batches on which the free points learn."""
    copying: int = 1000
    """Steps in which they do."""
    steps: int = 200
    """Steps of each of the two trainings."""
    pairs: int = 64
    """Held-out pairs of views."""
    side_px: int = 128
    """Of the pictures."""
    batch: int = 4
    """Scenes a step."""


def run_ablation(size: AblationSize, seed: int, report: Report, on_progress: Callable[[str, int, int], None]) -> None:
    """One table: the network before, and after training with the loss and without it.

    Args:
        size: how much is done.
        seed: of the new head, the batches and the training.
        report: gets the table.
        on_progress: told of each of the three parts.
    """
    source = HeldClips.of(RoomClips(size.rooms, width=size.side_px, height=size.side_px, seed=1000))
    pairs = held_out_pairs(size.pairs, size.side_px, size.side_px)
    start = _with_free_points(source, size, seed)
    state = {name: value.clone() for name, value in start.state_dict().items()}
    rows = [_row("before", start, pairs)]
    on_progress("ablation", 1, 3)
    for part, (name, weight) in enumerate((("with the reprojection loss", 0.001), ("without it", 0.0)), start=2):
        start.load_state_dict(state)
        weights = LossWeights(reprojection=weight, matching=0.0, warp=0.0)
        sampling = SamplingOptions(size.batch, 2, gaps=_GAPS, seed=seed)
        options = TrainingOptions(
            size.steps, learning_rate=1e-4, warm_up=20, picture_every=0, seed=seed, sampling=sampling, weights=weights
        )
        with tempfile.TemporaryDirectory() as folder:
            network = train(source, start, options, Path(folder), progress_bar=False).network.cpu().eval()
        rows.append(_row(f"{size.steps} steps {name}", network, pairs))
        on_progress("ablation", part, 3)
    title = f"tiny with free points, posed by its pose head, trained further; {len(pairs)} pairs of rooms never seen"
    report.tables.append(Table("ablation", title, _COLUMNS, tuple(rows)))


class _HeadPosed(SplatNetwork):
    """The network without its epipolar layer's word on the pose."""

    def _refined(self, poses: Float[Tensor, "b v 4 4"], clues: Clues | None) -> Float[Tensor, "b v 4 4"]:
        return poses


def _with_free_points(source: ClipSource, size: AblationSize, seed: int) -> SplatNetwork:
    """``tiny`` with a head of free points that was taught its points, at the poses of its pose head."""
    tiny = load_network("tiny")
    torch.manual_seed(seed)
    network = _HeadPosed(replace(tiny.config, points="canonical")).eval()
    fresh = network.state_dict()
    network.load_state_dict(
        {name: kept if (kept := tiny.state_dict()[name]).shape == new.shape else new for name, new in fresh.items()}
    )
    (head,) = network.point_heads
    sampling = SamplingOptions(size.batch, 2, gaps=_GAPS, seed=seed + 1)
    inputs: list[Any] = []
    hook = head.register_forward_pre_hook(lambda _, given: inputs.append(given))
    batches = [draw_batch(source, sampling, number, 1.0) for number in range(size.batches)]
    batches = [Batch(each.images[:, :2], each.intrinsics[:, :2], 2) for each in batches]
    poses = [predict(network, each).head_cam_from_first for each in batches]
    hook.remove()
    points = [predict(tiny, each).points for each in batches]
    pixels = cell_places(size.side_px, size.side_px, torch.device("cpu")).expand(size.batch, 2, -1, 2)
    optimizer = torch.optim.AdamW(head.parameters())
    for step in range(size.copying):
        index = step % size.batches
        optimizer.param_groups[0]["lr"] = 1.5e-3 * (1 - step / size.copying) + 1e-5
        raw = head(*inputs[index]).unflatten(0, (size.batch, 2)).movedim(2, -1)
        found, true = canonical_points(raw, network.config.initial_depth), points[index]
        apart = (found - true).norm(dim=-1) / true.norm(dim=-1).clamp(min=0.2)
        flat, lenses = found.flatten(2, 3), batches[index].intrinsics
        own = reprojection_loss(flat, poses[index], lenses, pixels, (size.side_px, size.side_px), 0.9)
        optimizer.zero_grad()
        (apart.clamp(max=_FARTHEST).mean() + _PER_PIXEL * own.mean()).backward()
        optimizer.step()
    return network


def _row(name: str, network: SplatNetwork, pairs: Sequence[ViewPair]) -> Row:
    scores = score_network(network, pairs)["head"]
    off = []
    for pair in pairs:
        batch = as_batch([pair])
        prediction = predict(network, batch)
        height, width = prediction.points.shape[2:4]
        seen = moved(prediction.points.flatten(2, 3), prediction.head_cam_from_first)
        places, _ = projected(seen, batch.intrinsics)
        gaps = (places - cell_places(height, width, places.device)) * places.new_tensor([width, height])
        off.append(float(gaps.norm(dim=-1).median()))
    return {
        "training": name,
        "auc_20": scores.auc[2],
        "rotation_deg": scores.rotation_deg,
        "translation_deg": scores.translation_deg,
        "off_px": float(np.mean(off)),
    }
