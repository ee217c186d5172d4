"""Weights of the network as files: half precision, with the network's configuration and history inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike

import torch

from posesplat.files import whole_file
from posesplat.learned.config import NetworkConfig
from posesplat.learned.named_weights import located
from posesplat.learned.network import SplatNetwork


def save_weights(network: SplatNetwork, path: str | PathLike[str], history: Mapping[str, str] | None = None) -> None:
    """Write a network's weights in half precision, whole or not at all.

    Args:
        network: the network.
        path: a ``.safetensors`` file.
        history: what made the weights: command, seed, versions.
    """
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().half().contiguous() for name, value in network.state_dict().items()}
    metadata = {"config": json.dumps(network.config.to_json()), **(history or {})}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_network(weights: str | PathLike[str] = "tiny") -> SplatNetwork:
    """A network with its weights, ready to predict.

    Args:
        weights: a name of :data:`posesplat.learned.named_weights.WEIGHTS`, or a file of ``posesplat train``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a file that does not hold a posesplat network.
    """
    from safetensors import SafetensorError, safe_open

    path = located(weights)
    expected = f"{path} must be weights of a posesplat network, as posesplat train writes them; "
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ValueError(f"{expected}it is no safetensors file ({error}). Copy it again.") from error
    if "config" not in metadata:
        raise ValueError(f"{expected}it holds no configuration. Name another file.")
    try:
        network = SplatNetwork(NetworkConfig(**json.loads(metadata["config"])))
        network.load_state_dict(tensors)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{expected}its configuration and its weights do not fit ({error}). Train again.") from error
    return network.eval()


def weights_of_checkpoint(path: str | PathLike[str]) -> dict[str, torch.Tensor]:
    """The network's part of a checkpoint of the training."""
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
