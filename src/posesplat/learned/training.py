"""Training with Lightning: optimiser, schedule, losses, logs, pictures, and checkpoints that are whole or not there."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from posesplat.files import whole_file
from posesplat.learned.clips import Batch, BatchStream, ClipSource, SamplingOptions
from posesplat.learned.config import NetworkConfig
from posesplat.learned.losses import LossWeights, geometry_losses, rendered_targets
from posesplat.learned.matching import warp_loss
from posesplat.learned.network import SplatNetwork
from posesplat.learned.rasterise import Backend

LOG = logging.getLogger(__name__)
CHECKPOINT = "last.ckpt"

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""Perceptual difference of two image batches (b, 3, h, w) in [0, 1], a scalar."""


@dataclass(frozen=True)
class TrainingOptions:
    """How the network is trained."""

    steps: int = 10_000
    """Steps of the optimiser."""
    minutes: float | None = None
    """Wall time after which training ends; the schedule then follows the clock, and ``steps`` is only a limit."""
    learning_rate: float = 5e-4
    """Largest rate."""
    warm_up: int = 300
    """Steps over which the rate rises."""
    weight_decay: float = 0.05
    """Of AdamW."""
    clip_norm: float = 0.5
    """Largest norm of the gradient."""
    precision: str = "32-true"
    """Lightning's name of the arithmetic: 32-true, bf16-mixed."""
    save_every: int = 500
    """Steps between checkpoints."""
    picture_every: int = 500
    """Steps between pictures of rendered target views; 0 = none."""
    log_every: int = 20
    """Steps between lines of the log."""
    workers: int = 0
    """Processes that make batches."""
    seed: int = 0
    """Of the weights and the warps."""
    backend: Backend = "auto"
    """Rasteriser."""
    render_from: float = 0.0
    """Part of the training before which target views are not drawn."""
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    """How batches are drawn."""
    weights: LossWeights = field(default_factory=LossWeights)
    """How losses are summed."""


