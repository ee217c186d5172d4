"""Gaussians in PLY files: the layout of the Inria 3DGS code that every viewer opens, and its common variants.

Columns: x y z, nx ny nz, f_dc_0..2, f_rest_* (all of red, then green, then blue), opacity as logit, scale_* as
logarithm, rot_* as quaternion with the real part first (world_from_gaussian), and feature_* for any further channels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
from scipy.special import expit

from posesplat.files import whole_file
from posesplat.gaussians.gaussians import SH_C0, Gaussians
from posesplat.gaussians.ply_compressed import is_compressed, unpack
from posesplat.gaussians.ply_elements import read_elements, read_header

_LOG = logging.getLogger(__name__)

_LARGEST_LOGIT = 20.0
_SMALLEST_SCALE = 1e-12
_DISC_THICKNESS = 1e-6
_REST_COUNTS = (0, 9, 24, 45)


def read_ply(path: str | PathLike[str]) -> Gaussians:
    """Read a Gaussian splat PLY: 3DGS, 2DGS, isotropic, or PlayCanvas compressed; ascii or binary.

    Colour comes as ``sh`` from f_dc and f_rest, as ``colors`` from red, green, blue. A missing third scale (2DGS)
    becomes one millionth of the others' mean. Gaussians with NaN, infinities or a zero quaternion are dropped with a
    warning.

    Raises:
        ValueError: when the file is no PLY, is cut short, holds no Gaussians (a point cloud or mesh), or none usable.
    """
    path = Path(path)
    _, tables = read_elements(path, ("vertex", "chunk", "sh"))
    vertex = tables.get("vertex")
    if vertex is None:
        raise ValueError(
            f"{path} must hold an element 'vertex' without list properties; got none. Export it as a splat PLY."
        )
    fields = unpack(path, tables) if is_compressed(vertex) else _fields(path, vertex)
    normals = fields.pop("normals_in_world", None)
    usable = _usable(path, fields)
    if not usable.all():
        fields = {name: array[usable] for name, array in fields.items()}
        normals = None if normals is None else normals[usable]
    gaussians = Gaussians(**fields)
    return gaussians if normals is None else _with_normals(gaussians, normals)


def read_ply_comments(path: str | PathLike[str]) -> list[str]:
    """The comment lines of a PLY header, in order, without the keyword."""
    return list(read_header(path).comments)


def write_ply(path: str | PathLike[str], gaussians: Gaussians, comments: Sequence[str] = ()) -> None:
    """Write a binary little-endian splat PLY in the Inria layout, whole or not at all.

    ``colors`` are written as degree 0 harmonics. Opacities 0 and 1 and scale 0 get a finite logit and logarithm.

    Raises:
        ValueError: when a comment has more than one line.
    """
    for comment in comments:
        if "\n" in comment or "\r" in comment:
            raise ValueError(f"PLY comments must be single lines; got {comment!r}. Split it into several comments.")
    groups = _groups_to_write(gaussians)
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {comment}" for comment in comments)]
    header.append(f"element vertex {len(gaussians)}")
    header += [f"property float {name}" for names, _ in groups for name in names]
    table = np.concatenate([values for _, values in groups], axis=1, dtype="<f4", casting="same_kind")
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(("\n".join([*header, "end_header"]) + "\n").encode())
        file.write(table.data)  # tofile would not say why a disk takes no more


def _groups_to_write(gaussians: Gaussians) -> list[tuple[list[str], np.ndarray]]:
    """Column names and values, shape (n, len(names)), in the order of the Inria code."""
    normals = gaussians.normals_in_world
    if normals is None:
        normals = np.zeros_like(gaussians.means_in_world)
    opacities = gaussians.opacities.astype(np.float64)[:, None]
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(opacities) - np.log1p(-opacities), -_LARGEST_LOGIT, _LARGEST_LOGIT)
    log_scales = np.log(np.maximum(gaussians.scales, _SMALLEST_SCALE))
    groups = [(["x", "y", "z"], gaussians.means_in_world), (["nx", "ny", "nz"], normals)]
    sh = gaussians.sh
    if gaussians.colors is not None:
        sh = ((gaussians.colors - 0.5) / SH_C0)[:, None, :]
    if sh is not None:
        rest = np.swapaxes(sh[:, 1:], 1, 2).reshape(len(sh), 3 * (sh.shape[1] - 1))
        groups += [_numbered("f_dc_", sh[:, 0]), _numbered("f_rest_", rest)]
    groups += [(["opacity"], logits), _numbered("scale_", log_scales), _numbered("rot_", gaussians.quats_wxyz)]
    if gaussians.features is not None:
        groups.append(_numbered("feature_", gaussians.features))
    return groups


def _numbered(prefix: str, values: np.ndarray) -> tuple[list[str], np.ndarray]:
    return [f"{prefix}{index}" for index in range(values.shape[1])], values


def _fields(path: Path, vertex: np.ndarray) -> dict[str, np.ndarray]:
    """The fields of :class:`Gaussians` in an uncompressed vertex table."""
    names = set(vertex.dtype.names or ())
    missing = [name for name in ("x", "y", "z", "opacity", "scale_0") if name not in names]
    if missing:
        raise ValueError(
            f"{path} must hold Gaussians (x, y, z, opacity, scale_0, ...); got vertices without {', '.join(missing)}: "
            "a point cloud or a mesh. Train splats on it, or build a map from posed depth frames with `posesplat map`."
        )
    with np.errstate(over="ignore"):
        fields = {
            "means_in_world": _matrix(vertex, ["x", "y", "z"]),
            "quats_wxyz": _quaternions(path, vertex, names),
            "scales": _scales(vertex, names),
            "opacities": expit(_matrix(vertex, ["opacity"])[:, 0]),
        }
    fields.update(_colour(path, vertex, names))
    features = _names_from(names, "feature_")
    if features:
        fields["features"] = _matrix(vertex, features)
    if {"nx", "ny", "nz"} <= names:
        normals = _matrix(vertex, ["nx", "ny", "nz"])
        if normals.any():
            fields["normals_in_world"] = normals
    return fields


def _matrix(table: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Some columns side by side, float32, shape (n, len(names))."""
    all_names = table.dtype.names or ()
    kinds = {table.dtype[name] for name in all_names}
    if len(kinds) == 1:
        flat = table.view(kinds.pop()).reshape(len(table), len(all_names))
        return np.take(flat, [all_names.index(name) for name in names], axis=1).astype(np.float32, copy=False)
    result = np.empty((len(table), len(names)), dtype=np.float32)
    for index, name in enumerate(names):
        result[:, index] = table[name]
    return result


