"""The compressed splat PLY of PlayCanvas and SuperSplat: 256 splats share a box, each splat takes 16 bytes.

Position and log scale are 11-10-11 bit fractions of the box, rotation is 2-10-10-10 bits (which component is largest,
then the other three), colour is 8-8-8 bit fractions of the box and opacity 8 bits; ``sh`` holds one byte a coefficient.
Source: PlayCanvas, Compressing Gaussian Splats, 2024, and the layout that splat-transform writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from posesplat.gaussians.gaussians import SH_C0

_CHUNK = 256
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")


def is_compressed(vertex: np.ndarray) -> bool:
    """True when a vertex table holds packed words instead of floats."""
    return "packed_position" in (vertex.dtype.names or ())


def unpack(path: Path, tables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The fields of :class:`Gaussians` from the tables ``chunk``, ``vertex`` and, where present, ``sh``.

    Raises:
        ValueError: when a table or a column of the layout is missing, or the tables do not fit together.
    """
    vertex, chunk = tables["vertex"], tables.get("chunk")
    missing = [name for name in _PACKED if name not in (vertex.dtype.names or ())]
    if missing or chunk is None or len(chunk) != -(-len(vertex) // _CHUNK):
        raise ValueError(
            f"{path} must be a compressed splat PLY: a chunk for each {_CHUNK} vertices, {', '.join(_PACKED)}; "
            f"got {len(vertex)} vertices, {0 if chunk is None else len(chunk)} chunks, "
            f"without {', '.join(missing) or 'nothing'}. Export it again, uncompressed if need be."
        )
    box = np.arange(len(vertex)) // _CHUNK
    words = {name: vertex[name].astype(np.uint32) for name in _PACKED}
    colour = _fractions(words["packed_color"], (8, 8, 8, 8))
    rgb = colour[:, :3]
    if "min_r" in (chunk.dtype.names or ()):
        rgb = _within(path, chunk, box, rgb, [f"{{}}_{axis}" for axis in "rgb"])
    means = _fractions(words["packed_position"], (11, 10, 11))
    log_scales = _fractions(words["packed_scale"], (11, 10, 11))
    dc = ((rgb - 0.5) / SH_C0)[:, None, :]
    rest = _harmonics(path, tables.get("sh"), len(vertex))
    return {
        "means_in_world": _within(path, chunk, box, means, [f"{{}}_{axis}" for axis in "xyz"]),
        "quats_wxyz": _quaternions(words["packed_rotation"]),
        "scales": np.exp(_within(path, chunk, box, log_scales, [f"{{}}_scale_{axis}" for axis in "xyz"])),
        "opacities": colour[:, 3],
        "sh": np.concatenate([dc, rest], axis=1) if rest is not None else dc,
    }


def _fractions(words: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """Fields of the given widths, most significant first, as fractions in [0, 1]."""
    result = np.empty((len(words), len(bits)), dtype=np.float32)
    shift = sum(bits)
    for index, width in enumerate(bits):
        shift -= width
        top = (1 << width) - 1
        result[:, index] = ((words >> np.uint32(shift)) & np.uint32(top)) / np.float32(top)
    return result


def _within(path: Path, chunk: np.ndarray, box: np.ndarray, fractions: np.ndarray, names: list[str]) -> np.ndarray:
    """Fractions of each splat's box, with columns ``min_...`` and ``max_...`` named by ``names``."""
    result = np.empty_like(fractions)
    for index, name in enumerate(names):
        try:
            low, high = chunk[name.format("min")][box], chunk[name.format("max")][box]
        except ValueError as error:
            raise ValueError(
                f"{path}: chunk must have {name.format('min')} and {name.format('max')}; got {chunk.dtype.names}. "
                "Export the file again."
            ) from error
        result[:, index] = low * (1 - fractions[:, index]) + high * fractions[:, index]
    return result


def _quaternions(words: np.ndarray) -> np.ndarray:
    """Unit quaternions, real part first; the largest component is rebuilt from the other three."""
    others = (_fractions(words & np.uint32((1 << 30) - 1), (10, 10, 10)) - 0.5) * np.float32(np.sqrt(2))
    largest = words >> np.uint32(30)
    rebuilt = np.sqrt(np.clip(1 - (others**2).sum(axis=1), 0, 1))
    result = np.empty((len(words), 4), dtype=np.float32)
    for position in range(4):
        rows = largest == position
        result[rows] = np.insert(others[rows], position, rebuilt[rows], axis=1)
    return result


def _harmonics(path: Path, table: np.ndarray | None, count: int) -> np.ndarray | None:
    """Coefficients above degree 0, shape (n, k - 1, 3); bytes cover [-4, 4], the two end bytes exactly."""
    if table is None:
        return None
    names = table.dtype.names or ()
    wanted = [f"f_rest_{index}" for index in range(len(names))]
    if len(table) != count or len(names) not in (9, 24, 45) or set(names) != set(wanted):
        raise ValueError(
            f"{path}: element sh must have f_rest_0 .. f_rest_8, _23 or _44 for each of {count} vertices; "
            f"got {len(names)} columns and {len(table)} rows. Export the file again."
        )
    levels = (np.arange(256) + 0.5) / 256
    levels[0], levels[255] = 0, 1
    values = ((levels - 0.5) * 8).astype(np.float32)
    channels = np.stack([values[table[name]] for name in wanted], axis=1).reshape(count, 3, -1)
    return np.swapaxes(channels, 1, 2)
