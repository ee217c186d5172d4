"""Weights of the network as files: half precision, with the network's configuration and history inside."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from os import PathLike

import torch
from torch import Tensor

from posesplat.files import whole_file
from posesplat.learned.config import NetworkConfig
from posesplat.learned.named_weights import located
from posesplat.learned.network import SplatNetwork
from posesplat.learned.official_weights import IntrinsicsUse, checkpoint_tensors, official_network


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
        weights: a name of :data:`posesplat.learned.named_weights.WEIGHTS`, a file of ``posesplat train``, or an
            official checkpoint of SPFSplat, SPFSplatV2 or SPFSplatV2-L (``.ckpt`` or ``.safetensors``).

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a file that does not hold a network.
    """
    path = located(weights)
    tensors, metadata = _read(path)
    expected = f"{path} must be weights of a posesplat network, as posesplat train writes them; "
    if "config" not in metadata:
        official = official_network(tensors, str(path))
        if official is not None:
            return official
        cure = "Name another file."
        if any(name.startswith("network.") for name in tensors):
            cure = "A checkpoint of posesplat train goes on with --resume; name the weights.safetensors beside it."
        raise ValueError(f"{expected}it holds no configuration. {cure}")
    try:
        with torch.device("meta"):
            network = SplatNetwork(NetworkConfig(**json.loads(metadata["config"])))
        network.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{expected}its configuration and its weights do not fit ({error}). Train again.") from error
    return network.eval()


def convert_weights(
    source: str | PathLike[str], out: str | PathLike[str], intrinsics: IntrinsicsUse = "auto"
) -> SplatNetwork:
    """Write an official checkpoint as weights of ours, in half precision.

    Args:
        source: an official checkpoint of SPFSplat, SPFSplatV2 or SPFSplatV2-L.
        out: a ``.safetensors`` file.
        intrinsics: see :func:`posesplat.learned.official_weights.official_network`.

    Returns:
        The network, in the precision of the checkpoint.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a file that is no such checkpoint.
    """
    path = located(source)
    tensors, _ = _read(path)
    network = official_network(tensors, str(path), intrinsics)
    if network is None:
        raise ValueError(
            f"{path} must be an official checkpoint of SPFSplat, SPFSplatV2 or SPFSplatV2-L (names of tensors begin "
            "with encoder.backbone); it is none. Weights of posesplat train need no conversion."
        )
    save_weights(network, out, {"converted from": path.name})
    return network


def _read(path: str | PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file of safetensors, or tensors of a checkpoint."""
    from safetensors import SafetensorError, safe_open

    if zipfile.is_zipfile(path):
        return checkpoint_tensors(path), {}
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} must be weights of a posesplat network, as posesplat train writes them; it is no safetensors file "
            f"({error}). Copy it again."
        ) from error


def weights_of_checkpoint(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The network's part of a checkpoint of the training."""
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