def _names_from(names: set[str], prefix: str) -> list[str]:
    """The columns prefix0, prefix1, ... up to the first that is missing."""
    count = 0
    while f"{prefix}{count}" in names:
        count += 1
    return [f"{prefix}{index}" for index in range(count)]


def _scales(vertex: np.ndarray, names: set[str]) -> np.ndarray:
    present = _names_from(names, "scale_")[:3]
    scales: np.ndarray = np.exp(_matrix(vertex, present))
    if len(present) == 1:
        return np.repeat(scales, 3, axis=1)
    if len(present) == 2:
        return np.column_stack([scales, _DISC_THICKNESS * scales.mean(axis=1)])
    return scales


def _quaternions(path: Path, vertex: np.ndarray, names: set[str]) -> np.ndarray:
    """Unit quaternions, real part first; NaN where the stored one is zero."""
    wanted = [f"rot_{index}" for index in range(4)]
    if not set(wanted) <= names:
        if "scale_1" in names or names & set(wanted):
            raise ValueError(
                f"{path} must hold rot_0 .. rot_3 beside scale_0, scale_1; "
                f"got {', '.join(sorted(names & set(wanted))) or 'none'}. Export the file again with rotations."
            )
        return np.tile(np.array([1, 0, 0, 0], dtype=np.float32), (len(vertex), 1))
    quats = _matrix(vertex, wanted).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    return np.asarray(unit, dtype=np.float32)


def _colour(path: Path, vertex: np.ndarray, names: set[str]) -> dict[str, np.ndarray]:
    if {"f_dc_0", "f_dc_1", "f_dc_2"} <= names:
        rest = _names_from(names, "f_rest_")
        if len(rest) not in _REST_COUNTS:
            raise ValueError(
                f"{path} must hold 0, 9, 24 or 45 f_rest columns (degree 0 to 3); got {len(rest)}. "
                "Export the file again with whole degrees."
            )
        sh = np.empty((len(vertex), 1 + len(rest) // 3, 3), dtype=np.float32)
        sh[:, 0] = _matrix(vertex, ["f_dc_0", "f_dc_1", "f_dc_2"])
        sh[:, 1:] = np.swapaxes(_matrix(vertex, rest).reshape(len(vertex), 3, len(rest) // 3), 1, 2)
        return {"sh": sh}
    rgb = ["red", "green", "blue"]
    if set(rgb) <= names:
        whole = np.iinfo(vertex.dtype["red"]).max if vertex.dtype["red"].kind in "iu" else 1
        return {"colors": np.clip(_matrix(vertex, rgb) / np.float32(whole), 0, 1)}
    return {}


def _usable(path: Path, fields: dict[str, np.ndarray]) -> np.ndarray:
    """Mask of the Gaussians whose numbers are all finite; warns about the others."""
    count = len(fields["means_in_world"])
    usable = np.ones(count, dtype=bool)
    for array in fields.values():
        usable &= np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    dropped = count - int(usable.sum())
    if dropped == count > 0:
        raise ValueError(
            f"{path} must hold finite Gaussians; got NaN, infinity or a zero quaternion in all {count}. "
            "Train or export the map again."
        )
    if dropped:
        _LOG.warning(
            "%s: dropped %d of %d Gaussians that hold NaN, infinity or a zero quaternion.", path, dropped, count
        )
    return usable


def _with_normals(gaussians: Gaussians, normals: np.ndarray) -> Gaussians:
    """Stored normals at unit length; Gaussians without a valid one get their shortest axis."""
    length = np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True)
    valid = np.isfinite(length) & (length > 0)
    if not valid.any():
        return gaussians
    unit = normals / np.where(valid, length, 1.0)
    return replace(gaussians, normals_in_world=np.where(valid, unit, gaussians.normals()).astype(np.float32))