class SplatTraining(lightning.LightningModule):
    """The network with its losses. It sees images and intrinsics, never a pose."""

    def __init__(self, network: SplatNetwork, options: TrainingOptions, perceptual: Perceptual | None = None) -> None:
        super().__init__()
        self.network, self.options, self.perceptual = network, options, perceptual
        self.began: float | None = None
        self.progress = 0.0
        """Part of the training that is done, 0 to 1, the same on all devices; the schedules of a step follow it."""
        self.latest: tuple[Tensor, Tensor] | None = None

    def _progress(self) -> float:
        by_step = self.global_step / self.options.steps
        if self.options.minutes is None or self.began is None:
            return min(by_step, 1.0)
        return min(max(by_step, (time.monotonic() - self.began) / (60.0 * self.options.minutes)), 1.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW with the published moments; the rate is set at every step."""
        rate, decay = self.options.learning_rate, self.options.weight_decay
        return torch.optim.AdamW(self.network.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=decay)

    def on_train_start(self) -> None:
        """The clock of ``minutes`` starts with the first batch."""
        self.began = time.monotonic()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Linear warm-up, then half a cosine down to a hundredth."""
        self.progress = float(self.trainer.strategy.broadcast(self._progress()))
        rise = min((self.global_step + 1) / max(self.options.warm_up, 1), 1.0)
        fall = 0.01 + 0.99 * 0.5 * (1.0 + float(np.cos(np.pi * self.progress)))
        for group in self.optimizers().param_groups:
            group["lr"] = self.options.learning_rate * rise * fall

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Each loss before it is weighed."""
        images, intrinsics, context = batch.images, batch.intrinsics, batch.context
        prediction = self.network(images, context, intrinsics)
        found: dict[str, Tensor] = {}
        with torch.autocast(images.device.type, enabled=False):
            found |= geometry_losses(prediction, intrinsics, context, self.progress)
            if images.shape[1] > context and self.progress >= self.options.render_from:
                height, width = images.shape[-2:]
                drawn, _ = rendered_targets(prediction, intrinsics, context, height, width, self.options.backend)
                drawn, seen = drawn.movedim(-1, 2), images[:, context:]
                found["render"] = (drawn - seen).square().mean()
                self.latest = drawn[0, 0].detach(), seen[0, 0].detach()
                if self.perceptual is not None:
                    found["perceptual"] = self.perceptual(drawn.flatten(0, 1), seen.flatten(0, 1))
        if self.network.descriptors is not None:
            generator = torch.Generator(images.device).manual_seed(self.options.seed * 1_000_003 + self.global_step)
            found["warp"] = warp_loss(self.network.descriptors, 2 * images[:, :2].flatten(0, 1) - 1, generator)
        return found

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """The weighted sum of the losses."""
        found = self.losses(batch)
        weights = asdict(self.options.weights)
        total = torch.stack([weights[name] * loss for name, loss in found.items()]).sum()
        self.log_dict({"loss": total.detach(), **{name: loss.detach() for name, loss in found.items()}})
        self.log("progress", self.progress)
        if self.options.minutes is not None and self.progress >= 1.0:
            self.trainer.should_stop = True
        return total

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batch's tensors on the device."""
        parts = (batch.images, batch.intrinsics)
        images, intrinsics = (part.to(device, non_blocking=True) for part in parts)
        return Batch(images, intrinsics, batch.context)


class OwnBatches(lightning.Callback):
    """Of several devices, gives each batches of its own."""

    def __init__(self, shared_by: Callable[[int, int], None]) -> None:
        self.shared_by = shared_by

    def setup(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Tells the stream for whom it draws, before it is asked for the first batch."""
        self.shared_by(trainer.global_rank, trainer.world_size)


class WholeCheckpoints(lightning.Callback):
    """Writes ``last.ckpt`` every so many steps and at the end, whole or not at all, and pictures of targets."""

    def __init__(self, folder: Path, options: TrainingOptions) -> None:
        self.folder, self.options = folder, options
        self.saved_at = -1

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when it is time."""
        step = trainer.global_step
        if step % self.options.save_every == 0:
            self._save(trainer)
        drawn = self.options.picture_every and step % self.options.picture_every == 0 and pl_module.latest is not None
        if drawn and trainer.is_global_zero:
            self._picture(pl_module.latest, step)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Saves the last step."""
        self._save(trainer)

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Saves what an interruption would lose."""
        if isinstance(exception, KeyboardInterrupt) and trainer.global_step:
            self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        if self.saved_at == trainer.global_step:
            return
        self.saved_at = trainer.global_step
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.folder / CHECKPOINT)  # takes part, and leaves the writing to the first
            return
        with whole_file(self.folder / CHECKPOINT) as temporary:
            trainer.save_checkpoint(temporary)

    def _picture(self, latest: tuple[Tensor, Tensor], step: int) -> None:
        import cv2

        pair = torch.cat([image.float().clamp(0, 1) for image in latest], dim=2)
        levels = (255 * pair.movedim(0, -1).cpu().numpy()).astype(np.uint8)
        with whole_file(self.folder / "pictures" / f"{step:07d}.png") as temporary:
            cv2.imwrite(str(temporary), levels[..., ::-1])


def train(
    source: ClipSource,
    start: NetworkConfig | SplatNetwork,
    options: TrainingOptions,
    folder: Path,
    *,
    resume: Path | None = None,
    perceptual: Perceptual | None = None,
    accelerator: str = "auto",
    devices: int = 1,
    progress_bar: bool = True,
) -> SplatTraining:
    """Train a network; the folder gets ``last.ckpt``, ``logs/metrics.csv`` and ``pictures/``.

    A training that is resumed goes on with the batches, the rate and the moments it would have had.

    Args:
        source: clips of images with intrinsics.
        start: what is trained: a network as it is, whose weights change, or the form of a new one.
        options: of the training.
        folder: where everything is written.
        resume: a checkpoint to go on from.
        perceptual: optional perceptual difference of rendered and real images.
        accelerator: Lightning's name of the device.
        devices: how many of them; several train in step, each on batches of its own, and average their gradients.
        progress_bar: whether to show one.
    """
    lightning.seed_everything(options.seed, verbose=False)
    network = start if isinstance(start, SplatNetwork) else SplatNetwork(start)
    training = SplatTraining(network.train(), options, perceptual)
    first = 0
    if resume is not None:
        first = int(torch.load(resume, map_location="cpu", weights_only=True)["global_step"])
    stream = BatchStream(source, options.sampling, options.steps, first)
    loader: DataLoader = DataLoader(
        stream,
        batch_size=None,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        prefetch_factor=4 if options.workers else None,
        pin_memory=torch.cuda.is_available() and accelerator != "cpu",
    )
    on_interrupt = signal.getsignal(signal.SIGINT)
    with _quiet():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy="auto" if devices == 1 else "ddp_find_unused_parameters_true",
            precision=options.precision,
            max_steps=options.steps,
            max_epochs=-1,
            gradient_clip_val=options.clip_norm,
            log_every_n_steps=options.log_every,
            logger=CSVLogger(folder, name="logs", version="", flush_logs_every_n_steps=options.log_every),
            callbacks=[OwnBatches(stream.shared_by), WholeCheckpoints(folder, options)],
            enable_checkpointing=False,
            enable_progress_bar=progress_bar,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(training, loader, ckpt_path=resume)
        except SystemExit as end:  # what Lightning makes of an interruption, and it stops listening to Ctrl-C
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from end
    return training


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning tells of devices, of services and of its own deprecations; none of that is news of the training."""
    talkers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [talker.level for talker in talkers]
    for talker in talkers:
        talker.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)
