"""The commands of ``posesplat`` and where they live.

A command is a module with a frozen dataclass ``Options`` (a docstring under every field; tyro makes the command line of
it) and a function ``run(options) -> int`` that returns the exit status. Its heavy imports belong inside ``run``.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One entry of the table of commands."""

    module: str
    """Module that holds ``Options`` and ``run``; imported when the command is called."""
    summary: str
    """One line for ``posesplat --help``."""


COMMANDS: dict[str, Command] = {
    "demo": Command("posesplat.cli.demo", "Show what it can do on two small real RGB-D clips that come with it."),
    "map": Command("posesplat.cli.map", "Build a map of Gaussians from posed RGB-D frames."),
    "localize": Command("posesplat.cli.localize", "Find where in a map of Gaussians frames were taken."),
    "track": Command(
        "posesplat.cli.track",
        "Find how the camera moved in a nearly still video: up to scale, or in metres with depth.",
    ),
    "pair": Command(
        "posesplat.cli.pair", "Find the relative pose of two images: in metres with depth, else its direction."
    ),
    "bridge": Command("posesplat.cli.bridge", "Find the relative pose of two images that hardly overlap."),
    "reconstruct": Command(
        "posesplat.cli.reconstruct", "Make Gaussians and camera poses of 2 to 10 unposed images of one scene."
    ),
    "train": Command("posesplat.cli.train", "Train the feed-forward network on rooms, videos or photos without poses."),
    "weights": Command("posesplat.cli.weights", "List, fetch and find the weights of networks."),
    "view": Command("posesplat.cli.view", "Look at results and maps in three dimensions, in a browser."),
    "bench": Command("posesplat.cli.bench", "Measure localisation and the kernels, with rivals in the same run."),
    "doctor": Command("posesplat.cli.doctor", "Say what is installed, what is missing, and how to get it."),
    "completion": Command("posesplat.cli.completion", "Print what makes a shell complete commands and options."),
    "evaluate": Command("posesplat.cli.evaluate", "Judge an estimated trajectory by the true one: ATE, RPE, speed."),
}
