"""Official checkpoints of SPFSplat, V2 and V2-L as networks: read without running anything in them, and strictly."""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, Literal

import torch
from torch import Tensor

from posesplat.learned.config import Form, NetworkConfig, SizeName
from posesplat.learned.network import SplatNetwork
from posesplat.learned.official_layout import (
    UNUSED_INTRINSICS,
    LeftAside,
    Source,
    left_aside,
    official_form,
    sources,
)

LOG = logging.getLogger(__name__)
IntrinsicsUse = Literal["auto", "token", "none"]
_FRESH_BOUND = 1 / 3
"""Largest number with which torch begins a linear layer of nine inputs."""
_SIZES: dict[Form, SizeName] = {"spfsplat": "large-v1", "spfsplatv2": "large", "spfsplatv2-l": "large-vggt"}
"""Names of the published sizes."""
_SHOWN = 3
_COPY = "Download the file again."


class _Inert:
    """Stands for whatever a checkpoint holds besides tensors and plain values: nothing of that is looked up or run."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return object.__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass


def checkpoint_tensors(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The ``state_dict`` of a checkpoint of torch or Lightning, mapped into memory as it is needed.

    Objects in it, such as hyperparameters of the author's own classes, are not made.

    Raises:
        ValueError: when the file is none, holds no ``state_dict``, or names functions of the operating system.
    """
    expected = f"{path} must be a checkpoint of torch with a state_dict; "
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{expected}it is not even a ZIP archive, as torch writes them since 1.6. {_COPY}")
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(_Inert, name) for name in unknown]):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{expected}it cannot be read ({_reason(error)}). {_COPY}") from error
    state = found.get("state_dict") if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{expected}it has none. Name another file.")
    return state


def official_network(
    state: Mapping[str, Tensor], origin: str, intrinsics: IntrinsicsUse = "auto", config: NetworkConfig | None = None
) -> SplatNetwork | None:
    """The network of an official checkpoint, with the same function; None when the names are not of one.

    Args:
        state: name to tensor; float32 is taken as it is, without a copy.
        origin: where it comes from, for messages.
        intrinsics: whether the network has a token of the intrinsics. The official code makes its layer also where it
            was trained without; ``auto``: such a layer still has the numbers with which torch begins one.
        config: the size; left out, the published one.

    Raises:
        ValueError: for a tensor that is missing, unknown, of another shape, or not what it must be.
    """
    form = official_form(state)
    if form is None:
        return None
    if config is None:
        config = NetworkConfig.named(_SIZES[form])
    layer = [value for name, value in state.items() if re.fullmatch(UNUSED_INTRINSICS.pattern, name)]
    unused = _never_trained(layer) if layer else form == "spfsplatv2-l"
    if intrinsics == "none" or (intrinsics == "auto" and unused):
        LOG.info("%s: trained without intrinsics; they do not enter the network", origin)
        config = replace(config, intrinsics_token=False)
    with torch.device("meta"):
        network = SplatNetwork(config)
    own = network.state_dict()
    table = sources(own, config)
    _check(state, _wanted(own, table), config, origin)
    for name, row in ((name, left_aside(name, config)) for name in state):
        if row is not None:
            _check_left_aside(state, name, row, origin)
    network.load_state_dict({name: _joined(state, table[name]).float() for name in own}, assign=True)
    return network.eval()


def official_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of an official checkpoint that a network of this size is made of."""
    with torch.device("meta"):
        own = SplatNetwork(config).state_dict()
    return _wanted(own, sources(own, config))


def _never_trained(layer: Sequence[Tensor]) -> bool:
    """Whether a layer of nine inputs still has the numbers with which torch begins one."""
    return all(float(value.abs().max()) <= _FRESH_BOUND + 1e-6 for value in layer)


def _wanted(own: Mapping[str, Tensor], table: Mapping[str, Sequence[Source]]) -> dict[str, tuple[int, ...]]:
    wanted: dict[str, tuple[int, ...]] = {}
    for name, value in own.items():
        for source in table[name]:
            rows = value.shape[0] // len(table[name]) * 3 // (source.parts[1] - source.parts[0])
            wanted[source.name] = (rows, *value.shape[1:])
    return wanted


def _joined(state: Mapping[str, Tensor], made_of: Sequence[Source]) -> Tensor:
    pieces = []
    for source in made_of:
        value = state[source.name]
        if not source.whole:
            third = len(value) // 3
            value = value[source.parts[0] * third : source.parts[1] * third]
        pieces.append(value)
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _check(
    state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], config: NetworkConfig, origin: str
) -> None:
    size = f"{config.form} with encoder {config.encoder_width} x {config.encoder_depth}"
    expected = f"{origin} must hold the {len(wanted)} tensors of {size}; "
    cure = "Name an official checkpoint as it was published (see posesplat weights list), or download it again."
    missing = [name for name in wanted if name not in state]
    if missing:
        raise ValueError(f"{expected}got none called {_some(missing)}. {cure}")
    unknown = [name for name in state if name not in wanted and left_aside(name, config) is None]
    if unknown:
        raise ValueError(f"{expected}got others, called {_some(unknown)}. {cure}")
    for name, shape in wanted.items():
        if tuple(state[name].shape) != shape:
            raise ValueError(f"{origin}: {name} must have shape {shape}; got {tuple(state[name].shape)}. {cure}")
        if not state[name].is_floating_point():
            raise ValueError(f"{origin}: {name} must hold floating-point numbers; got {state[name].dtype}. {cure}")


def _check_left_aside(state: Mapping[str, Tensor], name: str, row: LeftAside, origin: str) -> None:
    if row.twin:
        twin = re.sub(row.pattern, row.twin, name)
        if not torch.equal(state[name], state[twin]):
            raise ValueError(f"{origin}: {name} must be the same as {twin}; they differ. {_COPY}")
    if row.value is not None and not torch.allclose(state[name].float(), torch.tensor(row.value), rtol=1e-4):
        got = state[name].flatten()[:_SHOWN].tolist()
        raise ValueError(f"{origin}: {name} must be {row.value:.6g}, as published; got {got}. Name another file.")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _reason(error: Exception) -> str:
    """The one line of torch's page of advice that says what is wrong."""
    lines = [line.strip(" .") for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if "GLOBAL" in line), lines[0])
