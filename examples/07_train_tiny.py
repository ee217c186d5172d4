"""A few steps of training of the feed-forward network on two synthetic rooms, without a single known pose."""

import csv
import sys
from pathlib import Path

from posesplat.datasets.training_clips import HeldClips, RoomClips
from posesplat.learned.clips import SamplingOptions
from posesplat.learned.config import NetworkConfig
from posesplat.learned.training import TrainingOptions, train
from posesplat.learned.weights import load_network, save_weights

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "run")
rooms = HeldClips.of(RoomClips(count=2, frames=6, width=64, height=64))  # your videos: open_clips(folder, ...)
options = TrainingOptions(steps=5, warm_up=1, log_every=1, sampling=SamplingOptions(batch=1, max_context=2))
training = train(rooms, NetworkConfig.named("tiny"), options, folder, accelerator="cpu", progress_bar=False)
save_weights(training.network, folder / "weights.safetensors", {"command": "example"})
with (folder / "logs" / "metrics.csv").open() as file:
    losses = [float(row["loss"]) for row in csv.DictReader(file)]
print(f"{len(losses)} steps, loss from {losses[0]:.3f} to {losses[-1]:.3f}")
size = sum(weight.numel() for weight in load_network(folder / "weights.safetensors").parameters())
print(f"{folder}: {size / 1e6:.1f} million weights; posesplat reconstruct --weights takes the file")
