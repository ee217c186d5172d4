"""``posesplat train DATA --out DIR``: train the feed-forward network, without a single known pose."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from posesplat.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from posesplat.learned.clips import ClipSource
    from posesplat.learned.training import TrainingOptions

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class GapOptions:
    """How far apart the outer context views are, in frames."""

    start: int = 2
    """At first."""
    end_min: int = 2
    """Least in the end."""
    end_max: int = 9
    """Most in the end."""
    until: float = 0.4
    """Part of the training at which the end is reached."""


@dataclass(frozen=True)
class Options:
    """What to train on, for how long, and where to write."""

    data: Annotated[Positional[str], arg(metavar="DATA")]
    """``rooms`` (synthetic), a folder of videos or of folders of images, or RealEstate10K chunks (*.torch)."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for weights.safetensors, last.ckpt, logs/metrics.csv and pictures/."""
    size: Literal["tiny", "base", "large", "large-v1", "large-vggt"] = "tiny"
    """The network: large is SPFSplatV2, large-v1 SPFSplat, large-vggt SPFSplatV2-L, base V2 with a smaller encoder."""
    start: Annotated[str, arg(metavar="WEIGHTS")] = ""
    """Begin with these weights (a name of posesplat weights list, or a file) and their form, whatever --size says."""
    resume: bool = False
    """Go on from last.ckpt in the folder."""
    steps: int = 10_000
    """Steps of the optimiser."""
    minutes: float | None = None
    """End after this time instead; the schedule follows the clock and the run cannot be repeated exactly."""
    batch: int = 8
    """Scenes a step."""
    width: int = 128
    """Width of the images in pixels."""
    height: int = 128
    """Height of the images in pixels."""
    rooms: int = 1000
    """Synthetic rooms, of 10 pictures each."""
    max_context: int = 3
    """Most context views."""
    gaps: GapOptions = field(default_factory=GapOptions)
    """Distance of the context views."""
    learning_rate: float = 5e-4
    """Largest learning rate."""
    warm_up: int = 300
    """Steps over which the rate rises."""
    render_from: float = 0.0
    """Part of the training before which target views are not drawn."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic."""
    reprojection: float = 0.001
    """Weight, per pixel, of the distance between a Gaussian and its own pixel."""
    matching: float = 0.002
    """Weight, per pixel, of the distance between a Gaussian and its match in another view."""
    field_of_view_deg: float = 65.0
    """Horizontal field of view of videos and images that do not say theirs."""
    save_every: int = 500
    """Steps between checkpoints."""
    devices: int = 1
    """GPUs (or processes, without any) that train in step, each on batches of its own."""
    workers: int = 2
    """Processes that make batches, and draw rooms."""
    perceptual: Path | None = None
    """File of torch.export.save with a perceptual difference such as LPIPS, added to that of colours; default none."""
    evaluate: int = 200
    """Pairs of views of held-out rooms on which the result is judged; 0 = none."""
    seed: int = 0
    """Of weights, batches and rooms."""


def run(options: Options) -> int:
    """Train, write the weights, judge them."""
    from posesplat.cli.extras import require

    require("train")
    from posesplat.datasets.training_clips import check_training_folder
    from posesplat.io.results import check_place
    from posesplat.learned.config import NetworkConfig

    check_place(options.out)
    if options.data != "rooms":
        check_training_folder(Path(options.data))
    from posesplat.learned.perceptual import open_perceptual
    from posesplat.learned.training import CHECKPOINT, train
    from posesplat.learned.weights import load_network, save_weights

    logging.getLogger("lightning.pytorch").setLevel(logging.getLogger().level)
    resume = options.out / CHECKPOINT if options.resume else None
    if resume is not None and not resume.is_file():
        raise ValueError(f"--resume needs {resume}, which is not there. Leave --resume out to begin anew.")
    network = load_network(options.start) if options.start else None
    config = NetworkConfig.named(options.size) if network is None else network.config
    for side in (options.width, options.height):
        if side % config.patch_px:
            raise ValueError(f"--width and --height must be multiples of {config.patch_px} pixels; got {side}.")
    perceptual = None
    if options.perceptual is not None:
        perceptual = open_perceptual(options.perceptual, options.batch, options.height, options.width)
    began = time.perf_counter()
    source = _source(options)
    sys.stderr.write(f"{len(source)} clips after {time.perf_counter() - began:.0f} s\n")
    try:
        training = train(
            source,
            network or config,
            _training_options(options),
            options.out,
            resume=resume,
            perceptual=perceptual,
            devices=options.devices,
        )
    except KeyboardInterrupt:
        saved = (options.out / CHECKPOINT).is_file()
        told = f"{options.out / CHECKPOINT} holds what was trained; --resume goes on" if saved else "nothing was saved"
        sys.stderr.write(f"posesplat: interrupted; {told}\n")
        return ExitStatus.INTERRUPTED
    if not training.trainer.is_global_zero:
        return 0
    history = {"command": " ".join(["posesplat", *sys.argv[1:]]), "steps": str(training.global_step)}
    save_weights(training.network, options.out / WEIGHTS, history)
    if options.evaluate:
        _judge(training.network, options)
    return 0


def _source(options: Options) -> ClipSource:
    from posesplat.datasets.training_clips import HeldClips, RoomClips, open_clips

    if options.data == "rooms":
        rooms = RoomClips(options.rooms, width=options.width, height=options.height, seed=1000 + options.seed)
        return HeldClips.of(rooms, options.workers)
    return open_clips(Path(options.data), options.width, options.height, options.field_of_view_deg)


def _training_options(options: Options) -> TrainingOptions:
    from posesplat.learned.clips import GapSchedule, SamplingOptions
    from posesplat.learned.losses import LossWeights
    from posesplat.learned.training import TrainingOptions

    gaps = GapSchedule(options.gaps.start, options.gaps.end_min, options.gaps.end_max, options.gaps.until)
    return TrainingOptions(
        steps=options.steps,
        minutes=options.minutes,
        learning_rate=options.learning_rate,
        warm_up=options.warm_up,
        render_from=options.render_from,
        precision=options.precision,
        save_every=options.save_every,
        workers=options.workers,
        seed=options.seed,
        sampling=SamplingOptions(options.batch, options.max_context, gaps=gaps, seed=options.seed),
        weights=LossWeights(reprojection=options.reprojection, matching=options.matching),
    )


def _judge(network: object, options: Options) -> None:
    from rich.console import Console
    from rich.table import Table

    from posesplat.evaluate.feed_forward import held_out_pairs, score_network
    from posesplat.learned.network import SplatNetwork

    assert isinstance(network, SplatNetwork)
    table = Table(title=f"{options.evaluate} pairs of views of held-out rooms, overlap 20 to 70 %")
    for column in ("pose by", "AUC@5", "AUC@10", "AUC@20", "rotation deg", "translation deg"):
        table.add_column(column)
    for name, scores in score_network(network, held_out_pairs(options.evaluate, options.width, options.height)).items():
        auc = (f"{value:.3f}" for value in scores.auc)
        table.add_row(name, *auc, f"{scores.rotation_deg:.2f}", f"{scores.translation_deg:.2f}")
    Console().print(table)
